// The hand on the pictures: hover, click, drag and wheel over everything that shares the step axis.
(function (g) {
  'use strict';

  const DRAG = 5; // pixels from which a click is a drag

  // `act`: {hover(clientX, clientY, row), leave(), choose(clientX, clientY, row), escape()}
  class Stage {
    constructor(axis, node, act) {
      Object.assign(this, {axis, node, act, press: null});
      this.cross = g.el('div.crosshair', {hidden: true});
      this.pin = g.el('div.pin', {hidden: true});
      this.band = g.el('div.drag-band', {hidden: true});
      node.append(this.pin, this.cross, this.band);
      node.addEventListener('pointermove', (event) => this.moved(event));
      node.addEventListener('pointerleave', () => this.left());
      node.addEventListener('pointerdown', (event) => this.down(event));
      node.addEventListener('pointerup', (event) => this.up(event));
      node.addEventListener('pointercancel', () => this.cancel());
      node.addEventListener('dblclick', (event) => this.inside(event) && axis.reset());
      node.addEventListener('wheel', (event) => this.wheel(event), {passive: false});
      document.addEventListener('keydown', (event) => this.key(event));
    }

    at(event) {
      return event.clientX - this.node.getBoundingClientRect().left;
    }

    inside(event) {
      const x = this.at(event);
      return (
        x >= this.axis.left && x <= this.axis.left + this.axis.width && !event.target.closest('button, .axis-track')
      );
    }

    moved(event) {
      if (!event.buttons) this.cancel(); // let go of outside
      if (this.press) {
        this.drag(event);
        return;
      }
      if (!this.inside(event) || event.pointerType === 'touch') {
        this.left();
        return;
      }
      const row = this.axis.rowAt(this.at(event));
      this.cross.hidden = false;
      this.cross.style.left = `${Math.round(this.axis.toPixel(row + 0.5))}px`;
      this.act.hover(event.clientX, event.clientY, row);
    }

    left() {
      this.cross.hidden = true;
      this.act.leave();
    }

    down(event) {
      if (event.button !== 0 || !this.inside(event)) return;
      this.press = {x: this.at(event), moved: false, pan: event.shiftKey, at: this.at(event), id: event.pointerId};
    }

    drag(event) {
      const {press, axis} = this;
      const x = Math.min(Math.max(this.at(event), axis.left), axis.left + axis.width);
      if (!press.moved && Math.abs(x - press.x) < DRAG) return;
      if (!press.moved) {
        press.moved = true;
        this.node.setPointerCapture(press.id);
        this.left();
      }
      if (press.pan) {
        axis.moveBy((press.at - x) / axis.pixelsPerStep);
        press.at = x;
        return;
      }
      press.to = x;
      this.band.hidden = false;
      this.band.style.left = `${Math.min(press.x, x)}px`;
      this.band.style.width = `${Math.abs(x - press.x)}px`;
    }

    up(event) {
      const {press, axis} = this;
      this.cancel();
      if (!press) return;
      if (press.moved && !press.pan && press.to !== undefined) {
        const [a, b] = [press.x, press.to].sort((p, q) => p - q).map((x) => axis.toStep(x));
        axis.zoomTo(Math.floor(a), Math.ceil(b));
      } else if (!press.moved) {
        this.act.choose(event.clientX, event.clientY, axis.rowAt(press.x));
      }
    }

    cancel() {
      this.press = null;
      this.band.hidden = true;
    }

    wheel(event) {
      if (!this.inside(event)) return;
      const zoom = event.ctrlKey || event.metaKey || event.target.closest('.axis');
      const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
      if (zoom) {
        event.preventDefault();
        const size = event.deltaMode === 1 ? 33 : 1;
        this.axis.zoomBy(
          Math.exp(Math.max(-60, Math.min(60, event.deltaY * size)) * 0.006),
          this.axis.toStep(this.at(event)),
        );
      } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY) && this.axis.zoomed) {
        event.preventDefault();
        this.axis.moveBy(sideways / this.axis.pixelsPerStep);
      }
    }

    key(event) {
      if (event.key === 'Escape' && !document.querySelector('dialog[open]')) {
        if (this.press) this.cancel();
        else if (!event.target.closest('input, select, textarea')) this.act.escape();
      }
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea, dialog'))
        return;
      const call = {
        '+': () => this.axis.zoomBy(0.5),
        '=': () => this.axis.zoomBy(0.5),
        '-': () => this.axis.zoomBy(2),
        0: () => this.axis.reset(),
      }[event.key];
      if (!call) return;
      event.preventDefault();
      call();
    }

    // Marks the chosen step through all pictures.
    setPin(row) {
      this.row = row;
      this.placePin();
    }

    placePin() {
      const {axis, row} = this;
      const x = row === null || row === undefined ? NaN : axis.toPixel(row + 0.5);
      this.pin.hidden = !(x >= axis.left && x <= axis.left + axis.width);
      if (!this.pin.hidden) this.pin.style.left = `${Math.round(x)}px`;
    }
  }

  g.Stage = Stage;
})((window.gradscope = window.gradscope || {}));
