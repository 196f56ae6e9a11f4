// The colours of the heatmap's numbers: logarithms between two powers, and the bar that tells them.
(function (g) {
  'use strict';

  const USUAL = -3; // update / weight: about 1e-3 is healthy (the base-10 logarithm)
  const BAR = 230; // pixels, as the style has it
  const WIDEST = 7; // decades around the median: an explosion must leave colours to what was before it

  // The range of each statistic. It only grows, so that the same colour means the same while one looks around.
  class ColorScale {
    constructor() {
      this.ranges = new Map();
    }

    clear() {
      this.ranges.clear();
    }

    // Takes in the logarithms of new lines.
    include(stat, lists) {
      const all = [];
      for (const list of lists) {
        for (const x of list) if (Number.isFinite(x)) all.push(x);
      }
      if (!all.length) return;
      const sorted = Float32Array.from(all).sort();
      const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
      const known = this.ranges.get(stat) || [Infinity, -Infinity];
      const low = Math.max(at(0.005), at(0.5) - WIDEST / 2),
        high = Math.min(at(0.998), at(0.5) + WIDEST / 2);
      this.ranges.set(stat, [Math.min(known[0], low), Math.max(known[1], high)]);
    }

    // [lowest, highest] logarithm.
    range(stat) {
      const [low, high] = this.ranges.get(stat) || [-1, 1];
      if (stat === 'update') {
        const reach = Math.min(4, Math.max(2, USUAL - low, high - USUAL));
        return [USUAL - reach, USUAL + reach];
      }
      const few = Math.max(0, 1 - (high - low)) / 2; // at least a decade
      return [low - few, high + few];
    }
  }

  const WHAT = {
    gradient: 'gradient norm',
    update: 'update / weight',
    weight: 'weight norm',
    state: 'gradient at the step',
  };

  // The legend above the heatmap: the bar with its numbers, and a chip for each sign that is no number.
  function legendOf(stat, range, has) {
    if (stat === 'state') {
      return g.el(
        'div.legend',
        {},
        g.STATE_ORDER.map((i) => stateChip(i)),
        has.bad && badChip(),
        has.held && heldChip(),
      );
    }
    const [low, high] = range;
    const stops = g
      .scaleColors(stat)
      .map(([at, color]) => `${color} ${at * 100}%`)
      .join(', ');
    const bar = g.el('div.scale-bar', {style: {background: `linear-gradient(to right, ${stops})`}});
    const taken = []; // [from, to] pixels of the bar's labels; what is usual comes first
    const isUsual = (n) => stat === 'update' && n === USUAL;
    const candidates = scaleTicks(low, high).sort((a, b) => isUsual(b) - isUsual(a));
    const ticks = candidates.map((n) => {
      const usual = isUsual(n);
      const at = (n - low) / (high - low);
      const edge = at < 0.08 ? '.first' : at > 0.92 ? '.last' : '';
      const text = (Number.isInteger(n) ? g.power(n) : g.show(10 ** n)) + (usual ? ' usual' : '');
      const wide = text.length * 6.5 + 6;
      const left = at * BAR - (edge === '.first' ? 3 : edge ? wide - 3 : wide / 2);
      if (taken.some(([from, to]) => left < to && from < left + wide)) return null;
      taken.push([left, left + wide]);
      return g.el(`span.scale-tick${usual ? '.usual' : ''}${edge}`, {style: {left: `${at * 100}%`}}, text);
    });
    return g.el(
      'div.legend',
      {},
      g.el(
        'div.scale',
        {
          role: 'img',
          title: 'Numbers beyond have the colour of the end; the tooltip has each exactly',
          'aria-label': `${WHAT[stat]}: colours from ${g.show(10 ** low)} to ${g.show(10 ** high)}`,
        },
        bar,
        ticks,
      ),
      has.zero && chip('zero', '0', 'zero'),
      has.none && chip('none', '', 'no gradient'),
      has.unseen && chip('unseen', '', 'not measured'),
      has.bad && badChip(),
      has.held && heldChip(),
    );
  }

  function heldChip() {
    const told = 'pale: the number of the last step that was measured before, held';
    return g.el('span.chip', {title: told}, g.el('span.swatch.held', {'aria-hidden': 'true'}), 'not measured since');
  }

  function scaleTicks(low, high) {
    if (high - low < 2) {
      const between = high - low < 1.4 ? [1, 2, 5] : [1, 3];
      const decades = Array.from({length: 4}, (_, i) => Math.floor(low) + i);
      return decades.flatMap((n) => between.map((m) => n + Math.log10(m))).filter((at) => at >= low && at <= high);
    }
    const every = Math.max(1, Math.ceil((high - low) / 5));
    const ticks = [];
    for (let n = Math.ceil(low); n <= high; n++) if ((n - USUAL) % every === 0) ticks.push(n);
    return ticks;
  }

  function chip(kind, sign, word) {
    return g.el('span.chip', {}, g.el(`span.swatch.${kind}`, {'aria-hidden': 'true'}, sign), word);
  }

  function badChip() {
    return chip('bad', '×', 'NaN or Inf');
  }

  function stateChip(i) {
    const state = g.STATES[i];
    const kind = i === 1 ? 'none' : i === 0 ? 'unseen' : 'state';
    const swatch = g.el(`span.swatch.${kind}`, {'aria-hidden': 'true'}, state.sign);
    if (state.color) Object.assign(swatch.style, {background: state.color, color: state.ink});
    return g.el('span.chip', {title: g.MEANINGS[i]}, swatch, i === 5 ? 'stale (old)' : state.word);
  }

  Object.assign(g, {ColorScale, legendOf, WHAT});
})((window.gradscope = window.gradscope || {}));
