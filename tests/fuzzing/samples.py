"""Runs as they are recorded, to be damaged: of one process, and of three, the last of which has been killed."""
from __future__ import annotations

import os
import traceback
from pathlib import Path

Files = dict[str, bytes]  # by their paths in a run folder


def record(place: Path) -> tuple[Files, Files]:
    """The files of a run folder of one process, and those of one with ranks. A fork imports torch, this process not."""
    _in_a_fork(lambda: _record(place))
    return _files(place / "one"), _files(place / "ranks")


def _record(place: Path) -> None:
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    _one(place / "one")
    for rank in range(3):
        _in_a_fork(lambda rank=rank: _rank(place / "ranks", rank))  # type: ignore[misc]


def _one(place: Path) -> None:
    import torch
    from torch import nn

    import gradscope
    from tests.injecting import train

    with gradscope.watch(log_dir=place, every=1) as scope:
        train()
        generator, critic = nn.Linear(4, 4), nn.Linear(4, 1)
        one = torch.optim.Adam(generator.parameters(), lr=0.1)
        other = torch.optim.SGD(critic.parameters(), lr=0.1)
        for step in range(20):
            for optimizer in (one, other):
                optimizer.zero_grad()
                critic(generator(torch.randn(8, 4))).square().mean().backward()
                optimizer.step()
            scope.log(val_loss=1 / (step + 1))
            if step == 9:
                other.add_param_group({"params": [nn.Parameter(torch.ones(3))], "lr": 0.01})


def _rank(place: Path, rank: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="3", MASTER_PORT="1", MASTER_ADDR="here")
    import torch
    from torch import nn

    import gradscope

    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scope = gradscope.watch(log_dir=place, every=1)
    for _ in range(12):
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
    if rank < 2:
        scope.close()
    os._exit(0)


def _in_a_fork(work: object) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert callable(work)
            work()
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit("the runs to be damaged cannot be recorded")


def _files(place: Path) -> Files:
    [folder] = (path for path in place.iterdir() if path.is_dir())
    plain = (path for path in sorted(folder.rglob("*")) if path.is_file() and "tfevents" not in path.name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in plain}
