"""What gradscope costs before the first step, and after the last: imports, watch(), `gradscope run` of next to nothing.

    python benchmarks/startup.py [--rounds N] [--what import,watch,run]

Imports and runs are timed in fresh processes, those with and without gradscope in turns. `import gradscope` itself does
little: what it needs is imported with the first use of `gradscope.watch`, which is timed with it.
"""
from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Sequence

from overhead import head, spread

_IMPORT_TORCH = "import time; a = time.perf_counter(); import torch; print(time.perf_counter() - a)"
_IMPORT_BOTH = (
    "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); import gradscope; "
    "c = time.perf_counter(); gradscope.watch; d = time.perf_counter(); print(d - a, c - b, d - b)"
)
_PROGRAM = """\
import sys
import torch

model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(int(sys.argv[1])):
    loss = model(torch.randn(4, 8)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
STEPS = (0, 10)
PARTS = ("import", "watch", "run")


def import_times(rounds: int) -> tuple[list[float], list[float], list[float], list[float]]:
    """Seconds in fresh processes, in turns.

    Importing torch alone; torch, gradscope and its `watch`; of that the parts of gradscope alone and with `watch`.
    """
    times: tuple[list[float], ...] = ([], [], [], [])
    for _ in range(rounds):
        for program, lists in ((_IMPORT_TORCH, times[:1]), (_IMPORT_BOTH, times[1:])):
            done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
            for values, seconds in zip(lists, map(float, done.stdout.split())):
                values.append(seconds)
    return times[0], times[1], times[2], times[3]


def watch_times(pipe: Connection, rounds: int) -> None:
    """Send the seconds that watch() and watch(model, optimizer) take where 1,000 tensors are trained, oldest first."""
    import torch

    import gradscope

    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(500)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    times: list[list[float]] = [[], []]
    watch = gradscope.watch
    for _ in range(rounds + 1):
        for arguments, values in zip(((), (model, optimizer)), times):
            start = time.perf_counter()
            scope = watch(*arguments)
            values.append(time.perf_counter() - start)
            scope.close()
    pipe.send(times)


def run_times(rounds: int, steps: int) -> tuple[list[float], list[float]]:
    """Seconds that whole processes take, in turns: a script that trains so many steps, and `gradscope run` of it."""
    times: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        script = Path(folder, "train.py")
        script.write_text(_PROGRAM, encoding="utf-8")
        program = [str(script), str(steps)]
        watched = ["-m", "gradscope", "run", "--log-dir", str(Path(folder, "runs")), *program]
        for turn in range(rounds + 1):  # the first warms the disk's cache
            for arguments, values in zip((program, watched), times):
                start = time.perf_counter()
                done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{done.stderr}\n{' '.join(arguments)} ended with {done.returncode}")
                if turn:
                    values.append(time.perf_counter() - start)
    return times


def line(label: str, seconds: Sequence[float], digits: int = 0) -> None:
    """One line of the table."""
    print(f"| {label} | {spread([1e3 * s for s in seconds], digits)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what gradscope costs before the first step.")
    parser.add_argument("--rounds", type=int, default=20, help="processes of each kind; default: %(default)s")
    parser.add_argument("--what", default=",".join(PARTS), help="comma-separated; default: %(default)s")
    given = parser.parse_args()
    parts = [part for part in given.what.split(",") if part]
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if not parts or set(parts) - set(PARTS):
        parser.error(f"--what is some of {','.join(PARTS)}, not {given.what}")
    print(head(("what", "ms")), flush=True)
    if "import" in parts:
        alone, both, bare, part = import_times(given.rounds)
        line("import torch", alone)
        line("import gradscope, after torch", bare, 1)
        line("the same, and gradscope.watch", part)
        beyond = statistics.median(both) - statistics.median(alone)
        print(f"| the same, by difference of whole imports | {1e3 * beyond:.0f} |", flush=True)
    if "watch" in parts:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=watch_times, args=(sender, given.rounds))
        process.start()
        sender.close()
        try:
            everything, model = receiver.recv()
        except EOFError:
            raise SystemExit("The process that was to time watch() ended before its time.") from None
        process.join()
        print(f"| the first watch() of a process | {1e3 * everything[0]:.0f} |")
        line("watch(), 1,000 tensors", everything[1:], 2)
        line("watch(model, optimizer), 1,000 tensors", model[1:], 2)
    for steps in STEPS if "run" in parts else ():
        plain, watched = run_times(given.rounds, steps)
        line(f"python train.py, {steps} steps", plain)
        line(f"gradscope run train.py, {steps} steps", watched)
        line("the difference, pair by pair", [b - a for a, b in zip(plain, watched)])


if __name__ == "__main__":
    main()
