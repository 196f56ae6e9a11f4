// The app's runs: which there are, the chosen one, and what is new in it.
(function (g) {
  'use strict';

  const OPEN = 40; // lines that are open at first, at most

  g.withRuns = (Base) =>
    class extends Base {
      // The list, and the chosen run: the one of last time, else the newest.
      async readRuns(open) {
        try {
          const answer = await this.ask('runs', 'runs');
          if (!answer) return;
          this.runs = answer.runs;
          if (!answer.runs.length) {
            this.header.setRuns([], null);
            this.closed();
            this.wholeMessage(
              'No run that gradscope has recorded lies below this log directory: make one with gradscope run train.py.',
              () => this.start(),
            );
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
        if (anew && name !== this.state.run)
          Object.assign(this.state, {rank: null, stream: null, finding: null, node: null, step: null});
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
          const run = await this.askRun(name);
          if (run) this.showRun(run, true);
        } catch (error) {
          this.closed();
          this.wholeMessage(error.message, () => this.openRun(name, false));
        }
      }

      // The chosen rank of it; the first one where there is no such rank any more.
      async askRun(name) {
        try {
          return await this.ask('run', 'run', {run: name, rank: this.state.rank});
        } catch (error) {
          if (this.state.rank === null) throw error;
          this.state.rank = null;
          return this.ask('run', 'run', {run: name});
        }
      }

      openRank(rank) {
        Object.assign(this.state, {rank, step: null});
        this.openRun(this.state.run, false);
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
          this.dropStream();
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
        const rank = this.run.ranks ? this.run.rank : null;
        this.shown = {run: this.run.run, rank, stream: stream.number};
        const sign = `${this.run.run}\n${rank}\n${stream.number}\n${stream.parameters.map((p) => p.name).join('\n')}`;
        const other = sign !== this.sign;
        this.stream = stream;
        if (other) {
          this.sign = sign;
          this.root = g.tree.of(stream.parameters);
          g.tree.openLevels(this.root, OPEN);
          this.heatmap.setTree(this.root);
          this.heatmap.clear();
          this.moment = this.chosenNode = this.within = null;
          g.fill(this.timeline);
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

      watch() {
        if (document.visibilityState === 'visible' && this.run && this.run.meta.status === 'running')
          this.refresh(false);
      }

      // Keeps zoom, choice and scroll. `asked`: by hand, so that what failed is tried again, too.
      async refresh(asked) {
        this.header.busy(true);
        try {
          await this.readRuns(!this.run);
          if (!this.run) return;
          const run = await this.askRun(this.state.run);
          const other = run && this.run && (run.run !== this.run.run || run.revision !== this.run.revision);
          if (run && this.run && (other || asked)) this.showRun(run, false);
          else if (run && this.run) this.header.setRun(Object.assign(this.run, {meta: run.meta}), this.state.stream);
          if (run) g.fill(this.whole);
          if (asked) g.say('refreshed');
        } catch (error) {
          if (asked) this.wholeMessage(error.message, () => this.openRun(this.state.run, false));
        } finally {
          this.header.busy(false);
        }
      }
    };
})((window.gradscope = window.gradscope || {}));
