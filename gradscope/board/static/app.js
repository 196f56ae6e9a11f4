// The tab: what is chosen, what is asked for, and who is told.
(function (g) {
  'use strict';

  const EVERY = 10_000; // milliseconds between two looks at a run that is still written
  const OPEN = 40; // lines that are open at first, at most
  const MEMORY = 'gradscope';

  class App extends g.withChoices(g.withPictures(Object)) {
    constructor({provider, root, plotly, remember}) {
      super();
      this.provider = provider;
      this.remember = remember;
      this.state = {run: null, stream: null, stat: 'gradient', finding: null, node: null, step: null, ...this.recalled()};
      this.turns = {};
      this.axis = new g.StepAxis();
      this.plots = new g.Plots(plotly || Promise.reject(new Error('no plotly')));
      this.scale = new g.ColorScale();
      this.build(root);
      if (plotly) plotly.catch((problem) => this.noPlotly(`${problem.message} The pictures cannot be drawn.`, () => location.reload()));
      else this.noPlotly('The pictures need plotly: pip install "plotly>=5.24", then start TensorBoard again.');
      g.followTheme(() => this.redraw());
      this.axis.onChange((kind) => this.axisChanged(kind));
      new ResizeObserver(g.framed(() => this.resized())).observe(this.stageNode);
      if (provider.live) setInterval(() => this.watch(), EVERY);
    }

    build(root) {
      const {axis, plots} = this;
      this.header = new g.Header({run: (name) => this.openRun(name), stream: (n) => this.openStream(n),
                                  stat: (stat) => this.setStat(stat), refresh: () => this.refresh(true)}, this.provider.live);
      this.tooltip = new g.Tooltip();
      this.rule = new g.RuleDialog((code) => this.provider.get('rule', {code}));
      this.charts = new g.Charts(axis, plots);
      this.lane = new g.Lane(axis, (finding) => this.chooseFinding(finding), (finding, event) => this.hoverFinding(finding, event));
      const act = {choose: (node, row) => this.choose(node, row), toggle: (node) => this.toggle(node)};
      this.heatmap = new g.Heatmap(axis, plots, this.scale, (nodes) => this.cells.more(nodes), act);
      this.cells = new g.Cells((query) => this.provider.get('heatmap', query), (lines) => this.cellsCame(lines),
                               (error, retry) => this.cellsFailed(error, retry));
      this.strip = g.axisStrip(axis);
      this.curves = new g.Curves(axis, plots, this.tooltip);
      this.heatNote = g.el('div');
      this.heatHead = g.el('div.heat-head');
      this.plotNote = g.el('div');
      this.emptyNote = g.el('div');
      this.stageNode = g.el('div.stage', {}, this.charts.node, this.lane.node, this.heatHead, this.strip.node, this.heatNote,
                            this.heatmap.node);
      this.stage = new g.Stage(axis, this.stageNode, {
        hover: (x, y, row) => this.hover(x, y, row), leave: () => this.leave(), choose: (x, y, row) => this.clicked(x, y, row)});
      g.heatmapKeys(this.heatmap, axis, act);
      this.findings = g.el('section.findings', {'aria-label': 'Findings'});
      this.timeline = g.el('section.detail-part.timeline', {'data-testid': 'timeline', 'aria-label': 'Timeline of the chosen step'});
      this.detail = g.el('div.detail', {}, this.curves.node, this.timeline);
      this.peek = g.el('button.peek', {type: 'button', hidden: true, onclick: () =>
        this.detail.scrollIntoView({behavior: calm() ? 'auto' : 'smooth', block: 'start'})});
      new IntersectionObserver((seen) => this.peeked(seen[0].isIntersecting), {rootMargin: '0px 0px -60px'}).observe(this.detail);
      this.whole = g.el('div.whole');
      this.layout = g.el('main.layout', {}, this.findings, g.el('section.pictures', {'aria-label': 'Pictures'}, this.plotNote, this.emptyNote,
                                                                 this.stageNode), this.detail);
      g.put(root, this.header.node, this.whole, this.layout, this.tooltip.node, this.peek, this.rule.node);
      this.header.setStat(this.state.stat);
      this.layout.hidden = true;
    }

    // -- asking -----------------------------------------------------------------------------------------------------

    // The newest answer of a kind counts; an older one that comes later is dropped (undefined).
    async ask(kind, name, query) {
      const turn = this.turns[kind] = (this.turns[kind] || 0) + 1;
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
      this.run = this.stream = null;
      this.sign = this.cards = '';
      this.header.setRun(null, null);
      this.layout.hidden = this.peek.hidden = true;
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

    // The list, and the chosen run: the one of last time, else the newest.
    async readRuns(open) {
      try {
        const answer = await this.ask('runs', 'runs');
        if (!answer) return;
        this.runs = answer.runs;
        if (!answer.runs.length) {
          this.header.setRuns([], null);
          this.closed();
          this.wholeMessage('No run that gradscope has recorded lies below this log directory: make one with "gradscope run train.py".',
                            () => this.start());
          return;
        }
        const known = answer.runs.some((run) => run.run === this.state.run);
        const name = known ? this.state.run : answer.newest === null ? answer.runs[0].run : answer.newest;
        this.header.setRuns(answer.runs, name);
        if (open || !known) await this.openRun(name, !known);
      } catch (error) {
        this.wholeMessage(error.message, () => this.start());
      }
    }

    async openRun(name, anew = true) {
      if (anew && name !== this.state.run) Object.assign(this.state, {stream: null, finding: null, node: null, step: null});
      this.state.run = name;
      this.busy(true);
      this.header.setRuns(this.runs, name);
      const {problem} = this.runs.find((one) => one.run === name) || {};
      if (problem) {
        this.closed();
        this.wholeMessage(`${name}: ${problem}.`.replace(/\.\.$/, '.'), () => this.refresh(true));
        return;
      }
      try {
        const run = await this.ask('run', 'run', {run: name});
        if (run) this.showRun(run, true);
      } catch (error) {
        this.closed();
        this.wholeMessage(error.message, () => this.openRun(name, false));
      }
    }

    showRun(run, anew) {
      this.run = run;
      g.fill(this.whole);
      this.layout.hidden = false;
      const numbers = run.streams.map((stream) => stream.number);
      if (!numbers.includes(this.state.stream)) this.state.stream = this.firstStream(run);
      this.header.setRun(run, this.state.stream);
      this.showFindings();
      const stream = run.streams.find((one) => one.number === this.state.stream);
      this.stageNode.hidden = this.detail.hidden = !stream;
      g.fill(this.emptyNote, !stream && g.message('No optimizer step was seen: there is nothing to draw.'));
      if (!stream) {
        this.stream = null;
        this.sign = '';
        this.busy(false);
        return;
      }
      this.showStream(stream, anew);
    }

    // The stream of the first finding, else the first one.
    firstStream(run) {
      const first = run.findings.find((finding) => run.streams.some((stream) => stream.number === finding.stream));
      return first ? first.stream : run.streams.length ? run.streams[0].number : null;
    }

    openStream(number) {
      if (!this.run) return;
      Object.assign(this.state, {stream: number, node: null, step: null});
      this.showRun(this.run, true);
    }

    showStream(stream, anew) {
      const sign = `${this.state.run}\n${stream.number}\n${stream.parameters.map((p) => p.name).join('\n')}`;
      const other = sign !== this.sign;
      this.stream = stream;
      if (other) {
        this.sign = sign;
        this.root = g.tree.of(stream.parameters);
        g.tree.openLevels(this.root, OPEN);
        this.heatmap.setTree(this.root);
        this.heatmap.clear();
        this.busy(true);
        this.cells.clear();
        this.charts.clear();
        this.scale.clear();
        this.axis.full = this.axis.view = [stream.first, stream.last + 1];
      }
      this.axis.setFull(stream.first, stream.last + 1);
      this.lane.show(this.findingsHere(), this.state.finding);
      this.resized();
      this.load();
      if (other || anew) this.chooseFirst();
      else this.readDetail();
      this.keep();
    }

    findingsHere() {
      return this.run.findings.filter((finding) => finding.stream === this.state.stream);
    }

    // -- what is new ------------------------------------------------------------------------------------------------

    watch() {
      if (document.visibilityState === 'visible' && this.run && this.run.meta.status === 'running') this.refresh(false);
    }

    // Keeps zoom, choice and scroll. `asked`: by hand, so that what failed is tried again, too.
    async refresh(asked) {
      this.header.busy(true);
      try {
        await this.readRuns(!this.run);
        if (!this.run) return;
        const run = await this.ask('run', 'run', {run: this.state.run});
        if (run && this.run && (run.revision !== this.run.revision || asked)) this.showRun(run, false);
        if (run) g.fill(this.whole);
        if (asked) g.say('refreshed');
      } catch (error) {
        if (asked) this.wholeMessage(error.message, () => this.openRun(this.state.run, false));
      } finally {
        this.header.busy(false);
      }
    }

    // -- from one visit to the next ---------------------------------------------------------------------------------

    recalled() {
      if (!this.remember) return {};
      try {
        const {run, stream, stat} = JSON.parse(sessionStorage.getItem(MEMORY)) || {};
        return {run: run || null, stream: stream === undefined ? null : stream,
                stat: g.WHAT[stat] ? stat : 'gradient'};
      } catch {
        return {};
      }
    }

    keep() {
      if (!this.remember) return;
      try {
        const {run, stream, stat} = this.state;
        sessionStorage.setItem(MEMORY, JSON.stringify({run, stream, stat}));
      } catch { /* a browser that keeps nothing */ }
    }
  }

  function calm() {
    return window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  }

  // `plotly`: a promise that is kept when window.Plotly is there; null where it is not installed.
  g.start = (options) => {
    const app = new App(options);
    app.start();
    return app;
  };
})(window.gradscope = window.gradscope || {});
