"""Loops that several processes run together, sick and healthy ones: `python -m tests.replicas <folder> <loops...>`.

Each rank writes what it found to `<folder>/<rank>.json` before it leaves: gloo aborts now and then when a process ends.
"""
from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler

import gradscope
from gradscope.facts.ranks import RanksCompared, ShardedNorms

STEPS = 13


class Place:
    """What a loop is told: who it is, the scope it is watched by, and what it left behind."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.exact: list[list[float]] = []

    def saw(self, norms: list[float]) -> None:
        """Gradient norms of a step, measured in an obvious way."""
        self.exact.append(norms)


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


def copies_are_reduced(me: Place) -> None:
    """The average is made of clones, and nobody uses it."""
    model = net()

    def reduced(step: int) -> None:
        for p in model.parameters():
            assert p.grad is not None
            dist.all_reduce(p.grad.clone())

    train(me, model, after_backward=reduced)


def parts(me: Place, steps: int = 12) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of the rank's part of the data."""
    x = torch.randn(steps * 8 * me.world, 4, generator=torch.Generator().manual_seed(5))
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    sampler: DistributedSampler[Any] = DistributedSampler(data, me.world, me.rank)
    yield from torch.utils.data.DataLoader(data, 8, sampler=sampler)


def on_its_part(me: Place, seed: int = 0) -> nn.Module:
    """Each rank takes its part of the data, and trains alone; the losses are put together for the log."""
    model = net(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for x, y in parts(me):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        dist.all_reduce(torch.tensor([loss.item(), 8.0]))
    return model


def no_wrapper(me: Place) -> None:
    on_its_part(me)


SICK = {
    past_the_wrapper: "GS802",
    a_nudge: "GS801",
    other_rates: "GS801",
    a_parameter_less: "GS801",
    one_rank_keeps_its_own: "GS802",
    one_forgotten: "GS802",
    copies_are_reduced: "GS802",
    no_wrapper: "GS802",
    other_starts: "GS801",
}

# -- healthy ----------------------------------------------------------------------------------------------------------


def replicas(me: Place) -> None:
    train(me, DistributedDataParallel(net()))


def unwatched(me: Place) -> None:
    """Two trainings of replicas, with and without: the same to the bit."""
    ends = []
    for watched_too in (True, False):
        model = DistributedDataParallel(net())
        with contextlib.nullcontext() if watched_too else gradscope.pause():
            train(me, model, torch.optim.Adam(model.parameters(), lr=0.01))
        ends.append([p.detach().clone() for p in model.parameters()])
        ends.append([torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(ends[0] + ends[1], ends[2] + ends[3]))


def by_hand(me: Place) -> None:
    model = net()
    train(me, model, after_backward=lambda step: reduce(model.parameters(), me.world))


def accumulation(me: Place) -> None:
    """Three backwards under no_sync, the fourth one reduces."""
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(4 * STEPS):
        x, y = batch(me, step)
        with contextlib.nullcontext() if step % 4 == 3 else model.no_sync():
            (nn.functional.mse_loss(model(x), y) / 4).backward()
        if step % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()


def average(model: nn.Module, world: int) -> None:
    for p in model.parameters():
        dist.all_reduce(p.data)
        p.data /= world


def local_sgd(me: Place) -> None:
    """Replicas that step by themselves under no_sync and are averaged each seventh step."""
    model = DistributedDataParallel(net())

    def averaged(step: int) -> None:
        if step % 7 == 6:
            average(model, me.world)

    train(me, model, around=lambda step: model.no_sync(), after_step=averaged)


def local_sgd_by_hand(me: Place) -> None:
    """The same without a wrapper."""
    model = net()

    def averaged(step: int) -> None:
        if step % 4 == 3:
            average(model, me.world)

    train(me, model, after_step=averaged)


def averaged_at_the_end(me: Place) -> None:
    """Each rank trains on its part of the data, and only the last models are averaged."""
    average(on_its_part(me), me.world)


def own_seeds_and_parts(me: Place) -> None:
    """An ensemble: other starts, on other parts of the data."""
    on_its_part(me, seed=me.rank)


def post_local_sgd(me: Place) -> None:
    """Torch's own: reduced for five steps, within the rank alone from then on."""
    from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook

    alone = [dist.new_group([rank]) for rank in range(me.world)]
    model = DistributedDataParallel(net())
    model.register_comm_hook(PostLocalSGDState(None, alone[me.rank], start_localSGD_iter=5), post_localSGD_hook)
    train(me, model)


def own_trainings(me: Place) -> None:
    """A search over learning rates and seeds: no replicas."""
    model = net(seed=me.rank)
    train(me, model, torch.optim.SGD(model.parameters(), lr=0.02 * (1 + me.rank)))


def own_rates(me: Place) -> None:
    """The same start and the same data, another learning rate each."""
    model = net()
    train(Place(0, me.world), model, torch.optim.SGD(model.parameters(), lr=0.02 * (1 + me.rank)))


def parts_of_a_model(me: Place) -> None:
    """By hand: each rank holds its part of a layer, made from the same seed; what all hold is reduced."""
    torch.manual_seed(0)
    part, shared = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(x: torch.Tensor) -> torch.Tensor:
        mine: torch.Tensor = shared(part(x).tanh())
        total = mine.detach().clone()
        dist.all_reduce(total)
        return mine + (total - mine).detach()

    train(
        me, nn.ModuleList([part, shared]), call=forward,
        after_backward=lambda step: reduce(shared.parameters(), me.world),
    )  # fmt: skip


def sharded_optimizer(me: Place) -> None:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = DistributedDataParallel(net())
    train(me, model, ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.Adam, lr=0.01))


def sharded_parameters(me: Place) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh, model = init_device_mesh("cpu", (me.world,)), net()
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)

    def whole(step: int) -> None:
        me.saw([p.grad.full_tensor().norm().item() for p in model.parameters()])  # type: ignore[union-attr, operator]

    train(me, model, after_backward=whole)


