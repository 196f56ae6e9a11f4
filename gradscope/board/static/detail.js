// The curves of one parameter or module: gradient, weight, and how far a step moves it.
(function (g) {
  'use strict';

  const PANELS = [
    {id: 'gradient', title: 'Gradient norm', color: 'norm'},
    {id: 'weight', title: 'Weight norm', color: 'weight'},
    {id: 'update', title: 'Update / weight', color: 'update', usual: 1e-3},
  ];
  const HEIGHT = 84,
    TITLE = 24,
    LEFT = 58,
    RIGHT = 16;

  class Curves {
    // `choose(document, row)` is called on a click.
    constructor(axis, plots, tooltip, choose) {
      // The same view of the steps in pixels of its own.
      this.axis = Object.create(axis, {left: {value: LEFT, writable: true}, width: {value: 1, writable: true}});
      Object.assign(this, {plots, tooltip, document: null, row: null});
      this.heading = g.el('div.detail-title');
      this.figure = g.el('div.figure', {'aria-hidden': 'true'});
      this.titles = g.el('div.figure-labels');
      this.picture = g.el('div.curves-picture', {}, this.figure, this.titles);
      this.note = g.el('div');
      this.node = g.el(
        'section.detail-part',
        {'data-testid': 'parameter-curves', 'aria-label': 'Curves of the chosen parameter'},
        this.heading,
        this.note,
        this.picture,
      );
      this.picture.addEventListener('pointermove', (event) => this.hover(event));
      this.picture.addEventListener('pointerleave', () => tooltip.hide());
      this.picture.addEventListener('click', (event) => {
        const row = this.rowAt(event);
        if (row !== null) choose(this.document, row);
      });
    }

    // What is shown: a node of the tree, with its optimizer's title.
    name(node, optimizer) {
      const {parameter} = node;
      const about = parameter
        ? [`[${(parameter.shape || []).join(' × ')}]`, parameter.dtype, optimizer].filter(Boolean).join(' · ')
        : `${g.plural(node.last - node.first + 1, 'parameter')} together`;
      g.fill(this.heading, g.el('h2', {}, g.name(node.path, 24)), g.el('div.muted', {}, about));
      this.path = node.path;
    }

    show(document_) {
      this.document = Object.assign(document_, {end: this.axis.full[1]});
      g.fill(this.note);
      this.draw();
    }

    fail(text, retry) {
      g.fill(this.note, g.message(text, retry));
    }

    clear() {
      this.document = null;
      g.fill(this.heading);
      g.fill(this.note);
      g.fill(this.titles);
      this.figure.style.height = '0';
      this.plots.drop(this.figure);
    }

    draw() {
      const {document: doc, axis} = this;
      const width = this.picture.clientWidth;
      if (!doc || width < 80) return;
      axis.width = width - LEFT - RIGHT;
      const list = PANELS.filter(({id}) => doc[id]);
      const height = list.length * (HEIGHT + TITLE) + 20;
      const layout = {width, height, margin: {l: LEFT, r: RIGHT, t: 0, b: 0, pad: 4}, shapes: []};
      const traces = [];
      const x = g.middles(doc.edges, doc.rows);
      g.fill(this.titles);
      list.forEach((panel, i) => this.drawPanel(panel, i, i === list.length - 1, x, traces, layout));
      this.figure.style.height = `${height}px`;
      this.plots.draw(this.figure, traces, layout);
    }

    drawPanel(panel, i, last, x, traces, layout) {
      const {document: doc, axis} = this;
      const suffix = i ? String(i + 1) : '';
      const on = {xaxis: `x${suffix}`, yaxis: `y${suffix}`};
      const top = i * (HEIGHT + TITLE) + TITLE;
      const domain = [1 - (top + HEIGHT) / layout.height, 1 - top / layout.height];
      const course = panel.id === 'gradient' ? doc.gradient : g.measuredOnly(doc[panel.id]);
      const before =
        panel.id === 'gradient' && doc.after_backward && differ(doc.after_backward.mean, course.mean)
          ? doc.after_backward
          : null;
      const values = [course.low, course.high, ...(before ? [before.mean] : [])].map((list) => this.seen(list));
      const log = g.needsLog(values, true) || panel.id === 'update';
      if (before) {
        traces.push({
          ...on,
          type: 'scatter',
          mode: 'lines',
          x,
          y: before.mean,
          hoverinfo: 'skip',
          line: {width: 1.2, color: g.color('muted'), dash: 'dot'},
        });
      }
      traces.push(...g.banded(x, course, g.color(panel.color), on));
      traces.push(...g.heldLine(x, course, doc.edges[doc.edges.length - 1], g.color(panel.color), on));
      if (course.not_finite.some(Boolean)) {
        traces.push(g.badMarks(x, course.not_finite, {...on, yaxis: `y${i + 51}`}));
        layout[`yaxis${i + 51}`] = {range: [0, 1], overlaying: on.yaxis, visible: false, fixedrange: true};
      }
      layout[`xaxis${suffix}`] = g.xAxis(axis, {anchor: on.yaxis, ...(last ? numbers(axis) : {})});
      const empty = !values.some((list) => list.some((value) => Number.isFinite(value) && (!log || value > 0)));
      layout[`yaxis${suffix}`] = g.yAxis(values, log, 3, {
        domain,
        anchor: on.xaxis,
        ...(empty ? {showticklabels: false, showgrid: false} : {}),
      });
      this.lines(panel, on, layout);
      this.titles.append(
        g.el(
          'div.curve-title',
          {style: {top: `${top - TITLE + 3}px`, left: '8px'}},
          g.el('span.key', {style: {background: g.color(panel.color)}}),
          panel.title,
          before && g.el('span.muted', {}, ' · dotted: as backward left it'),
          panel.usual && g.el('span.muted', {}, ' · usual: 0.001'),
          empty && g.el('span.muted', {}, ` · ${this.whyEmpty(panel, course)}`),
        ),
      );
    }

    whyEmpty(panel, course) {
      if (course.not_finite.some(Boolean)) return 'NaN or Inf';
      const none = panel.id === 'gradient' && this.document.state && this.document.state.every((state) => state === 1);
      if (none) return 'there is none';
      return course.mean.some(Number.isFinite) ? 'zero' : 'not measured here';
    }

    // The chosen step, and what is usual.
    lines(panel, on, layout) {
      if (this.row !== null) {
        layout.shapes.push({
          type: 'line',
          xref: on.xaxis,
          yref: `${on.yaxis} domain`,
          x0: this.row + 0.5,
          x1: this.row + 0.5,
          y0: 0,
          y1: 1,
          line: {width: 1, color: g.color('accent')},
        });
      }
      if (panel.usual) {
        layout.shapes.push({
          type: 'line',
          xref: `${on.xaxis} domain`,
          yref: on.yaxis,
          x0: 0,
          x1: 1,
          y0: panel.usual,
          y1: panel.usual,
          line: {width: 1, color: g.color('muted'), dash: 'dash'},
        });
      }
    }

    pin(row) {
      this.row = row;
      this.draw();
    }

    seen(list) {
      const [a, b] = this.axis.view;
      const {edges} = this.document;
      return list.filter((_, i) => edges[i + 1] > a && edges[i] < b);
    }

    // The row under the pointer, null beside the picture.
    rowAt(event) {
      const {axis} = this;
      const x = event.clientX - this.picture.getBoundingClientRect().left;
      const known = this.document && this.document.edges.length > 1;
      return known && x >= axis.left && x <= axis.left + axis.width ? axis.rowAt(x) : null;
    }

    hover(event) {
      const {document: doc} = this;
      const row = this.rowAt(event);
      if (row === null) {
        this.tooltip.hide();
        return;
      }
      const i = Math.min(g.indexOf(doc.edges, row), doc.edges.length - 2);
      const lines = PANELS.flatMap(({id, title}) =>
        doc[id] ? g.courseLines(title.toLowerCase(), doc[id], i, doc.rows[i]) : [],
      );
      if (doc.state) lines.push(['gradient', (g.STATES[doc.state[i]] || g.STATES[0]).word]);
      this.tooltip.show({name: this.path, title: g.cellTitle(doc, i), lines}, event.clientX, event.clientY);
    }
  }

  function numbers(axis) {
    const ticks = axis.ticks();
    return {showticklabels: true, ticktext: ticks.map(g.count), ticklabelstandoff: 2};
  }

  function differ(a, b) {
    return a.some((x, i) => Number.isFinite(x) && Number.isFinite(b[i]) && Math.abs(x - b[i]) > 1e-4 * Math.abs(b[i]));
  }

  g.Curves = Curves;
})((window.gradscope = window.gradscope || {}));
