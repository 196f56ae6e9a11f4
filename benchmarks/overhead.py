"""What watching costs: the same loops bare and watched, in turns.

    python benchmarks/overhead.py [--workloads W1b1,params:1e6] [--sides "control,watch()"] [--rounds N] [--warm STEPS]
                                    [--device cuda]
    python benchmarks/overhead.py --from-start STEPS [--launches N]   the first rows too: what a short run costs

gradscope's hooks are process-wide, so each side is a process of its own, on one thread. They work in turns, never two
at a time: bare, one side, bare, another side, bare, ... Each block of a side is divided by the mean of the two bare
blocks beside it, so that whatever else is going on meets both. A second bare process, the control, shows what such a
ratio is when there is nothing to see. Where a process happens to lie in memory makes it faster or slower throughout: so
workers are launched several times, and glibc is told to keep the memory it was given (else one process takes 2,000 page
faults a step and the next one 6,000, 12 % apart at batch 64). The ratio of typical (median) steps is steadier on a busy
day, but knows nothing of what is rare: rows measured one in many, rules, flushes.

The table: milliseconds of the typical bare or watched step; the ratio of blocks and that of typical steps, medians with
quartiles; what gradscope accounts for as its own, of the loop's time: of the median block with quartiles, of all blocks
together (what is rare falls into few), and of the whole run, as told to the user (the bill); bytes written a step, over
the whole run; the bare process's peak of memory, and what the others hold beyond it; what watch() and close() take.
With --from-start a "block" is a whole run of that many steps, and the bill is of nearly the same steps.
"""
from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import dataclass, field
from typing import Mapping, Sequence

from worker import Block, Farewell, Options, Worker

SIDES: dict[str, Options | None] = {
    "control": None,
    "watch()": {},
    "watch(every=1)": {"every": 1},
    "watch(budget=0)": {"budget": 0},
}
BEFORE_START = 5  # bare steps: what torch itself does once
FIRST_STEPS = 40  # past the first rows, which are always measured
WARM_STEPS, WARM_SECONDS = 600, 20.0  # whichever is less
_COLUMNS = (
    *("loop", "side", "ms a step", "ratio to bare", "95 % of its median", "typical steps", "accounted", "in all"),
    *("bill", "bytes a step", "peak MB", "open + close ms"),
)


@dataclass(frozen=True)
class Plan:
    """How to measure: `rounds` blocks of a side, in `launches` of the workers, of about `seconds` each.

    `warm`: steps before (None: `warm_steps`). `from_start`: whole runs of so many steps instead, one a launch.
    On another `device` a block ends when it has done its work.
    """

    rounds: int = 24
    seconds: float = 0.5
    launches: int = 3
    warm: int | None = None
    from_start: int | None = None
    device: str = "cpu"

    def warm_steps(self, typical: float) -> int:
        """Steps before the first block, where one takes `typical` seconds."""
        return max(FIRST_STEPS, min(WARM_STEPS, int(WARM_SECONDS / typical))) if self.warm is None else self.warm


Turn = tuple[Block, Block, Block]  # a side's block between the bare ones beside it


@dataclass
class Series:
    """One side, measured several times against the bare blocks beside it."""

    blocks: list[Block] = field(default_factory=list)
    typical: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    typical_ratios: list[float] = field(default_factory=list)
    accounted: list[float] = field(default_factory=list)
    farewells: list[Farewell] = field(default_factory=list)

    def add(self, turns: Sequence[Turn]) -> None:
        """What these turns say together is one measurement."""
        blocks = [block for _, block, _ in turns]
        bare = sum(block.steps * (before.pace + after.pace) / 2 for before, block, after in turns)
        self.blocks += blocks
        self.typical.append(statistics.median(block.typical for block in blocks))
        self.ratios.append(sum(block.whole for block in blocks) / bare)
        self.typical_ratios.append(statistics.median(2 * b.typical / (x.typical + y.typical) for x, b, y in turns))
        self.accounted.append(share(blocks))

    @property
    def own(self) -> float:
        """Seconds of each step that gradscope accounts for, what is rare included."""
        return sum(block.own for block in self.blocks) / sum(block.steps for block in self.blocks)

    @property
    def peak(self) -> float:
        """The most MB that a process held; the median of the launches."""
        return statistics.median(farewell.peak for farewell in self.farewells) / 2**20

    def row(self, label: str, bare: Series) -> str:
        """A line of the table."""
        farewells, peaks = self.farewells, f"{self.peak:.0f}"
        if self is not bare:
            peaks = f"{round(self.peak - bare.peak):+d}"
        cells = [
            label,
            f"{1e3 * statistics.median(self.typical):.3f}",
            spread(self.ratios),
            interval(self.ratios),
            spread(self.typical_ratios),
        ]
        bills = [f.bill for f in farewells if f.bill is not None]
        if bills:
            opened = statistics.median(f.opening for f in farewells), statistics.median(f.closing for f in farewells)
            cells += [
                f"{spread([100 * a for a in self.accounted], 2)} %",
                f"{100 * share(self.blocks):.2f} %",
                f"{100 * statistics.median(bills):.2f} %",
                f"{sum(f.written for f in farewells) / sum(f.steps for f in farewells):,.0f}",
                peaks,
                " + ".join(f"{1e3 * seconds:.1f}" for seconds in opened),
            ]
        else:
            cells += [*"----", peaks, "-"]
        return f"| {' | '.join(cells)} |"


