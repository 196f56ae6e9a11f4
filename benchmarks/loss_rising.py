"""How often GS203 cries wolf, and how soon it sees a rise: on made losses, judged when the rules would judge them.

python benchmarks/loss_rising.py alarms [--rows 1e5] [--streams 20] [--first 0]   false alarms on healthy losses
python benchmarks/loss_rising.py delay  [--rows 2e4] [--streams 20]   rows from a rise to the finding

A healthy stream is a level (flat, or falling like a power law) times a noise of mean 1. Seeds follow from the names, so
every figure can be had again.
"""
from __future__ import annotations

import argparse
import sys
from typing import Iterator

import numpy as np
import numpy.typing as npt

from gradscope.diagnosis import Cadence
from gradscope.record.blocks import BlockSums
from gradscope.rules.loss.loss_rising import LossRising
from gradscope.rules.rising import Rise

Floats = npt.NDArray[np.float64]


def correlated(rows: int, phi: float, rng: np.random.Generator) -> Floats:
    """AR(1) noise of variance 1."""
    noise = rng.normal(size=rows) * np.sqrt(1 - phi * phi)
    noise[0] = rng.normal()
    for row in range(1, rows):
        noise[row] += phi * noise[row - 1]
    return np.asarray(noise)


def noise(kind: str, rows: int, rng: np.random.Generator) -> Floats:
    """Multiplicative noise of mean 1."""
    fine = 1 + rng.uniform(0.02, 0.5) * rng.normal(size=rows)
    phase = np.arange(rows) / int(10 ** rng.uniform(1, np.log10(rows / 3))) + rng.random()
    if kind == "gaussian":
        return fine
    if kind == "lognormal":
        sigma = rng.choice([0.3, 1.0, 1.5, 2.0])
        return np.exp(sigma * rng.normal(size=rows) - sigma**2 / 2)
    if kind == "student-t":
        tail = np.abs(rng.standard_t(rng.choice([2.0, 2.5, 3.0, 4.0]), size=rows))
        return np.asarray(tail / tail.mean())
    if kind == "pareto":
        tail = rng.pareto(rng.choice([1.5, 2.0, 3.0]), size=rows) + 1
        return np.asarray(tail / tail.mean())
    if kind.startswith("AR(1) "):
        sigma = rng.uniform(0.05, 0.5)
        return np.exp(sigma * correlated(rows, float(kind[6:]), rng) - sigma**2 / 2)
    if kind == "same order":  # each epoch the same batches
        sigma = rng.uniform(0.1, 1.5)
        epoch = np.exp(sigma * rng.normal(size=int(10 ** rng.uniform(1, np.log10(rows / 3)))) - sigma**2 / 2)
        return np.resize(epoch, rows) * np.exp(0.1 * rng.normal(size=rows))
    if kind == "sawtooth 10 %":  # falls within each epoch, and jumps back
        return fine + rng.uniform(0.02, 0.1) * (0.5 - phase % 1)
    if kind == "sine 10 %":
        return fine + rng.uniform(0.01, 0.05) * np.sin(2 * np.pi * phase)
    if kind == "sine 50 %":  # beyond what a rule can tell from a rise before one period is over
        return fine + rng.uniform(0.1, 0.25) * np.sin(2 * np.pi * phase)
    if kind == "spikes":
        hit = rng.random(rows) < 10 ** rng.uniform(-4, -2)
        return np.where(hit, fine * 10 ** rng.uniform(0, 3, size=rows), fine)
    if kind == "spikes that heal":
        for start in np.flatnonzero(rng.random(rows) < 10 ** rng.uniform(-4, -3)):
            length = int(10 ** rng.uniform(0.5, 2))
            bump = rng.uniform(0.5, 5) * np.exp(-np.arange(5 * length) / length)
            fine[start : start + 5 * length] += bump[: len(fine) - start]
        return fine
    raise ValueError(kind)


NOISES = (
    "gaussian", "lognormal", "student-t", "pareto", "AR(1) 0.9", "AR(1) 0.99", "AR(1) 0.999", "same order",
    "sawtooth 10 %", "sine 10 %", "spikes", "spikes that heal", "sine 50 %",
)  # fmt: skip


def healthy(kind: str, falling: bool, rows: int, seed: int) -> Floats:
    """One healthy stream of losses."""
    rng = np.random.default_rng([seed, NOISES.index(kind), falling, rows])
    level = np.ones(rows)
    if falling:
        floor = rng.uniform(0.1, 0.8)
        level = floor + (2.3 - floor) / (1 + np.arange(rows) / (rows * 10 ** rng.uniform(-3, -0.5)))
    return np.maximum(level * noise(kind, rows, rng) * 10 ** rng.uniform(-2, 2), 1e-9)


def findings(losses: Floats, rule: LossRising) -> Iterator[tuple[int, Rise]]:
    """The rows at which the rule speaks, judged at the cadence of a run."""
    sums, cadence = BlockSums(), Cadence()
    for row, loss in enumerate(losses):
        sums.append(row, float(loss), 0.1)
        if cadence.due(row + 1):
            rise = rule.rise(sums.view())
            if rise is not None:
                yield row, rise


def alarms(rows: int, streams: int, first: int) -> None:
    """The table of false alarms."""
    total = alarmed = 0
    print(f"| noise | streams of {rows:,} rows | alarmed | first at row |\n|---|---|---|---|")
    for kind in NOISES:
        hits = []
        for seed in range(first, first + streams):
            for falling in (False, True):
                found = next(findings(healthy(kind, falling, rows, seed), LossRising()), None)
                hits += [] if found is None else [found[0]]
        print(f"| {kind} | {2 * streams} | {len(hits)} | {', '.join(map(str, sorted(hits)[:8]))} |", flush=True)
        if kind != "sine 50 %":
            total, alarmed = total + 2 * streams * rows, alarmed + len(hits)
    print(f"\n{alarmed} alarms in {total:,} rows, without the last line")


def delay(rows: int, streams: int) -> None:
    """The table of delays: a loss of level 1 that rises from half of the rows on, at once or over a fifth of them."""
    sizes, spreads = (0.2, 0.3, 0.5, 1.0, 3.0), (0.05, 0.3, 1.0, 3.0)
    print("| rise | noise (sd / level) | " + " | ".join(f"+{size:.0%}" for size in sizes) + " |")
    print("|---|---|" + "---|" * len(sizes))
    for name, ramp in (("at once", 1), ("over a fifth of the run", rows // 5)):
        for spread in spreads:
            cells = []
            for size in sizes:
                delays = []
                for seed in range(streams):
                    rng = np.random.default_rng([seed, int(100 * size), int(100 * spread), ramp])
                    shape = 1 / spread**2
                    level = 1 + size * np.clip((np.arange(rows) - rows // 2) / ramp, 0, 1)
                    losses = level * rng.gamma(shape, 1 / shape, size=rows)
                    found = next(findings(losses, LossRising()), None)
                    delays.append(np.inf if found is None else found[0] - rows // 2)
                seen = np.isfinite(delays).sum()
                middle = np.median(delays)
                cells.append(f"{middle:,.0f}" if seen == streams else f"{seen} of {streams} seen")
            print(f"| {name} | {spread:g} | " + " | ".join(cells) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("alarms", "delay"))
    parser.add_argument("--rows", type=float, default=0)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    if given.what == "alarms":
        alarms(int(given.rows or 1e5), given.streams, given.first)
    else:
        delay(int(given.rows or 2e4), given.streams)
    return 0


if __name__ == "__main__":
    sys.exit(main())
