"""One run of a problem of problems.py, watched or not, and the learning-rate range test.

`Curve` is what a run's losses say: it does not depend on gradscope, and is what the cache keeps.
"""
from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Callable

import torch
from judging import Alarm
from problems import Problem, Task

import gradscope
from gradscope.findings import Finding

SOURCES = ("samples.py", "networks.py", "problems.py", "training.py")  # what a cached run depends on
AFTER_NAN = 10  # steps that are still trained once the loss is not finite
EVALUATIONS = 5  # in the last tenth, where a problem is judged by held samples


@dataclass(frozen=True)
class Curve:
    """A run's losses, one a step. `first` and `final` are what it is judged by; `final` is inf where it broke down."""

    losses: tuple[float, ...]
    first: float
    final: float


class Loop:
    """A problem's training loop at one learning rate, from the initial state that follows from the seed."""

    def __init__(self, problem: Problem, lr: float, seed: int, scheduled: bool = True) -> None:
        torch.manual_seed(seed)
        self.problem = problem
        self.task: Task = problem.build(seed)
        self.optimizer = problem.optimizer(self.task.model, lr)
        self.scheduler = None
        if scheduled and problem.schedule is not None:
            self.scheduler = problem.schedule(self.optimizer, lr, problem.steps)

    def step(self, number: int) -> float:
        """Train one step; the loss before it."""
        model, parts, total = self.task.model, self.problem.accumulate, 0.0
        self.optimizer.zero_grad()
        for part in range(parts):
            inputs, targets = self.task.batch(number * parts + part)
            loss = self.task.loss(model(inputs), targets)
            if parts > 1:
                loss = loss / parts
            loss.backward()
            total += loss.item()
        if self.problem.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.problem.clip)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return total

    def evaluate(self) -> float:
        """The loss on the held samples."""
        model = self.task.model
        model.eval()
        with torch.no_grad():
            loss: float = self.task.loss(model(self.task.held[0]), self.task.held[1]).item()
        model.train()
        return loss


def train(problem: Problem, lr: float, seed: int, look: Callable[[int], None] = lambda step: None) -> Curve:
    """A whole run; `look(step)` is called after each step."""
    return _train(Loop(problem, lr, seed), look)


def train_watched(problem: Problem, lr: float, seed: int, folder: Path | None = None) -> tuple[Curve, list[Alarm]]:
    """A whole run under `gradscope.watch`, and all that was told."""
    loop, alarms = Loop(problem, lr, seed), dict[str, Alarm]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gradscope.GradscopeWarning)
        with gradscope.watch(loop.task.model, loop.optimizer, log_dir=folder) as scope:
            curve = _train(loop, lambda step: _note(alarms, scope.findings, step))
        _note(alarms, scope.findings, len(curve.losses) - 1)
    return curve, list(alarms.values())


