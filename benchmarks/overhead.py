"""What watching costs: the same loops bare and watched, in turns.

    python benchmarks/overhead.py [--workloads W1b1,W2] [--rounds N] [--seconds S]

gradscope's hooks are process-wide, so each side is a process of its own, on one thread. They work in turns, never two
at a time: bare, one side, bare, another side, bare, ... Each block of a side is divided by the mean of the two bare
blocks beside it, so that whatever else is going on meets both. A second bare process, the control, shows what such a
ratio is when there is nothing to see. Where a process happens to lie in memory makes it faster or slower throughout: so
workers are launched several times, and glibc is told to keep the memory it was given (else one process takes 2,000 page
faults a step and the next one 6,000, 12 % apart at batch 64). The ratio of typical (median) steps is steadier on a busy
day, but knows nothing of what is rare: rows measured one in many, rules, flushes.
"""
from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable, Sequence

Options = dict[str, Any]  # keyword arguments of `watch`; where there are none: bare
SIDES: dict[str, Options | None] = {"control": None, "watch()": {}, "watch(every=1)": {"every": 1}}
WARM_STEPS = 72  # past the first rows, which are always measured, and two choices of the sampling stride
_IMPORT_TORCH = "import time; a = time.perf_counter(); import torch; print(time.perf_counter() - a)"
_IMPORT_BOTH = (
    "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); import gradscope; "
    "c = time.perf_counter(); print(c - a, c - b)"
)
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
_COLUMNS = "loop|side|ms a step|ratio to bare|95 % of its median|typical steps|accounted|bill|bytes a step|peak MB"
_HEAD = f"| {_COLUMNS.replace('|', ' | ')} |\n{'|---' * 10}|"


# -- a worker ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """Some steps in a row: seconds in all, those of the median step, those that gradscope accounts for."""

    whole: float
    typical: float
    own: float


@dataclass(frozen=True)
class Farewell:
    """What a worker knows at its end: gradscope's bill of the run (None: bare), bytes written, peak memory."""

    bill: float | None
    written: int
    steps: int
    peak: int


class PausedClock:
    """A clock that stands still while its worker waits for its turn.

    gradscope weighs its own time against the loop's; the others' blocks are not the loop's.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lost, self._since = clock, 0.0, 0.0

    def __call__(self) -> float:
        return self._clock() - self._lost

    def stop(self) -> None:
        self._since = self._clock()

    def go(self) -> None:
        self._lost += self._clock() - self._since


def work(pipe: Connection, workload: str, options: Options | None, folder: str) -> None:
    """Run the blocks of steps that are asked for, until asked for 0. `options`: those of `watch`; None: bare."""
    clock = time.perf_counter
    clocks = [PausedClock(time.perf_counter), PausedClock(time.monotonic)]
    if options is not None:
        time.perf_counter, time.monotonic = clocks

    import torch
    from workloads import WORKLOADS

    import gradscope
    from gradscope.hooks.dispatcher import DISPATCHER

    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = WORKLOADS[workload].make()
    scope = None if options is None else gradscope.watch(log_dir=folder, **options)
    steps = 0
    while count := _next(pipe, clocks):
        own, moments = DISPATCHER.seconds, [clock()]
        for _ in range(count):
            step()
            moments.append(clock())
        typical = statistics.median(b - a for a, b in zip(moments, moments[1:]))
        pipe.send(Block(moments[-1] - moments[0], typical, DISPATCHER.seconds - own))
        steps += count
    if scope is not None:
        scope.close()
    bill = None if scope is None else scope.record.meta.overhead
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    pipe.send(Farewell(bill, sum(path.stat().st_size for path in files), steps, peak_memory()))


def _next(pipe: Connection, clocks: Sequence[PausedClock]) -> int:
    for clock in clocks:
        clock.stop()
    count = int(pipe.recv())
    for clock in clocks:
        clock.go()
    return count


def peak_memory() -> int:
    """The most bytes this process ever held. `getrusage` would count those of the process it was forked from."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)


class Worker:
    """A worker process, as its parent sees it."""

    def __init__(self, workload: str, options: Options | None) -> None:
        os.environ.update(_KEEP_MEMORY)
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory(prefix="overhead-")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, workload, options, self._folder.name), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, steps: int) -> Block:
        self._pipe.send(steps)
        block: Block = self._pipe.recv()
        return block

    def end(self) -> Farewell:
        self._pipe.send(0)
        farewell: Farewell = self._pipe.recv()
        self._process.join()
        self._folder.cleanup()
        return farewell


# -- the parent -------------------------------------------------------------------------------------------------------


