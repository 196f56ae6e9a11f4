// The documents of a page of its own: all of them stand in it, and nothing is asked of anybody.
(function (g) {
  'use strict';

  const KINDS = {f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array};
  const CELLS = ['mean', 'low', 'high', 'not_finite', 'state', 'counts'];

  // `page`: the document with the elements gradscope-data, a JSON document, and gradscope-0, -1...: its arrays.
  function embedded(page) {
    const data = JSON.parse(page.getElementById('gradscope-data').textContent);
    const kept = new Map();

    function once(key, make) {
      if (!kept.has(key)) kept.set(key, make());
      return kept.get(key);
    }

    // Bytes that were packed by zlib.
    function inflated(at) {
      return once(`bytes ${at}`, async () => {
        if (!window.DecompressionStream) throw new Error('The pictures need a newer browser (of 2023, or later).');
        const text = atob(page.getElementById(`gradscope-${at}`).textContent);
        const bytes = new Uint8Array(text.length);
        for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
        const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
        return new Uint8Array(await new Response(stream).arrayBuffer());
      });
    }

    // The first bytes of all numbers stand first, then the second ones...
    async function array({type, shape, at}) {
      const planes = await inflated(at);
      const size = KINDS[type].BYTES_PER_ELEMENT, length = planes.length / size;
      const bytes = new Uint8Array(planes.length);
      for (let plane = 0; plane < size; plane++) {
        for (let i = 0; i < length; i++) bytes[i * size + plane] = planes[plane * length + i];
      }
      return Object.assign(new KINDS[type](bytes.buffer), {shape});
    }

    async function unpacked(value) {
      if (Array.isArray(value)) return Promise.all(value.map(unpacked));
      if (value === null || typeof value !== 'object') return value;
      if (value.type in KINDS && 'at' in value) return array(value);
      const parts = await Promise.all(Object.entries(value).map(async ([key, inner]) => [key, await unpacked(inner)]));
      return Object.fromEntries(parts);
    }

    function picture(stream, stat) {
      const found = (data.heatmaps[stream] || {})[stat] || missing();
      return once(`heatmap ${stream} ${stat}`, () => unpacked(found));
    }

    function lineAt(stream) {
      return once(`lines ${stream}`, () => new Map(data.nodes[stream].map(([first, last], i) => [`${first}-${last}`, i])));
    }

    async function heatmap({stream, stat, lines, from, to}) {
      const all = await picture(stream, stat || 'gradient');
      const most = data.run.streams.find((one) => String(one.number) === String(stream)).parameters.length;
      const rows = lineList(lines || `0*${most}`).map((line) => lineAt(stream).get(line));
      const [a, b] = columns(all.edges, from, to);
      const cells = CELLS.filter((field) => all[field]).map((field) => [field, part(all[field], rows, a, b)]);
      return {...all, edges: all.edges.slice(a, b + 1), rows: all.rows.slice(a, b), ...Object.fromEntries(cells)};
    }

    async function parameter({stream, line, from, to}) {
      const result = {};
      for (const stat of ['gradient', 'weight', 'update']) {
        const {edges, rows, state, revision, ...cells} = await heatmap({stream, stat, lines: line, from, to});
        Object.assign(result, {edges, rows, state, revision, [stat]: cells});
      }
      return result;
    }

    async function moment({stream, step}) {
      const all = data.moments[stream] || [];
      if (!all.length) missing('This page holds no timeline of this run.');
      const asked = step === undefined || step === null ? all[all.length - 1].step : Number(step);
      const away = (one) => Math.abs(one.step - asked);
      const nearest = all.reduce((best, one) => (away(one) < away(best) ? one : best));
      const at = all.indexOf(nearest);
      const around = {before: at > 0 ? all[at - 1].step : null, after: at + 1 < all.length ? all[at + 1].step : null};
      if (nearest.step === asked) return {...nearest, around};
      const note = `This page holds the timelines of ${all.length} steps: this is the one nearest to step ${g.count(asked)}.`;
      return {...nearest, asked, around, note};
    }

    const documents = {
      runs: async () => ({runs: [data.listed], newest: data.listed.run}),
      run: async () => data.run,
      curves: async ({stream}) => once(`curves ${stream}`, () => unpacked(data.curves[stream] || missing())),
      heatmap,
      parameter,
      moment,
      rule: async ({code}) => data.rules[code] || missing(`This page does not hold that rule; see: gradscope explain ${code}`),
    };
    return {get: async (name, query) => documents[name](query || {}), live: false};
  }

  function missing(sentence) {
    throw new Error(sentence || 'This page does not hold that picture.');
  }

  // "7,3-9,4*2" -> ["7-7", "3-9", "4-4", "5-5"]
  function lineList(text) {
    return String(text).split(',').flatMap((word) => {
      const [first, many] = word.split('*').map(Number);
      if (many) return Array.from({length: many}, (_, i) => `${first + i}-${first + i}`);
      return [word.includes('-') ? word : `${word}-${word}`];
    });
  }

  // The columns that hold any of these steps: from the first of them to before the second.
  function columns(edges, from, to) {
    const most = Math.max(0, edges.length - 1);
    let a = 0, b = most;
    if (from !== undefined && from !== null) while (a < most - 1 && edges[a + 1] <= from) a++;
    if (to !== undefined && to !== null) while (b > a + 1 && edges[b - 1] > to) b--;
    return [a, b];
  }

  // Some lines and columns of an array of shape (lines, columns, ...); what is not there is NaN, or 0.
  function part(array, rows, a, b) {
    const [, width, ...rest] = array.shape;
    const size = rest.reduce((product, n) => product * n, 1);
    const result = new array.constructor(rows.length * (b - a) * size);
    rows.forEach((row, i) => {
      const at = i * (b - a) * size;
      if (row !== undefined) result.set(array.subarray((row * width + a) * size, (row * width + b) * size), at);
      else if (result instanceof Float32Array) result.fill(NaN, at, at + (b - a) * size);
    });
    return Object.assign(result, {shape: [rows.length, b - a, ...rest]});
  }

  g.embedded = embedded;
})(window.gradscope = window.gradscope || {});
