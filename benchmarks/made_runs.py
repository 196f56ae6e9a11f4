"""Run folders made of invented numbers, through the writer that real runs use: large ones in seconds."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import numpy.typing as npt

from gradscope.events import GradState, Point, Site
from gradscope.facts.fact import FactLog
from gradscope.facts.learning_rate import Schedule
from gradscope.findings import Advice, Finding
from gradscope.record.chunks import DISK_LIMIT
from gradscope.record.metrics import MetricSums
from gradscope.record.record import Meta, Parameter, Wiring
from gradscope.record.run_folder import RunFolder
from gradscope.record.table import OptimizerTable

Floats = npt.NDArray[np.float32]
WIDTH, VOCABULARY = 256, 32_000
SITES = (Site("/home/user/project/train.py", 61, "main"), Site("/home/user/project/train.py", 64, "main"))
SITES += (Site("/home/user/project/train.py", 66, "main"),)
_BATCH = 128  # rows made together


@dataclass(frozen=True)
class Story:
    """What happens in a run of so many steps: ranges of them."""

    steps: int

    def part(self, start: float, stop: float) -> range:
        """At least one step, from and to these shares of the run."""
        first = int(start * self.steps)
        return range(first, max(first + 1, int(stop * self.steps)))

    @property
    def frozen(self) -> range:
        """The embeddings have no gradient."""
        return self.part(0.0, 0.05)

    @property
    def accumulated(self) -> range:
        """Four backwards a step."""
        return self.part(0.2, 0.25)

    @property
    def stale(self) -> range:
        """zero_grad is left out."""
        return self.part(0.3, 0.305)

    @property
    def not_finite(self) -> range:
        """The loss is NaN, and so are the gradients of the second half of the blocks; then the weights are restored."""
        return self.part(0.4, 0.4005)

    @property
    def dead(self) -> range:
        """The first quarter of the experts of block 3 has gradients that are zero."""
        return self.part(0.6, 1.0)


def parameters(blocks: int = 12, experts: int = 16) -> tuple[Parameter, ...]:
    """Those of a transformer with a mixture of experts in each block (12 and 16: 1,000 of them), in two groups.

    As most people write it: first those with weight decay, then biases and norms.
    """
    found: list[tuple[str, tuple[int, ...]]] = [
        ("embed.tokens.weight=head.decoder.weight", (VOCABULARY, WIDTH)),
        ("embed.positions.weight", (512, WIDTH)),
        ("embed.segments.weight", (2, WIDTH)),
        *_norm("embed.norm"),
    ]
    for block in (f"blocks.{i}" for i in range(blocks)):
        found += _norm(f"{block}.norm1")
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found += _linear(f"{block}.attn.{name}", WIDTH, WIDTH)
        found += _norm(f"{block}.norm2") + _linear(f"{block}.moe.router", WIDTH, experts)[:1]
        found += [(f"{block}.moe.scale", (experts,))]
        found += _linear(f"{block}.adapter.down", WIDTH, 16) + _linear(f"{block}.adapter.up", 16, WIDTH)
        for expert in (f"{block}.moe.experts.{i}" for i in range(experts)):
            found += _linear(f"{expert}.fc1", WIDTH, 4 * WIDTH) + _linear(f"{expert}.fc2", 4 * WIDTH, WIDTH)
    found += _norm("norm") + _linear("head.dense", WIDTH, WIDTH) + _norm("head.norm") + [("head.bias", (VOCABULARY,))]
    found += _linear("value_head.0", WIDTH, WIDTH) + _linear("value_head.2", WIDTH, 1)
    made = [Parameter(name, shape, int(len(shape) < 2), "float32", at) for at, (name, shape) in enumerate(found)]
    return tuple(sorted(made, key=lambda parameter: parameter.group))


def _norm(name: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(f"{name}.weight", (WIDTH,)), (f"{name}.bias", (WIDTH,))]


def _linear(name: str, inputs: int, outputs: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(f"{name}.weight", (outputs, inputs)), (f"{name}.bias", (outputs,))]


class MadeRun:
    """A run of `steps` steps whose every row is offered to its folder, as under `--every 1`; `write` makes the next.

    `limit` is that of the disk. The same arguments give the same rows.
    """

    def __init__(
        self, folder: Path, steps: int = 100_000, blocks: int = 12, experts: int = 16, limit: int = DISK_LIMIT
    ) -> None:
        self.story, self.row = Story(steps), 0
        self.table = OptimizerTable(0, "AdamW", parameters(blocks, experts), 2)
        self._generator = np.random.default_rng(0)
        self._out = RunFolder(folder, print, limit)
        self._meta = Meta("train.py", ("--blocks", str(blocks)), torch="2.15.0", gradscope="0.1.0", budget=0.05)
        self._meta.optimizers, self._meta.strides = ["AdamW"], [(0, 1)]
        self._facts, self._metric = FactLog(), MetricSums(0, "val_loss", "log", (0,), 2)
        names, sizes = [p.name for p in self.table.parameters], [float(np.prod(p.shape)) for p in self.table.parameters]
        self._scale = np.exp(self._generator.normal(-4.0, 0.8, len(names))).astype(np.float32)
        self._weights = (0.05 * np.sqrt(np.array(sizes))).astype(np.float32)
        self._expert = np.full(len(names), -1)  # those of one expert go together
        known: dict[str, int] = {}
        for at, name in enumerate(names):
            if ".experts." in name:
                self._expert[at] = known.setdefault(name.rpartition(".fc")[0], len(known))
        self._experts = max(1, len(known))
        self._embedding = np.array([name.startswith("embed.") for name in names])
        late = {f"blocks.{i}" for i in range(blocks // 2, blocks)}
        self._late = np.array([".".join(name.split(".")[:2]) in late for name in names])
        dead = tuple(f"blocks.{min(3, blocks - 1)}.moe.experts.{i}." for i in range(max(1, experts // 4)))
        self._dead = np.array([name.startswith(dead) for name in names])
        self._out.described(self.table)

    def write(self, rows: int) -> None:
        """Make so many rows (fewer where the run ends before)."""
        stop = min(self.row + rows, self.story.steps)
        while self.row < stop:
            steps = np.arange(self.row, min(stop, self.row + _BATCH))
            measured = list(self._arrays(steps))
            columns = self.table.extend(list(self._scalars(steps)), measured)
            self._out.rows(self.table, columns, list(enumerate(measured)))
            for name in ("steps", "reached"):
                self.table.counters[name] += len(steps)
            self.row = self._meta.rows = self._meta.backwards = int(steps[-1]) + 1
            for step in steps[steps % max(1, self.story.steps // 100) == 0].tolist():
                self._out.metric(self._metric, step, 2.0 + 6.0 * np.exp(-4.0 * step / self.story.steps))
            self._tell()
            if self._out.due():
                self.flush()

    def flush(self, status: str = "running") -> None:
        """Write what waits as a chunk."""
        self._meta.status = status
        self._out.flush([self.table], SITES, ((0,),), self._facts, self._meta, last=status != "running")

    def close(self, status: str = "finished") -> None:
        """The end of the run."""
        self._meta.exit_code, self._meta.overhead = 0, 0.012
        self.flush(status)
        self._out.close()

    # -- rows -------------------------------------------------------------------------------------------------------

    def _lr(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Warm-up, then half a cosine."""
        share = steps / self.story.steps
        return np.where(share < 0.02, share / 0.02, 0.5 + 0.5 * np.cos(np.pi * share)) * 3e-4

    def _scalars(self, steps: npt.NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
        story = self.story
        losses = 2.0 + 8.0 * np.exp(-5.0 * steps / story.steps) + self._generator.normal(0.0, 0.05, len(steps))
        for row, loss, rate in zip(steps.tolist(), losses.tolist(), self._lr(steps).tolist()):
            loss = float("nan") if row in story.not_finite else loss
            wiring = Wiring.STATISTICS | Wiring.SOME_MISSING | (Wiring.OLD_INSIDE if row in story.stale else 0)
            cleared = -1 if row in story.stale else 0
            backwards = 4 if row in story.accumulated else 1
            yield (row, loss, loss, 0, 1.0, backwards, int(wiring), cleared, 1, 2, 1.0, [rate, rate])

    def _arrays(self, steps: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
        story, count, draw = self.story, len(steps), self._generator
        norms = draw.standard_normal((count, len(self._scale)), np.float32)
        norms *= 0.3
        np.exp(norms, out=norms)
        norms *= self._scale * (1.0 + 4.0 * np.exp(-8.0 * steps[:, None] / story.steps)).astype(np.float32)
        among = {name: _among(steps, getattr(story, name))[:, None] for name in _EPISODES}
        norms[among["stale"] & np.ones_like(norms, np.bool_)] *= 30.0
        missing = (draw.random((count, self._experts)) < 0.1)[:, self._expert] & (self._expert >= 0)
        missing |= among["frozen"] & self._embedding
        zero = among["dead"] & self._dead & ~missing
        norms[zero] = 0.0
        norms[among["not_finite"] & self._late] = np.nan
        norms[(steps == int(0.55 * story.steps))[:, None] & self._late] = np.inf
        norms[missing] = np.nan
        total = np.sqrt(np.nansum(np.where(np.isfinite(norms), norms, 0.0) ** 2, axis=1, keepdims=True))
        clipped = norms * np.minimum(1.0, 1.0 / np.maximum(total, 1e-12))
        made = np.where(among["accumulated"], np.uint8(GradState.ACCUMULATED), np.uint8(GradState.FRESH))
        made = np.where(among["stale"], np.uint8(GradState.STALE), made)
        made = np.where(zero, np.uint8(GradState.ZERO), np.where(missing, np.uint8(GradState.NONE), made))
        used = np.where(np.isin(made, (GradState.FRESH, GradState.ACCUMULATED)), np.uint8(GradState.STALE), made)
        weights = self._weights * (1.0 + 0.5 * steps[:, None] / story.steps).astype(np.float32)
        updates = 2e-2 * clipped * (self._lr(steps) / 3e-4)[:, None].astype(np.float32) * self._weights
        for i, row in enumerate(steps.tolist()):
            state = np.zeros((len(Point), len(self._scale)), np.uint8)
            norm = np.full(state.shape, np.nan, np.float32)
            if row not in story.stale:
                state[Point.BEFORE_ZERO_GRAD], norm[Point.BEFORE_ZERO_GRAD] = used[i - 1], clipped[i - 1]
                state[Point.AFTER_ZERO_GRAD] = GradState.NONE
            state[Point.AFTER_BACKWARD], norm[Point.AFTER_BACKWARD] = made[i], norms[i]
            state[Point.BEFORE_STEP], norm[Point.BEFORE_STEP] = made[i], clipped[i]
            state[Point.AFTER_STEP], norm[Point.AFTER_STEP] = used[i], clipped[i]
            update = updates[i] if row < 32 or row % 16 == 0 else np.full(len(self._scale), np.nan, np.float32)
            yield {"row": row, "state": state, "norm": norm, "weight_norm": weights[i], "update_norm": update}

    # -- what is said of it -----------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Findings as they would come, and the schedule."""
        story, row, rate = self.story, self.row, {"scheduler": "LambdaLR", "variable": "scheduler", "explicit": False}
        self._facts.add(Schedule(row, 0, calls=row, steps=row, settings={}, site=SITES[2], **rate))  # type: ignore
        late = tuple(p.name for p, hit in zip(self.table.parameters, self._late) if hit)
        dead = tuple(p.name for p, hit in zip(self.table.parameters, self._dead) if hit)
        seen = (
            (story.stale, "GS101", "missing-zero-grad", "error", (), "gradients still contain all the earlier ones"),
            (story.not_finite, "GS401", "gradient-not-finite", "error", late, "gradients are NaN"),
            (story.not_finite, "GS201", "loss-not-finite", "error", (), "the loss is NaN"),
            (story.dead, "GS404", "gradient-all-zero", "warning", dead, "gradients are exactly 0 step after step"),
        )
        for when, code, name, severity, which, message in seen:
            if row > when.start:
                steps = when.start, min(row, when.stop) - 1
                cause = "GS401" if code == "GS201" else None
                advice = (Advice("call optimizer.zero_grad() before line 64"),) if code == "GS101" else ()
                where, about = SITES[1], {"parameters": which, "advice": advice, "caused_by": cause, "optimizer": 0}
                self._out.finding(
                    Finding(code, name, severity, message, steps, where=where, step=when.start, **about)  # type: ignore
                )


_EPISODES = frozenset(name for name, value in vars(Story).items() if isinstance(value, property))


def _among(steps: npt.NDArray[np.int64], which: range) -> npt.NDArray[np.bool_]:
    return (steps >= which.start) & (steps < which.stop)


def make_run(folder: Path, steps: int = 100_000, blocks: int = 12, experts: int = 16, limit: int = DISK_LIMIT) -> None:
    """A whole run that has finished."""
    run = MadeRun(folder, steps, blocks, experts, limit)
    run.write(steps)
    run.close()
