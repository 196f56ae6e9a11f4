// The line on top: which run, which stream, which statistic, what was found.
(function (g) {
  'use strict';

  const STATS = [
    ['gradient', 'Gradient'],
    ['update', 'Update / weight'],
    ['weight', 'Weight'],
    ['state', 'State'],
  ];

  // `act`: {run(name), rank(number), stream(number), stat(name), refresh()}
  class Header {
    constructor(act, live) {
      this.act = act;
      this.runs = g.el('select', {
        'data-testid': 'run-select',
        'aria-label': 'Run',
        onchange: () => act.run(this.runs.value),
      });
      this.only = g.el('span.only-run', {hidden: true});
      this.streams = g.el('select', {
        'data-testid': 'stream-select',
        'aria-label': 'Optimizer stream',
        hidden: true,
        onchange: () => act.stream(Number(this.streams.value)),
      });
      this.ranks = g.el('select', {
        'data-testid': 'rank-select',
        'aria-label': 'Rank',
        hidden: true,
        onchange: () => act.rank(Number(this.ranks.value)),
      });
      this.badge = g.el('span.badge', {hidden: true});
      this.tally = g.el('span.tally', {role: 'status'});
      this.stats = g.el(
        'div.switch',
        {role: 'radiogroup', 'aria-label': 'What the heatmap shows'},
        STATS.map(([stat, word]) =>
          g.el(
            'button',
            {
              type: 'button',
              role: 'radio',
              'data-testid': `stat-${stat}`,
              'data-stat': stat,
              'aria-checked': 'false',
              tabindex: '-1',
              onclick: () => act.stat(stat),
            },
            word,
          ),
        ),
      );
      this.stats.addEventListener('keydown', (event) => this.arrows(event));
      this.refresh = g.el(
        'button.quiet.refresh',
        {
          type: 'button',
          'data-testid': 'refresh',
          title: 'Read what is new',
          'aria-label': 'Refresh',
          hidden: !live,
          onclick: () => act.refresh(),
        },
        g.icon('M13.2 8a5.2 5.2 0 1 1-1.5-3.7V2h1.4v4.8H8.4V5.4h2.4A3.8 3.8 0 1 0 11.8 8Z'),
        'Refresh',
      );
      this.node = g.el(
        'header.top',
        {},
        g.el('div.picks', {}, this.runs, this.only, this.ranks, this.streams, this.badge),
        this.tally,
        g.el('div.tools', {}, this.stats, this.refresh),
      );
    }

    arrows(event) {
      const move = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!move) return;
      event.preventDefault();
      const buttons = [...this.stats.children];
      const next = buttons[(buttons.indexOf(document.activeElement) + move + buttons.length) % buttons.length];
      next.focus();
      this.act.stat(next.dataset.stat);
    }

    setStat(stat) {
      for (const button of this.stats.children) {
        const chosen = button.dataset.stat === stat;
        button.setAttribute('aria-checked', String(chosen));
        button.tabIndex = chosen ? 0 : -1;
      }
    }

    setRuns(runs, chosen) {
      const sign = JSON.stringify([
        chosen,
        runs.map((run) => [run.run, run.status, run.errors, run.warnings, run.problem]),
      ]);
      if (sign !== this.sign) {
        this.sign = sign;
        g.fill(
          this.runs,
          runs.map((run) =>
            g.el('option', {value: run.run}, `${shortened(run.run)}${run.run === chosen ? '' : summary(run)}`),
          ),
        );
      }
      if (chosen !== null) this.runs.value = chosen;
      this.runs.hidden = runs.length < 2 && !runs.some((run) => run.problem);
      this.only.hidden = !this.runs.hidden || !runs.length;
      if (runs.length) g.fill(this.only, g.name(runs[0].run === '.' ? runs[0].script : runs[0].run, 22));
      this.runs.title = chosen || '';
    }

    setRun(run, stream) {
      this.badge.hidden = !run;
      this.streams.hidden = !run || run.streams.length < 2;
      this.ranks.hidden = !run || !run.ranks || run.ranks.length < 2;
      g.fill(this.tally);
      if (!run) return;
      const {status, steps} = run.meta;
      const alive = status !== 'running' || isRunning(run);
      this.badge.textContent = statusOf(run);
      this.badge.className = `badge ${!alive ? 'silent' : /^\w+$/.test(status) ? status : ''}`;
      const of = this.ranks.hidden ? '' : ` on ${run.ranks.length} ranks`;
      g.fill(this.tally, `${run.tally} in ${g.plural(steps, 'step')}${of}`);
      if (!this.ranks.hidden) this.setRanks(run);
      g.fill(
        this.streams,
        run.streams.map((one) =>
          g.el('option', {value: one.number}, `${shortened(one.title)} · ${g.plural(one.rows, 'step')}`),
        ),
      );
      if (stream !== null) this.streams.value = String(stream);
    }

    setRanks(run) {
      g.fill(
        this.ranks,
        run.ranks.map(({rank, status, found}) => {
          const notes = [status === 'finished' ? '' : status, found && g.plural(found, 'finding')].filter(Boolean);
          return g.el('option', {value: rank}, `rank ${rank}${notes.length ? ` — ${notes.join(', ')}` : ''}`);
        }),
      );
      this.ranks.value = String(run.rank);
    }

    busy(on) {
      this.refresh.classList.toggle('busy', on);
    }
  }

  function shortened(text) {
    const signs = Array.from(g.inLine(text));
    return signs.length > 80 ? `${signs.slice(0, 40).join('')}…${signs.slice(-36).join('')}` : signs.join('');
  }

  function summary(run) {
    if (run.problem) return ' — cannot be read';
    const parts = [
      run.errors && g.plural(run.errors, 'error'),
      run.warnings && g.plural(run.warnings, 'warning'),
    ].filter(Boolean);
    return `${parts.length ? ` — ${parts.join(', ')}` : ''}${run.status === 'running' ? ' — not ended' : ''}`;
  }

  const SILENT = 120; // seconds without a word after which a run counts as killed

  // Whether it is still written. A page is of what was: `live` is false there.
  function isRunning({meta}) {
    const {status, written} = meta;
    return status === 'running' && g.live && !(Number.isFinite(written) && Date.now() / 1000 - written > SILENT);
  }

  // "finished", "not ended · last written 14 min ago"
  function statusOf(run) {
    const {status, written} = run.meta;
    if (status !== 'running' || isRunning(run)) return status;
    if (!Number.isFinite(written)) return 'not ended';
    if (!g.live) return `not ended · last written ${new Date(written * 1000).toLocaleString()}`;
    return `not ended · last written ${ago(Date.now() / 1000 - written)} ago`;
  }

  function ago(seconds) {
    const units = [
      [86400, 'day'],
      [3600, 'hour'],
      [60, 'min'],
    ];
    const [size, word] = units.find(([one]) => seconds >= 2 * one) || [60, 'min'];
    const many = Math.max(1, Math.floor(seconds / size));
    return word === 'min' ? `${many} min` : g.plural(many, word);
  }

  Object.assign(g, {Header, isRunning, statusOf, live: true});
})((window.gradscope = window.gradscope || {}));
