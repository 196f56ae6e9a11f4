"""Several processes that train together: who is who, what each tells the others, and what is found between them."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import gradscope
from gradscope.record.reader import read_record

# -- who is who -------------------------------------------------------------------------------------------------------


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(3, 2)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"RANK": "1", "WORLD_SIZE": "4"}, (1, 4)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (None, None)),
        ({"RANK": "x", "WORLD_SIZE": "4"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_the_record_says_which_of_the_processes_it_is_from(
    environment: dict[str, str],
    expected: tuple[int | None, int | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As torchrun says it; nothing where there is one process only, and where the environment makes no sense."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradscope.watch(model, optimizer, log_dir=tmp_path) as scope:
        step(model, optimizer)
    assert expected == (scope.record.meta.rank, scope.record.meta.world)
    (folder,) = tmp_path.iterdir()
    stored = read_record(folder).meta
    assert expected == (stored.rank, stored.world)
