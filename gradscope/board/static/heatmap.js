// The heatmap, parameters x steps: names as a tree at its left, only the lines in sight drawn.
(function (g) {
  'use strict';

  const AROUND = 14; // lines drawn beyond each edge
  const HELD = 12, // pixels from which a row that stands for long is told from what was measured,
    FULL = 4; // and how many of them are in full colour, at least

  class Heatmap {
    // `wish(nodes)`: these lines are in sight. `act`: {choose(node, row), toggle(node)}.
    constructor(axis, plots, scale, wish, act) {
      Object.assign(this, {axis, plots, scale, wish, act, picture: null, root: null, lines: [], drawn: [0, 0]});
      this.figure = g.el('div.figure', {'aria-hidden': 'true'});
      this.ground = g.el('div.ground');
      this.held = g.el('div.held-parts', {'aria-hidden': 'true'});
      this.ruling = g.el('div.ruling');
      this.rows = g.el('div.tree-rows', {'aria-hidden': 'true'});
      this.window = g.el('div.heat-window', {}, this.ground, this.figure, this.held, this.ruling, this.rows);
      this.cursorBox = g.el('div.cursor-cell', {hidden: true});
      this.inner = g.el('div.heat-inner', {}, this.window, this.cursorBox);
      this.node = g.el(
        'div.heat',
        {
          'data-testid': 'heatmap',
          role: 'application',
          tabindex: '0',
          'aria-roledescription': 'heatmap',
          'aria-label':
            'Parameters by steps. Arrow keys move, Enter shows the curves and the step, Space opens a module.',
        },
        this.inner,
      );
      this.node.addEventListener(
        'scroll',
        g.framed(() => this.scrolled()),
        {passive: true},
      );
      this.marked = new Set();
    }

    clear() {
      this.picture = this.cursor = null;
      g.fill(this.held);
      this.plots.drop(this.figure);
    }

    setTree(root) {
      this.root = root;
      this.relist();
      this.node.scrollTop = 0;
    }

    relist() {
      this.lines = this.root ? g.tree.visible(this.root) : [];
      this.at = new Map(this.lines.map((node, i) => [node.key, i]));
    }

    // Whether there is no cell to point at: no picture yet, or no measured step in its range.
    get empty() {
      return !this.picture || this.picture.edges.length < 2;
    }

    get rowHeight() {
      const room = Math.min(this.most, 900) / Math.max(1, this.lines.length);
      return Math.min(22, Math.max(16, Math.floor(room)));
    }

    get most() {
      return Math.max(288, Math.floor(window.innerHeight * 0.62));
    }

    // The lines to be drawn: those in sight and some around.
    inSight() {
      const size = this.rowHeight,
        seen = Math.min(this.most, this.lines.length * size);
      const top = Math.min(this.node.scrollTop, this.lines.length * size - seen); // of other lines, it may be more
      const first = Math.floor(top / size);
      const last = Math.ceil((top + seen) / size);
      return [Math.max(0, first - AROUND), Math.min(this.lines.length, last + AROUND), first, last];
    }

    scrolled() {
      const [, , first, last] = this.inSight();
      if (first < this.drawn[0] || Math.min(last, this.lines.length) > this.drawn[1]) this.draw();
    }

    draw() {
      if (!this.root || !this.lines.length) return;
      const size = this.rowHeight;
      const all = this.lines.length * size,
        seen = Math.min(this.most, all);
      this.inner.style.height = `${all}px`;
      this.node.style.height = `${seen}px`;
      if (this.node.scrollTop > all - seen) this.node.scrollTop = all - seen; // the old window of lines held it there
      const [from, to] = this.inSight();
      this.drawn = [from, to];
      const nodes = this.lines.slice(from, to);
      Object.assign(this.window.style, {top: `${from * size}px`, height: `${(to - from) * size}px`});
      this.node.style.setProperty('--row', `${size}px`);
      g.fill(
        this.rows,
        nodes.map((node) => this.rowOf(node, size)),
      );
      if (this.picture) this.drawCells(nodes, size);
      this.wish(nodes);
      this.placeCursor();
    }

    rowOf(node, size) {
      const group = node.children.length > 0;
      const chosen = node.key === this.chosenKey;
      const row = g.el(
        'div.tree-row',
        {
          'data-testid': 'heatmap-line',
          'data-name': node.path,
          'data-key': node.key,
          className: ['tree-row', group ? 'group' : '', chosen ? 'chosen' : ''].join(' '),
          style: {
            height: `${size}px`,
            paddingLeft: `${4 + Math.min(node.depth, 10) * 11}px`,
            width: `${this.axis.left}px`,
          },
          title: this.titleOf(node),
          onclick: () => (group ? this.act.toggle(node) : this.act.choose(node, null)),
        },
        g.el('span.chevron', {}, group ? (node.open ? '▾' : '▸') : ''),
        g.name(node.label, 10),
      );
      if (group && !node.open) row.append(g.el('span.tree-count', {}, String(node.last - node.first + 1)));
      const mark = this.markOf(node);
      if (mark) row.append(g.el(`span.tree-mark.${mark}`, {title: 'named by the chosen finding'}));
      return row;
    }

    titleOf(node) {
      if (!node.parameter) return `${node.path}: ${g.plural(node.last - node.first + 1, 'parameter')}`;
      const {name, shape, dtype} = node.parameter;
      return `${name}  [${(shape || []).join(' x ')}] ${dtype || ''}`;
    }

    // Parameters named by the chosen finding: a set of numbers, and its severity.
    mark(numbers, severity) {
      this.marked = numbers;
      this.severity = severity;
    }

    markOf(node) {
      if (node.open) return null;
      for (const i of this.marked) if (i >= node.first && i <= node.last) return this.severity;
      return null;
    }

    drawCells(nodes, size) {
      this.drawHeld();
      const traces = g.heatTraces(this, nodes, size);
      const right = this.node.offsetWidth - this.axis.left - this.axis.width;
      this.plots.draw(this.figure, traces, {
        width: this.node.offsetWidth,
        height: nodes.length * size,
        margin: {l: this.axis.left, r: Math.max(0, right), t: 0, b: 0, pad: 0},
        xaxis: g.xAxis(this.axis, {showgrid: false}),
        yaxis: {range: [nodes.length, 0], autorange: false, visible: false, fixedrange: true},
      });
    }

    // Where a row stands for long, only its first pixels are in full colour: nothing was measured in the rest.
    drawHeld() {
      const {axis, picture} = this;
      const inside = (step) => Math.min(Math.max(axis.toPixel(step), axis.left), axis.left + axis.width) - axis.left;
      picture.standing = picture.standing || g.standing(picture);
      const parts = [];
      for (const {from, to, long} of picture.standing) {
        const whole = (to - from) * axis.pixelsPerStep;
        if (!long || whole <= HELD) continue;
        const left = inside(from + Math.max(1, FULL / axis.pixelsPerStep)),
          width = inside(to) - left;
        if (width > 0) parts.push(g.el('div.held-part', {style: {left: `${left}px`, width: `${width}px`}}));
      }
      g.fill(this.held, parts);
    }

    // Which signs beside the colours the drawn lines have: the legend names these only.
    signs() {
      const has = {};
      if (!this.picture) return has;
      has.held = this.held.childElementCount > 0;
      for (const line of this.picture.lines.values()) {
        for (let i = 0; i < line.mean.length; i++) {
          const kind = g.special(line, i, this.picture.stat);
          if (kind) has[kind] = true;
        }
      }
      return has;
    }

    // The line and column under a pixel position on the screen, or null.
    cellAt(clientX, clientY) {
      const box = this.node.getBoundingClientRect();
      const k = Math.floor((clientY - box.top + this.node.scrollTop) / this.rowHeight);
      if (!this.lines[k] || this.empty || clientY < box.top || clientY >= box.bottom) return null;
      const row = this.axis.rowAt(clientX - box.left);
      return {node: this.lines[k], row, column: this.columnOf(row)};
    }

    columnOf(row) {
      return Math.min(g.indexOf(this.picture.edges, row), this.picture.edges.length - 2);
    }

    setCursor(cursor, scroll) {
      this.cursor = cursor;
      if (cursor && scroll) {
        const size = this.rowHeight,
          at = this.at.get(cursor.key) * size;
        if (at < this.node.scrollTop) this.node.scrollTop = at;
        else if (at + size > this.node.scrollTop + this.node.clientHeight)
          this.node.scrollTop = at + size - this.node.clientHeight;
      }
      this.placeCursor();
    }

    placeCursor() {
      const k = this.cursor ? this.at.get(this.cursor.key) : undefined;
      this.cursorBox.hidden = k === undefined || this.empty;
      if (this.cursorBox.hidden) return;
      const {edges} = this.picture,
        i = this.columnOf(this.cursor.row),
        size = this.rowHeight;
      const inside = (x) => Math.min(Math.max(x, this.axis.left), this.axis.left + this.axis.width);
      const left = inside(this.axis.toPixel(edges[i])),
        right = inside(this.axis.toPixel(edges[i + 1]));
      const width = Math.max(6, right - left);
      Object.assign(this.cursorBox.style, {
        left: `${(left + right - width) / 2}px`,
        width: `${width}px`,
        top: `${k * size}px`,
        height: `${size - 1}px`,
      });
    }
  }

  g.Heatmap = Heatmap;
})((window.gradscope = window.gradscope || {}));
