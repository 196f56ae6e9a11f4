"""What each run is by ground truth, and how well alarms and advice did against it: plain numbers, no torch."""
from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Callable, Iterable, Mapping, Sequence

FINE, HIGH, LOW, BETWEEN = "fine", "too high", "too low", "between"
LOSS_RULES = ("GS201", "GS202", "GS203")  # count as detections where they advise a lower learning rate


@dataclass(frozen=True)
class Truth:
    """What the grid of one problem and seed says: the loss at the start, the best one at the end, and its rate."""

    first: float
    best: float
    best_lr: float

    @classmethod
    def of(cls, first: float, finals: Mapping[float, float]) -> Truth:
        """From the final loss at each learning rate (inf where it broke down)."""
        best_lr = min(finals, key=lambda lr: (finals[lr], lr))
        return cls(first, finals[best_lr], best_lr)

    def progress(self, final: float) -> float:
        """1: as good as the best one; 0: as at the start."""
        return (self.first - final) / (self.first - self.best) if math.isfinite(final) else -math.inf

    def label(self, lr: float, final: float) -> str:
        """What a run at `lr` that ended at `final` is. Nothing is told where nothing on the grid has learned."""
        if not self.best < self.first:
            return BETWEEN
        progress = self.progress(final)
        if progress >= 0.85 and (final <= 1.2 * self.best or progress >= 0.97):
            return FINE
        if progress < 0.75 and lr != self.best_lr:
            return HIGH if lr > self.best_lr else LOW
        return BETWEEN


@dataclass(frozen=True)
class Alarm:
    """What gradscope told of one sickness, as it was when first an error or a warning (if ever), at `step`.

    `lrs`: (group, from, to) of the advice.
    """

    code: str
    severity: str
    step: int
    caused_by: str | None
    lrs: tuple[tuple[int, float, float], ...]
    text: str

    @property
    def loud(self) -> bool:
        """Whether it counts against the run."""
        return self.severity != "info"

    @property
    def lowers(self) -> bool:
        """Whether it advises a lower learning rate."""
        return any(to < before for _, before, to in self.lrs)


@dataclass(frozen=True)
class Try:
    """A learning rate that somebody advised, trained and judged; `ratio`: its final loss to the best one."""

    lr: float
    label: str
    ratio: float


@dataclass(frozen=True)
class Run:
    """One run of the grid. `tries`: what was advised by whom, round by round; `broken`, `doubled`: first steps."""

    problem: str
    adaptive: bool
    seed: int
    lr: float
    label: str
    ratio: float
    broken: int | None
    doubled: int | None
    alarms: tuple[Alarm, ...] = ()
    tries: Mapping[str, tuple[Try, ...]] = field(default_factory=dict)


def first_broken(losses: Sequence[float]) -> int | None:
    """The step of the first loss that is not finite."""
    return next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)


def first_doubled(losses: Sequence[float]) -> int | None:
    """The step at which the last three losses lie above twice the first one, or one is not finite."""
    for step, loss in enumerate(losses):
        if not math.isfinite(loss) or step > 1 and min(losses[step - 2 : step + 1]) > 2 * losses[0]:
            return step
    return None


# -- who says that a learning rate is too high, or too low -------------------------------------------------------------


def says_high(alarm: Alarm) -> bool:
    return alarm.loud and (alarm.code == "GS301" or alarm.code in LOSS_RULES and alarm.lowers)


def says_low(alarm: Alarm) -> bool:
    return alarm.loud and alarm.code == "GS302"


Detector = Callable[[Run], "int | None"]  # the step at which it speaks


def by_alarm(matches: Callable[[Alarm], bool]) -> Detector:
    return lambda run: min((alarm.step for alarm in run.alarms if matches(alarm)), default=None)


OWN_HIGH: dict[str, Detector] = {
    "gradscope": by_alarm(says_high),
    "GS301 alone": by_alarm(lambda alarm: alarm.loud and alarm.code == "GS301"),
    "GS301, info too": by_alarm(lambda alarm: alarm.code == "GS301"),
    "any error or warning": by_alarm(lambda alarm: alarm.loud),
}
OWN_LOW: dict[str, Detector] = {
    "GS302": by_alarm(says_low),
    "GS302, info too": by_alarm(lambda alarm: alarm.code == "GS302"),
}
PEERS_HIGH: dict[str, Detector] = {
    "loss not finite": lambda run: run.broken,
    "loss > 2 L0, 3 in a row": lambda run: run.doubled,
}


@dataclass(frozen=True)
class Detection:
    """How a detector did. Runs in between count for neither side; `on_fine` are its false alarms on fine runs."""

    precision: float
    recall: float
    step: float  # the median, of those it was right about
    on_fine: int


def detection(runs: Iterable[Run], detector: Detector, wanted: str) -> Detection:
    """Against all runs that are labelled `wanted`. nan where there is nothing to divide by."""
    flagged = [(run, step) for run in runs if (step := detector(run)) is not None and run.label != BETWEEN]
    right = [step for run, step in flagged if run.label == wanted]
    return Detection(
        share(len(right), len(flagged)),
        share(len(right), sum(run.label == wanted for run in runs)),
        statistics.median(right) if right else math.nan,
        sum(run.label == FINE for run, _ in flagged),
    )


# -- advice ------------------------------------------------------------------------------------------------------------


def advised(alarms: Iterable[Alarm], scales: Sequence[float]) -> float | None:
    """The learning rate that these alarms tell to take, two digits of it; None where they do not.

    GS301 is heard before the rules about losses, an earlier alarm before a later one; GS302 where nothing says "lower".
    The advice for a parameter group is divided by its scale: what counts is the rate that the problem is built with.
    """
    lower = sorted((a.code != "GS301", a.step, a.lrs) for a in alarms if says_high(a) and a.lowers)
    raise_ = sorted((False, a.step, a.lrs) for a in alarms if a.code == "GS302" and a.lrs)
    for _, _, lrs in lower or raise_:
        group, _, to = min(lrs)
        return rounded(to / scales[group if group < len(scales) else 0])
    return None


def rounded(lr: float) -> float:
    """To two digits: so that the same advice is trained once."""
    return float(f"{lr:.1e}")


@dataclass(frozen=True)
class Success:
    """How an adviser did, of all the runs it was to help. `ratio`: the median final loss to the best, of its advice."""

    given: float
    fine_at_once: float
    fine_after_two: float
    better: float
    ratio: float


def success(runs: Sequence[Run], adviser: str) -> Success:
    """Over the runs that need help; those without advice count as not helped."""
    tried = [(run, tries) for run in runs if (tries := run.tries.get(adviser, ()))]
    ratios = [tries[0].ratio for _, tries in tried]
    return Success(
        share(len(tried), len(runs)),
        share(sum(tries[0].label == FINE for _, tries in tried), len(runs)),
        share(sum(FINE in [t.label for t in tries] for _, tries in tried), len(runs)),
        share(sum(tries[0].ratio < run.ratio for run, tries in tried), len(runs)),
        statistics.median(ratios) if ratios else math.nan,
    )


def share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
