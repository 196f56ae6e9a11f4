// The door to plotly: pictures without words of the user's, without its buttons, drawn once it is there.
(function (g) {
  'use strict';

  const CONFIG = {
    staticPlot: true,
    displayModeBar: false,
    displaylogo: false,
    showSendToCloud: false,
    plotlyServerURL: '',
    responsive: false,
  };
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

  // Draws into a div, now or when plotly has come; the newest picture of a div wins.
  class Plots {
    constructor(loaded) {
      this.waiting = new Map();
      this.drawn = new Map(); // the newest layout of each div: one that was dropped has none
      this.ready = false;
      loaded.then(
        () => {
          this.ready = true;
          for (const [node, picture] of this.waiting) this.draw(node, ...picture);
          this.waiting.clear();
        },
        () => {},
      );
    }

    draw(node, traces, layout) {
      if (!this.ready) {
        this.waiting.set(node, [traces, layout]);
        return;
      }
      const look = {
        paper_bgcolor: 'rgba(0,0,0,0)',
        plot_bgcolor: 'rgba(0,0,0,0)',
        showlegend: false,
        hovermode: false,
        dragmode: false,
        autosize: false,
        font: {family: FONT, size: 11, color: g.color('muted')},
        ...layout,
      };
      this.drawn.set(node, look);
      window.Plotly.react(node, traces, look, CONFIG).catch((problem) => {
        if (this.drawn.get(node) === look) console.error('gradscope: plotly could not draw', problem);
      });
    }

    drop(node) {
      this.waiting.delete(node);
      this.drawn.delete(node);
      if (this.ready) window.Plotly.purge(node);
    }
  }

  // The x axis of every picture of steps.
  function xAxis(axis, more) {
    return {
      range: [...axis.view],
      autorange: false,
      showgrid: true,
      gridcolor: g.color('grid'),
      zeroline: false,
      showline: false,
      ticks: '',
      showticklabels: false,
      fixedrange: true,
      tickmode: 'array',
      tickvals: axis.ticks().map((n) => n + 0.5),
      ...more,
    };
  }

  // A y axis with a few readable numbers in [low, high] (of logarithms, if `log`).
  function yAxis(values, log, most, more) {
    const [low, high] = extent(values, log);
    const one = onlyValue(values);
    const {ticks, texts} =
      one !== null
        ? {ticks: [log ? Math.log10(one) : one], texts: [g.show(one)]}
        : log
          ? logTicks(low, high, most)
          : plainTicks(low, high, most);
    const margin = (high - low) * 0.08;
    return {
      type: log ? 'log' : 'linear',
      range: [low - margin, high + margin],
      autorange: false,
      fixedrange: true,
      showgrid: true,
      gridcolor: g.color('grid'),
      zeroline: false,
      showline: false,
      ticks: '',
      tickmode: 'array',
      tickvals: log ? ticks.map((t) => 10 ** t) : ticks,
      ticktext: texts,
      ...more,
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
    let low = Infinity,
      high = -Infinity;
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
    let ticks = [];
    for (let n = most; !ticks.length && n < 40; n *= 2) ticks = g.roundSteps(low, high, n); // an axis has a number
    return {ticks, texts: ticks.map((x) => g.show(Math.abs(x) < (high - low) * 1e-9 ? 0 : Number(x.toPrecision(10))))};
  }

  function logTicks(low, high, most) {
    const first = Math.ceil(low - 1e-9),
      last = Math.floor(high + 1e-9);
    if (last - first >= 1) {
      const every = Math.max(1, Math.ceil((last - first + 1) / most));
      const ticks = [];
      for (let n = Math.ceil(first / every) * every; n <= last; n += every) ticks.push(n);
      return {ticks, texts: ticks.map(g.power)};
    }
    const candidates = [1, 2, 5]
      .flatMap((m) => [first - 1, first].map((n) => ({at: n + Math.log10(m), m, n})))
      .filter(({at}) => at >= low && at <= high)
      .sort((a, b) => a.at - b.at);
    if (candidates.length < 2) {
      const {ticks} = plainTicks(10 ** low, 10 ** high, most);
      return {ticks: ticks.map(Math.log10), texts: ticks.map(g.show)};
    }
    const every = Math.ceil(candidates.length / most);
    const kept = candidates.filter((_, i) => i % every === 0);
    return {ticks: kept.map((c) => c.at), texts: kept.map((c) => g.show(c.m * 10 ** c.n))};
  }

  // Where logarithms tell more: all above zero (of norms: those that are not zero), over more than this factor.
  function needsLog(values, norms, factor = 30) {
    let low = Infinity,
      high = -Infinity;
    for (const list of values) {
      for (const x of list) {
        if (!Number.isFinite(x) || (norms && x === 0)) continue;
        if (x <= 0) return false;
        low = Math.min(low, x);
        high = Math.max(high, x);
      }
    }
    return high > factor * low;
  }

  // Of rates: none is zero, and more than a few are more than two decades below the highest (a short end of a schedule
  // tells little).
  function ratesNeedLog(lists) {
    return lists.some((list) => {
      const sorted = Float64Array.from(list.filter(Number.isFinite)).sort();
      const low = sorted[Math.floor(0.1 * (sorted.length - 1))];
      return sorted.length > 0 && sorted[0] > 0 && sorted[sorted.length - 1] > 100 * low;
    });
  }

  Object.assign(g, {ratesNeedLog, Plots, xAxis, yAxis, needsLog});
})((window.gradscope = window.gradscope || {}));
