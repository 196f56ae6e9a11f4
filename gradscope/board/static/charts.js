// Loss, gradient norm, learning rate and the user's own metrics above the heatmap, on its step axis.
(function (g) {
  'use strict';

  const GAP = 14; // pixels between two panels
  const MOST_METRICS = 3;

  // `charts.node` goes into the stage; `show(curves)`, then `draw()` at each change of axis or theme.
  class Charts {
    constructor(axis, plots) {
      this.axis = axis;
      this.plots = plots;
      this.curves = null;
      this.figure = g.el('div.figure', {'aria-hidden': 'true'});
      this.labels = g.el('div.figure-labels');
      this.note = g.el('div');
      this.node = g.el('div.charts', {}, this.figure, this.labels, this.note);
      this.forcedLog = null;
      this.readings = new Map();
      this.labelled = null;
    }

    show(curves) {
      this.curves = curves;
      g.fill(this.note);
      this.draw();
    }

    fail(text, retry) {
      g.fill(this.note, g.message(text, retry));
    }

    clear() {
      this.curves = null;
      this.labelled = null;
      g.fill(this.labels);
      g.fill(this.note);
      this.figure.style.height = '0';
      this.plots.drop(this.figure);
    }

    panels() {
      const {loss, norm, lr, metrics} = this.curves;
      const list = [{id: 'loss', title: 'Loss', height: 108, course: loss, color: 'loss'}];
      if (norm && norm.mean.some(Number.isFinite)) {
        list.push({id: 'norm', title: 'Gradient norm', height: 46, course: g.measuredOnly(norm), color: 'norm'});
      }
      if (lr.length) list.push({id: 'lr', title: 'Learning rate', height: 38, rates: lr});
      for (const [i, metric] of metrics.slice(0, MOST_METRICS).entries()) {
        list.push({id: `metric-${i}-${metric.name}`, title: metric.name, height: 56, metric});
      }
      const more = Math.min(1.6, Math.max(1, window.innerHeight / 900)); // tall windows have room for taller pictures
      for (const panel of list) panel.height = Math.round(panel.height * more);
      let top = 6;
      for (const panel of list) {
        panel.top = top;
        top += panel.height + GAP;
      }
      return {list, height: top - GAP + 6};
    }

    draw() {
      if (!this.curves) return;
      const {list, height} = this.panels();
      this.list = list;
      const layout = {width: this.node.clientWidth, height, margin: this.margin(), shapes: []};
      const traces = [];
      const {edges, rows} = this.curves;
      const x = g.middles(edges, rows);
      list.forEach((panel, i) => this.drawPanel(panel, i, x, traces, layout));
      this.figure.style.height = `${height}px`;
      this.labelPanels(list);
      this.plots.draw(this.figure, traces, layout);
    }

    margin() {
      return {l: this.axis.left, r: this.node.clientWidth - this.axis.left - this.axis.width, t: 0, b: 0, pad: 0};
    }

    drawPanel(panel, i, x, traces, layout) {
      const suffix = i ? String(i + 1) : '';
      const on = {xaxis: `x${suffix}`, yaxis: `y${suffix}`};
      const domain = [1 - (panel.top + panel.height) / layout.height, 1 - panel.top / layout.height];
      const most = panel.height > 90 ? 4 : 2;
      let values;
      if (panel.course) {
        values = [panel.course.low, panel.course.high, panel.course.mean].map((list) => this.seen(list));
        traces.push(...this.otherRanks(panel.id, on), ...g.banded(x, panel.course, g.color(panel.color), on));
        if (panel.course.held) {
          const {edges} = this.curves;
          traces.push(...g.heldLine(x, panel.course, edges[edges.length - 1], g.color(panel.color), on));
        }
        if (panel.course.not_finite.some(Boolean)) {
          traces.push(g.badMarks(x, panel.course.not_finite, {...on, yaxis: `y${i + 51}`}));
          layout[`yaxis${i + 51}`] = {range: [0, 1], overlaying: on.yaxis, visible: false, fixedrange: true};
        }
      } else if (panel.rates) {
        values = panel.rates.map((rate) => this.seen(rate.values));
        panel.rates.forEach((rate, k) =>
          traces.push({
            ...on,
            type: 'scatter',
            mode: x.length > 1 ? 'lines' : 'markers',
            hoverinfo: 'skip',
            x,
            y: rate.values,
            line: {width: 1.5, color: g.color(`series-${k % 6}`), shape: 'hvh', dash: k > 5 ? 'dot' : 'solid'},
          }),
        );
      } else {
        const {steps, values: all} = panel.metric;
        values = [all];
        traces.push({
          ...on,
          type: 'scatter',
          mode: 'lines+markers',
          hoverinfo: 'skip',
          x: steps.map((s) => s + 0.5),
          y: all,
          line: {width: 1.2, color: g.color('metric')},
          marker: {size: 4, color: g.color('metric')},
        });
      }
      if (panel.id === 'loss') panel.log = this.forcedLog === null ? g.needsLog(values, false, 50) : this.forcedLog;
      else panel.log = panel.rates ? g.ratesNeedLog(values) : g.needsLog(values, panel.id === 'norm');
      layout[`xaxis${suffix}`] = g.xAxis(this.axis, {anchor: on.yaxis});
      layout[`yaxis${suffix}`] = g.yAxis(values, panel.log, most, {domain, anchor: on.xaxis});
    }

    // The same of other ranks, behind that of the chosen one.
    otherRanks(id, on) {
      const others = (this.curves.others || []).filter((other) => id in other);
      return others.map((other) => {
        const line = {width: 1, color: g.color(`series-${other.rank % 6}`), dash: other.rank % 12 > 5 ? 'dot' : 'solid'};
        const x = g.middles(other.edges, other.rows);
        const at = [...x.keys()].filter((i) => id === 'loss' || Number.isFinite(other.norm[i])); // of those measured
        const [across, y] = [x, other[id]].map((all) => at.map((i) => all[i]));
        return {...on, type: 'scatter', mode: 'lines', hoverinfo: 'skip', x: across, y, line, opacity: 0.6};
      });
    }

    // Of a list by columns, those in view.
    seen(list) {
      const [a, b] = this.axis.view;
      const {edges} = this.curves;
      return list.filter((_, i) => edges[i + 1] > a && edges[i] < b);
    }

    labelPanels(list) {
      const sign = list.map((p) => p.id).join('|') + this.axis.left;
      if (sign !== this.labelled) {
        this.labelled = sign;
        this.readings.clear();
        g.fill(
          this.labels,
          list.map((panel) => this.labelOf(panel)),
        );
      }
      for (const panel of list) {
        const {region} = this.readings.get(panel.id);
        region.setAttribute('aria-label', this.spoken(panel));
        if (panel.id === 'loss') this.logButton.setAttribute('aria-pressed', String(panel.log));
      }
      this.read(null);
    }

    labelOf(panel) {
      const reading = g.el('div.reading');
      const region = g.el('div.chart-label', {
        role: 'img',
        'data-testid': panel.id.startsWith('metric') ? 'metric' : panel.id,
        style: {top: `${panel.top}px`, height: `${panel.height}px`},
      });
      const title = panel.metric
        ? g.el('div.panel-title', {}, g.name(panel.title))
        : g.el('div.panel-title', {}, panel.title);
      const gutter = g.el('div.gutter', {style: {top: `${panel.top}px`, height: `${panel.height}px`}}, title, reading);
      if (panel.id === 'loss') {
        this.logButton = g.el(
          'button.quiet.tiny',
          {
            type: 'button',
            title: 'Logarithmic scale',
            onclick: () => {
              this.forcedLog = this.logButton.getAttribute('aria-pressed') !== 'true';
              this.draw();
            },
          },
          'log',
        );
        gutter.append(this.logButton);
      }
      this.readings.set(panel.id, {reading, region});
      return [region, gutter];
    }

    spoken(panel) {
      if (!panel.course) return panel.title;
      const values = this.valuesOf(panel, null);
      return `${panel.title}: ${values.join(', ')}`;
    }

    // Writes the values at a row (null: the newest) beside each panel.
    read(row) {
      if (!this.curves || !this.list) return;
      for (const panel of this.list) {
        const {reading} = this.readings.get(panel.id);
        g.fill(
          reading,
          this.valuesOf(panel, row).map((text) => g.el('div', {}, text)),
        );
      }
    }

    valuesOf(panel, row) {
      const {edges} = this.curves;
      const at = row === null ? null : g.indexOf(edges, row);
      if (panel.metric) {
        const {steps, values} = panel.metric;
        const i = row === null ? values.length - 1 : Math.max(0, g.indexOf(steps, row));
        return values.length ? [`${g.show(values[i])} at ${g.count(steps[i])}`] : [];
      }
      if (panel.rates) {
        const column = Math.min(at === null ? edges.length - 2 : at, edges.length - 2);
        const all = panel.rates.map((rate) => g.show(rate.values[column]));
        return all.length > 2 ? [all.slice(0, 2).join(', ') + ` +${all.length - 2}`] : [all.join(', ')];
      }
      return [this.valueOf(panel, at)];
    }

    // At a column (null: the newest), or the last one before it of which there is one, with its step.
    valueOf({course, title}, at) {
      const {edges, rows} = this.curves;
      const {mean, not_finite: bad} = course;
      const newest = at === null ? mean.length - 1 : Math.min(at, mean.length - 1);
      let i = newest;
      while (i >= 0 && !Number.isFinite(mean[i]) && !bad[i]) i--;
      if (i < 0) return `no ${title.toLowerCase()} known${at === null ? '' : ' yet'}`;
      const number = Number.isFinite(mean[i]) ? g.show(mean[i]) : 'NaN or Inf';
      if (i !== newest) return `${number} at step ${g.count(rows[i] === 1 ? edges[i] : edges[i + 1] - 1)}`;
      return at === null && Number.isFinite(mean[i]) ? `last ${number}` : number;
    }

    // Everything known of a row's column, for the tooltip: [[what, value]...]
    rowsAt(row) {
      if (!this.curves) return null;
      const {edges, rows, loss, norm, lr} = this.curves;
      const i = Math.min(g.indexOf(edges, row), edges.length - 2);
      const lines = [...g.courseLines('loss', loss, i, rows[i]), ...g.courseLines('gradient norm', norm, i, rows[i])];
      for (const rate of lr.slice(0, 6)) {
        if (Number.isFinite(rate.values[i])) lines.push([lr.length > 1 ? rate.label : 'lr', g.show(rate.values[i])]);
      }
      return {title: g.columnTitle(edges, rows, i), lines};
    }
  }

  g.Charts = Charts;
})((window.gradscope = window.gradscope || {}));
