"""What the loop holds beside the batch at hand, and whether the batch is taken from it anew."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gradscope.hooks.supply import Supply, supply

GENERATOR = torch.Generator().manual_seed(0)
TABLE = torch.randn(80, 6, generator=GENERATOR)


def beside(given: torch.Tensor, closely: bool = True, **names: Any) -> Supply:
    """Of a loop with these variables."""
    code = SimpleNamespace(co_filename="train.py", co_name="main", co_flags=0)
    frame: Any = SimpleNamespace(f_locals=names, f_globals={}, f_code=code, f_back=None)
    return supply(frame, given, closely)


@pytest.mark.parametrize(
    "name, value",
    [
        ("BATCH", 8), ("batch_size", 8), ("bs", 8), ("train_batch_size", 8), ("minibatch", 8),
        ("args", SimpleNamespace(batch_size=8)), ("config", {"data": {"batch_size": 8}}),
    ],
)  # fmt: skip
def test_a_number_that_says_how_large_a_batch_is(name: str, value: Any) -> None:
    """By its name; also of settings, two levels deep."""
    assert beside(TABLE[:8], **{name: value}).size.startswith(name)


@pytest.mark.parametrize("name, value", [("BATCH", 9), ("width", 8), ("batch_index", 8), ("batches", 8), ("obs", 8)])
def test_other_numbers_say_nothing(name: str, value: int) -> None:
    """Nor does one that was another at the look before."""
    assert "" == beside(TABLE[:8], **{name: value}).size
    assert "" == beside(TABLE[:8], batch=8).after(beside(TABLE[:8], batch=7)).size


@pytest.mark.parametrize("pool", [TABLE, TABLE.numpy(), TABLE.double(), TABLE.view(80, 2, 3), [TABLE], {"x": TABLE}])
def test_the_rows_that_the_batch_is_of_are_found(pool: Any) -> None:
    """A tensor or an array, also inside a list, or laid out otherwise; the smallest that has them all."""
    found = beside(TABLE[8:16].clone(), pool=pool, more=torch.cat([TABLE, TABLE]), other=TABLE.flip(1))
    assert (80, True) == (found.rows, found.pool.startswith("pool"))


def test_masked_rows_are_found() -> None:
    """Of which a fifth is hidden."""
    tokens = torch.randint(0, 500, (80, 20), generator=GENERATOR)
    hidden = torch.rand(8, 20, generator=GENERATOR) < 0.2
    assert "tokens" == beside(tokens[:8].masked_fill(hidden, 500), tokens=tokens).pool


def test_what_does_not_hold_the_batch_is_no_pool() -> None:
    """Other values, other columns, fewer than four times the rows; and none is looked for at first."""
    assert "" == beside(TABLE[:8], a=TABLE + 1, b=TABLE[:, :5], c=TABLE[:24], d=np.array(["a"] * 80), e=80).pool
    assert "" == beside(TABLE[:8], closely=False, pool=TABLE).pool


def test_a_batch_that_is_kept_is_told() -> None:
    """An array as large as the batch, there at both looks; one that is taken anew is another."""
    batch, rows = TABLE[:8].clone(), np.zeros((8, 2))
    first = beside(batch, x=batch, extra=(rows, 3))
    assert 2 == len(beside(batch, x=batch, extra=(rows, 3)).after(first).kept)
    assert 0 == len(beside(batch, x=TABLE[:8], extra=None).after(first).kept)
