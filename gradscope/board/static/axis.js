// The step axis that all pictures share: which steps are seen, where a step lies, zoom. Step s covers [s, s + 1).
(function (g) {
  'use strict';

  const FEWEST = 3; // steps seen at once

  class StepAxis {
    constructor() {
      this.full = [0, 1];
      this.view = [0, 1];
      this.left = 0; // pixels from the stage's left edge
      this.width = 1;
      this.listeners = [];
    }

    // `call(kind)`: "view" for another range, "size" for other pixels.
    onChange(call) {
      this.listeners.push(call);
    }

    changed(kind) {
      for (const call of this.listeners) call(kind);
    }

    get zoomed() {
      return this.view[0] > this.full[0] || this.view[1] < this.full[1];
    }

    // The whole run, as far as it is known. A view of all of it stays one.
    setFull(first, end) {
      const zoomed = this.zoomed;
      this.full = [first, Math.max(end, first + 1)];
      if (zoomed) this.zoomTo(...this.view);
      else this.view = [...this.full];
    }

    place(left, width) {
      if (left === this.left && width === this.width) return;
      this.left = left;
      this.width = Math.max(1, width);
      this.changed('size');
    }

    zoomTo(from, to) {
      const [first, end] = this.full;
      const size = Math.min(end - first, Math.max(Math.min(FEWEST, end - first), to - from));
      let start = (from + to - size) / 2;
      start = Math.min(Math.max(start, first), end - size);
      const view = [start, start + size];
      if (view[0] === this.view[0] && view[1] === this.view[1]) return;
      this.view = view;
      this.changed('view');
    }

    // `factor` < 1 is closer. What is at `around` stays there.
    zoomBy(factor, around = (this.view[0] + this.view[1]) / 2) {
      const [a, b] = this.view;
      this.zoomTo(around - (around - a) * factor, around + (b - around) * factor);
    }

    moveBy(steps) {
      const [a, b] = this.view;
      const move = Math.min(Math.max(steps, this.full[0] - a), this.full[1] - b);
      if (move) this.zoomTo(a + move, b + move);
    }

    reset() {
      this.zoomTo(...this.full);
    }

    // Pixels from the stage's left edge.
    toPixel(step) {
      return this.left + ((step - this.view[0]) / (this.view[1] - this.view[0])) * this.width;
    }

    toStep(pixel) {
      return this.view[0] + ((pixel - this.left) / this.width) * (this.view[1] - this.view[0]);
    }

    // The row number under a pixel, inside the run.
    rowAt(pixel) {
      return Math.min(Math.max(Math.floor(this.toStep(pixel)), this.full[0]), this.full[1] - 1);
    }

    get pixelsPerStep() {
      return this.width / (this.view[1] - this.view[0]);
    }

    // Row numbers to be written, at the middle of their step.
    ticks() {
      const [a, b] = this.view;
      const most = Math.max(2, Math.floor(this.width / 90));
      return g.roundSteps(Math.ceil(a - 0.5), b - 0.5, most).filter((n) => Number.isInteger(n));
    }

    // What to ask the server for: a little more than is seen, so that lines reach the edges.
    range() {
      if (!this.zoomed) return {};
      const margin = Math.max(1, (this.view[1] - this.view[0]) * 0.05);
      return {
        from: Math.max(this.full[0], Math.floor(this.view[0] - margin)),
        to: Math.min(this.full[1] - 1, Math.ceil(this.view[1] + margin)),
      };
    }
  }

  // The strip with the numbers, the buttons, and a track whose thumb shows and moves the part that is seen.
  function axisStrip(axis) {
    const labels = g.el('div.axis-labels', {'aria-hidden': 'true'});
    const thumb = g.el('div.axis-thumb');
    const track = g.el('div.axis-track', {title: 'The part of the run that is shown: drag to move'}, thumb);
    const button = (text, label, call) =>
      g.el('button.quiet', {type: 'button', title: label, 'aria-label': label, onclick: call}, text);
    const all = button('All', 'Show all steps (0, or double click)', () => axis.reset());
    const buttons = g.el(
      'div.axis-buttons',
      {},
      button('−', 'Zoom out (-)', () => axis.zoomBy(2)),
      button('+', 'Zoom in (+)', () => axis.zoomBy(0.5)),
      all,
    );
    const node = g.el(
      'div.axis',
      {},
      g.el('div.gutter', {}, g.el('span.panel-title', {}, 'Step'), buttons),
      labels,
      track,
    );
    moveByThumb(axis, track, thumb);

    function draw() {
      const marks = axis
        .ticks()
        .map((n) => g.el('span.tick', {style: {left: `${axis.toPixel(n + 0.5)}px`}}, g.count(n)));
      g.fill(labels, marks);
      for (const mark of marks) {
        const half = mark.offsetWidth / 2;
        const at = parseFloat(mark.style.left);
        const inside = Math.min(Math.max(at, axis.left + half), axis.left + axis.width - half);
        mark.style.left = `${inside}px`;
        mark.style.setProperty('--tick', `${at - inside}px`);
      }
      all.disabled = !axis.zoomed;
      track.hidden = !axis.zoomed;
      Object.assign(track.style, {left: `${axis.left}px`, width: `${axis.width}px`});
      const size = axis.full[1] - axis.full[0];
      thumb.style.left = `${((axis.view[0] - axis.full[0]) / size) * 100}%`;
      thumb.style.width = `${((axis.view[1] - axis.view[0]) / size) * 100}%`;
    }

    return {node, draw};
  }

  function moveByThumb(axis, track, thumb) {
    thumb.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      event.stopPropagation();
      thumb.setPointerCapture(event.pointerId);
      let at = event.clientX;
      const move = (next) => {
        axis.moveBy(((next.clientX - at) / track.clientWidth) * (axis.full[1] - axis.full[0]));
        at = next.clientX;
      };
      thumb.addEventListener('pointermove', move);
      thumb.addEventListener('lostpointercapture', () => thumb.removeEventListener('pointermove', move), {once: true});
    });
  }

  Object.assign(g, {StepAxis, axisStrip});
})((window.gradscope = window.gradscope || {}));
