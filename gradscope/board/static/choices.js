// What the app does when somebody hovers, clicks, or chooses; and the detail of what is chosen.
(function (g) {
  'use strict';

  g.withChoices = (Base) =>
    class extends Base {
      hover(x, y, row) {
        this.charts.read(row);
        const cell = this.heatmap.cellAt(x, y);
        if (cell) {
          const {picture} = this.heatmap;
          this.tooltip.show(
            {
              name: cell.node.path,
              title: g.cellTitle(picture, cell.column),
              lines: g.cellLines(picture, cell.node, cell.column),
            },
            x,
            y,
          );
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
        this.tooltip.show(
          {
            name: `${finding.code} ${finding.name}`,
            title: `${g.span(...finding.steps)} · found at step ${g.count(finding.step)}`,
            lines: [],
            text: finding.message,
          },
          event.clientX,
          event.clientY,
        );
      }

      leave() {
        this.charts.read(null);
        this.tooltip.hide();
      }

      clicked(x, y, row) {
        const cell = this.heatmap.cellAt(x, y);
        if (cell) this.chooseCell(cell.node, cell.row);
        else this.choose(null, row);
      }

      // The measured step that the cell at a row shows.
      chooseCell(node, row) {
        if (row === null || this.heatmap.empty) this.choose(node, row);
        else this.chooseColumn(node, this.heatmap.picture, row);
      }

      // Of the column of some document in which a row stands.
      chooseColumn(node, {edges, rows}, row) {
        const i = Math.min(g.indexOf(edges, row), edges.length - 2);
        this.choose(node, rows[i] === 1 ? edges[i] : row, [edges[i], edges[i + 1] - 1]);
      }

      // A parameter or module (null: as before) and a step (null: as before). `within` these steps the first measured
      // one is meant: `settled` when it is known.
      choose(node, row, within = null) {
        if (node) this.state.node = node.key;
        if (row !== null) {
          this.state.step = row;
          this.within = within;
        }
        this.chosenNode = node || this.chosenNode;
        if (this.state.step !== null) this.heatmap.setCursor({key: this.state.node, row: this.state.step}, false);
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
        if (!this.stream) return;
        this.lane.show(this.findingsHere(), finding.id);
        const {first} = this.markFinding(finding);
        const step = this.firstOf(finding);
        if (step < this.axis.view[0] || step >= this.axis.view[1]) this.axis.reset();
        this.choose(first, step, finding.steps);
        g.say(`${finding.code} ${finding.name}, ${g.span(...finding.steps)}, found at step ${finding.step}`);
      }

      // The first step of a finding, inside the run.
      firstOf(finding) {
        return Math.min(Math.max(finding.steps[0], this.axis.full[0]), this.axis.full[1] - 1);
      }

      // Nothing is marked any more; the details stay.
      leaveChoice() {
        Object.assign(this.state, {finding: null, step: null});
        this.within = null;
        this.heatmap.mark(new Set(), 'info');
        this.heatmap.setCursor(null, false);
        this.stage.setPin(null);
        if (!this.stream) return;
        this.showFindings();
        this.lane.show(this.findingsHere(), null);
        this.curves.pin(null);
        this.heatmap.draw();
        this.peekText();
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
        if (finding) this.choose(node, this.firstOf(finding), finding.steps);
        else {
          this.state.step = null; // the newest one that was measured
          this.within = [this.stream.first, this.stream.last];
          this.choose(node, null);
        }
      }

      showFindings() {
        const {run, state} = this;
        const cards = JSON.stringify([run.run, run.findings, run.meta, run.unchecked, state.finding, state.stream]);
        if (cards === this.cards) return;
        this.cards = cards;
        const {scrollTop} = this.findings;
        const about = this.findings.querySelector('.about');
        const open = [...this.findings.querySelectorAll('details.consequence[open]')].map((one) => one.dataset.finding);
        g.refill(
          this.findings,
          g.findingCards(this.run, this.state, new Set(open), {
            choose: (finding) => this.chooseFinding(finding),
            page: (code) => this.rule.open(code),
          }),
          g.aboutRun(this.run, Boolean(about && about.open)),
        );
        this.findings.scrollTop = scrollTop;
        const chosen = this.findings.querySelector('.consequence.chosen');
        if (chosen) chosen.scrollIntoView({block: 'nearest'});
      }

      readDetail() {
        const [first, end] = this.axis.full; // the step may be of another run, or of a longer one that was replaced
        if (this.state.step !== null) this.state.step = Math.min(Math.max(this.state.step, first), end - 1);
        this.stage.setPin(this.state.step);
        this.readCurves();
        this.readMoment();
      }

      async readCurves() {
        const node = this.chosenNode;
        if (!this.stream || !node || !this.stream.measured) {
          this.curves.clear();
          return;
        }
        const optimizer =
          node.parameter && this.stream.optimizers.find((one) => one.number === node.parameter.optimizer);
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
        if (!this.shown) return;
        if (!this.stream.measured) {
          g.fill(this.timeline, g.message('No gradients were measured in this run: there is no timeline.'));
          return;
        }
        const {within} = this;
        const meant = (step) => within !== null && step >= within[0] && step <= within[1];
        const ask = (step) => this.ask('moment', 'moment', {...this.shown, step});
        try {
          let moment = await ask(this.state.step);
          if (moment && within !== null && !meant(moment.step)) {
            const {before, after} = moment.around || this.around(moment.step);
            const inside = [after, before].find((step) => step !== null && meant(step));
            if (inside !== undefined) moment = await ask(inside);
          }
          if (!moment) return;
          this.moment = moment;
          this.showMoment();
          if (meant(moment.step)) this.settled(moment.step);
        } catch (error) {
          this.say(this.timeline, error, () => this.readMoment());
        }
      }

      // The chosen step is this one, which was measured.
      settled(step) {
        if (step === this.state.step) return;
        this.state.step = step;
        this.stage.setPin(step);
        this.heatmap.setCursor({key: this.state.node, row: step}, false);
        this.curves.pin(step);
        this.peekText();
      }

      showMoment() {
        const {moment} = this;
        const around = moment.around || this.around(moment.step);
        g.refill(this.timeline, g.timelineOf(moment, around, {go: (to) => this.choose(null, to)}));
        g.markCut(this.timeline);
      }

      // The measured steps before and after one, as far as the picture tells them apart.
      around(step) {
        const {picture, empty} = this.heatmap;
        const [first, end] = this.axis.full;
        if (empty) return {before: step > first ? step - 1 : null, after: step + 1 < end ? step + 1 : null};
        const {edges} = picture;
        const i = this.heatmap.columnOf(step);
        const before = edges[i] < step ? edges[i] : i > 0 ? edges[i - 1] : null;
        const after = i + 1 < edges.length - 1 ? edges[i + 1] : null;
        return {before, after};
      }

      peekText() {
        const node = this.chosenNode;
        this.peekOrNot();
        if (!node) return;
        g.fill(
          this.peek,
          g.el('span.arrow', {}, '↓'),
          g.name(node.path, 18),
          this.state.step !== null && ` · step ${g.count(this.state.step)}`,
        );
        this.peek.classList.remove('flash');
        void this.peek.offsetWidth; // begins the animation anew
        this.peek.classList.add('flash');
      }

      peeked(seen) {
        this.detailSeen = seen;
        this.peekOrNot();
      }

      peekOrNot() {
        this.peek.hidden = this.detailSeen || this.detail.hidden || !this.stream || !this.chosenNode;
      }
    };
})((window.gradscope = window.gradscope || {}));
