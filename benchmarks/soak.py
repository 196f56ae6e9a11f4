"""A long run: whether memory and disk stay bounded, and whether a mistake that comes late is still found.

    python benchmarks/soak.py [--steps 1000000] [--fault-at 900000] [--log-dir D]

A tiny loop in a process of its own, watched, written into a new folder in D (without it: one that is removed). From
step --fault-at on, zero_grad is left out: GS101 is to be found then, and not before. Ends with 1 where memory has grown
by more than 16 MiB since a tenth of the steps, more than 512 MiB are on the disk, or GS101 was not found as it should.
"""
from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from worker import memory

MEMORY_BOUND, DISK_BOUND = 16 << 20, 512 << 20  # growth, all
SAMPLES = 20
FAULT = "GS101"
_ROW = "{:>13} {:>12} {:>10} {:>12} {:>10}"


@dataclass(frozen=True)
class Sample:
    """How it stands after so many steps: seconds a step lately, bytes in memory and on disk, gradscope's share."""

    steps: int
    pace: float
    memory: int
    disk: int
    own: float

    def row(self) -> str:
        cells = f"{1e6 * self.pace:.0f}", _mib(self.memory), _mib(self.disk), f"{100 * self.own:.2f} %"
        return _ROW.format(f"{self.steps:,}", *cells)


@dataclass(frozen=True)
class Found:
    """A finding: its code, the first step that it concerns, and the one at which it was told."""

    code: str
    first: int
    told: int


def train(pipe: Connection, steps: int, fault_at: int, folder: str) -> None:
    """Train and send a sample every so often; at the end the findings, and the bytes on disk when all is closed."""
    import torch

    import gradscope

    warnings.filterwarnings("ignore", category=gradscope.GradscopeWarning)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    batches = [(inputs, inputs.sum(1, keepdim=True) + torch.randn(16, 1)) for inputs in torch.randn(64, 16, 8)]
    stops = {max(1, steps * n // SAMPLES) for n in range(1, SAMPLES + 1)}
    scope = gradscope.watch(log_dir=folder)
    start, since = time.perf_counter(), 0
    for step in range(steps):
        inputs, targets = batches[step % 64]
        loss = torch.nn.functional.mse_loss(net(inputs), targets)
        if step < fault_at:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step + 1 in stops:
            pace = (time.perf_counter() - start) / (step + 1 - since)
            held, disk = memory("VmRSS:"), on_disk(folder)
            pipe.send(Sample(step + 1, pace, held, disk, scope.record.meta.overhead or 0.0))
            start, since = time.perf_counter(), step + 1
    scope.close()
    pipe.send(([Found(f.code, f.steps[0], f.step) for f in scope.findings], on_disk(folder)))


def on_disk(folder: str) -> int:
    """Bytes of all files in the folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def soak(steps: int, fault_at: int, folder: str) -> int:
    """Run it, tell how it goes and how it ended; the exit code."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    arguments = (sender, steps, fault_at, folder)
    process = multiprocessing.get_context("spawn").Process(target=train, args=arguments, daemon=True)
    process.start()
    sender.close()
    print(_ROW.format("steps", "us a step", "memory MiB", "disk MiB", "own share"), flush=True)
    samples: list[Sample] = []
    try:
        while isinstance(message := receiver.recv(), Sample):
            samples.append(message)
            print(message.row(), flush=True)
    except EOFError:
        print("The training process ended before its time.")
        return 1
    process.join()
    found, disk = message
    return int(not verdict(steps, fault_at, samples, found, disk))


def verdict(steps: int, fault_at: int, samples: list[Sample], found: list[Found], disk: int) -> bool:
    """Tell how it ended, in sentences; whether all is as it should be."""
    early = next(sample for sample in samples if 10 * sample.steps >= steps)
    growth = samples[-1].memory - early.memory
    print(f"\nMemory: {_mib(early.memory)} MiB after {early.steps:,} steps, {_mib(samples[-1].memory)} MiB at the end.")
    print(f"Disk: {_mib(disk)} MiB, {disk / steps:,.1f} bytes a step.")
    if fault_at < steps:
        print(f"From step {fault_at:,} on, zero_grad was left out.")
    for finding in (finding for finding in found if finding.code != FAULT):
        print(f"Also found: {finding.code}, from step {finding.first:,}, told at step {finding.told:,}.")
    wrong, faults = [], [finding for finding in found if finding.code == FAULT]
    if growth > MEMORY_BOUND:
        wrong.append(f"memory grew by {_mib(growth)} MiB, more than {_mib(MEMORY_BOUND)}")
    if disk > DISK_BOUND:
        wrong.append(f"more than {_mib(DISK_BOUND)} MiB are on the disk")
    for finding in faults:
        print(f"{FAULT} was found at step {finding.told:,}, as being so from step {finding.first:,} on.")
        if fault_at >= steps or finding.told < fault_at:
            wrong.append(f"{FAULT} was told where there was no such fault")
    if fault_at < steps and not faults:
        wrong.append(f"{FAULT} was not found")
    print(f"Not as it should be: {'; '.join(wrong)}." if wrong else "All is as it should be.")
    return not wrong


def _place(log_dir: Path | None) -> AbstractContextManager[str]:
    """A new folder: in `log_dir`, or one that is removed in the end."""
    if log_dir is None:
        return tempfile.TemporaryDirectory(prefix="soak-")
    log_dir.mkdir(parents=True, exist_ok=True)
    return nullcontext(tempfile.mkdtemp(prefix="soak-", dir=log_dir))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Watch a very long run: memory, disk, and a mistake that comes late.")
    parser.add_argument("--steps", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--fault-at", type=int, metavar="STEP", help="default: at nine tenths of the steps")
    parser.add_argument("--log-dir", type=Path, metavar="D", help="default: a folder that is removed")
    given = parser.parse_args()
    fault_at = given.steps * 9 // 10 if given.fault_at is None else given.fault_at
    if given.steps < 100:
        parser.error("--steps must be 100 or more")
    if fault_at < 1:
        parser.error("--fault-at must be 1 or more")
    try:
        place = _place(given.log_dir)
    except OSError as error:
        parser.error(f"{given.log_dir or tempfile.gettempdir()} cannot be written: {error.strerror}")
    with place as folder:
        if given.log_dir is not None:
            print(f"The run is written into {folder}.")
        return soak(given.steps, fault_at, folder)


if __name__ == "__main__":
    sys.exit(main())
