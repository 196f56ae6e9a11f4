// What of the heatmap plotly draws: colours, and signs on what has none.
(function (g) {
  'use strict';

  const MOST_GLYPHS = 900;
  const SIGNS = {bad: 1, zero: 2, unseen: 3}; // 'none' is a hole: the hatched ground is seen

  // What plotly draws of some lines: numbers, what is no number, and signs on top.
  function heatTraces(heatmap, nodes, size) {
    const {picture, scale} = heatmap;
    const isState = picture.stat === 'state';
    const range = isState ? [2, 5] : scale.range(picture.stat);
    const columns = picture.edges.length - 1;
    const empty = new Float32Array(columns).fill(NaN);
    const y = Array.from({length: nodes.length + 1}, (_, i) => i);
    const numbers = [],
      signs = [];
    for (const node of nodes) {
      const line = picture.lines.get(node.key);
      numbers.push(line ? (isState ? stateRow(line) : line.log) : empty);
      signs.push(line ? signRow(line, picture.stat) : empty);
    }
    const common = {
      type: 'heatmap',
      x: Array.from(picture.edges),
      y,
      zsmooth: false,
      showscale: false,
      hoverinfo: 'skip',
    };
    return [
      {
        ...common,
        z: numbers,
        zmin: range[0],
        zmax: range[1],
        zauto: false,
        colorscale: isState ? stateColors() : g.scaleColors(picture.stat),
      },
      {...common, z: signs, zmin: 1, zmax: 3, zauto: false, colorscale: signColors()},
      ...glyphs(heatmap, nodes, size),
    ];
  }

  // An x over what is not finite, also where its columns are a pixel wide; letters in the state view: on each stretch
  // of cells that are alike.
  function glyphs(heatmap, nodes, size) {
    const {picture} = heatmap;
    const bad = {x: [], y: []},
      letters = new Map();
    nodes.forEach((node, k) => {
      const line = picture.lines.get(node.key);
      if (!line) return;
      for (const {kind, x} of stretches(heatmap, line)) {
        if (bad.x.length > MOST_GLYPHS) return;
        const list = kind === 'bad' ? bad : letters.get(kind) || {x: [], y: []};
        if (kind !== 'bad') letters.set(kind, list);
        list.x.push(...x);
        list.y.push(...x.map(() => k + 0.5));
      }
    });
    const common = {type: 'scatter', hoverinfo: 'skip'};
    const patch = {symbol: 'square', size: Math.min(12, size - 3), color: g.color('bad')}; // where cells are narrow
    return [
      ...[...letters].map(([state, at]) => ({
        ...common,
        ...at,
        mode: 'text',
        text: g.STATES[state].sign,
        textfont: {size: 10, color: g.STATES[state].ink},
      })),
      {...common, ...bad, mode: 'markers', marker: patch},
      {
        ...common,
        ...bad,
        mode: 'markers',
        marker: {symbol: 'x-thin', size: Math.min(7, size - 8), color: '#fff', line: {width: 1.6, color: '#fff'}},
      },
    ];
  }

  // Where signs stand in a line: [{kind: 'bad' | a state, x: steps}...]
  function stretches(heatmap, line) {
    const {
      axis,
      picture: {edges, stat},
    } = heatmap;
    const [a, b] = axis.view;
    const first = Math.max(0, g.indexOf(edges, a)),
      last = Math.min(edges.length - 2, g.indexOf(edges, b));
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
      found.push({kind, x: Array.from({length: many}, (_, n) => from + ((to - from) * (n + 0.5)) / many)});
      if (kind === 'bad') free = axis.toPixel(to) + 8;
    }
    return found;
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
    return colors.flatMap((color, i) => [
      [i / n, color],
      [(i + 1) / n, color],
    ]);
  }

  function stateColors() {
    return steps(g.STATES.slice(2).map((state) => state.color));
  }

  function signColors() {
    return steps([g.color('bad'), g.color('zero'), g.color('unseen')]);
  }

  g.heatTraces = heatTraces;
})((window.gradscope = window.gradscope || {}));
