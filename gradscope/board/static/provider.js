// Where the documents come from: `get(name, query)` resolves to one, or rejects with one sentence.
(function (g) {
  'use strict';

  // Beside the tab: asked of TensorBoard.
  function fetching(base) {
    async function get(name, query) {
      const url = new URL(name, base);
      for (const [key, value] of Object.entries(query || {})) {
        if (value !== undefined && value !== null) url.searchParams.set(key, value);
      }
      let answer;
      try {
        answer = await fetch(url, {cache: 'no-store'});
      } catch {
        throw new Error('TensorBoard does not answer.');
      }
      let document_;
      try {
        document_ = await answer.json();
      } catch {
        throw new Error(`TensorBoard answered with status ${answer.status}.`);
      }
      if (!answer.ok) throw new Error(document_.error || `TensorBoard answered with status ${answer.status}.`);
      return g.decode(document_);
    }
    return {get, live: true};
  }

  // In a page of its own: everything stands in it.
  //
  // `data`: {run: document, curves: {stream: document}, heatmap: {stream: {stat: document + "lines": ["0", "0-3"...]}},
  //          moments: {stream: [document...]}, rules: {code: document}}
  function embedded(data) {
    const run = data.run;
    const heatmaps = new Map();
    const decoded = {};
    const known = (table, key) => (decoded[key] = decoded[key] || g.decode(table));

    function heatmapOf(stream, stat) {
      const key = `${stream}/${stat}`;
      if (!heatmaps.has(key)) {
        const found = ((data.heatmap || {})[stream] || {})[stat];
        heatmaps.set(key, found ? g.decode(found) : null);
      }
      return heatmaps.get(key);
    }

    function heatmap({stream, stat, lines}) {
      const all = heatmapOf(stream, stat);
      if (!all) return missing();
      const at = new Map(all.lines.map((line, i) => [line, i]));
      const rows = lineList(lines).map((line) => at.get(line));
      return {...all, ...Object.fromEntries(['mean', 'low', 'high', 'not_finite', 'state', 'counts'].flatMap((field) =>
        all[field] ? [[field, pick(all[field], rows)]] : []))};
    }

    function parameter({stream, line}) {
      const result = {};
      for (const [field, stat] of [['gradient', 'gradient'], ['weight', 'weight'], ['update', 'update']]) {
        const one = heatmap({stream, stat, lines: line});
        if (!one.edges) continue;
        Object.assign(result, {edges: one.edges, rows: one.rows, state: one.state, revision: one.revision});
        result[field] = {mean: one.mean, low: one.low, high: one.high, not_finite: one.not_finite};
      }
      return result.edges ? result : missing();
    }

    function moment({stream, step}) {
      const all = (data.moments || {})[stream] || [];
      const nearest = [...all].sort((a, b) => Math.abs(a.step - step) - Math.abs(b.step - step))[0];
      return nearest ? {...nearest, asked: Number(step)} : missing('This page holds no timeline of that step.');
    }

    const documents = {
      runs: () => ({runs: [{...run.meta, run: run.run, problem: null}], newest: run.run}),
      run: () => run,
      curves: ({stream}) => known(data.curves[stream], `curves/${stream}`),
      heatmap, parameter, moment,
      rule: ({code}) => (data.rules || {})[code] || missing('This page does not hold that rule; see: gradscope explain.'),
    };
    return {get: async (name, query) => documents[name](query || {}), live: false};
  }

  function missing(text) {
    throw new Error(text || 'This page does not hold that picture.');
  }

  // "7,3-9,4*3" -> ["7", "3-9", "4", "5", "6"]
  function lineList(text) {
    return String(text).split(',').flatMap((part) => {
      const [first, many] = part.split('*').map(Number);
      return many ? Array.from({length: many}, (_, i) => String(first + i)) : [part];
    });
  }

  // Rows of an array of shape (lines, columns, ...).
  function pick(array, rows) {
    const size = array.length / array.shape[0];
    const result = new array.constructor(rows.length * size);
    rows.forEach((row, i) => {
      if (row !== undefined) result.set(array.subarray(row * size, (row + 1) * size), i * size);
    });
    result.shape = [rows.length, ...array.shape.slice(1)];
    return result;
  }

  Object.assign(g, {fetching, embedded});
})(window.gradscope = window.gradscope || {});
