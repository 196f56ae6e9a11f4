"""How well gradscope tells that a learning rate is too high or too low, and how good the one it advises is.

python benchmarks/learning_rate.py [--part tuning] [--jobs 2] [--cache DIR] [--json FILE] [--problems A,B] [--runs DIR]
python benchmarks/learning_rate.py --truth-only ...      what the grid says, and the peers, without gradscope

Every problem of problems.py is trained with each learning rate of its grid, at two seeds, under `gradscope.watch()`
with its defaults. Watching does not change the training, so the same runs are the ground truth. The final loss is the
mean over the last tenth of the steps (of the loss on held samples, where the batches' is too noisy); progress
p = (L0 - Lfinal) / (L0 - Lbest). Fine: p >= .85 and (Lfinal <= 1.2 Lbest or p >= .97). Too high: above the best rate,
and not finite or p < .75. Too low: below it, and p < .75. What lies between counts for neither side.

gradscope calls a rate too high where GS301 is an error or a warning, or one of the losses' rules (GS201, GS202, GS203)
is, with the advice of a lower rate. Precision is over the runs that are fine, too high or too low; a step is that of
the first error or warning. Advice: the rate it names is trained, from the same start, and judged by the same measure;
in the second round the advice made in that run is followed, where it is not fine. "given" and "fine" are shares of all
runs that are too high (or too low), those without advice among them. The peers' advice: a tenth of the rate; what
a range test as in fastai suggests. They are asked about each run that truly is too high; gradscope must notice first.

A third of the problems, chosen by the hash of their names, is the untouched part: for `--part untouched` (and `all`) a
line goes into learning_rate.log, so that everybody sees how often it was looked at. `--truth-only` shows nothing of
gradscope and is not logged. To repeat a figure: the same command on the commit that the log names; seeds are fixed,
each run has one thread, and the trainings come out equal on the same machine. What gradscope finds may differ by a
little, since how often it measures depends on how long the steps take. All of it is some 800 seconds of one core; with
`--cache` the unwatched half is trained once, and every watched run must repeat its losses bit for bit.
"""
from __future__ import annotations

import argparse
import datetime
import json
import math
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping, Sequence

import judging
from judging import FINE, HIGH, LOW, Alarm, Run, Truth, Try
from learning_rate_tables import count, report

if TYPE_CHECKING:
    from training import Curve

SEEDS = (0, 1)
PARTS = ("tuning", "untouched", "all")
HERE = Path(__file__).parent
LOG = HERE / "learning_rate.log"


@dataclass(frozen=True)
class Options:
    """How to run: `cache` and `runs` are folders, or None; `watch`: with gradscope."""

    cache: Path | None
    runs: Path | None
    watch: bool


# -- one problem at one seed: every training it takes ------------------------------------------------------------------


