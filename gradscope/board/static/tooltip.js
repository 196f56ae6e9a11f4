// One tooltip for all pictures: a title, and lines of a word and a value. Text only.
(function (g) {
  'use strict';

  class Tooltip {
    constructor() {
      this.title = g.el('div.tip-title');
      this.sub = g.el('div.tip-sub');
      this.lines = g.el('dl.tip-lines');
      this.node = g.el(
        'div.tooltip',
        {'data-testid': 'tooltip', role: 'presentation', hidden: true},
        this.title,
        this.sub,
        this.lines,
      );
    }

    // `told`: {name, title, lines: [[what, value, class]...], text}
    show(told, x, y) {
      g.fill(this.title, told.name || '');
      this.title.hidden = !told.name;
      g.fill(this.sub, told.title || '');
      g.fill(
        this.lines,
        (told.lines || []).flatMap(([what, value, kind]) => [
          g.el('dt', {}, what),
          g.el(`dd.${kind || 'plain'}`, {}, value),
        ]),
        told.text && g.el('div.tip-text', {}, told.text),
      );
      this.node.hidden = false;
      const box = this.node.getBoundingClientRect();
      const room = document.documentElement;
      const left = x + 18 + box.width > room.clientWidth ? x - box.width - 14 : x + 18;
      const top = Math.min(y + 16, room.clientHeight - box.height - 8);
      this.node.style.transform = `translate(${Math.max(6, Math.round(left))}px, ${Math.max(6, Math.round(top))}px)`;
    }

    hide() {
      this.node.hidden = true;
    }
  }

  g.Tooltip = Tooltip;
})((window.gradscope = window.gradscope || {}));
