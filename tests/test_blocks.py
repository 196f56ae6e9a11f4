"""The run's losses in blocks of 2^k rows, against sums over the losses themselves."""
from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.record.blocks import LIMIT, Blocks, BlockSums, from_columns, to_columns

numbers = st.floats(-1e3, 1e3) | st.sampled_from([float("nan"), float("inf"), 0.0])


def summed(losses: list[float]) -> Blocks:
    sums = BlockSums()
    for row, loss in enumerate(losses):
        sums.append(row, loss, 0.1)
    return sums.view()


@settings(deadline=None)
@given(st.lists(numbers, max_size=60), st.integers(1, 40))
def test_blocks_are_the_sums_of_their_rows(pattern: list[float], times: int) -> None:
    """Every row is in exactly one block, and each column is what the rows themselves give."""
    losses = np.array(pattern * times, float)
    blocks = summed(list(losses))
    size = blocks.size
    assert -(-len(losses) // size) == len(blocks) <= LIMIT
    for block in range(len(blocks)):
        part = losses[block * size : (block + 1) * size]
        finite = part[np.isfinite(part)]
        assert (block * size, len(part), len(finite)) == tuple(blocks[c][block] for c in ("row", "rows", "count"))
        assert block * size + len(part) - 1 == blocks["newest"][block]
        if len(finite):
            np.testing.assert_allclose(blocks["mean"][block], finite.mean(), rtol=1e-9, atol=1e-9)
            squares = ((finite - finite.mean()) ** 2).sum()
            np.testing.assert_allclose(blocks["squares"][block], squares, rtol=1e-6, atol=1e-6)
            assert (finite.min(), finite.max()) == (blocks["low"][block], blocks["high"][block])


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=20), st.integers(0, 7))
def test_losses_taken_in_together_are_summed_like_single_ones(parts: list[int], seed: int) -> None:
    """To the last bit: what a run finds must not depend on how its rows were entered."""
    losses = np.random.default_rng(seed).normal(size=sum(parts))
    sums, at = BlockSums(), 0
    for count in parts:
        rows = np.arange(at, at + count)
        sums.extend(np.stack([rows, losses[at : at + count], np.full(count, 0.1)], axis=1))
        at += count
    together, single = sums.view(), summed(list(losses))
    assert together.size == single.size
    for name in single.columns:
        np.testing.assert_array_equal(together[name], single[name])


def test_a_view_leaves_the_sums_as_they_are() -> None:
    """Looking in between changes nothing that comes later."""
    losses = list(np.sin(np.arange(3000)))
    looked = BlockSums()
    for row, loss in enumerate(losses):
        looked.append(row, loss, 0.1)
        if row % 7 == 0:
            looked.view()
    np.testing.assert_allclose(looked.view()["mean"], summed(losses)["mean"])


def test_the_newest_loss_can_be_amended() -> None:
    """More of a row's loss may come while somebody looks at the record."""
    sums = BlockSums()
    for row in range(600):
        sums.append(row, 1.0, 0.1)
        sums.view()
        sums.amend(2.0)
    assert (sums.view()["mean"] == 2.0).all()


def test_blocks_come_back_from_their_columns() -> None:
    """What is written is what is read."""
    blocks = summed([1.0, 2.0, 3.0] * 100)
    again = from_columns(to_columns(blocks))
    assert blocks.size == again.size
    assert all((blocks[name] == again[name]).all() for name in blocks.columns)


def test_only_whole_blocks_are_whole() -> None:
    """The last block is left out while rows are missing in it."""
    blocks = summed([1.0] * 301)
    assert (4, 76, 75) == (blocks.size, len(blocks), len(blocks.whole))
