"""A training loop in a process of its own, bare or watched, that works when it is its turn."""
from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable

Options = dict[str, Any]  # keyword arguments of `watch`; where there are none: bare
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


@dataclass(frozen=True)
class Block:
    """Some steps in a row: seconds in all, those of the median step, those that gradscope accounts for."""

    steps: int
    whole: float
    typical: float
    own: float

    @property
    def pace(self) -> float:
        """Seconds of the mean step."""
        return self.whole / self.steps


@dataclass(frozen=True)
class Farewell:
    """What a worker knows at its end: gradscope's bill of the run (None: bare), seconds that opening and closing took,
    bytes written, peak memory."""

    bill: float | None
    opening: float
    closing: float
    written: int
    steps: int
    peak: int


class PausedClock:
    """A clock that stands still while its worker waits for its turn: others' blocks are not the loop's time.

    For `time.monotonic`, asked a few times a second. `time.perf_counter` is asked in every step, and must be as
    fast as it is; `forward` moves what gradscope has noted of it instead.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lost, self._since = clock, 0.0, 0.0

    def __call__(self) -> float:
        return self._clock() - self._lost

    def stop(self) -> None:
        self._since = self._clock()

    def go(self) -> float:
        lost = self._clock() - self._since
        self._lost += lost
        return lost


def forward(scope: Any, seconds: float) -> None:
    """gradscope weighs its own time against the loop's: let it believe that so long has not passed."""
    session = scope._session
    session._started += seconds
    session.recorder.rows.passed(seconds)


def work(pipe: Connection, workload: str, options: Options | None, folder: str, before: int, device: str) -> None:
    """Run the blocks of steps that are asked for, until asked for 0; watched from the first of them on.

    `options`: those of `watch`; None: bare. `before`: steps at once, bare, before anything is asked for. An
    accelerator is waited for at the end of each block.
    """
    clock = time.perf_counter
    paused = PausedClock(time.monotonic)
    if options is not None:
        time.monotonic = paused

    import torch
    from workloads import make

    torch.set_num_threads(1)
    torch.set_default_device(device)
    torch.manual_seed(0)
    step = make(workload)
    for _ in range(before):
        step()
    watch: Any = None
    dispatcher: Any = None
    if options is not None:
        import gradscope
        from gradscope.hooks.dispatcher import DISPATCHER

        watch, dispatcher = gradscope.watch, DISPATCHER  # the first use of `watch` imports what it needs

    def own() -> float:
        return 0.0 if dispatcher is None else float(dispatcher.seconds)

    pipe.send(True)
    count, _ = _next(pipe, paused)
    start = clock()
    scope = None if options is None else watch(log_dir=folder, **options)
    opening, steps = clock() - start, 0
    while count:
        spent, moments = own(), [clock()]
        for _ in range(count):
            step()
            moments.append(clock())
        if device != "cpu":
            torch.accelerator.synchronize()
            moments[-1] = clock()
        typical = statistics.median(b - a for a, b in zip(moments, moments[1:]))
        pipe.send(Block(count, moments[-1] - moments[0], typical, own() - spent))
        steps += count
        count, lost = _next(pipe, paused)
        if scope is not None:
            forward(scope, lost)
    start = clock()
    if scope is not None:
        scope.close()
    closing, peak = clock() - start, memory("VmHWM:")
    bill = None if scope is None else scope.record.meta.overhead
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    pipe.send(Farewell(bill, opening, closing, sum(path.stat().st_size for path in files), steps, peak))


def _next(pipe: Connection, clock: PausedClock) -> tuple[int, float]:
    """How many steps to make now, and the seconds that the worker has waited for it."""
    clock.stop()
    try:
        count = int(pipe.recv())
    except EOFError:  # the parent is gone
        raise SystemExit(1) from None
    return count, clock.go()


def memory(field: str) -> int:
    """Bytes that this process holds ("VmRSS:") or has held at the most ("VmHWM:"); where /proc is not there, always the
    latter. `getrusage` would count those of the process it was forked from.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)


class Worker:
    """A worker process, as its parent sees it. `options`: those of `watch`; None: bare."""

    def __init__(self, workload: str, options: Options | None, before: int = 0, device: str = "cpu") -> None:
        os.environ.update(_KEEP_MEMORY)
        context = multiprocessing.get_context("spawn")
        self._name = f"{workload}, {'bare' if options is None else f'watched {options}'}"
        self._folder = tempfile.TemporaryDirectory(prefix="overhead-")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, workload, options, self._folder.name, before, device)
        self._process = context.Process(target=work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def wait(self) -> None:
        """Until its loop is there, so that making it disturbs no block."""
        self._receive()

    def run(self, steps: int) -> Block:
        self._pipe.send(steps)
        block: Block = self._receive()
        return block

    def end(self) -> Farewell:
        self._pipe.send(0)
        farewell: Farewell = self._receive()
        self._process.join()
        self._folder.cleanup()
        return farewell

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            raise SystemExit(f"The worker of {self._name}, ended before its time.") from None
