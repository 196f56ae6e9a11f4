"""How long a big run takes to be opened, read and followed, and what memory that needs: the record behind the tab.

    python benchmarks/board.py [--steps 100000] [--blocks 12] [--experts 16] [--folder F] [--keep]

A run of invented numbers (1,000 parameters by default, every row of it offered to the disk) is written into F (without
it: a folder that is removed; --keep: it stays), but for its last rows. A process of its own opens it, while these rows
are written; what that process holds in memory is read after each line. The files are in the system's cache.
"""
from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable

from made_runs import MadeRun
from worker import memory

from gradscope.record.chunks import META

_LINE = "{:<44} {:>10} {:>12} {:>12}"
_LAST = 500  # rows of each of the two chunks that are written while the run is open


def read(pipe: Connection, folder: Path) -> None:
    """Open the run, read what the tab's first picture needs, and follow it; a line of the table for each."""

    def timed(what: str, action: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = action()
        took = time.perf_counter() - started
        cells = f"{1e3 * took:,.1f} ms", f"{memory('VmRSS:') >> 20} MiB", f"{memory('VmHWM:') >> 20} MiB"
        print(_LINE.format(what, *cells), flush=True)
        return result

    from gradscope.events import Point
    from gradscope.record.run_file import RunFile

    print(_LINE.format("", "time", "memory", "at the most"))
    run = timed("open", lambda: RunFile(folder))
    found = timed("check, and make the record", lambda: run.record).optimizers[0]
    timed("one row", lambda: (found.arrays["state"][len(found.measured) // 2], found.arrays["norm"][-1]))
    timed("norms of gradients before the step", lambda: found.grad_norm(Point.BEFORE_STEP))
    timed("the same again", lambda: found.grad_norm(Point.BEFORE_STEP))
    timed("states before the step", lambda: found.grad_state(Point.BEFORE_STEP))
    timed("norms of weights and updates", lambda: (found.arrays["weight_norm"], found.arrays["update_norm"]))
    timed("refresh, nothing new", run.refresh)
    for _ in range(2):
        pipe.send("more")
        pipe.recv()
        timed("refresh, one chunk more", run.refresh)
        found = timed("the record", lambda: run.record).optimizers[0]
        timed("norms of gradients before the step", lambda: found.grad_norm(Point.BEFORE_STEP))
    print(f"{len(found.rows):,} rows, {len(found.measured):,} of them measured; {len(found.parameters)} parameters")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how a big run is opened, read and followed.")
    parser.add_argument("--steps", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--blocks", type=int, default=12, help="of the model; default: %(default)s")
    parser.add_argument("--experts", type=int, default=16, help="a block; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where the run is written; a run that is there is replaced")
    parser.add_argument("--keep", action="store_true", help="leave the run there")
    given = parser.parse_args()
    if given.folder is not None and given.folder.exists() and not (given.folder / META).is_file():
        parser.error(f"{given.folder} is there, and is no run folder")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="gradscope-board-")) / "run"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        measure(folder, given.steps, given.blocks, given.experts)
    finally:
        if not given.keep:
            shutil.rmtree(folder if given.folder else folder.parent, ignore_errors=True)


def measure(folder: Path, steps: int, blocks: int, experts: int) -> None:
    started = time.perf_counter()
    run = MadeRun(folder, steps, blocks, experts)
    last = max(1, min(_LAST, steps // 4))
    run.write(steps - 2 * last)
    run.flush()
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:,.0f} MB, written in {time.perf_counter() - started:.1f} s")
    context = multiprocessing.get_context("spawn")
    pipe, end = context.Pipe()
    reader = context.Process(target=read, args=(end, folder))
    reader.start()
    end.close()
    try:
        while pipe.recv():
            run.write(last)
            run.flush()
            pipe.send("written")
    except EOFError:  # it failed, and has said why
        pass
    reader.join()
    run.close()


if __name__ == "__main__":
    main()
