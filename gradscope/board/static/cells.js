// The heatmap's numbers: asked for as lines come into sight, kept as long as range and record are the same.
(function (g) {
  'use strict';

  const FIELDS = ['mean', 'low', 'high', 'not_finite', 'state'];

  // `ask(query)` resolves to a heatmap document; `changed()` after each answer; `failed(error, retry)`; `end()` is the
  // step after the run's last one.
  class Cells {
    constructor(ask, changed, failed, end) {
      Object.assign(this, {ask, changed, failed, end, picture: null, turn: 0, asked: new Set()});
    }

    clear() {
      this.turn++;
      this.picture = null;
      this.asked.clear();
    }

    // A new picture: `query` has run, stream, stat, from, to, width. The old one stays until it is there.
    async load(query, nodes) {
      const turn = ++this.turn;
      this.asked.clear();
      try {
        const answer = await this.ask({...query, lines: g.tree.query(nodes)});
        if (turn !== this.turn) return;
        this.picture = {
          query,
          stat: query.stat,
          edges: answer.edges,
          rows: answer.rows,
          end: this.end(),
          revision: answer.revision,
          lines: new Map(),
        };
        this.take(answer, nodes);
      } catch (error) {
        if (turn === this.turn) this.failed(error, () => this.load(query, nodes));
      }
    }

    // The lines that are missing in the picture, of these.
    async more(nodes) {
      const {picture} = this;
      if (!picture) return;
      const missing = nodes.filter((node) => !picture.lines.has(node.key) && !this.asked.has(node.key));
      if (!missing.length) return;
      for (const node of missing) this.asked.add(node.key);
      const turn = this.turn;
      try {
        const answer = await this.ask({...picture.query, lines: g.tree.query(missing)});
        if (turn !== this.turn) return;
        if (answer.revision === picture.revision || sameEdges(answer.edges, picture.edges)) this.take(answer, missing);
        else await this.load(picture.query, nodes);
      } catch (error) {
        if (turn !== this.turn) return;
        for (const node of missing) this.asked.delete(node.key);
        this.failed(error, () => this.more(nodes));
      }
    }

    take(answer, nodes) {
      const columns = answer.edges.length - 1;
      const held = heldColumns(answer, columns);
      this.picture.held = this.picture.held || held;
      nodes.forEach((node, i) => {
        const line = {};
        for (const field of FIELDS) line[field] = answer[field].slice(i * columns, (i + 1) * columns);
        if (answer.counts) line.counts = answer.counts.subarray(i * columns * 6, (i + 1) * columns * 6);
        if (held) for (const field of FIELDS.slice(0, 4)) line[field] = line[field].map((_, k) => line[field][held[k]]);
        line.log = Float32Array.from(line.mean, (x) => (x > 0 && Number.isFinite(x) ? Math.log10(x) : NaN));
        this.picture.lines.set(node.key, line);
      });
      this.changed(nodes.map((node) => this.picture.lines.get(node.key)));
    }
  }

  // Updates are measured in fewer rows than gradients: what was measured stands until the next time, as rows do.
  // -> for each column the one whose numbers it shows; null where that is itself.
  function heldColumns(answer, columns) {
    if (answer.stat !== 'update') return null;
    const seen = new Uint8Array(columns);
    for (let i = 0; i < answer.mean.length; i++)
      if (Number.isFinite(answer.mean[i]) || answer.not_finite[i]) seen[i % columns] = 1;
    const held = new Int32Array(columns);
    for (let k = 0, last = -1; k < columns; k++) held[k] = seen[k] ? (last = k) : last < 0 ? k : last;
    return held;
  }

  // The stretches for which one measured row stands: [{from, to, seen}...], `seen` where it is longer than those around
  // it would make one think: nothing was measured in the most of it.
  function standing({edges, rows, held}) {
    const all = [];
    for (let i = 0; i < rows.length; i++) {
      const last = all[all.length - 1];
      if (held && held[i] !== i && last && held[i] === last.column) last.to = edges[i + 1];
      else all.push({column: i, from: edges[i], to: edges[i + 1], one: rows[i] === 1});
    }
    const size = (one) => one.to - one.from;
    return all.map((one, k) => {
      const near = [...all.slice(Math.max(0, k - 4), k), ...all.slice(k + 1, k + 5)].map(size).sort((a, b) => a - b);
      const usual = near.length < 3 ? 1 : near[(near.length - 1) >> 1];
      return {...one, long: one.one && size(one) > 1.5 * usual};
    });
  }

  // The stretch in which a column lies.
  function standingAt(picture, i) {
    picture.standing = picture.standing || standing(picture);
    return picture.standing[g.indexOf(picture.standing.map((one) => one.column), i)];
  }

  function sameEdges(a, b) {
    return a.length === b.length && a.every((x, i) => x === b[i]);
  }

  // What a cell is that has no number to be coloured: see `SIGNS` in heatmap.js.
  function special(line, i, stat) {
    if (line.not_finite[i]) return 'bad';
    if (stat === 'state') return null;
    if (line.mean[i] === 0) return stat === 'update' && line.state[i] === 1 ? 'none' : 'zero';
    if (Number.isFinite(line.mean[i])) return null;
    if (stat !== 'weight' && line.state[i] === 1) return 'none';
    return 'unseen';
  }

  // What is known of one cell, for the tooltip and the live region.
  function cellLines(picture, node, i) {
    const line = picture.lines.get(node.key);
    const many = picture.rows[i];
    if (!line) return [['', 'loading…']];
    const what = g.WHAT[picture.stat];
    const lines = [];
    if (picture.stat === 'state') lines.push(...countLines(line, i));
    else if (Number.isFinite(line.mean[i]) && many > 1) {
      lines.push(
        [`${what}, mean`, g.show(line.mean[i])],
        ['lowest', g.show(line.low[i])],
        ['highest', g.show(line.high[i])],
      );
    } else if (Number.isFinite(line.mean[i])) lines.push([what, g.show(line.mean[i])]);
    else if (!line.not_finite[i])
      lines.push([what, special(line, i, picture.stat) === 'none' ? 'no gradient' : 'not measured']);
    if (line.not_finite[i])
      lines.push(
        many > 1
          ? ['NaN or Inf', `in ${line.not_finite[i]} of ${g.plural(many, 'row')}`, 'bad']
          : [what, 'NaN or Inf', 'bad'],
      );
    const held = picture.held ? picture.held[i] : i;
    if (held !== i && picture.rows[held] > 1)
      lines.push(['measured in', g.span(picture.edges[held], picture.edges[held + 1] - 1)]);
    else if (held !== i) lines.push(['measured at', `step ${g.count(picture.edges[held])}`]);
    const state = (g.STATES[line.state[i]] || g.STATES[0]).word;
    const inPart = node.children.length && state !== 'fresh' ? 'gradient, in part' : 'gradient'; // the most telling one
    if (picture.stat !== 'state') lines.push([inPart, state]);
    return lines;
  }

  function countLines(line, i) {
    if (!line.counts) return [['gradient', (g.STATES[line.state[i]] || g.STATES[0]).word]];
    const counts = line.counts.subarray(i * 6, i * 6 + 6);
    const all = counts.reduce((a, b) => a + b, 0);
    const known = g.STATE_ORDER.filter((s) => counts[s]);
    if (all === 1 && known.length === 1) return [['gradient', g.STATES[known[0]].word]];
    return known.map((s) => [g.STATES[s].word, `${g.count(counts[s])} of ${g.count(all)}`]);
  }

  // "step 64 · next measured: 80", "measured at step 31, not since", "steps 100–107 · 8 rows measured"
  function cellTitle(picture, i) {
    const first = picture.edges[i],
      last = picture.edges[i + 1] - 1;
    if (picture.rows[i] > 1) return `${g.span(first, last)} · ${g.plural(picture.rows[i], 'row')} measured`;
    if (last <= first) return `step ${g.count(first)}`;
    if (picture.held && picture.held[i] !== i) return g.span(first, last); // a line tells when it was measured
    const end = last + 1 >= picture.end;
    if (!standingAt(picture, i).long)
      return `step ${g.count(first)} · ${end ? 'until the end' : `next measured: ${g.count(last + 1)}`}`;
    return `measured at step ${g.count(first)}, ${end ? 'not since' : `then not until step ${g.count(last + 1)}`}`;
  }

  Object.assign(g, {Cells, special, cellLines, cellTitle, standing, standingAt});
})((window.gradscope = window.gradscope || {}));
