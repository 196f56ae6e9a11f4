// The timeline of one step as a table: what each parameter's gradient is before and after each call of the loop.
(function (g) {
  'use strict';

  // `act`: {go(step)}: earlier / later measured steps, null where there is none.
  function timelineOf(moment, around, act) {
    return [headOf(moment, around, act), moment.optimizers.map((one) => table(one)), legend(moment), others(moment)];
  }

  function headOf(moment, around, act) {
    const go = (to, sign, label) =>
      g.el(
        'button.quiet',
        {type: 'button', 'aria-label': label, title: label, disabled: to === null, onclick: () => act.go(to)},
        sign,
      );
    const off = moment.asked !== null && moment.asked !== undefined && Number(moment.asked) !== moment.step;
    return g.el(
      'div.timeline-head',
      {},
      g.el(
        'div.step-buttons',
        {},
        go(around.before, '‹', 'Measured step before'),
        go(around.after, '›', 'Measured step after'),
      ),
      g.el(
        'div',
        {},
        g.el('span.step-number', {}, `Step ${g.count(moment.step)}`),
        moment.loss !== null && moment.loss !== undefined && g.el('span.muted', {}, ` · loss ${moment.loss}`),
        off &&
          g.el(
            'div.muted',
            {},
            moment.note || `Step ${g.count(Number(moment.asked))} was not measured: this is the nearest one.`,
          ),
      ),
    );
  }

  function table(one) {
    const groups = [];
    for (const [phase, when] of one.points) {
      const last = groups[groups.length - 1];
      if (last && last.phase === phase) last.when.push(when);
      else groups.push({phase, when: [when]});
    }
    const calls = new Map(one.calls.map((call) => [call.phase, call]));
    const top = g.el(
      'tr',
      {},
      g.el('th.corner', {scope: 'col', rowSpan: 2}, 'parameter'),
      groups.map((group) =>
        g.el(
          'th.call',
          {colspan: group.when.length, scope: 'colgroup'},
          g.el('div.call-name', {}, `${group.phase}()`),
          site(calls.get(group.phase)),
        ),
      ),
    );
    const second = g.el(
      'tr',
      {},
      groups.flatMap((group) =>
        group.when.map((when, i) => g.el(i ? 'th.when' : 'th.when.first', {scope: 'col'}, when)),
      ),
    );
    const starts = new Set(groups.reduce((all, group) => [...all, all[all.length - 1] + group.when.length], [0]));
    const lines = one.lines.map((line) =>
      g.el(
        'tr',
        {},
        g.el('th.line-name', {scope: 'row'}, g.name(nameOf(line), 18)),
        line.cells.map((cell, i) => cellOf(cell, starts.has(i))),
      ),
    );
    return g.el(
      'div.table-frame',
      {
        tabindex: '0',
        role: 'region',
        'aria-label': `Timeline of ${one.title}`,
        onscroll: (event) => markOne(event.target),
      },
      g.el('div.table-title', {}, one.title, one.lr && g.el('span.muted', {}, ` · ${one.lr}`)),
      g.el('table', {}, g.el('thead', {}, top, second), g.el('tbody', {}, lines)),
    );
  }

  function nameOf(line) {
    return line.parameters > 1 ? `${line.name} (${line.parameters})` : line.name;
  }

  function site(call) {
    if (!call) return null;
    if (!call.known) return g.el('div.site.muted', {}, 'no longer in the record');
    if (call.file === null) return g.el('div.site.muted', {}, 'not called');
    const file = String(call.file).split(/[\\/]/).pop();
    const times = call.times > 1 ? ` ×${call.times}` : '';
    return g.el('div.site', {title: `${call.file}:${call.line}`}, g.name(`${file}:${call.line}${times}`, 14));
  }

  const WARN = {old: 'stale', sum: 'accumulated', None: 'no', used: 'used', 0: 'zero', '-': 'no'};

  function cellOf(cell, first) {
    const word = cell.word || '';
    const kind = WARN[word.split(' ')[0]] || (cell.number ? 'number' : 'no');
    return g.el(
      `td.${kind}`,
      {className: first ? `${kind} first` : kind},
      g.el('span.cell-number', {}, cell.number || ''),
      word && g.el('span.cell-word', {}, word),
    );
  }

  function legend(moment) {
    const used = new Set(
      moment.optimizers.flatMap((one) =>
        one.lines.flatMap((line) => line.cells.flatMap((cell) => [...(cell.word || '').split(' '), cell.number])),
      ),
    );
    const known = moment.legend.filter(([word]) => used.has(word));
    if (!known.length) return null;
    return g.el(
      'dl.timeline-legend',
      {},
      known.flatMap(([word, meaning]) => [
        g.el('dt', {}, word),
        g.el('dd', {}, word === '-' ? 'not called, or nobody looked' : meaning),
      ]),
    );
  }

  function others(moment) {
    const list = (moment.others || []).filter((other) => other.title);
    if (!list.length) return null;
    return g.el('p.muted', {}, `Not in this step: ${list.map((other) => other.title).join(', ')}.`);
  }

  // Tables that go on at their right are seen to.
  function markCut(node) {
    for (const frame of node.querySelectorAll('.table-frame')) markOne(frame);
  }

  function markOne(frame) {
    frame.classList.toggle('cut', frame.scrollLeft + frame.clientWidth < frame.scrollWidth - 2);
  }

  Object.assign(g, {timelineOf, markCut});
})((window.gradscope = window.gradscope || {}));
