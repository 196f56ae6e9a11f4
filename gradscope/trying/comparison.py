"""Two runs of one script, compared by their losses at the same steps."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.record.record import Record, Stream, Wiring

Array = npt.NDArray[np.float64]

SHARE = 0.1  # of the steps both have made, the last ones, are compared,
LEAST = 32  # or so many, where that is no more than half of them
BLOCKS = 8
MARGIN = 0.01  # of the level: a smaller difference is none
SMALL = 0.05  # of the level: where it is certain that the difference is smaller, there is none worth a word
_T = {3: 5.84, 4: 4.60, 5: 4.03, 6: 3.71, 7: 3.50}  # Student's t, two-sided 99 %, by degrees of freedom


@dataclass(frozen=True)
class Course:
    """The losses of a run, as they are to be compared: `steps` and `losses` # (any,); NaN and infinities stay."""

    steps: Array
    losses: Array

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Comparison:
    """`verdict`: "helps", "no-help" or "unclear". The losses are means over `window` steps, the last at `step`.

    `alike`: whether both runs began with the same loss, as they do where all that is random has the same seed.
    """

    verdict: str
    why: str
    loss: float
    baseline: float
    window: int
    step: int
    alike: bool


def main_course(record: Record, stream: Stream) -> int:
    """The number of the course (the line and kind of the loss) that most rows belong to; -1: there is none."""
    courses = np.asarray(stream.optimizers[0].scalars["course"])
    known = courses[courses >= 0]
    return int(np.bincount(known).argmax()) if len(known) else -1


def course_of(stream: Stream, number: int) -> Course:
    """The losses of one course of a stream."""
    scalars = stream.optimizers[0].scalars
    mine = (np.asarray(scalars["course"]) == number) & (np.asarray(scalars["wiring"]) & int(Wiring.NO_LOSS) == 0)
    return Course(np.asarray(stream.rows, np.float64)[mine], np.asarray(stream.loss, np.float64)[mine])


def compare(baseline: Course, trial: Course) -> Comparison:
    """Compare the ends of what both runs have, step by step: the same step has seen the same batch in both."""
    steps, ours, theirs = np.intersect1d(baseline.steps, trial.steps, return_indices=True)
    count = len(steps)
    if not count:
        nan = math.nan
        return Comparison("unclear", "the two runs have no step with a loss in common", nan, nan, 0, -1, False)
    window = window_of(count)
    before, after = baseline.losses[ours], trial.losses[theirs]
    alike = bool(before[0] == after[0] or (np.isnan(before[0]) and np.isnan(after[0])))
    before, after = before[-window:], after[-window:]
    verdict, why = _judge(before, after)
    return Comparison(verdict, why, level(after), level(before), window, int(steps[-1]), alike)


def fall(trial: Course) -> Comparison:
    """Compare the end of a run with its own beginning."""
    count = len(trial.losses) // 2
    if not count:
        return Comparison("unclear", "no loss was seen", math.nan, math.nan, 0, -1, True)
    window = window_of(count)
    before, after = trial.losses[:window], trial.losses[-window:]
    verdict, why = _judge(before, after)
    worse = "it does not fall" if verdict == "no-help" else why
    return Comparison(verdict, worse, level(after), level(before), window, int(trial.steps[-1]), True)


def window_of(count: int) -> int:
    """How many of so many steps, the last ones, are compared."""
    return max(1, math.ceil(SHARE * count), min(LEAST, count // 2))


def level(losses: Array) -> float:
    """The mean; not finite where one of them is not."""
    if not len(losses):
        return math.nan
    with np.errstate(over="ignore", invalid="ignore"):
        return float(losses.mean())


def _judge(before: Array, after: Array) -> tuple[str, str]:
    finite = bool(np.isfinite(before).all()), bool(np.isfinite(after).all())
    if finite == (False, True):
        return "helps", "without it the loss is not finite"
    if finite == (True, False):
        return "no-help", "with it the loss is not finite"
    if finite == (False, False):
        return "no-help", "the loss is not finite either way"
    difference = after - before
    if not difference.any():
        return "no-help", "it makes no difference"
    blocks = min(BLOCKS, len(difference))
    if blocks < 4:
        return "unclear", f"{len(difference)} steps are too few to compare"
    with np.errstate(over="ignore", invalid="ignore"):
        mean, sure = _mean(difference, blocks)
        scale = max(abs(float(before.mean())), abs(float(after.mean())))
    certain = abs(mean) > sure
    if not certain and min(before.min(), after.min()) > 0:  # an explosion is noise only on a linear axis
        factor, factor_sure = _mean(np.log(after) - np.log(before), blocks)
        certain = abs(factor) > factor_sure and factor * mean > 0
    if not certain:
        if math.isfinite(sure) and abs(mean) + sure <= SMALL * scale:
            return "no-help", "it makes no difference"
        return "unclear", "the difference is within the noise of these steps"
    if abs(mean) < MARGIN * scale:
        return "no-help", "it makes next to no difference"
    return ("helps", "") if mean < 0 else ("no-help", "the loss is higher with it")


def _mean(values: Array, blocks: int) -> tuple[float, float]:
    """The mean, and how far it may be off, with 99 % certainty: by block means, and as of an autoregressive process
    around a straight line, whichever is more.
    """
    means = np.array([part.mean() for part in np.array_split(values, blocks)])
    error = float(means.std(ddof=1)) / math.sqrt(blocks)
    places = np.arange(len(values)) - (len(values) - 1) / 2
    around = values - values.mean() - places * (places @ values) / (places @ places)
    total = float(around @ around)
    if total > 0:
        lag = min(0.99, max(0.0, float(around[1:] @ around[:-1]) / total))
        error = max(error, math.sqrt(total / len(values) ** 2 * (1 + lag) / (1 - lag)))
    return float(values.mean()), _T[blocks - 1] * error
