// The tab: what is chosen, what is asked for, and who is told.
(function (g) {
  'use strict';

  const EVERY = 10_000; // milliseconds between two looks at a run that is still written
  const MEMORY = 'gradscope';

  class App extends g.withRuns(g.withChoices(g.withPictures(Object))) {
    constructor({provider, root, plotly, remember}) {
      super();
      this.provider = provider;
      g.live = provider.live;
      this.remember = remember;
      this.state = {
        run: null,
        rank: null, // of many processes
        stream: null,
        stat: 'gradient',
        finding: null,
        node: null,
        step: null,
        ...this.recalled(),
      };
      this.shown = null; // {run, rank, stream} of the pictures; `state` runs ahead while another run is read
      this.turns = {};
      this.axis = new g.StepAxis();
      this.plots = new g.Plots(plotly || Promise.reject(new Error('no plotly')));
      this.scale = new g.ColorScale();
      this.build(root);
      if (plotly)
        plotly.catch((problem) =>
          this.noPlotly(`${problem.message} The pictures cannot be drawn.`, () => location.reload()),
        );
      else this.noPlotly('The pictures need plotly: pip install "plotly>=5.24", then start TensorBoard again.');
      g.followTheme(() => this.redraw());
      this.axis.onChange((kind) => this.axisChanged(kind));
      new ResizeObserver(g.framed(() => this.resized())).observe(this.stageNode);
      if (provider.live) setInterval(() => this.watch(), EVERY);
    }

    build(root) {
      const {axis, plots} = this;
      this.header = new g.Header(
        {
          run: (name) => this.openRun(name),
          rank: (n) => this.openRank(n),
          stream: (n) => this.openStream(n),
          stat: (stat) => this.setStat(stat),
          refresh: () => this.refresh(true),
        },
        this.provider.live,
      );
      this.tooltip = new g.Tooltip();
      this.rule = new g.RuleDialog((code) => this.provider.get('rule', {code}));
      this.charts = new g.Charts(axis, plots);
      this.lane = new g.Lane(
        axis,
        (finding) => this.chooseFinding(finding),
        (finding, event) => this.hoverFinding(finding, event),
      );
      const act = {choose: (node, row) => this.chooseCell(node, row), toggle: (node) => this.toggle(node)};
      this.heatmap = new g.Heatmap(axis, plots, this.scale, (nodes) => this.cells.more(nodes), act);
      this.cells = new g.Cells(
        (query) => this.provider.get('heatmap', query),
        (lines) => this.cellsCame(lines),
        (error, retry) => this.cellsFailed(error, retry),
        () => axis.full[1],
      );
      this.strip = g.axisStrip(axis);
      this.curves = new g.Curves(axis, plots, this.tooltip, (shown, row) => this.chooseColumn(null, shown, row));
      this.heatNote = g.el('div');
      this.heatHead = g.el('div.heat-head');
      this.plotNote = g.el('div');
      this.emptyNote = g.el('div');
      this.stageNode = g.el(
        'div.stage',
        {},
        this.charts.node,
        this.lane.node,
        this.heatHead,
        this.strip.node,
        this.heatNote,
        this.heatmap.node,
      );
      const hint = g.el(
        'p.hint',
        {},
        'Drag or Ctrl + wheel: zoom · Shift + drag: move · double click: all steps · ',
        'click: curves and step · keys: arrows, Enter, Space, Escape, + - 0',
      );
      this.stage = new g.Stage(axis, this.stageNode, {
        hover: (x, y, row) => this.hover(x, y, row),
        leave: () => this.leave(),
        choose: (x, y, row) => this.clicked(x, y, row),
        escape: () => this.leaveChoice(),
      });
      window.addEventListener('scroll', () => this.leave(), {capture: true, passive: true});
      g.heatmapKeys(this.heatmap, axis, act);
      this.findings = g.el('section.findings', {'aria-label': 'Findings'});
      this.timeline = g.el('section.detail-part.timeline', {
        'data-testid': 'timeline',
        'aria-label': 'Timeline of the chosen step',
      });
      this.detail = g.el('div.detail', {}, this.curves.node, this.timeline);
      this.peek = g.el('button.peek', {
        type: 'button',
        hidden: true,
        onclick: () => this.detail.scrollIntoView({behavior: calm() ? 'auto' : 'smooth', block: 'start'}),
      });
      new IntersectionObserver((seen) => this.peeked(seen[0].isIntersecting), {rootMargin: '0px 0px -60px'}).observe(
        this.detail,
      );
      this.whole = g.el('div.whole');
      this.layout = g.el(
        'main.layout',
        {},
        this.findings,
        g.el('section.pictures', {'aria-label': 'Pictures'}, this.plotNote, this.emptyNote, this.stageNode, hint),
        this.detail,
      );
      g.put(root, this.header.node, this.whole, this.layout, this.tooltip.node, this.peek, this.rule.node);
      this.header.setStat(this.state.stat);
      this.layout.hidden = true;
    }

    // -- asking -----------------------------------------------------------------------------------------------------

    // The newest answer of a kind counts; an older one that comes later is dropped (undefined).
    async ask(kind, name, query) {
      const turn = (this.turns[kind] = (this.turns[kind] || 0) + 1);
      try {
        const answer = await this.provider.get(name, query);
        return turn === this.turns[kind] ? answer : undefined;
      } catch (error) {
        if (turn !== this.turns[kind]) return undefined;
        throw error;
      }
    }

    say(place, error, retry) {
      g.fill(place, g.message(error.message || String(error), retry));
    }

    // Until the pictures of the chosen run are there.
    busy(on) {
      this.layout.setAttribute('aria-busy', String(on));
    }

    // No run can be shown.
    closed() {
      this.busy(false);
      this.dropStream();
      this.turns.run = (this.turns.run || 0) + 1; // another run's may still be on its way
      this.run = null;
      this.cards = '';
      this.header.setRun(null, null);
      this.layout.hidden = this.peek.hidden = true;
    }

    // No pictures, and none that may still be on their way.
    dropStream() {
      this.stream = this.shown = this.moment = this.chosenNode = this.within = null;
      this.sign = '';
      this.peek.hidden = true;
      this.tooltip.hide();
      this.stage.setPin(null);
      for (const part of [this.heatmap, this.charts, this.curves]) part.clear();
      g.fill(this.timeline);
      this.cells.clear();
      for (const kind of ['curves', 'parameter', 'moment']) this.turns[kind] = (this.turns[kind] || 0) + 1;
    }

    // Above the pictures of a run, or in their place.
    wholeMessage(text, retry) {
      g.fill(this.whole, g.message(text, retry));
    }

    noPlotly(text, retry) {
      this.stageNode.classList.add('no-pictures');
      g.fill(this.plotNote, g.message(text, retry));
    }

    async start() {
      g.fill(this.whole, g.el('p.loading', {}, 'Reading the runs…'));
      await this.readRuns(true);
    }

    // -- from one visit to the next ---------------------------------------------------------------------------------

    recalled() {
      if (!this.remember) return {};
      try {
        const {run, rank, stream, stat} = JSON.parse(sessionStorage.getItem(MEMORY)) || {};
        const known = (number) => (number === undefined ? null : number);
        return {
          run: run || null,
          rank: known(rank),
          stream: known(stream),
          stat: g.WHAT[stat] ? stat : 'gradient',
        };
      } catch {
        return {};
      }
    }

    keep() {
      if (!this.remember) return;
      try {
        const {run, rank, stream, stat} = this.state;
        sessionStorage.setItem(MEMORY, JSON.stringify({run, rank, stream, stat}));
      } catch {
        /* a browser that keeps nothing */
      }
    }
  }

  function calm() {
    return window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  }

  // `plotly`: a promise that is kept when window.Plotly is there; null where it is not installed.
  g.start = (options) => {
    const app = new App(options);
    app.started = app.start();
    return app;
  };
})((window.gradscope = window.gradscope || {}));