class Study:
    """Trains a problem at one seed, each learning rate once, and judges."""

    def __init__(self, name: str, seed: int, options: Options) -> None:
        from problems import PROBLEMS  # torch: only where something is trained
        from training import Cache

        self.problem = next(problem for problem in PROBLEMS if problem.name == name)
        self.seed, self.options, self.cache = seed, options, Cache(options.cache)
        self._bare: dict[float, Curve] = {}
        self._watched: dict[float, tuple[Curve, tuple[Alarm, ...]]] = {}
        curves = {lr: self._watch(lr)[0] if options.watch else self._train(lr) for lr in self.problem.grid}
        self.truth = Truth.of(curves[self.problem.grid[0]].first, {lr: curve.final for lr, curve in curves.items()})

    def runs(self) -> list[Run]:
        """Those of the grid, with all advice tried."""
        return [self._run(lr) for lr in self.problem.grid]

    def _run(self, lr: float) -> Run:
        curve, alarms = self._watch(lr) if self.options.watch else (self._train(lr), ())
        tried = self._try(lr, curve)
        tries: dict[str, tuple[Try, ...]] = {}
        if tried.label in (HIGH, LOW):
            tries = {**self._peers(lr, tried.label), "gradscope": self._follow(alarms)}
        return Run(
            self.problem.name,
            self.problem.adaptive,
            self.seed,
            lr,
            tried.label,
            tried.ratio,
            judging.first_broken(curve.losses),
            judging.first_doubled(curve.losses),
            alarms,
            {who: rounds for who, rounds in tries.items() if rounds},
        )

    def _train(self, lr: float) -> Curve:
        """What its losses are, watched or not."""
        lr = judging.rounded(lr)
        if lr not in self._bare:
            known = self._watched.get(lr)
            self._bare[lr] = self.cache.curve(self.problem, lr, self.seed) if known is None else known[0]
        return self._bare[lr]

    def _watch(self, lr: float) -> tuple[Curve, tuple[Alarm, ...]]:
        """The same, and what gradscope told. What the losses were is compared with an earlier run."""
        from training import train_watched

        if lr not in self._watched:
            runs = self.options.runs
            folder = None if runs is None else runs / f"{self.problem.name}-{lr:g}-{self.seed}"
            curve, alarms = train_watched(self.problem, lr, self.seed, folder)
            known = self.cache.known(self.problem, lr, self.seed)
            if known is None:
                self.cache.keep(curve, self.problem, lr, self.seed)
            elif repr(known) != repr(curve):
                raise RuntimeError(f"{self.problem.name} at {lr:g}, seed {self.seed}: not the losses of the cache")
            self._watched[lr] = curve, tuple(alarms)
        return self._watched[lr]

    def _follow(self, alarms: Iterable[Alarm]) -> tuple[Try, ...]:
        """Two rounds of gradscope's advice."""
        tries: list[Try] = []
        while len(tries) < 2 and not any(one.label == FINE for one in tries):
            lr = judging.advised(alarms, self.problem.scales)
            if lr is None:
                break
            curve, alarms = self._watch(lr)
            tries.append(self._try(lr, curve))
        return tuple(tries)

    def _peers(self, lr: float, label: str) -> dict[str, tuple[Try, ...]]:
        if label == LOW:
            return {"lr x 10": (self._try(10 * lr),)}
        tenths = [self._try(lr / 10)]
        if tenths[0].label == HIGH:
            tenths.append(self._try(lr / 100))
        suggested = self.cache.suggestions(self.problem, self.seed)
        return {"lr / 10": tuple(tenths), **{f"range test, {who}": (self._try(to),) for who, to in suggested.items()}}

    def _try(self, lr: float, curve: Curve | None = None) -> Try:
        lr = judging.rounded(lr)
        final = (curve or self._train(lr)).final
        return Try(lr, self.truth.label(lr, final), final / self.truth.best)


def _study(work: tuple[str, int, Options]) -> list[Run]:
    import torch

    torch.set_num_threads(1)
    name, seed, options = work
    return Study(name, seed, options).runs()


def studied(names: Sequence[str], options: Options, jobs: int) -> Iterator[list[Run]]:
    """The runs of each problem and seed, as they get ready."""
    work = [(name, seed, options) for name in names for seed in SEEDS]
    if jobs == 1:
        yield from map(_study, work)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_study, work)


# -- the command -------------------------------------------------------------------------------------------------------


def commit() -> str:
    """The tree's commit, "+" behind it where something differs; the log itself may."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "..", f":!{LOG.name}")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if changed else "")


def log(tree: str, command: str) -> None:
    """The untouched part is about to be looked at."""
    line = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} {tree} {command}"
    with LOG.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(f"this looks at the untouched part, and is noted in {LOG.name}: {line}", file=sys.stderr)


def plain(value: Any) -> Any:
    """As JSON knows it: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def chosen(parser: argparse.ArgumentParser, part: str, wanted: str | None) -> list[Any]:
    """The problems asked for; one that is not in the part ends the program."""
    from problems import PROBLEMS

    mine = [p for p in PROBLEMS if part == "all" or p.untouched == (part == "untouched")]
    if wanted is None:
        return mine
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in names if name not in [p.name for p in mine]]
    if unknown or not names:
        parser.error(f"no such problem in the part {part}: {', '.join(unknown)} ({', '.join(p.name for p in mine)})")
    return [p for p in mine if p.name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="tuning", help="default: %(default)s")
    parser.add_argument("--problems", metavar="A,B", help="only these")
    parser.add_argument("--truth-only", action="store_true", help="without gradscope: the ground truth and the peers")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each; default: %(default)s")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep what does not depend on gradscope here")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="keep the record of each watched run here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run, with alarms and advice, as JSON")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in the processes
    problems = chosen(parser, given.part, given.problems)
    command, tree = f"learning_rate.py --part {given.part}", commit()
    if given.problems:
        command += f" --problems {given.problems}"
    if not given.truth_only and any(problem.untouched for problem in problems):
        log(tree, command)
    options = Options(given.cache, given.runs, not given.truth_only)
    runs: list[Run] = []
    for some in studied([problem.name for problem in problems], options, given.jobs):
        runs += some
        print(f"{some[0].problem}, seed {some[0].seed}: {count(some)}", file=sys.stderr, flush=True)
    print(report(runs, options.watch))
    if given.json is not None:
        content = {"command": command, "commit": tree, "runs": [plain(asdict(run)) for run in runs]}
        given.json.write_text(json.dumps(content, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
