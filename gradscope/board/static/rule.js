// A rule's page, in a dialog: its plain text, headings bold, code as code.
(function (g) {
  'use strict';

  class RuleDialog {
    // `ask(code)` resolves to the document `rule`.
    constructor(ask) {
      this.ask = ask;
      this.title = g.el('h2', {id: 'gradscope-rule-title'});
      this.body = g.el('div.rule-body', {tabindex: '0'});
      const close = g.el(
        'button.quiet',
        {type: 'button', 'aria-label': 'Close', onclick: () => this.node.close()},
        'Close',
      );
      this.node = g.el(
        'dialog.rule',
        {'data-testid': 'rule-dialog', 'aria-labelledby': 'gradscope-rule-title'},
        g.el('header', {}, this.title, close),
        this.body,
      );
      this.node.addEventListener('click', (event) => event.target === this.node && this.node.close());
      this.node.addEventListener('close', () => this.opener && this.opener.focus({preventScroll: true}));
    }

    async open(code) {
      if (!this.node.open) {
        this.opener = document.activeElement;
        this.node.showModal();
      }
      this.title.textContent = code;
      g.fill(this.body, g.el('p.muted', {}, 'Loading…'));
      try {
        const rule = await this.ask(code);
        g.fill(this.title, g.el('span.code', {}, rule.code), ` ${rule.name} `, g.el('span.muted', {}, rule.severity));
        g.fill(this.body, pageOf(rule.page));
        this.body.scrollTop = 0;
      } catch (error) {
        g.fill(
          this.body,
          g.message(error.message, () => this.open(code)),
        );
      }
    }
  }

  const CODE_UNDER = new Set(['Sick', 'Healed']);

  // The text of a page: a line at the margin that others are indented under is a heading.
  function pageOf(text) {
    const lines = text.split('\n');
    const parts = [];
    let heading = '',
      block = [];
    const flush = () => {
      const body = dedent(block);
      if (body) parts.push(CODE_UNDER.has(heading) ? g.el('pre', {}, body) : prose(body, heading));
      block = [];
    };
    lines.forEach((line, i) => {
      const under = lines.slice(i + 1).find((next) => next.trim());
      if (line.trim() && !/^\s/.test(line) && under && /^\s/.test(under)) {
        flush();
        heading = line.trim();
        parts.push(g.el('h3', {}, heading));
      } else if (!line.trim() && !CODE_UNDER.has(heading)) flush();
      else block.push(line);
    });
    flush();
    return parts;
  }

  // A paragraph; what stands between backticks is code.
  function prose(body, heading) {
    const kept = heading === 'References' ? 'p.lines' : 'p';
    return g.el(
      kept,
      {},
      body.split('`').map((part, i) => (i % 2 ? g.el('code', {}, part) : part)),
    );
  }

  function dedent(lines) {
    const full = lines.filter((line) => line.trim());
    if (!full.length) return '';
    const margin = Math.min(...full.map((line) => line.length - line.trimStart().length));
    return lines
      .map((line) => line.slice(margin))
      .join('\n')
      .trim();
  }

  g.RuleDialog = RuleDialog;
})((window.gradscope = window.gradscope || {}));
