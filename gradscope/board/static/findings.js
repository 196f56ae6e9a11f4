// The findings as cards, as a compiler would print them, and what is known of the run as a whole.
(function (g) {
  'use strict';

  // `act`: {choose(finding), page(code)}. Consequences are told in the card of their cause.
  function findingCards(run, chosen, act) {
    const byId = new Map(run.findings.map((finding) => [finding.id, finding]));
    const folded = new Set(run.findings.flatMap((finding) => finding.then || []));
    const causes = run.findings.filter((finding) => !folded.has(finding.id));
    if (!causes.length) return [nothingFound(run)];
    return causes.map((finding) => card(finding, byId, chosen, act));
  }

  function nothingFound(run) {
    const {steps, status} = run.meta;
    const text = steps
      ? `Nothing was found in ${g.plural(steps, 'step')}${status === 'running' ? ' so far' : ''}.`
      : 'No optimizer step was seen: nothing to judge.';
    if (!steps) return g.message(text);
    return g.el(
      'div.card.healthy',
      {'data-testid': 'message'},
      g.icon('M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.4 4.6 1.1 1-5.2 5.4-3-3 1.1-1.1 1.9 1.9Z'),
      text,
    );
  }

  function card(finding, byId, chosen, act) {
    const severity = g.severityOf(finding.severity);
    const head = g.el(
      'button.card-head',
      {
        type: 'button',
        title: 'Show it in the pictures',
        onclick: () => act.choose(finding),
        'aria-pressed': String(finding.id === chosen),
      },
      g.icon(severity.path),
      g.el('span.severity', {}, severity.word),
      g.el('span.code', {}, finding.code),
      ' ',
      g.el('span.finding-name', {}, finding.name),
    );
    return g.el(
      'article',
      {
        className: `card ${severity.word}${finding.id === chosen ? ' chosen' : ''}`,
        'data-testid': 'finding',
        'data-code': finding.code,
        'aria-label': `${severity.word} ${finding.code} ${finding.name}`,
      },
      head,
      g.el('div.whose', {}, finding.whose || g.span(...finding.steps)),
      g.el('p.told', {}, finding.message),
      place(finding),
      (finding.advice || []).map((one) => advice(one.text)),
      consequences(finding, byId, act),
      g.el(
        'div.card-foot',
        {},
        g.el('button.link', {type: 'button', onclick: () => act.page(finding.code)}, `What is ${finding.code}?`),
      ),
    );
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

  function advice(text) {
    const button = g.el(
      'button.quiet.copy',
      {
        type: 'button',
        'data-testid': 'copy-advice',
        onclick: async () => {
          const done = await copy(text);
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

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyByHand(text);
    }
  }

  // Where the clipboard is not given to a frame or a plain http page.
  function copyByHand(text) {
    const area = g.el('textarea.only-heard', {value: text, 'aria-hidden': 'true'});
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    try {
      return document.execCommand('copy');
    } catch {
      return false;
    } finally {
      area.remove();
      if (focused) focused.focus({preventScroll: true});
    }
  }

  function consequences(finding, byId, act) {
    const known = (finding.then || []).map((id) => byId.get(id)).filter(Boolean);
    if (!known.length) return null;
    return g.el(
      'div.then',
      {},
      g.el('b', {}, 'then: '),
      known.map((one, i) => [
        i ? ', ' : '',
        g.el(
          'button.link',
          {type: 'button', title: one.message, onclick: () => act.choose(one)},
          `${one.code} ${one.name}`,
        ),
        ` (from step ${g.count(one.steps[0])})`,
      ]),
    );
  }

  // The run itself: command, versions, cost, what could not be seen.
  function aboutRun(run, open) {
    const {meta} = run;
    const rows = [
      ['command', [meta.script, ...(meta.argv || [])].join(' ')],
      ['status', meta.status + (meta.exit_code ? ` (exit code ${meta.exit_code})` : '')],
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
    const notes = [...(meta.notes || []), ...Object.entries(meta.blind || {}).map(([what, why]) => `${what}: ${why}`)];
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
