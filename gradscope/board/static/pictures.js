// The app's pictures: what they ask for, and when they are drawn anew.
(function (g) {
  'use strict';

  const TITLES = {gradient: 'Gradient norm', update: 'Update / weight', weight: 'Weight norm', state: 'Gradient state'};

  g.withPictures = (Base) =>
    class extends Base {
      query(more) {
        return {
          ...this.shown,
          ...this.axis.range(),
          width: Math.max(100, Math.min(1500, Math.round(this.axis.width))),
          ...more,
        };
      }

      load() {
        if (!this.stream) return;
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
        if (!this.stream.measured || !this.stream.parameters.length) {
          this.heatmap.node.hidden = true;
          this.busy(false);
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
        this.scale.include(
          picture.stat,
          lines.map((line) => line.log),
        );
        const other = this.heatmap.picture !== picture;
        this.heatmap.picture = picture;
        if (other && this.moment && this.moment.step < this.axis.full[1]) this.showMoment();
        this.drawHeat();
        this.busy(false);
      }

      cellsFailed(error, retry) {
        this.busy(false);
        this.say(this.heatNote, error, retry);
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
        const button = (text, label, open) =>
          g.el(
            'button.quiet.tiny',
            {
              type: 'button',
              title: label,
              'aria-label': label,
              onclick: () => {
                g.tree.each(this.root, (node) => {
                  node.open = open && node.children.length > 0;
                });
                this.relist();
              },
            },
            text,
          );
        const groups = this.root.children.some((node) => node.children.length);
        const title = g.el(
          'div.gutter',
          {},
          g.el('span.panel-title', {}, TITLES[stat]),
          groups &&
            g.el('span.folds', {}, button('⊞', 'Open all modules', true), button('⊟', 'Close all modules', false)),
        );
        this.heatHead.classList.toggle('narrow', this.axis.left < 170);
        g.refill(
          this.heatHead,
          title,
          g.el(
            'div.legend-place',
            {style: {marginLeft: `${this.axis.left}px`}},
            picture && g.legendOf(stat, this.scale.range(stat), this.heatmap.signs()),
          ),
        );
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
        this.tooltip.hide();
        this.strip.draw();
        this.lane.draw();
        this.drawSoon = this.drawSoon || g.framed(() => this.drawPictures());
        this.drawSoon();
        if (kind !== 'view') return;
        this.loadSoon =
          this.loadSoon ||
          g.later(160, () => {
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
        g.markCut(this.timeline);
        if (this.heatmap.picture) this.drawHeat();
      }

      redraw() {
        if (!this.stream) return;
        this.drawPictures();
        if (this.heatmap.picture) this.drawHeat();
      }
    };
})((window.gradscope = window.gradscope || {}));
