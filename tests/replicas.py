"""Loops that several processes run together, sick and healthy ones: `python -m tests.replicas <folder> <loops...>`.

Each rank writes what it found to `<folder>/<rank>.json` before it leaves: gloo aborts now and then when a process ends.
"""
from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gradscope

STEPS = 24


class Place:
    """What a loop is told: who it is, the scope it is watched by, and what it left behind."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


def batch(me: Place, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(1000 * step + me.rank)
    x = torch.randn(8, 4, generator=drawn)
    return x, x.sum(1, keepdim=True)


def train(
    me: Place,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    call: Callable[[torch.Tensor], torch.Tensor] | None = None,
    steps: int = STEPS,
    after_backward: Callable[[int], None] = lambda step: None,
    after_step: Callable[[int], None] = lambda step: None,
    around: Callable[[int], Any] = lambda step: contextlib.nullcontext(),
) -> None:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(steps):
        x, y = batch(me, step)
        optimizer.zero_grad()
        with around(step):
            nn.functional.mse_loss((call or model)(x), y).backward()
        after_backward(step)
        optimizer.step()
        after_step(step)


def reduce(parameters: Iterator[torch.Tensor] | list[torch.Tensor], world: int) -> None:
    for p in parameters:
        assert p.grad is not None
        dist.all_reduce(p.grad.data)
        p.grad /= world


# -- sick -------------------------------------------------------------------------------------------------------------


def past_the_wrapper(me: Place) -> None:
    model = DistributedDataParallel(net())
    train(me, model, call=model.module)


def a_nudge(me: Place) -> None:
    model = DistributedDataParallel(net())

    def nudge(step: int) -> None:
        if me.rank == 1 and step == 6:
            with torch.no_grad():
                model.module[2].weight[3, 5] += 1e-6

    train(me, model, after_step=nudge)


def other_rates(me: Place) -> None:
    model = DistributedDataParallel(net())
    train(me, model, torch.optim.Adam(model.parameters(), lr=0.001 * (1 + me.rank)))


def a_parameter_less(me: Place) -> None:
    model = DistributedDataParallel(net())
    parameters = list(model.parameters())
    train(me, model, torch.optim.SGD(parameters[: len(parameters) - me.rank], lr=0.05))


def one_rank_keeps_its_own(me: Place) -> None:
    model = net()

    def reduced(step: int) -> None:
        for p in model.parameters():
            assert p.grad is not None
            result = p.grad if me.rank == 0 else p.grad.clone()
            dist.all_reduce(result)

    train(me, model, after_backward=reduced)


def one_forgotten(me: Place) -> None:
    model = net()
    train(me, model, after_backward=lambda step: reduce(list(model.parameters())[:-2], me.world))


def other_starts(me: Place) -> None:
    model = net(seed=me.rank)
    train(me, model, after_backward=lambda step: reduce(model.parameters(), me.world))


SICK = {
    past_the_wrapper: "GS802",
    a_nudge: "GS801",
    other_rates: "GS801",
    a_parameter_less: "GS801",
    one_rank_keeps_its_own: "GS802",
    one_forgotten: "GS802",
    other_starts: "GS801",
}

# -- healthy ----------------------------------------------------------------------------------------------------------


def replicas(me: Place) -> None:
    train(me, DistributedDataParallel(net()))


def by_hand(me: Place) -> None:
    model = net()
    train(me, model, after_backward=lambda step: reduce(model.parameters(), me.world))


HEALTHY = (replicas, by_hand)

# -- running them -----------------------------------------------------------------------------------------------------


def watched(loop: Callable[[Place], None], me: Place) -> dict[str, Any]:
    with gradscope.watch(ignore=("GS2", "GS3", "GS4")) as scope:
        loop(me)
        dist.barrier()
    return {
        "findings": [(f.code, f.severity, f.caused_by, f.text, f.parameters, f.evidence) for f in scope.findings],
        "skipped": scope.diagnose().skipped,
        "metrics": {m.name: m.value.tolist() for m in scope.record.metrics},
        "facts": [repr(e.newest) for e in scope.record.facts.entries.values() if "Ranks" in type(e.newest).__name__],
        "place": (scope.record.meta.rank, scope.record.meta.world),
    }


def main(folder: Path, names: list[str]) -> None:
    dist.init_process_group("gloo")
    me = Place(dist.get_rank(), dist.get_world_size())
    found = {}
    for name in names:
        found[name] = watched(globals()[name], me)
    (folder / f"{me.rank}.json").write_text(json.dumps(found, default=str))
    dist.barrier()
    os._exit(0)


def launch(folder: Path, world: int, names: Sequence[str], timeout: float = 240) -> list[dict[str, Any]]:
    """Run loops in so many processes; what each rank found, by loop. Nothing for ranks that left no word."""
    for _ in range(3):  # somebody else may have taken the port, and gloo may have given up
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
        command = [sys.executable, "-W", "ignore", "-m", "tests.replicas", str(folder), *names]
        common["OMP_NUM_THREADS"] = "1"
        ranks = [subprocess.Popen(command, env={**common, "RANK": str(rank)}) for rank in range(world)]
        for process in ranks:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout)
            process.kill()
        files = [folder / f"{rank}.json" for rank in range(world)]
        if any(file.exists() for file in files):
            break
    return [json.loads(file.read_text()) if file.exists() else {} for file in files]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