@dataclass
class Series:
    """One side's blocks, against the bare ones beside them."""

    typical: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    typical_ratios: list[float] = field(default_factory=list)
    accounted: list[float] = field(default_factory=list)
    farewells: list[Farewell] = field(default_factory=list)

    def add(self, before: Block, block: Block, after: Block) -> None:
        self.typical.append(block.typical)
        self.ratios.append(2 * block.whole / (before.whole + after.whole))
        self.typical_ratios.append(2 * block.typical / (before.typical + after.typical))
        self.accounted.append(block.own / (block.whole - block.own))

    def row(self, label: str, watched: bool) -> str:
        """A line of the table."""
        (low, high), farewells = interval(self.ratios), self.farewells
        shares = bills = written = "-"
        if watched:
            shares = f"{100 * statistics.median(self.accounted):.2f} %"
            bills = f"{100 * statistics.median(f.bill or 0.0 for f in farewells):.2f} %"
            written = f"{sum(f.written for f in farewells) / sum(f.steps for f in farewells):,.0f}"
        cells = [
            label,
            f"{1e3 * statistics.median(self.typical):.3f}",
            spread(self.ratios),
            f"{low:.3f}-{high:.3f}",
            spread(self.typical_ratios),
            shares,
            bills,
            written,
            f"{max(f.peak for f in farewells) / 2**20:.0f}",
        ]
        return f"| {' | '.join(cells)} |"


def measure(workload: str, rounds: int, seconds: float, launches: int) -> dict[str, Series]:
    """Run one workload on all sides, in turns; `seconds` is about what a block takes."""
    results = {"bare": Series(), **{side: Series() for side in SIDES}}
    steps = 0
    for _ in range(launches):
        bare = Worker(workload, None)
        others = {side: Worker(workload, options) for side, options in SIDES.items()}
        warm = bare.run(WARM_STEPS)
        steps = steps or max(1, round(seconds * WARM_STEPS / warm.whole))
        for worker in (bare, *others.values()):
            worker.run(max(WARM_STEPS, steps))
        before = bare.run(steps)
        for _ in range(math.ceil(rounds / launches)):
            for side, worker in others.items():
                block, after = worker.run(steps), bare.run(steps)
                results[side].add(before, block, after)
                results["bare"].add(before, after, before)  # against the bare block before it alone
                before = after
        for side, worker in (("bare", bare), *others.items()):
            results[side].farewells.append(worker.end())
    return results


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median, with quartiles."""
    low, middle, high = statistics.quantiles([*values, *values][: max(2, len(values))], n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the median lies, with 95 % confidence: by order statistics, whatever the distribution."""
    ordered, n = sorted(values), len(values)
    rank = max(0, math.floor((n - 1.96 * math.sqrt(n)) / 2))
    return ordered[rank], ordered[n - 1 - rank]


def import_times(rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds in fresh processes, in turns: importing torch alone; torch and gradscope; gradscope's part of that."""
    alone: list[float] = []
    both: list[float] = []
    part: list[float] = []
    for _ in range(rounds):
        for program, lists in ((_IMPORT_TORCH, (alone,)), (_IMPORT_BOTH, (both, part))):
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
            for values, seconds in zip(lists, map(float, done.stdout.split())):
                values.append(seconds)
    return alone, both, part


def watch_times(pipe: Connection, rounds: int) -> None:
    """Send the seconds that watch() and watch(model, optimizer) take where 1,000 tensors are trained."""
    import torch

    import gradscope

    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(500)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for arguments, values in zip(((), (model, optimizer)), times):
            start = time.perf_counter()
            scope = gradscope.watch(*arguments)
            values.append(time.perf_counter() - start)
            scope.close()
    pipe.send(times)


def main() -> None:
    names = ("W1b1", "W1b64", "W2", "W3", "W4")
    parser = argparse.ArgumentParser(description="Measure what watching a training loop costs.")
    parser.add_argument("--workloads", default=",".join(names), help="comma-separated; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=24, help="blocks of each side; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.5, help="about what a block takes; default: %(default)s")
    parser.add_argument("--launches", type=int, default=3, help="times workers are started; default: %(default)s")
    arguments = parser.parse_args()
    chosen = [name for name in arguments.workloads.split(",") if name]
    if unknown := set(chosen) - set(names):
        parser.error(f"no such workload: {', '.join(sorted(unknown))} (there are {', '.join(names)})")
    if arguments.rounds < 1 or arguments.launches < 1 or arguments.seconds <= 0:
        parser.error("rounds and launches must be 1 or more, seconds above 0")
    print(_HEAD, flush=True)
    for name in chosen:
        series = measure(name, arguments.rounds, arguments.seconds, arguments.launches)
        for side, results in series.items():
            print(results.row(f"{name} | {side}", SIDES.get(side) is not None), flush=True)
    alone, both, part = ([1e3 * t for t in times] for times in import_times(arguments.rounds))
    beyond = statistics.median(both) - statistics.median(alone)
    print(f"\nimport gradscope after torch: {spread(part, 0)} ms; by difference of whole imports: {beyond:.0f} ms")
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=watch_times, args=(sender, arguments.rounds))
    process.start()
    everything, given = ([1e3 * t for t in times] for times in receiver.recv())
    process.join()
    print(f"1,000 tensors: watch() {spread(everything, 1)} ms; watch(model, optimizer) {spread(given, 1)} ms")


if __name__ == "__main__":
    main()