def tensor_parallel(me: Place) -> None:
    """Two layers are shared out among the ranks, the last one is not: both kinds of parameters in one optimizer."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh, model = init_device_mesh("cpu", (me.world,)), net()
    parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    train(Place(0, me.world), model)


def uneven_data(me: Place) -> None:
    model = DistributedDataParallel(net())
    with model.join():
        train(me, model, steps=STEPS - 4 * me.rank)


def uneven_epochs(me: Place) -> None:
    """Rank 1 has more data: from the second epoch on, each step of its is another one than rank 0's of the number."""
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(2):
        with model.join():
            train(me, model, optimizer, steps=STEPS + 2 * me.rank)


def two_players(me: Place) -> None:
    generator, critic = DistributedDataParallel(net(1)), DistributedDataParallel(net(2)[2:])
    first = torch.optim.Adam(generator.parameters(), lr=0.001)
    second = torch.optim.Adam(critic.parameters(), lr=0.001)
    judged = nn.Linear(1, 16).requires_grad_(False)
    for step in range(STEPS):
        x, _ = batch(me, step)
        made = judged(generator(x))
        second.zero_grad()
        (critic(made.detach()).mean() - critic(torch.ones(8, 16)).mean()).backward()
        second.step()
        first.zero_grad()
        (-critic(made).mean()).backward()
        first.step()


def tuned_apart(me: Place) -> None:
    """After the training each rank tunes the module inside of the wrapper on data of its own."""
    model = DistributedDataParallel(net())
    train(me, model, torch.optim.SGD(model.parameters(), lr=0.05))
    train(me, model.module, torch.optim.SGD(model.parameters(), lr=0.01))


def frozen_and_normed(me: Place) -> None:
    """A frozen part that differs, BatchNorm's running averages, and the EMA of each rank's own."""
    inner = nn.Sequential(net()[:4], nn.BatchNorm1d(16), nn.Linear(16, 1))
    for p in inner[0][0].parameters():
        p.requires_grad_(False)
    model = DistributedDataParallel(inner, broadcast_buffers=False)
    with torch.no_grad():
        model.module[0][0].bias += me.rank
    train(me, model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05))


def a_pause_on_one(me: Place) -> None:
    """Rank 0 stops watching for three steps."""
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    train(me, model, optimizer, steps=5)
    with gradscope.pause() if me.rank == 0 else contextlib.nullcontext():
        train(me, model, optimizer, steps=3)
    train(me, model, optimizer, steps=10)


def by_closure(me: Place) -> None:
    """As Lightning steps: backward runs inside of the step."""
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(STEPS):
        x, y = batch(me, step)

        def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)


HEALTHY = (
    replicas, unwatched, by_hand, accumulation, local_sgd, local_sgd_by_hand, post_local_sgd, own_trainings, own_rates,
    parts_of_a_model, sharded_optimizer, sharded_parameters, tensor_parallel, uneven_data, uneven_epochs,
    two_players, tuned_apart, frozen_and_normed, a_pause_on_one, by_closure, averaged_at_the_end, own_seeds_and_parts,
)  # fmt: skip

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
        "exact": me.exact,
        "shards": [vars(e.newest) for e in scope.record.facts.of(ShardedNorms)],
        "place": (scope.record.meta.rank, scope.record.meta.world),
    }


def deaths(me: Place, folder: Path) -> None:
    """Trainings of three ranks' own. Rank 1 is killed in its fifth step, rank 0 leaves with the store, rank 2 goes on.

    They are watched by the same names as replicas would be, and nobody waits for another one.
    """
    model, done = net(), folder / "0.json"

    def dies(step: int) -> None:
        if me.rank == 1 and step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        while me.rank == 2 and step == 10 and not done.exists():
            time.sleep(0.05)

    with gradscope.watch(ignore=("GS2", "GS3", "GS4")) as scope:
        train(me, model, steps=40 if me.rank == 0 else 203, after_step=dies)
    facts = [vars(e.newest) for e in scope.record.facts.of(RanksCompared)]
    told = {"findings": [f.text for f in scope.findings], "steps": scope.record.meta.rows, "compared": facts}
    told |= {"skipped": scope.diagnose().skipped, "sum": float(sum(p.sum() for p in model.parameters()))}
    part = folder / f"{me.rank}.part"
    part.write_text(json.dumps(told))
    part.rename(folder / f"{me.rank}.json")
    os._exit(0)


def main(folder: Path, names: list[str]) -> None:
    dist.init_process_group("gloo")
    me = Place(dist.get_rank(), dist.get_world_size())
    found = {}
    if names == ["deaths"]:
        deaths(me, folder)
    for name in names:
        found[name] = watched(globals()[name], Place(me.rank, me.world))
        (folder / f"{me.rank}.json").write_text(json.dumps(found, default=str))
    dist.barrier()
    os._exit(0)


def launch(folder: Path, world: int, names: Sequence[str], timeout: float = 600) -> list[dict[str, Any]]:
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
