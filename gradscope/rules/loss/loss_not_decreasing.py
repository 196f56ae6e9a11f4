"""GS204 loss-not-decreasing."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.facts.labels import LabelFit
from gradscope.findings import Advice, Finding, list_names
from gradscope.record.blocks import Blocks
from gradscope.record.record import Array, Record, Stream
from gradscope.rules.advice import decade_down
from gradscope.rules.base import Rule
from gradscope.rules.chance import chances
from gradscope.rules.flow import Gradients, look
from gradscope.rules.judged import judged, skipped
from gradscope.rules.trend import flat, has_peaked, settled, trend
from gradscope.rules.unrelated import Unrelated


@dataclass(frozen=True)
class Stuck:
    """From row `since` on the loss lies at `level`: that of guessing blindly among `classes` (0: the frozen one's).

    Before, it had been thrown up to `thrown` (0: it had not).
    """

    since: int
    now: float
    level: float
    classes: int = 0
    thrown: float = 0.0


@dataclass(frozen=True)
class LossNotDecreasing(Rule):
    """The loss stays at what it is worth to know nothing: the model is at chance level, and does not leave it.

    What it finds
        A cross entropy that lies between 1 - `below` and 1 + `above` of ln C (C classes; ln 2 for two), that was never
        better, and that does not fall: the trend since it came there is none, in losses that would have shown one (at
        the end of a run whose weights have moved far, less than `creeps` of it). A cross entropy of any classes and
        weights that was told nothing by its labels: in the first pass over a DataLoader they fitted their samples no
        better than others of the batch, and hardly do so now. Any other loss that stays where it is while the gradient
        of every weight is exactly 0 (dead units).
    Why it matters
        Nothing is learned, however long it runs.
    Sick
        images = images[torch.randperm(len(images))]  # and the labels stay where they are
    Healed
        order = torch.randperm(len(images))
        images, labels = images[order], labels[order]
    What to do
        What the gradients say is named: dead (lower the learning rate, change the initialisation), next to nothing in
        the first layers (other activations, normalisation), steps too small to matter (raise the learning rate). Where
        they are as they should be, look at the data: print a few inputs beside their targets.
    Silent on
        A loss that falls, however slowly, or has ever been better; one near a guess of labels that are told from their
        inputs nonetheless, as far as they can be (clicks); a learning rate that still rises; one that has been
        as low as now from the start (fine-tuning) or converged; losses whose chance level is not known (regression);
        noise in which a slow start would not show yet; losses that may rise.
    Known at
        500 rows (fewer where gradients are 0, or the weights have moved far: 300), in the noise of single samples
        thousands; 200 at the end of the run. Thresholds: {thresholds}.
    References
        The loss of a uniform guess is ln C: https://karpathy.github.io/2019/04/25/recipe/
        The trend: least squares over block means (see GS203). Labels of others of the batch: a permutation test (Ojala
        and Garriga, Permutation tests for studying classifier performance, 2010); thresholds in rules/unrelated.py.
    """

    code = "GS204"
    name = "loss-not-decreasing"
    severity = "warning"
    message = "the loss has stayed at {now} since step {since}, {as_good_as}: {why}"

    below: float = 0.01  # of ln C: what has learned a little is no guess,
    above: float = 0.06  # and a network that moves about loses a little
    trend: float = 1.0  # standard errors of the fall over the whole stretch: above, it may be falling
    # rows, and the largest standard error of that fall (of ln C), by what else is known; while it runs, at its end
    rows: tuple[int, int] = (500, 200)
    error: tuple[float, float] = (0.0015, 0.0025)
    rows_moved: tuple[int, int] = (300, 150)
    error_moved: tuple[float, float] = (0.005, 0.01)
    rows_dead: tuple[int, int] = (100, 50)
    error_dead: tuple[float, float] = (0.01, 0.02)
    creeps: float = 0.004  # of the level
    moved: float = 1.0  # sum of all updates, in sizes of the weights
    thrown: float = 3.0  # times its level: a loss that was there before was thrown off by too long steps
    tiny_step: float = 1e-5
    huge_step: float = 0.1
    vanishing: float = 1e-4

    def check(self, record: Record) -> Iterator[Finding]:
        ended = int(record.meta.ended)
        for stream in judged(record):
            if len(stream.rows) < self.rows_dead[ended]:
                continue
            classes = chances(record, stream)
            for course, blocks in stream.courses.items():
                whole = blocks.whole
                chance = next((c for c in classes if self._at_chance(whole, math.log(c))), 0)
                if chance or flat(whole):
                    gradients = look(stream.optimizers)
                    stuck = self._stuck(whole, chance, gradients, ended)
                    if stuck is not None and not self._told(record, stream, stuck, gradients):
                        yield self._finding(record, stream, course, stuck, gradients)
                        break
            else:
                yield from self._unrelated(record, stream, ended)

    def not_judged(self, record: Record) -> str:
        return skipped(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until the newest losses are better than chance, or are not to be judged."""
        stream = record.stream(finding.stream)
        blocks = None if stream is None else stream.courses.get(int(finding.evidence["course"]))
        if stream is None or blocks is None:
            return False
        if finding.evidence["cause"] == "labels":
            return Unrelated().find(record, stream) is None or stream not in judged(record)
        newest = blocks.whole["mean"][-max(4, len(blocks) // 8) :]
        better = len(newest) > 0 and float(newest.mean()) < (1 - self.below) * float(finding.evidence["level"])
        return better or stream not in judged(record)

    def _told(self, record: Record, stream: Stream, stuck: Stuck, gradients: Gradients) -> bool:
        """Whether the labels fit their inputs, and there may be little more to learn: clicks, prices, coins."""
        cause = self._cause(record, stream, gradients, stuck.thrown)[0]
        return cause == "data" and Unrelated().fits(record, stream)

    def _unrelated(self, record: Record, stream: Stream, ended: int) -> Iterator[Finding]:
        """Where the model was told nothing by labels that it saw for the first time, though it has moved far."""
        fit = Unrelated().find(record, stream)
        if fit is None or len(stream.courses) != 1:
            return
        (course, blocks), = stream.courses.items()
        whole, gradients = blocks.whole, look(stream.optimizers)
        least = self.rows_moved[1] if ended else self.rows[0]
        if whole["rows"].sum() < least or not gradients.path > self.moved or not has_peaked(whole):
            return
        now = float(whole["mean"][-max(4, len(blocks) // 8) :].mean())
        stuck = Stuck(int(stream.rows[0]), now, fit.blind)
        if self._cause(record, stream, gradients, 0.0)[0] == "data" and np.isfinite(now):
            yield self._finding(record, stream, course, stuck, gradients, fit)

    def _at_chance(self, blocks: Blocks, level: float) -> bool:
        """The newest half is at chance, and no eighth of the run was better (a cheap look)."""
        means = blocks["mean"]
        if len(means) < 16 or (blocks["count"] == 0).any():
            return False
        newest = means[len(means) // 2 :]
        now, length = float(newest.mean()), len(means) // 8
        low = (1 - self.below) * level - 3 * float(newest.std()) / math.sqrt(length)  # as noise allows
        if not low <= now <= (1 + self.above) * level:
            return False
        eighths = means[len(means) % length :].reshape(-1, length).mean(axis=1)
        return bool(eighths.min() > low)

    def _stuck(self, blocks: Blocks, classes: int, gradients: Gradients, ended: int) -> Stuck | None:
        """Where nothing falls over the stretch since the loss came to its level, or over the newest half of it."""
        if not classes and not gradients.all_dead:
            return None
        means, lr = blocks["mean"], blocks["lr"]
        level = math.log(classes) if classes else float(means[len(means) // 2 :].mean())
        begin = settled(means, (1 + self.above) * level)
        if not has_peaked(blocks, begin):
            return None
        counted = np.flatnonzero(lr >= 0.3 * lr.max())
        counted = counted[counted >= begin]
        thrown = float(means[:begin].max(initial=0.0)) > self.thrown * level
        for part in (counted, counted[len(counted) // 2 :]):
            if len(part) >= 12 and self._stays(blocks, part, level, gradients, thrown, ended):
                high = float(means[:begin].max()) if thrown else 0.0
                return Stuck(int(blocks["row"][begin]), float(means[part].mean()), level, classes, high)
        return None

    def _stays(
        self, blocks: Blocks, part: Array, level: float, gradients: Gradients, thrown: bool, ended: int
    ) -> bool:
        """Whether these blocks are rows enough, and their losses still enough, to say that they do not fall."""
        rows, error, trends = self.rows, self.error, self.trend
        if gradients.path > self.moved:
            rows, error = self.rows_moved, self.error_moved
        if gradients.most_dead or thrown:
            rows, error = self.rows_dead, self.error_dead
        if gradients.most_dead or thrown:
            trends = 2 * self.trend
        if blocks["rows"][part].sum() < rows[ended]:
            return False
        if gradients.all_dead:
            return True
        fall, spread = trend(blocks["mean"][part])
        allowance = 1e-3 if gradients.most_dead else 1e-7  # the last bias still settles
        if ended and gradients.path > self.moved:
            allowance = max(allowance, self.creeps)
        return spread <= error[ended] * level and fall <= max(trends * spread, allowance * level)

    def _finding(
        self,
        record: Record,
        stream: Stream,
        course: int,
        stuck: Stuck,
        gradients: Gradients,
        fit: LabelFit | None = None,
    ) -> Finding:
        optimizer = stream.optimizers[0]
        mine = np.flatnonzero(optimizer.scalars["course"] == course)
        newest = mine[-1] if len(mine) else -1
        cause, why, advice = self._cause(record, stream, gradients, stuck.thrown)
        blind = f"no better than a blind guess among {stuck.classes} classes ({stuck.level:.4g})"
        as_good_as = blind if stuck.classes else "and cannot leave it"
        if fit is not None:
            cause = "labels"
            as_good_as = f"hardly better than with the labels of each batch shuffled ({fit.late_blind:.4g})"
            why = f"{fit.samples} labels that were new fitted their inputs no better than others"
            advice = (Advice(f"{advice[0].text} Was only one of the two shuffled, sorted or filtered?"),)
        return self.finding(
            (stuck.since, int(stream.rows[newest])),
            evidence={
                "since": stuck.since,
                "now": stuck.now,
                "level": stuck.level,
                "classes": stuck.classes,
                "as_good_as": as_good_as,
                "why": why,
                "cause": cause,
                "grad_norm": gradients.norm,
                "step_size": gradients.step,
                "course": course,
            },
            stream=stream.number,
            optimizer=optimizer.number,
            parameters=gradients.dead,
            where=record.site(int(optimizer.scalars["backward_site"][newest])),
            label="this loss",
            advice=advice,
        )

    def _cause(
        self, record: Record, stream: Stream, gradients: Gradients, thrown: float
    ) -> tuple[str, str, tuple[Advice, ...]]:
        """What the gradients support: a word for it, what to say, what to do."""
        optimizer = stream.optimizers[0]
        if gradients.most_dead:
            which = list_names(gradients.dead)
            rates = decade_down(record, optimizer) if thrown else ()
            look_at = Advice("look for units that never fire: a smaller learning rate, another initialisation")
            return "dead", f"the gradient of {which} is exactly 0", (*rates, look_at)
        if thrown:
            why = f"before, too long steps had thrown it up to {thrown:.3g}"
            return "thrown-off", why, decade_down(record, optimizer)
        if gradients.norm < 1e-7:
            advice = Advice("look at what the loss depends on: the outputs no longer depend on the weights")
            return "zero", f"the gradients are all but 0 (|g| = {gradients.norm:.2g})", (advice,)
        if gradients.first < self.vanishing:
            why = f"the first layers get next to nothing ({gradients.first:.1g} of what the last ones get)"
            cure = Advice("normalise between layers, use ReLU-like activations, or a shallower model")
            return "vanishing", why, (cure,)
        if gradients.step < self.tiny_step:
            why = f"each step changes the weights by {gradients.step:.1g} of their size"
            return "tiny-steps", why, (Advice("raise the learning rate: try ten times as much"),)
        if gradients.step > self.huge_step:
            why = f"each step changes the weights by {gradients.step:.2g} of their size"
            return "huge-steps", why, decade_down(record, optimizer)
        if gradients.path > self.moved:
            why = "gradients and steps are of the usual size, so look at the data"
        else:
            why = "nothing is learned yet"
        advice = Advice("print a few inputs beside their targets as the loop gets them: do they belong together?")
        return "data", why, (advice,)
