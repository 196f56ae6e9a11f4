// The lane of findings: each a bar from its first step to its last, with its sign at the step of its detection.
(function (g) {
  'use strict';

  const ROW = 18,
    SMALL = 10; // pixels; consequences are small
  const MOST_ROWS = 6;

  class Lane {
    // `choose(finding)` is called on a click or Enter; `hover(finding | null, event)` while the pointer is on one.
    constructor(axis, choose, hover) {
      Object.assign(this, {axis, choose, hover, findings: [], chosen: null});
      this.bars = g.el('div.lane-bars');
      this.node = g.el(
        'div.lane',
        {'data-testid': 'lane', role: 'group', 'aria-label': 'Findings by step'},
        g.el('div.gutter', {}, g.el('span.panel-title', {}, 'Findings')),
        this.bars,
      );
    }

    show(findings, chosen) {
      this.findings = findings;
      this.chosen = chosen;
      this.node.hidden = !findings.length;
      this.draw();
    }

    draw() {
      const {axis} = this;
      const shown = this.findings.filter(
        (f) => f.steps[1] + 1 > axis.view[0] && Math.min(f.steps[0], f.step) < axis.view[1],
      );
      const causes = this.stack(
        shown.filter((f) => !f.caused_by),
        3,
        ROW,
        64,
      );
      const others = this.stack(
        shown.filter((f) => f.caused_by),
        causes.bottom,
        SMALL,
        10,
      );
      const bars = [...causes.bars, ...others.bars];
      const held = this.bars.contains(document.activeElement) ? document.activeElement.dataset.finding : null;
      g.fill(this.bars, bars);
      this.node.style.height = `${Math.max(others.bottom, ROW + 3) + 4}px`;
      const again = held && bars.find((bar) => bar.dataset.finding === held);
      if (again) again.focus({preventScroll: true});
    }

    // Bars in rows of `size` pixels from `top` on, side by side where there is room (`least` pixels).
    stack(findings, top, size, least) {
      const ends = [];
      const bars = findings.map((finding) => {
        const {left, right} = this.place(finding);
        let row = ends.findIndex((end) => end + 6 <= left);
        if (row < 0) row = ends.length < MOST_ROWS ? ends.length : ends.indexOf(Math.min(...ends));
        ends[row] = Math.max(ends[row] || 0, right, left + least);
        return this.bar(finding, left, right, top + row * size);
      });
      return {bars, bottom: top + ends.length * size};
    }

    place(finding) {
      const {axis} = this;
      const inside = (x) => Math.min(Math.max(x, axis.left), axis.left + axis.width);
      const left = inside(axis.toPixel(finding.steps[0]));
      const right = Math.max(inside(axis.toPixel(finding.steps[1] + 1)), left + 4);
      return {left, right: Math.min(right, axis.left + axis.width)};
    }

    bar(finding, left, right, top) {
      const {axis} = this;
      const severity = g.severityOf(finding.severity);
      const title = `${severity.word} ${finding.code} ${finding.name}`;
      const at = axis.toPixel(finding.step + 0.5);
      const seen = at >= axis.left - 1 && at <= axis.left + axis.width + 1;
      const sign = g.el(`span.lane-sign.${severity.word}`, {style: {left: `${at - left}px`}}, g.icon(severity.path));
      const label = g.el('span.lane-code', {style: {left: `${this.codeAt(left, at, seen)}px`}}, finding.code);
      return g.el(
        'button',
        {
          type: 'button',
          className: [
            'lane-bar',
            severity.word,
            finding.caused_by ? 'consequence' : '',
            finding.id === this.chosen ? 'chosen' : '',
          ].join(' '),
          style: {left: `${left}px`, width: `${right - left}px`, top: `${top}px`},
          'data-finding': finding.id,
          'aria-label': `${title}, ${g.span(...finding.steps)}, found at step ${finding.step}`,
          onclick: (event) => {
            event.stopPropagation();
            this.choose(finding);
          },
          onpointermove: (event) => {
            event.stopPropagation();
            this.hover(finding, event);
          },
          onpointerleave: () => this.hover(null),
        },
        !finding.caused_by && label,
        seen && sign,
      );
    }

    // Beside the sign, where there is room for the code.
    codeAt(left, at, seen) {
      if (!seen) return 6;
      const after = at - left + 10;
      if (left + after + 50 < this.axis.left + this.axis.width) return Math.max(after, 0);
      return Math.max(at - left - 54, left < 0 ? 0 : -50);
    }
  }

  g.Lane = Lane;
})((window.gradscope = window.gradscope || {}));
