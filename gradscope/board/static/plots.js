// The door to plotly: pictures without words of the user's, without its buttons, drawn once it is there.
(function (g) {
  'use strict';

  const CONFIG = {staticPlot: true, displayModeBar: false, displaylogo: false, showSendToCloud: false,
                  plotlyServerURL: '', responsive: false};
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

  // Draws into a div, now or when plotly has come; the newest picture of a div wins.
  class Plots {
    constructor(loaded) {
      this.waiting = new Map();
      this.ready = false;
      loaded.then(() => {
        this.ready = true;
        for (const [node, picture] of this.waiting) this.draw(node, ...picture);
        this.waiting.clear();
      }, () => {});
    }

    draw(node, traces, layout) {
      if (!this.ready) {
        this.waiting.set(node, [traces, layout]);
        return;
      }
      const look = {
        paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', showlegend: false, hovermode: false,
        dragmode: false, autosize: false, font: {family: FONT, size: 11, color: g.color('muted')}, ...layout,
      };
      window.Plotly.react(node, traces, look, CONFIG).catch((problem) => {
        console.error('gradscope: plotly could not draw', problem);
      });
    }

    drop(node) {
      this.waiting.delete(node);
      if (this.ready) window.Plotly.purge(node);
    }
  }

  // The x axis of every picture of steps.
  function xAxis(axis, more) {
    return {
      range: [...axis.view], autorange: false, showgrid: true, gridcolor: g.color('grid'), zeroline: false,
      showline: false, ticks: '', showticklabels: false, fixedrange: true,
      tickmode: 'array', tickvals: axis.ticks().map((n) => n + 0.5), ...more,
    };
  }

  // A y axis with a few readable numbers in [low, high] (of logarithms, if `log`).
  function yAxis(values, log, most, more) {
    const [low, high] = extent(values, log);
    const one = onlyValue(values);
    const {ticks, texts} = one !== null ? {ticks: [log ? Math.log10(one) : one], texts: [g.show(one)]}
      : log ? logTicks(low, high, most) : plainTicks(low, high, most);
    const margin = (high - low) * 0.08;
    return {
      type: log ? 'log' : 'linear', range: [low - margin, high + margin], autorange: false, fixedrange: true,
      showgrid: true, gridcolor: g.color('grid'), zeroline: false, showline: false, ticks: '',
      tickmode: 'array', tickvals: log ? ticks.map((t) => 10 ** t) : ticks, ticktext: texts, ...more,
    };
  }

  // The one value that all have, else null.
  function onlyValue(values) {
    let found = null;
    for (const list of values) {
      for (const x of list) {
        if (!Number.isFinite(x)) continue;
        if (found !== null && x !== found) return null;
        found = x;
      }
    }
    return found;
  }

  function extent(values, log) {
    let low = Infinity, high = -Infinity;
    for (const list of values) {
      for (const x of list) {
        if (!Number.isFinite(x) || (log && x <= 0)) continue;
        const y = log ? Math.log10(x) : x;
        if (y < low) low = y;
        if (y > high) high = y;
      }
    }
    if (low > high) return log ? [-1, 1] : [0, 1];
    if (high - low < (log ? 0.2 : Math.max(Math.abs(high), 1e-12) * 1e-3)) {
      const more = log ? 0.5 : Math.abs(high) * 0.5 || 0.5;
      return [low - more, high + more];
    }
    return [low, high];
  }

  function plainTicks(low, high, most) {
    const ticks = g.roundSteps(low, high, most);
    return {ticks, texts: ticks.map((x) => g.show(Math.abs(x) < (high - low) * 1e-9 ? 0 : Number(x.toPrecision(10))))};
  }

  function logTicks(low, high, most) {
    const first = Math.ceil(low - 1e-9), last = Math.floor(high + 1e-9);
    if (last - first >= 1) {
      const every = Math.max(1, Math.ceil((last - first + 1) / most));
      const ticks = [];
      for (let n = Math.ceil(first / every) * every; n <= last; n += every) ticks.push(n);
      return {ticks, texts: ticks.map(g.power)};
    }
    const candidates = [1, 2, 5].flatMap((m) => [first - 1, first].map((n) => ({at: n + Math.log10(m), m, n})))
      .filter(({at}) => at >= low && at <= high).sort((a, b) => a.at - b.at);
    if (candidates.length < 2) {
      const {ticks} = plainTicks(10 ** low, 10 ** high, most);
      return {ticks: ticks.map(Math.log10), texts: ticks.map(g.show)};
    }
    const every = Math.ceil(candidates.length / most);
    const kept = candidates.filter((_, i) => i % every === 0);
    return {ticks: kept.map((c) => c.at), texts: kept.map((c) => g.show(c.m * 10 ** c.n))};
  }

  // Where logarithms tell more: all above zero, over more than a factor of 30.
  function needsLog(values) {
    let low = Infinity, high = -Infinity;
    for (const list of values) {
      for (const x of list) {
        if (!Number.isFinite(x)) continue;
        if (x <= 0) return false;
        low = Math.min(low, x);
        high = Math.max(high, x);
      }
    }
    return high > 30 * low;
  }

  // The middle of each column, where its value is drawn.
  function middles(edges) {
    const result = new Float64Array(edges.length - 1);
    for (let i = 0; i < result.length; i++) result[i] = (edges[i] + edges[i + 1]) / 2;
    return result;
  }

  // A line with the band from lowest to highest around it, in one colour. The band stops at gaps. `kept`: those columns only.
  function banded(all, whole, color, more) {
    const at = whole.kept;
    const x = at ? at.map((i) => all[i]) : all;
    const course = at ? {mean: at.map((i) => whole.mean[i]), low: at.map((i) => whole.low[i]), high: at.map((i) => whole.high[i])} : whole;
    const line = {type: 'scatter', mode: 'lines', hoverinfo: 'skip', ...more};
    const mean = {...line, x, y: course.mean, line: {width: 1.5, color, ...(more || {}).line}};
    if (x.length === 1 || lonely(course.mean)) Object.assign(mean, {mode: 'lines+markers', marker: {size: 3.5, color}});
    return [...bands(x, course, color, line), mean];
  }

  function bands(x, course, color, line) {
    if (!course.low.some((low, i) => course.high[i] > low)) return [];
    const parts = [];
    for (let i = 0; i < x.length; i++) {
      if (!Number.isFinite(course.low[i]) || !Number.isFinite(course.high[i])) continue;
      const first = i;
      while (i + 1 < x.length && Number.isFinite(course.low[i + 1]) && Number.isFinite(course.high[i + 1])) i++;
      if (i > first) parts.push([first, i + 1]);
    }
    if (parts.length > 30) return [];
    const edge = {...line, line: {width: 0, color}};
    return parts.flatMap(([a, b]) => [
      {...edge, x: x.slice(a, b), y: course.low.slice(a, b)},
      {...edge, x: x.slice(a, b), y: course.high.slice(a, b), fill: 'tonexty', fillcolor: faint(color)},
    ]);
  }

  // Whether a value stands between two gaps: a line alone would not show it.
  function lonely(values) {
    const gap = (i) => i < 0 || i >= values.length || !Number.isFinite(values[i]);
    return values.some((value, i) => Number.isFinite(value) && gap(i - 1) && gap(i + 1));
  }

  function faint(color) {
    const [r, gr, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
    return `rgba(${r},${gr},${b},0.22)`;
  }

  // x signs at the top edge, over the columns with NaN or Inf.
  function badMarks(x, notFinite, more) {
    const at = [];
    let last = -Infinity;
    const gap = (x[x.length - 1] - x[0]) / 150;
    for (let i = 0; i < x.length; i++) {
      if (notFinite[i] && x[i] - last >= gap) at.push(last = x[i]);
    }
    return {type: 'scatter', mode: 'markers', hoverinfo: 'skip', x: at, y: at.map(() => 0.93), cliponaxis: false,
            marker: {symbol: 'x', size: 6, color: g.color('bad')}, ...more};
  }

  Object.assign(g, {Plots, xAxis, yAxis, needsLog, middles, banded, faint, badMarks});
})(window.gradscope = window.gradscope || {});
