// The lane of findings: each a bar from its first step to its last, with its sign at the step of its detection.
(function (g) {
  'use strict';

  const ROW = 18; // pixels
  const MOST_ROWS = 6;

  class Lane {
    // `choose(finding)` is called on a click or Enter; `hover(finding | null, event)` while the pointer is on one.
    constructor(axis, choose, hover) {
      Object.assign(this, {axis, choose, hover, findings: [], chosen: null});
      this.bars = g.el('div.lane-bars');
      this.node = g.el('div.lane', {'data-testid': 'lane', role: 'group', 'aria-label': 'Findings by step'},
                       g.el('div.gutter', {}, g.el('span.panel-title', {}, 'Findings')), this.bars);
    }

    show(findings, chosen) {
      this.findings = findings;
      this.chosen = chosen;
      this.node.hidden = !findings.length;
      this.draw();
    }

    draw() {
      const {axis} = this;
      const shown = this.findings.filter((f) => f.steps[1] + 1 > axis.view[0] && Math.min(f.steps[0], f.step) < axis.view[1]);
      const ends = [];
      const bars = shown.map((finding) => {
        const {left, right} = this.place(finding);
        const room = Math.max(right, left + 64);
        let row = ends.findIndex((end) => end + 6 <= left);
        if (row < 0) row = ends.length < MOST_ROWS ? ends.length : ends.indexOf(Math.min(...ends));
        ends[row] = Math.max(ends[row] || 0, room);
        return this.bar(finding, left, right, row);
      });
      const held = document.activeElement && document.activeElement.dataset && document.activeElement.dataset.finding;
      const focused = this.bars.contains(document.activeElement) ? held : null;
      g.fill(this.bars, bars);
      this.node.style.height = `${Math.max(1, ends.length) * ROW + 6}px`;
      if (focused) {
        const again = bars.flat().find((bar) => bar.dataset.finding === focused);
        if (again) again.focus({preventScroll: true});
      }
    }

    place(finding) {
      const {axis} = this;
      const inside = (x) => Math.min(Math.max(x, axis.left), axis.left + axis.width);
      const left = inside(axis.toPixel(finding.steps[0]));
      const right = Math.max(inside(axis.toPixel(finding.steps[1] + 1)), left + 4);
      return {left, right: Math.min(right, axis.left + axis.width)};
    }

    bar(finding, left, right, row) {
      const {axis} = this;
      const severity = g.severityOf(finding.severity);
      const at = axis.toPixel(finding.step + 0.5);
      const seen = at >= axis.left - 1 && at <= axis.left + axis.width + 1;
      const wide = right - left > 60;
      const sign = g.el(`span.lane-sign.${severity.word}`, {style: {left: `${at - left}px`}}, g.icon(severity.path));
      const label = g.el('span.lane-code', {style: {left: `${this.codeAt(left, right, at, seen, wide)}px`}}, finding.code);
      return g.el(`button.lane-bar.${severity.word}`, {
        type: 'button',
        className: ['lane-bar', severity.word, finding.caused_by ? 'consequence' : '', wide ? 'wide' : '',
                    finding.id === this.chosen ? 'chosen' : ''].join(' '),
        style: {left: `${left}px`, width: `${right - left}px`, top: `${3 + row * ROW}px`},
        'data-finding': finding.id,
        'aria-label': `${severity.word} ${finding.code} ${finding.name}, ${g.span(...finding.steps)}, found at step ${finding.step}`,
        onclick: (event) => {
          event.stopPropagation();
          this.choose(finding);
        },
        onpointerenter: (event) => this.hover(finding, event),
        onpointermove: (event) => this.hover(finding, event),
        onpointerleave: () => this.hover(null),
      }, label, seen && sign);
    }

    // Beside the sign, where there is room for the code.
    codeAt(left, right, at, seen, wide) {
      if (!seen) return 6;
      const after = at - left + 10;
      if (left + after + 50 < this.axis.left + this.axis.width) return Math.max(after, 0);
      return Math.max(at - left - 54, left < 0 ? 0 : -50);
    }
  }

  g.Lane = Lane;
})(window.gradscope = window.gradscope || {});
