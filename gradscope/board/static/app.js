// The tab: what is chosen, what is asked for, and who is told.
(function (g) {
  'use strict';

  const EVERY = 10_000; // milliseconds between two looks at a run that is still written
  const OPEN = 40; // lines that are open at first, at most
  const MEMORY = 'gradscope';

  class App {
    constructor({provider, root, plotly, remember}) {
      this.provider = provider;
      this.remember = remember;
      this.state = {run: null, stream: null, stat: 'gradient', finding: null, node: null, step: null, ...this.recalled()};
      this.turns = {};
      this.axis = new g.StepAxis();
      this.plots = new g.Plots(plotly || Promise.reject(new Error('no plotly')));
      this.scale = new g.ColorScale();
      this.build(root);
      if (plotly) plotly.catch((problem) => this.noPlotly(`${problem.message} The pictures cannot be drawn.`));
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
                               (error, retry) => this.say(this.heatNote, error, retry));
      this.strip = g.axisStrip(axis);
      this.curves = new g.Curves(axis, plots, this.tooltip);
      this.heatNote = g.el('div');
      this.heatHead = g.el('div.heat-head');
      this.plotNote = g.el('div');
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
      this.layout = g.el('main.layout', {}, this.findings, g.el('section.pictures', {'aria-label': 'Pictures'}, this.plotNote,
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

    wholeMessage(text, retry) {
      this.layout.hidden = true;
      g.fill(this.whole, g.message(text, retry));
    }

    noPlotly(text) {
      this.stageNode.classList.add('no-pictures');
      g.fill(this.plotNote, g.message(text));
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
      this.run = null;
      this.header.setRuns(this.runs, name);
      try {
        const run = await this.ask('run', 'run', {run: name});
        if (run) this.showRun(run, true);
      } catch (error) {
        this.header.setRun(null, null);
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
      g.fill(this.plotNote, this.plotNote.firstChild && this.stageNode.classList.contains('no-pictures') && [...this.plotNote.childNodes]);
      if (!stream) {
        g.fill(this.plotNote, g.message(`${run.meta.status === 'running' ? 'No optimizer step has' : 'No optimizer step had'} been seen: there is nothing to draw.`));
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
        this.heatmap.picture = null;
        this.heatmap.cursor = null;
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

    // -- the pictures -----------------------------------------------------------------------------------------------

    query(more) {
      const {run, stream} = this.state;
      return {run, stream, ...this.axis.range(), width: Math.max(100, Math.min(1500, Math.round(this.axis.width))), ...more};
    }

    load() {
      this.loadCurves();
      this.loadCells();
    }

    async loadCurves() {
      try {
        const curves = await this.ask('curves', 'curves', this.query());
        if (curves) this.charts.show(curves);
      } catch (error) {
        this.charts.fail(error.message, () => this.loadCurves());
      }
    }

    loadCells() {
      g.fill(this.heatNote);
      if (!this.stream.measured) {
        this.heatmap.node.hidden = true;
        g.fill(this.heatNote, g.message('No gradients were measured in this run.'));
        return;
      }
      this.heatmap.node.hidden = false;
      this.heatmap.draw();
      const [from, to] = this.heatmap.inSight();
      const width = Math.max(100, Math.min(1200, Math.round(this.axis.width * 0.8)));
      this.cells.load(this.query({stat: this.state.stat, width}), this.heatmap.lines.slice(from, to));
    }

    cellsCame(lines) {
      const {picture} = this.cells;
      g.fill(this.heatNote);
      this.scale.include(picture.stat, lines.map((line) => line.log));
      this.heatmap.picture = picture;
      this.drawHeat();
    }

    setStat(stat) {
      this.state.stat = stat;
      this.header.setStat(stat);
      this.keep();
      if (this.stream) this.loadCells();
    }

    drawHeat() {
      this.heatmap.draw();
      const {picture} = this.heatmap;
      const stat = picture ? picture.stat : this.state.stat;
      const button = (text, label, open) => g.el('button.quiet.tiny', {type: 'button', title: label, 'aria-label': label, onclick: () => {
        g.tree.each(this.root, (node) => {
          node.open = open && node.children.length > 0;
        });
        this.relist();
      }}, text);
      const groups = this.root.children.some((node) => node.children.length);
      const title = g.el('div.gutter', {}, g.el('span.panel-title', {}, titleOf(stat)),
                         groups && g.el('span.folds', {}, button('⊞', 'Open all modules', true), button('⊟', 'Close all modules', false)));
      g.fill(this.heatHead, title, g.el('div.legend-place', {style: {marginLeft: `${this.axis.left}px`}},
                                        picture && g.legendOf(stat, this.scale.range(stat), this.heatmap.signs())));
    }

    toggle(node) {
      node.open = !node.open;
      this.relist();
    }

    relist() {
      this.heatmap.relist();
      this.drawHeat();
    }

    axisChanged(kind) {
      this.strip.draw();
      this.lane.draw();
      this.drawSoon = this.drawSoon || g.framed(() => this.drawPictures());
      this.drawSoon();
      if (kind !== 'view') return;
      this.loadSoon = this.loadSoon || g.later(160, () => {
        this.load();
        this.readCurves();
      });
      this.loadSoon();
    }

    drawPictures() {
      if (!this.stream) return;
      this.charts.draw();
      this.heatmap.draw();
      this.curves.draw();
      this.stage.placePin();
    }

    resized() {
      const width = this.stageNode.clientWidth;
      if (!width || !this.stream) return;
      const left = Math.round(Math.min(300, Math.max(150, width * 0.22)));
      this.axis.place(left, width - left - 18);
      this.stageNode.style.setProperty('--left', `${left}px`);
      this.stageNode.style.setProperty('--wide', `${this.axis.width}px`);
      this.strip.draw();
      this.lane.draw();
      this.drawPictures();
      if (this.heatmap.picture) this.drawHeat();
    }

    redraw() {
      if (!this.stream) return;
      this.drawPictures();
      if (this.heatmap.picture) this.drawHeat();
    }

    // -- the hand ---------------------------------------------------------------------------------------------------

    hover(x, y, row) {
      this.charts.read(row);
      const cell = this.heatmap.cellAt(x, y);
      if (cell) {
        const {picture} = this.heatmap;
        this.tooltip.show({name: cell.node.path, title: g.cellTitle(picture, cell.column),
                           lines: g.cellLines(picture, cell.node, cell.column)}, x, y);
        return;
      }
      const told = y < this.charts.node.getBoundingClientRect().bottom ? this.charts.rowsAt(row) : null;
      if (told) this.tooltip.show(told, x, y);
      else this.tooltip.hide();
    }

    hoverFinding(finding, event) {
      if (!finding) {
        this.tooltip.hide();
        return;
      }
      this.tooltip.show({name: `${finding.code} ${finding.name}`, title: `${g.span(...finding.steps)} · found at step ${g.count(finding.step)}`,
                         lines: [], text: finding.message}, event.clientX, event.clientY);
    }

    leave() {
      this.charts.read(null);
      this.tooltip.hide();
    }

    clicked(x, y, row) {
      const cell = this.heatmap.cellAt(x, y);
      if (cell) this.heatmap.setCursor({key: cell.node.key, row: cell.row}, false);
      this.choose(cell ? cell.node : null, row);
    }

    // A parameter or module (null: as before) and a step (null: as before).
    choose(node, row) {
      if (node) this.state.node = node.key;
      if (row !== null) this.state.step = row;
      this.chosenNode = node || this.chosenNode;
      this.heatmap.chosenKey = this.state.node;
      this.heatmap.draw();
      this.readDetail();
      this.peekText();
    }

    chooseFinding(finding) {
      if (finding.stream !== this.state.stream && this.run.streams.some((one) => one.number === finding.stream)) {
        this.state.finding = finding.id;
        this.openStream(finding.stream);
        return;
      }
      this.state.finding = finding.id;
      this.showFindings();
      this.lane.show(this.findingsHere(), finding.id);
      const {first} = this.markFinding(finding);
      const step = Math.min(Math.max(finding.step, this.axis.full[0]), this.axis.full[1] - 1);
      if (step < this.axis.view[0] || step >= this.axis.view[1]) this.axis.reset();
      this.choose(first, step);
      g.say(`${finding.code} ${finding.name}, step ${finding.step}`);
    }

    // Marks the parameters that a finding names; returns the first of them.
    markFinding(finding) {
      const at = new Map(this.stream.parameters.map((parameter, i) => [parameter.name, i]));
      const numbers = (finding.parameters || []).map((name) => at.get(name)).filter((i) => i !== undefined);
      this.heatmap.mark(new Set(numbers), g.severityOf(finding.severity).word);
      const leaves = [];
      g.tree.each(this.root, (node) => node.parameter && leaves.push(node));
      return {first: numbers.length ? leaves.find((leaf) => leaf.first === Math.min(...numbers)) || null : null};
    }

    // At first: the first finding's step and parameter, else the newest step.
    chooseFirst() {
      const here = this.findingsHere();
      const finding = here.find((one) => one.id === this.state.finding) || here.find((one) => !one.caused_by);
      let node = null;
      this.heatmap.mark(new Set(), 'info');
      if (finding) {
        this.state.finding = finding.id;
        node = this.markFinding(finding).first;
        this.showFindings();
        this.lane.show(here, finding.id);
      }
      const lines = g.tree.visible(this.root);
      node = node || lines.find((line) => line.parameter) || lines[0] || null;
      this.choose(node, finding && finding.step >= 0 ? finding.step : this.stream.last);
    }

    showFindings() {
      g.fill(this.findings, g.findingCards(this.run, this.state.finding, {
        choose: (finding) => this.chooseFinding(finding), page: (code) => this.rule.open(code)}), g.aboutRun(this.run));
    }

    // -- the detail -------------------------------------------------------------------------------------------------

    readDetail() {
      this.stage.setPin(this.state.step);
      this.readCurves();
      this.readMoment();
    }

    async readCurves() {
      const node = this.chosenNode;
      if (!node || !this.stream.measured) {
        this.curves.clear();
        return;
      }
      const optimizer = node.parameter && this.stream.optimizers.find((one) => one.number === node.parameter.optimizer);
      this.curves.name(node, optimizer ? optimizer.variable || optimizer.kind : '');
      this.curves.row = this.state.step;
      try {
        const answer = await this.ask('parameter', 'parameter', this.query({line: node.key, width: 500}));
        if (answer) this.curves.show(answer);
      } catch (error) {
        this.curves.fail(error.message, () => this.readCurves());
      }
    }

    async readMoment() {
      const {run, stream, step} = this.state;
      try {
        const moment = await this.ask('moment', 'moment', {run, stream, step});
        if (!moment) return;
        g.fill(this.timeline, g.timelineOf(moment, moment.around || this.around(moment.step), {go: (to) => this.choose(null, to)}));
      } catch (error) {
        this.say(this.timeline, error, () => this.readMoment());
      }
    }

    // The measured steps before and after one, as far as the picture tells them apart.
    around(step) {
      const {picture} = this.heatmap;
      const [first, end] = this.axis.full;
      if (!picture) return {before: step > first ? step - 1 : null, after: step + 1 < end ? step + 1 : null};
      const {edges} = picture;
      const i = this.heatmap.columnOf(step);
      const before = edges[i] < step ? edges[i] : i > 0 ? edges[i - 1] : null;
      const after = i + 1 < edges.length - 1 ? edges[i + 1] : null;
      return {before, after};
    }

    peekText() {
      const node = this.chosenNode;
      if (!node) return;
      g.fill(this.peek, g.el('span.arrow', {}, '↓'), g.name(node.path, 18),
             this.state.step !== null && ` · step ${g.count(this.state.step)}`);
      this.peek.classList.remove('flash');
      void this.peek.offsetWidth; // begins the animation anew
      this.peek.classList.add('flash');
    }

    peeked(seen) {
      this.peek.hidden = seen || this.detail.hidden || !this.stream;
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
        if (run && (run.revision !== this.run.revision || asked)) this.showRun(run, false);
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

  const TITLES = {gradient: 'Gradient norm', update: 'Update / weight', weight: 'Weight norm', state: 'Gradient state'};

  function titleOf(stat) {
    return TITLES[stat];
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