def measure(
    workload: str, plan: Plan, sides: Mapping[str, Options | None], one_side_at_a_time: bool = False
) -> dict[str, Series]:
    """Run one workload bare and on all sides, in turns; the results by side, those of "bare" among them."""
    results = {"bare": Series(), **{side: Series() for side in sides}}
    for _ in range(plan.launches):
        for present in [[side] for side in sides] if one_side_at_a_time else [list(sides)]:
            _launch(workload, plan, {side: sides[side] for side in present}, results)
    return results


def _launch(workload: str, plan: Plan, sides: Mapping[str, Options | None], results: Mapping[str, Series]) -> None:
    before = 0 if plan.from_start is None else BEFORE_START
    bare = Worker(workload, None, before, plan.device)
    others = {side: Worker(workload, options, before, plan.device) for side, options in sides.items()}
    for worker in (bare, *others.values()):
        worker.wait()
    last = bare.run(BEFORE_START)
    if plan.from_start is None:
        warm = plan.warm_steps(last.typical)
        for worker in (*others.values(), bare) if warm else ():
            last = worker.run(warm)
    steps = max(1, round(plan.seconds / last.typical))
    last = bare.run(steps)
    counts = [steps] * math.ceil(plan.rounds / plan.launches)
    if plan.from_start is not None:
        counts = [min(steps, plan.from_start - done) for done in range(0, plan.from_start, steps)]
    turns: dict[str, list[Turn]] = {side: [] for side in ("bare", *others)}
    for count in counts:
        for side, worker in others.items():
            block, after = worker.run(count), bare.run(steps)
            turns[side].append((last, block, after))
            turns["bare"].append((last, after, last))  # against the bare block before it alone
            last = after
    for side, taken in turns.items():
        for together in [taken] if plan.from_start is not None else [[turn] for turn in taken]:
            results[side].add(together)
    for side, worker in (("bare", bare), *others.items()):
        results[side].farewells.append(worker.end())


def share(blocks: Sequence[Block]) -> float:
    """What gradscope accounts for, of the loop's own time."""
    own = sum(block.own for block in blocks)
    return own / (sum(block.whole for block in blocks) - own)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median, with quartiles."""
    low, middle, high = statistics.quantiles([*values, *values][: max(2, len(values))], n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def interval(values: Sequence[float]) -> str:
    """Where the median lies, with 95 % confidence: by order statistics, whatever the distribution. "-": too few."""
    ordered, n = sorted(values), len(values)
    rank, tail = -1, 0.0  # tail: the chance that at most `rank` of the values lie below the median
    while (tail := tail + math.comb(n, rank + 1) / 2**n) <= 0.025:
        rank += 1
    return "-" if rank < 0 else f"{ordered[rank]:.3f}-{ordered[n - 1 - rank]:.3f}"


def head(columns: Sequence[str]) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how to measure; `plan_of` reads them."""
    parser.add_argument("--rounds", type=int, default=24, help="blocks of each side; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.5, help="about what a block takes; default: %(default)s")
    parser.add_argument("--device", default="cpu", help="where to train; default: %(default)s")
    parser.add_argument("--launches", type=int, default=3, help="times workers are started; default: %(default)s")
    parser.add_argument(
        "--warm",
        type=int,
        metavar="STEPS",
        help=f"steps before the first block; default: {WARM_STEPS} or {WARM_SECONDS:.0f} s, at least {FIRST_STEPS}",
    )


def plan_of(given: argparse.Namespace, parser: argparse.ArgumentParser, from_start: int | None = None) -> Plan:
    """The plan that the command line asks for; what makes no sense ends the program."""
    if given.rounds < 1 or given.launches < 1 or not given.seconds > 0:
        parser.error("--rounds and --launches must be 1 or more, --seconds above 0")
    if given.warm is not None and given.warm < 0:
        parser.error("--warm must be 0 or more")
    if from_start is not None and (from_start < 1 or given.warm is not None):
        parser.error("--from-start must be 1 step or more, and goes without --warm")
    return Plan(given.rounds, given.seconds, given.launches, given.warm, from_start, given.device)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what watching a training loop costs.")
    parser.add_argument("--workloads", help="comma-separated; default: all, W1b1 to W6")
    parser.add_argument("--sides", default=",".join(SIDES), help="comma-separated; default: %(default)s")
    add_options(parser)
    parser.add_argument("--from-start", type=int, metavar="STEPS", help="measure whole runs of so many, one a launch")
    given = parser.parse_args()
    from workloads import WORKLOADS, find  # torch; workers read this file too, and are to import it when they are ready

    plan = plan_of(given, parser, given.from_start)
    names = [name for name in given.workloads.split(",") if name] if given.workloads else list(WORKLOADS)
    chosen = [side.strip() for side in given.sides.split(",") if side.strip()]
    if unknown := [side for side in chosen if side not in SIDES]:
        parser.error(f"no such side: {', '.join(unknown)} (there are {', '.join(SIDES)})")
    if not chosen:
        parser.error(f"--sides names none (there are {', '.join(SIDES)})")
    try:
        workloads = {name: find(name) for name in names}
    except ValueError as error:
        parser.error(str(error))
    print(head(_COLUMNS), flush=True)
    for name, workload in workloads.items():
        results = measure(name, plan, {side: SIDES[side] for side in chosen}, workload.one_side_at_a_time)
        for side, series in results.items():
            print(series.row(f"{name} | {side}", results["bare"]), flush=True)


if __name__ == "__main__":
    main()
