"""GS901 overfitting."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from gradscope.findings import Advice, Finding
from gradscope.record.blocks import Blocks, Floats
from gradscope.record.metrics import NONE_LOGGED
from gradscope.record.record import Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged, skipped
from gradscope.rules.validation import Series, logged, main_course, unclear, validation_losses


@dataclass(frozen=True)
class Apart:
    """The validation loss has risen from `best` (at the row `best_at`) to `now` (at `row`), while the training loss
    has fallen from `train_then` to `train_now`. `evaluations` have been made since the best one."""

    best: float
    best_at: int
    now: float
    row: int
    evaluations: int
    train_then: float
    train_now: float
    t: float


@dataclass(frozen=True)
class Overfitting(Rule):
    """The validation loss rises while the training loss falls.

    What it finds
        The best evaluation is `patience` evaluations ago, and a `share` of all. The newest three lie above it by
        `margin` of its level and `of_fall` of what was gained before, and by `t` times what a random walk of the same
        steps would do (with few evaluations, more); it rose from third to third. The training loss has fallen by
        `train_fall` of its level since then, and never rose on the way. Of more than `most` evaluations, neighbours are
        taken together.
    Why it matters
        What the model learns from there on is true of the training samples only: on others it gets worse.
    Sick
        for epoch in range(200):  # 300 samples, 50,000 weights
            train(model, optimizer)
            scope.log(val_loss=validate(model))
    Healed
        for epoch in range(40):  # or: keep the weights of the best epoch, and stop 5 epochs after it
            train(model, optimizer)
            scope.log(val_loss=validate(model))
    What to do
        Stop where the validation loss was best, or keep the weights from there: on the two cases of this project that
        took the test loss from 0.94 to 0.52 and from 1.30 to 0.85. To train on instead: Dropout(0.5) (0.51 and 0.98),
        AdamW with weight_decay=1 (0.63 and 0.76; with 0.1 0.84 and 1.03), or more data.
    Silent on
        Fewer than `least` evaluations; noise of small validation sets; a rise like one that healed before (double
        descent); a best one at a lower learning rate (warm restarts); a training loss that rises too (GS203), or has
        risen on the way (another task, a curriculum, weights made anew); losses that may rise (adversarial ones, of
        reinforcement learning, below zero); parts of a loss ("val/kl_loss"). Info where another validation loss of the
        same model is still falling (two tasks, old classes and new ones).
    Known at
        `patience` evaluations after the best one, and two thirds as many as there were up to it. A validation loss is
        what is given to scope.log(val_loss=...), or to TensorBoard by such a name; else the training's own loss
        function in eval mode without gradients; else what is given to ReduceLROnPlateau. Thresholds: {thresholds}.
    References
        Stopping rules and their price: Prechelt, Early stopping - but when? (Neural Networks: Tricks of the Trade,
        1998). Double descent: Nakkiran et al., arXiv:1912.02292. The thresholds are those of this project's cases.
    """

    code = "GS901"
    name = "overfitting"
    severity = "warning"
    message = (
        "{metric} has risen from {best} (its best, at step {best_at}) to {now} in {evaluations} evaluations, while the "
        "training loss fell from {train_then} to {train_now}"
    )

    least: int = 6  # evaluations
    patience: int = 5  # since the best,
    share: float = 0.4  # and of all
    most: int = 24
    margin: float = 0.15
    of_fall: float = 0.05
    t: float = 2.0
    few: float = 4.0  # evaluations since the best: at so many twice the t is asked for
    near_top: float = 0.6  # of the highest since the best one
    recovered: float = 2.0  # times the largest rise that healed
    train_fall: float = 0.1
    train_rise: float = 0.1
    same: float = 1.1  # of the training loss: what is as low is an evaluation on the training set
    lr_share: float = 0.8  # evaluations at a lower lr than this share of the present one are no standard

    def check(self, record: Record) -> Iterator[Finding]:
        if not record.metrics:
            return
        for stream in judged(record):
            losses = main_course(stream)
            series = validation_losses(record, stream, self.least)
            if losses is None or not series:
                continue
            found = [(one, self.apart(one, losses)) for one in series]
            falling = [one for one, apart in found if apart is None and _at_its_best(one)]
            for one, apart in found:
                if apart is not None:
                    other = [o for o in falling if o.metric.source != "evaluation" or not self._on_training(o, apart)]
                    yield self._finding(record, stream, one, apart, other)

    def not_judged(self, record: Record) -> str:
        if not logged(record):
            return NONE_LOGGED
        return skipped(record) or unclear(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """Once found it stays, until the newest evaluations have come half of the way back."""
        stream = record.stream(finding.stream)
        best, now = float(finding.evidence["best"]), float(finding.evidence["now"])
        for series in () if stream is None else validation_losses(record, stream, self.least):
            if series.metric.number == finding.evidence["series"]:
                return bool(self._readings(series)[1][-1] < (best + now) / 2)
        return False

    def apart(self, series: Series, losses: Blocks) -> Apart | None:
        """How validation and training loss have parted; None where they have not."""
        rows, values = self._readings(series)
        if len(values) < self.least:
            return None
        at = self._best(rows, values, losses)
        since = len(values) - 1 - at
        if since < max(self.patience, self.share * len(values)):
            return None
        best, rise = float(values[at]), float(values[-3:].min() - values[at])
        fall = max(0.0, float(values[: at + 1].max()) - best)
        if not rise > 0 or rise < max(self.margin * abs(best), self.of_fall * fall):
            return None
        if rise < self.near_top * (values[at:].max() - best) or rise < self.recovered * _healed(values):
            return None
        thirds = [float(part.mean()) for part in np.array_split(values[at + 1 :], 3)]
        t = self._t(rise, values[at + 1 :])
        if t < self.t or not thirds[0] < thirds[1] < thirds[2]:
            return None
        train = self._train(losses, float(rows[at]), float(rows[-1]))
        if train is None:
            return None
        now = float(values[-3:].mean())
        later = int((series.row > rows[at]).sum())
        return Apart(best, int(rows[at]), now, int(rows[-1]), later, *train, t)

    def _t(self, rise: float, since: Floats) -> float:
        """The rise in units of what a random walk with such steps would have come to, at the clearest scale.

        Noise that evaluations do not share shrinks as neighbours are taken together; the steps of a walk do not. Steps
        are read off second differences, which no steady rise has a part in; the fewer there are, the less they tell.
        """
        found = []
        for scale in (1, 2, 3, 4):
            count = len(since) // scale
            if count < 4:
                break
            means = since[len(since) - count * scale :].reshape(count, scale).mean(axis=1)
            walk = float(np.sqrt((np.diff(means, 2) ** 2).mean() / 2 * count))
            found.append(rise / walk / (1 + self.few / count) if walk > 0 else np.inf)
        return max(found, default=0.0)

    def _readings(self, series: Series) -> tuple[Floats, Floats]:
        """Rows and values, of many evaluations neighbours together # (at most `most`,)."""
        if len(series) <= self.most:
            return series.row, series.value
        parts = np.array_split(np.arange(len(series)), self.most)
        rows = np.array([series.row[part[len(part) // 2]] for part in parts])
        return rows, np.array([series.value[part].mean() for part in parts])

    def _best(self, rows: Floats, values: Floats, losses: Blocks) -> int:
        """The lowest value, of those at a learning rate that is not lower than the present one."""
        lrs = losses["lr"][np.clip(np.searchsorted(losses["row"], rows, "right") - 1, 0, None)]
        return int(np.argmin(np.where(lrs < self.lr_share * lrs[-1], np.inf, values)))

    def _train(self, losses: Blocks, start: float, stop: float) -> tuple[float, float] | None:
        """The training loss around `start` and before `stop`, where it has fallen all the way; else None."""
        part = (stop - start) / 4
        quarters = [(start + k * part, start + (k + 1) * part) for k in range(4)]
        levels = [_level(losses, *rows) for rows in [(start - part / 4, start + part / 4), *quarters]]
        (then, error), (now, last_error) = levels[0], levels[-1]
        if not then > 0 or not np.isfinite(now):
            return None
        if then - now < max(self.train_fall * then, 3 * float(np.hypot(error, last_error))):
            return None
        if any(level > (1 + self.train_rise) * then + 3 * float(np.hypot(error, e)) for level, e in levels[1:]):
            return None
        return then, now

    def _on_training(self, series: Series, apart: Apart) -> bool:
        """Whether an evaluation that nobody has named must be one on the training set: it is as low as that loss."""
        return bool(series.value[-3:].mean() < self.same * apart.train_now)

    def _finding(
        self, record: Record, stream: Stream, series: Series, apart: Apart, falling: list[Series]
    ) -> Finding:
        metric = series.metric
        place = f"{metric.name} {apart.best:.4g} was best there"
        if falling:
            text = f"stop at step {apart.best_at} only if {metric.name} is what counts: another one is still falling"
            advice: tuple[Advice, ...] = (Advice(text),)
        else:
            values = {"step": apart.best_at, "metric": metric.name, "value": apart.best}
            text = f"stop at step {apart.best_at}, or keep the weights of that step: {place}"
            more = "to train on, add dropout (0.5) or weight decay, or more data"
            advice = (Advice(text, "stop-at", values), Advice(more))
        return self.finding(
            (apart.best_at, apart.row),
            severity="info" if falling else None,
            evidence={
                "metric": metric.name,
                "best": apart.best,
                "best_at": apart.best_at,
                "now": apart.now,
                "evaluations": apart.evaluations,
                "train_then": apart.train_then,
                "train_now": apart.train_now,
                "t": apart.t,
                "source": metric.source,
                "series": metric.number,
                "still_best": [one.metric.name for one in falling],
            },
            stream=stream.number,
            optimizer=stream.optimizers[0].number,
            where=record.site(metric.site),
            label="this validation loss",
            advice=advice,
        )


def _at_its_best(series: Series) -> bool:
    """Whether the lowest value is among the newest third of them."""
    return bool(np.argmin(series.value) >= len(series) - max(2, len(series) // 3))


def _healed(values: Floats) -> float:
    """The largest rise above the best so far, three values long at least, that came down again by 60 %."""
    values = np.minimum(np.minimum(values[:-2], values[1:-1]), values[2:])
    rises = values - np.minimum.accumulate(values)
    lowest_later = np.minimum.accumulate(values[::-1])[::-1]
    return float(rises[values - lowest_later >= 0.6 * rises].max(initial=0.0))


def _level(losses: Blocks, low: float, high: float) -> tuple[float, float]:
    """Mean training loss over the rows in (low, high], and its standard error; NaN where there are none."""
    middle = (losses["row"] + losses["newest"]) / 2
    inside = (middle > low) & (middle <= high) & (losses["count"] > 0)
    if not inside.any():
        nearest = int(np.argmin(np.abs(middle - high))) if len(middle) else -1
        if nearest < 0 or losses["count"][nearest] == 0:
            return np.nan, 0.0
        inside = np.arange(len(middle)) == nearest
    means, weights = losses["mean"][inside], losses["count"][inside]
    steps = np.abs(np.diff(means))  # their median: neither a trend nor a jump has much of a part in it
    error = float(np.median(steps)) / 0.6745 / float(np.sqrt(2 * len(means))) if len(steps) else 0.0
    return float(np.average(means, weights=weights)), error
