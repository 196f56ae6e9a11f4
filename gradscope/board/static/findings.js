// The findings as cards, as a compiler would print them, and what is known of the run as a whole.
(function (g) {
  'use strict';

  // `chosen`: {finding, stream}; `open`: ids of the consequences that are unfolded; `act`: {choose(finding),
  // page(code)}. Consequences are folded under their cause.
  function findingCards(run, chosen, open, act) {
    const byId = new Map(run.findings.map((finding) => [finding.id, finding]));
    const folded = new Set(run.findings.flatMap((finding) => finding.then || []));
    const causes = run.findings.filter((finding) => !folded.has(finding.id));
    if (!causes.length) return [nothingFound(run)];
    return causes.map((finding) => card(finding, {run, byId, chosen, open, act}));
  }

  // In green only where all was checked, in a run that did not crash.
  function nothingFound(run) {
    const {steps, status} = run.meta;
    if (!steps) return g.message('No optimizer step was seen: nothing to judge.');
    const unchecked = run.unchecked || [];
    const crashed = status === 'crashed';
    const well = !crashed && !unchecked.length;
    const text = crashed
      ? `The run crashed; nothing was found before, in ${g.plural(steps, 'step')}.`
      : `Nothing was found in ${g.plural(steps, 'step')}${g.isRunning(run) ? ' so far' : ''}.`;
    return g.el(
      well ? 'div.card.healthy' : 'div.card.neutral',
      {'data-testid': 'message'},
      g.icon(well ? TICK : g.severityOf('info').path),
      g.el(
        'div',
        {},
        text,
        unchecked.map((sentence) => g.el('p.muted', {}, sentenceOf(sentence))),
      ),
    );
  }

  const TICK = 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.4 4.6 1.1 1-5.2 5.4-3-3 1.1-1.1 1.9 1.9Z';

  function sentenceOf(text) {
    return /[.!?]$/.test(text) ? text : `${text}.`;
  }

  function card(finding, told) {
    const {chosen, act} = told;
    const severity = g.severityOf(finding.severity);
    const head = g.el(
      'button.card-head',
      {
        type: 'button',
        title: 'Show it in the pictures',
        onclick: () => act.choose(finding),
        'aria-pressed': String(finding.id === chosen.finding),
      },
      title(finding, severity),
    );
    return g.el(
      'article',
      {
        className: `card ${severity.word}${finding.id === chosen.finding ? ' chosen' : ''}`,
        'data-testid': 'finding',
        'data-code': finding.code,
        'aria-label': `${severity.word} ${finding.code} ${finding.name}`,
      },
      head,
      g.el('div.whose', {}, whose(finding, told)),
      body(finding, act),
      consequences(finding, told),
    );
  }

  function title(finding, severity) {
    return [
      g.icon(severity.path),
      g.el('span.severity', {}, severity.word),
      g.el('span.code', {}, finding.code),
      ' ',
      g.el('span.finding-name', {}, finding.name),
    ];
  }

  function body(finding, act) {
    return [
      g.el('p.told', {}, unbroken(finding.message)),
      place(finding),
      (finding.advice || []).map((one) => advice(one.text, finding.where)),
      g.el(
        'div.card-foot',
        {},
        g.el('button.link', {type: 'button', onclick: () => act.page(finding.code)}, `What is ${finding.code}?`),
      ),
    ];
  }

  // An arrow stays in one piece.
  function unbroken(text) {
    return text.split('->').flatMap((part, i) => (i ? [g.el('span.arrow-sign', {}, '->'), part] : [part]));
  }

  // "od (Adam #0), steps 3-200 · found at step 64", and of which stream, if that is not the shown one.
  function whose(finding, {run, chosen}) {
    const optimizers = run.streams.flatMap((stream) => stream.optimizers);
    const mine = optimizers.find((one) => one.number === finding.optimizer);
    const parts = [finding.whose || g.span(...finding.steps)];
    if (mine && mine.variable && optimizers.length > 1) {
      const known = `${mine.kind} #${mine.number}`;
      if (parts[0].startsWith(`${known},`)) parts[0] = `${mine.variable} (${known})${parts[0].slice(known.length)}`;
    }
    if (finding.step >= 0 && finding.step !== finding.steps[0]) parts.push(`found at step ${g.count(finding.step)}`);
    const stream = run.streams.find((one) => one.number === finding.stream);
    if (stream && finding.stream !== chosen.stream)
      parts.push(`stream of ${stream.optimizers.map((one) => one.variable || one.kind).join(', ')}`);
    return parts.join(' · ');
  }

  // file:line, and the user's own lines as they were then.
  function place(finding) {
    if (!finding.where) return null;
    const {file, line} = finding.where;
    const source = finding.source || [];
    const margin = Math.min(...source.map(([, text]) => text.length - text.trimStart().length));
    const quote = source.flatMap(([number, text]) => {
      const cited = number === line;
      const shown = text.slice(margin).replaceAll('\t', '    ');
      const lines = [
        g.el(
          cited ? 'div.quoted.cited' : 'div.quoted',
          {},
          g.el('span.number', {}, String(number)),
          g.el('code', {}, shown),
        ),
      ];
      if (cited && finding.label) {
        const indent = ' '.repeat(shown.length - shown.trimStart().length);
        lines.push(g.el('div.quoted.label', {}, g.el('span.number'), g.el('code', {}, `${indent}^ ${finding.label}`)));
      }
      return lines;
    });
    return g.el('div.place', {}, g.el('div.where', {title: `${file}:${line}`}, g.name(`${file}:${line}`, 20)), quote);
  }

  // With the file: a line's number alone says nothing elsewhere.
  function advice(text, where) {
    const whole = where ? `${where.file}:${where.line}: ${text}` : text;
    const button = g.el(
      'button.quiet.copy',
      {
        type: 'button',
        'data-testid': 'copy-advice',
        onclick: async () => {
          const done = await g.copy(whole);
          button.textContent = done ? 'Copied' : 'Not copied';
          g.say(done ? 'copied' : 'the browser did not allow to copy');
          setTimeout(() => {
            button.textContent = 'Copy';
          }, 1600);
        },
        'aria-label': `Copy the advice: ${text}`,
      },
      'Copy',
    );
    return g.el('div.advice', {}, g.el('p', {}, g.el('b', {}, 'help: '), text), button);
  }

  function consequences(finding, told) {
    const known = (finding.then || []).map((id) => told.byId.get(id)).filter(Boolean);
    if (!known.length) return null;
    return g.el(
      'div.then',
      {},
      g.el('b', {}, 'then:'),
      known.map((one) => consequence(one, told)),
    );
  }

  // Folded: its code, name and steps. Opened, it is marked in the pictures, too.
  function consequence(finding, told) {
    const {chosen, open, act} = told;
    const severity = g.severityOf(finding.severity);
    const mine = finding.id === chosen.finding;
    const node = g.el(
      'details',
      {
        className: `consequence ${severity.word}${mine ? ' chosen' : ''}`,
        'data-testid': 'consequence',
        'data-code': finding.code,
        'data-finding': finding.id,
        open: mine || open.has(finding.id),
      },
      g.el(
        'summary',
        {
          onclick: (event) => {
            if (node.open) return;
            event.preventDefault();
            node.open = true;
            act.choose(finding);
          },
        },
        title(finding, severity),
        g.el('span.since', {}, ` ${g.span(...finding.steps)}`),
      ),
      g.el('div.whose', {}, whose(finding, told)),
      body(finding, act),
    );
    return node;
  }

  // The run itself: command, versions, cost, what could not be seen.
  function aboutRun(run, open) {
    const {meta} = run;
    const rows = [
      ['command', [meta.script, ...(meta.argv || [])].join(' ')],
      ['status', g.statusOf(run) + (meta.exit_code ? ` (exit code ${meta.exit_code})` : '')],
      ['steps', g.count(meta.steps)],
      ['torch', meta.torch],
      ['gradscope', meta.gradscope],
      ['overhead', typeof meta.overhead === 'number' ? `${(100 * meta.overhead).toFixed(1)} % of the run's time` : ''],
      [
        'measured',
        (meta.strides || [])
          .slice(-3)
          .map(([from, k]) => measured(from, k))
          .join('; '),
      ],
    ].filter(([, value]) => value);
    const blind = Object.entries(meta.blind || {}).map(([what, why]) => `${what}: ${why}`);
    const notes = [...(run.unchecked || []), ...(meta.notes || []), ...blind];
    return g.el(
      'details.about',
      {open},
      g.el('summary', {}, 'About this run'),
      g.el(
        'dl',
        {},
        rows.flatMap(([what, value]) => [g.el('dt', {}, what), g.el('dd', {}, value)]),
      ),
      notes.length > 0 &&
        g.el(
          'ul',
          {},
          notes.map((note) => g.el('li', {}, note)),
        ),
    );
  }

  function measured(from, k) {
    const which = k === 0 ? 'none' : k === 1 ? 'every step' : `1 of ${k} steps`;
    return from ? `${which} from step ${g.count(from)}` : which;
  }

  Object.assign(g, {findingCards, aboutRun});
})((window.gradscope = window.gradscope || {}));