def _train(loop: Loop, look: Callable[[int], None]) -> Curve:
    problem, losses, evaluated = loop.problem, list[float](), list[float]()
    tail = max(1, problem.steps // 10)
    first = loop.evaluate() if problem.evaluate else math.nan
    broken = 0
    for step in range(problem.steps):
        losses.append(loop.step(step))
        look(step)
        left = problem.steps - step - 1
        if problem.evaluate and left < tail and left % max(1, tail // EVALUATIONS) == 0:
            evaluated.append(loop.evaluate())
        broken += not math.isfinite(losses[-1])
        if broken > AFTER_NAN:
            break
    if not problem.evaluate:
        first, evaluated = losses[0], losses[-tail:]
    final = math.inf if broken else sum(evaluated) / len(evaluated)
    return Curve(tuple(losses), first, final if math.isfinite(final) else math.inf)


def _note(alarms: dict[str, Alarm], findings: tuple[Finding, ...], step: int) -> None:
    """Keep each finding as it was when first at its worst: a user who reads warnings acts on them then."""
    for finding in findings:
        known = alarms.get(finding.id)
        at = finding.step if known is None else step  # a row is finished, and judged, when the next one begins
        new = Alarm(finding.code, finding.severity, at, finding.caused_by, _lrs(finding), finding.text)
        if known is None or known.severity == "info" and new.severity != "info":
            alarms[finding.id] = new
        elif known.severity != "info" and new.severity != "info" and not known.lrs and new.lrs:
            alarms[finding.id] = replace(known, lrs=new.lrs)


def _lrs(finding: Finding) -> tuple[tuple[int, float, float], ...]:
    """(group, from, to) of each advice that names a learning rate."""
    values = [advice.values for advice in finding.advice if advice.action == "set-lr" and "to" in advice.values]
    return tuple((int(v.get("group") or 0), float(v.get("from", math.nan)), float(v["to"])) for v in values)


# -- the range test ----------------------------------------------------------------------------------------------------


def range_test(
    problem: Problem, seed: int, low: float = 1e-7, high: float = 10.0, steps: int = 100
) -> dict[str, float]:
    """Learning rates suggested by a run whose rate grows at every step: fastai's `lr_find`, with its defaults.

    Smoothed losses (bias-corrected, beta 0.98), stopped at 4 times the best; the first tenth and the last 5 steps are
    left out. valley: a point in the longest stretch that falls; steepest; minimum: a tenth of where the loss was least.
    Empty where the loss broke down before there was anything to see.
    """
    loop = Loop(problem, low, seed, scheduled=False)
    lrs, losses, average, best = list[float](), list[float](), 0.0, math.inf
    for step in range(steps):
        lr = low * (high / low) ** (step / (steps - 1))
        for group, scale in zip(loop.optimizer.param_groups, problem.scales):
            group["lr"] = lr * scale
        loss = loop.step(step)
        if not math.isfinite(loss):
            break
        average = 0.98 * average + 0.02 * loss
        lrs.append(lr)
        losses.append(average / (1 - 0.98 ** (step + 1)))
        best = min(best, losses[-1])
        if losses[-1] > 4 * best:
            break
    lrs, losses = lrs[steps // 10 : -5], losses[steps // 10 : -5]
    if len(losses) < 3:
        return {}
    slopes = [after - before for before, after in zip(losses, losses[1:])]  # the steps in log(lr) are all the same
    suggestions = {
        "valley": lrs[_valley(losses)],
        "steepest": lrs[slopes.index(min(slopes))],
        "minimum/10": lrs[losses.index(min(losses))] / 10,
    }
    return {name: float(f"{lr:.1e}") for name, lr in suggestions.items()}


def _valley(losses: list[float]) -> int:
    """As in fastai: half of the way through the second third of the longest falling subsequence."""
    lengths, start, end = [1] * len(losses), 0, 0
    for i in range(1, len(losses)):
        lengths[i] = max([lengths[j] + 1 for j in range(i) if losses[i] < losses[j]], default=1)
        if lengths[i] > lengths[end]:
            end, start = i, i - lengths[i]
    third = (end - start) / 3
    return max(0, start) + int(third) + int(third / 2)


# -- the cache ---------------------------------------------------------------------------------------------------------


class Cache:
    """What was trained before: by problem, learning rate and seed, as long as this code and torch stay the same."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        texts = [(Path(__file__).parent / name).read_bytes() for name in SOURCES]
        self._version = hashlib.sha256(b"".join([*texts, torch.__version__.encode()])).hexdigest()[:12]

    def get(self, *key: object) -> Any:
        """What was put in under this key; None where there is nothing."""
        path = self._path(key)
        return None if path is None or not path.exists() else json.loads(path.read_text())

    def put(self, value: Any, *key: object) -> None:
        path = self._path(key)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(value))
            partial.replace(path)

    def curve(self, problem: Problem, lr: float, seed: int) -> Curve:
        """The run's curve; trained where it is not known."""
        known = self.known(problem, lr, seed)
        if known is None:
            known = train(problem, lr, seed)
            self.keep(known, problem, lr, seed)
        return known

    def known(self, problem: Problem, lr: float, seed: int) -> Curve | None:
        value = self.get(problem.name, seed, lr)
        return None if value is None else Curve(tuple(value["losses"]), value["first"], value["final"])

    def keep(self, curve: Curve, problem: Problem, lr: float, seed: int) -> None:
        self.put(asdict(curve), problem.name, seed, lr)

    def suggestions(self, problem: Problem, seed: int) -> dict[str, float]:
        """What the range test suggests."""
        value: dict[str, float] | None = self.get(problem.name, seed, "range")
        if value is None:
            value = range_test(problem, seed)
            self.put(value, problem.name, seed, "range")
        return value

    def _path(self, key: tuple[object, ...]) -> Path | None:
        return None if self._folder is None else self._folder / self._version / f"{'-'.join(map(str, key))}.json"
