// The heatmap, parameters x steps: names as a tree at its left, only the lines in sight drawn.
(function (g) {
  'use strict';

  const AROUND = 14; // lines drawn beyond each edge
  const MOST_GLYPHS = 900;
  const SIGNS = {bad: 1, zero: 2, unseen: 3}; // 'none' is a hole: the hatched ground is seen

  class Heatmap {
    // `wish(nodes)`: these lines are in sight. `act`: {choose(node, row), toggle(node)}.
    constructor(axis, plots, scale, wish, act) {
      Object.assign(this, {axis, plots, scale, wish, act, picture: null, root: null, lines: [], drawn: [0, 0]});
      this.figure = g.el('div.figure', {'aria-hidden': 'true'});
      this.ground = g.el('div.ground');
      this.ruling = g.el('div.ruling');
      this.rows = g.el('div.tree-rows', {'aria-hidden': 'true'});
      this.window = g.el('div.heat-window', {}, this.ground, this.figure, this.ruling, this.rows);
      this.cursorBox = g.el('div.cursor-cell', {hidden: true});
      this.inner = g.el('div.heat-inner', {}, this.window, this.cursorBox);
      this.node = g.el('div.heat', {
        'data-testid': 'heatmap', role: 'application', tabindex: '0', 'aria-roledescription': 'heatmap',
        'aria-label': 'Parameters by steps. Arrow keys move, Enter shows the curves and the step, Space opens a module.',
      }, this.inner);
      this.node.addEventListener('scroll', g.framed(() => this.scrolled()), {passive: true});
      this.marked = new Set();
    }

    clear() {
      this.picture = this.cursor = null;
      this.plots.drop(this.figure);
    }

    setTree(root) {
      this.root = root;
      this.relist();
    }

    relist() {
      this.lines = this.root ? g.tree.visible(this.root) : [];
      this.at = new Map(this.lines.map((node, i) => [node.key, i]));
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
      const size = this.rowHeight;
      const first = Math.floor(this.node.scrollTop / size);
      const last = Math.ceil((this.node.scrollTop + Math.min(this.most, this.lines.length * size)) / size);
      return [Math.max(0, first - AROUND), Math.min(this.lines.length, last + AROUND), first, last];
    }

    scrolled() {
      const [, , first, last] = this.inSight();
      if (first < this.drawn[0] || Math.min(last, this.lines.length) > this.drawn[1]) this.draw();
    }

    draw() {
      if (!this.root || !this.lines.length) return;
      const size = this.rowHeight;
      this.inner.style.height = `${this.lines.length * size}px`;
      this.node.style.height = `${Math.min(this.most, this.lines.length * size)}px`;
      const [from, to] = this.inSight();
      this.drawn = [from, to];
      const nodes = this.lines.slice(from, to);
      Object.assign(this.window.style, {top: `${from * size}px`, height: `${(to - from) * size}px`});
      this.node.style.setProperty('--row', `${size}px`);
      g.fill(this.rows, nodes.map((node) => this.rowOf(node, size)));
      if (this.picture) this.drawCells(nodes, size);
      this.wish(nodes);
      this.placeCursor();
    }

    rowOf(node, size) {
      const group = node.children.length > 0;
      const chosen = node.key === this.chosenKey;
      const row = g.el('div.tree-row', {
        'data-testid': 'heatmap-line', 'data-name': node.path, 'data-key': node.key,
        className: ['tree-row', group ? 'group' : '', chosen ? 'chosen' : ''].join(' '),
        style: {height: `${size}px`, paddingLeft: `${4 + Math.min(node.depth, 10) * 11}px`, width: `${this.axis.left}px`},
        title: this.titleOf(node),
        onclick: () => (group ? this.act.toggle(node) : this.act.choose(node, null)),
      }, g.el('span.chevron', {}, group ? (node.open ? '▾' : '▸') : ''), g.name(node.label, 10));
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
      const {picture} = this;
      const isState = picture.stat === 'state';
      const range = isState ? [2, 5] : this.scale.range(picture.stat);
      const columns = picture.edges.length - 1;
      const empty = new Float32Array(columns).fill(NaN);
      const y = Array.from({length: nodes.length + 1}, (_, i) => i);
      const numbers = [], signs = [];
      for (const node of nodes) {
        const line = picture.lines.get(node.key);
        numbers.push(line ? (isState ? stateRow(line) : line.log) : empty);
        signs.push(line ? signRow(line, picture.stat) : empty);
      }
      const common = {type: 'heatmap', x: Array.from(picture.edges), y, zsmooth: false, showscale: false, hoverinfo: 'skip'};
      const traces = [{...common, z: numbers, zmin: range[0], zmax: range[1], zauto: false,
                       colorscale: isState ? stateColors() : g.scaleColors(picture.stat)},
                      {...common, z: signs, zmin: 1, zmax: 3, zauto: false, colorscale: signColors()},
                      ...this.glyphs(nodes, size)];
      this.plots.draw(this.figure, traces, {
        width: this.node.clientWidth + (this.node.offsetWidth - this.node.clientWidth), height: nodes.length * size,
        margin: {l: this.axis.left, r: Math.max(0, this.node.offsetWidth - this.axis.left - this.axis.width), t: 0, b: 0, pad: 0},
        xaxis: g.xAxis(this.axis, {showgrid: false}),
        yaxis: {range: [nodes.length, 0], autorange: false, visible: false, fixedrange: true},
      });
    }

    // An x over what is not finite, also where its columns are a pixel wide; letters in the state view: on each stretch
    // of cells that are alike.
    glyphs(nodes, size) {
      const {picture} = this;
      const bad = {x: [], y: []}, letters = new Map();
      nodes.forEach((node, k) => {
        const line = picture.lines.get(node.key);
        if (!line) return;
        for (const {kind, x} of this.stretches(line)) {
          if (bad.x.length > MOST_GLYPHS) return;
          const list = kind === 'bad' ? bad : letters.get(kind) || {x: [], y: []};
          if (kind !== 'bad') letters.set(kind, list);
          list.x.push(...x);
          list.y.push(...x.map(() => k + 0.5));
        }
      });
      const common = {type: 'scatter', hoverinfo: 'skip'};
      return [...[...letters].map(([state, at]) => ({...common, ...at, mode: 'text', text: g.STATES[state].sign,
                                                     textfont: {size: 10, color: g.STATES[state].ink}})),
              {...common, ...bad, mode: 'markers', marker: {symbol: 'x-thin', size: Math.min(7, size - 8), color: '#fff',
                                                            line: {width: 1.6, color: '#fff'}}}];
    }

    // Where signs stand in a line: [{kind: 'bad' | a state, x: steps}...]
    stretches(line) {
      const {axis, picture: {edges, stat}} = this;
      const [a, b] = axis.view;
      const first = Math.max(0, g.indexOf(edges, a)), last = Math.min(edges.length - 2, g.indexOf(edges, b));
      const kindOf = (i) => (line.not_finite[i] ? 'bad' : stat === 'state' ? line.state[i] : -1);
      const found = [];
      let free = -Infinity; // the pixel from which a sign may stand
      for (let i = first; i <= last;) {
        const kind = kindOf(i);
        const from = Math.max(a, edges[i]);
        while (i <= last && kindOf(i) === kind) i++;
        const to = Math.min(b, edges[i]);
        const width = (to - from) * axis.pixelsPerStep;
        const middle = axis.toPixel((from + to) / 2);
        const wanted = kind === 'bad' ? middle >= free : width >= 14 && kind >= 0 && g.STATES[kind].sign;
        if (!wanted) continue;
        const many = Math.max(1, Math.round(width / (kind === 'bad' ? 28 : 120)));
        found.push({kind, x: Array.from({length: many}, (_, n) => from + (to - from) * (n + 0.5) / many)});
        if (kind === 'bad') free = axis.toPixel(to) + 8;
      }
      return found;
    }

    // Which signs beside the colours the drawn lines have: the legend names these only.
    signs() {
      const has = {};
      if (!this.picture) return has;
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
      if (!this.lines[k] || !this.picture || clientY < box.top || clientY >= box.bottom) return null;
      const row = this.axis.rowAt(clientX - box.left);
      return {node: this.lines[k], row, column: this.columnOf(row)};
    }

    columnOf(row) {
      return Math.min(g.indexOf(this.picture.edges, row), this.picture.edges.length - 2);
    }

    setCursor(cursor, scroll) {
      this.cursor = cursor;
      if (cursor && scroll) {
        const size = this.rowHeight, at = this.at.get(cursor.key) * size;
        if (at < this.node.scrollTop) this.node.scrollTop = at;
        else if (at + size > this.node.scrollTop + this.node.clientHeight) this.node.scrollTop = at + size - this.node.clientHeight;
      }
      this.placeCursor();
    }

    placeCursor() {
      const k = this.cursor ? this.at.get(this.cursor.key) : undefined;
      this.cursorBox.hidden = k === undefined || !this.picture;
      if (this.cursorBox.hidden) return;
      const {edges} = this.picture, i = this.columnOf(this.cursor.row), size = this.rowHeight;
      const inside = (x) => Math.min(Math.max(x, this.axis.left), this.axis.left + this.axis.width);
      const left = inside(this.axis.toPixel(edges[i])), right = inside(this.axis.toPixel(edges[i + 1]));
      const width = Math.max(6, right - left);
      Object.assign(this.cursorBox.style, {left: `${(left + right - width) / 2}px`, width: `${width}px`, top: `${k * size}px`,
                                           height: `${size - 1}px`});
    }
  }

  function stateRow(line) {
    return Float32Array.from(line.state, (s, i) => (s >= 2 && !line.not_finite[i] ? s : NaN));
  }

  function signRow(line, stat) {
    const row = new Float32Array(line.mean.length).fill(NaN);
    for (let i = 0; i < row.length; i++) {
      const kind = stat === 'state' && line.state[i] === 0 && !line.not_finite[i] ? 'unseen' : g.special(line, i, stat);
      if (kind && kind in SIGNS) row[i] = SIGNS[kind];
    }
    return row;
  }

  function steps(colors) {
    const n = colors.length;
    return colors.flatMap((color, i) => [[i / n, color], [(i + 1) / n, color]]);
  }

  function stateColors() {
    return steps(g.STATES.slice(2).map((state) => state.color));
  }

  function signColors() {
    return steps([g.color('bad'), g.color('zero'), g.color('unseen')]);
  }

  g.Heatmap = Heatmap;
})(window.gradscope = window.gradscope || {});
