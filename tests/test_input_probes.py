"""What is read of the batches that go into a model, and of the DataLoaders that give them."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torch.utils.data import dataloader as loaders

import gradscope
from gradscope.facts.fact import newest_of
from gradscope.facts.inputs import BatchLooks, InputScale
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.loader import places

Tensor = torch.Tensor
X, Y = torch.arange(640.0).reshape(160, 4), torch.arange(160) % 3


def scales(model: nn.Module, *batches: Tensor) -> list[Any]:
    """What is known of the inputs after a step on each of these batches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gradscope.watch(model, optimizer) as scope:
        for batch in batches:
            optimizer.zero_grad()
            out = model(batch)
            (out[0] if isinstance(out, tuple) else out).square().mean().backward()
            optimizer.step()
    return newest_of(scope.record.facts.of(InputScale))


# -- how large inputs are ----------------------------------------------------------------------------------------------


def test_means_and_deviations_are_pooled_over_batches() -> None:
    """Of each feature over all samples, as if they had been one batch."""
    first, second = torch.randn(20, 3) * torch.tensor([1.0, 100.0, 0.01]) + 5, torch.randn(12, 3) + 50
    [fact] = scales(nn.Linear(3, 2), first, second)
    both = torch.cat([first, second])
    assert ("matrix", 3, 32) == (fact.layer, fact.features, fact.samples)
    assert both.mean(0).tolist() == pytest.approx(fact.means, rel=1e-3)
    assert both.std(0, correction=0).tolist() == pytest.approx(fact.deviations, rel=1e-3)
    assert math.isclose(both.square().mean().sqrt(), fact.rms, rel_tol=1e-4)
    assert (float(both.min()), float(both.max()), False) == (fact.low, fact.high, fact.whole)
    assert 1 == fact.worst[0]


def test_channels_of_images_are_their_features() -> None:
    """Whole numbers of 0 to 255; three channels."""
    images = torch.randint(0, 256, (16, 3, 8, 8)).float()
    [fact] = scales(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), images)
    assert ("convolution", 3, True, False) == (fact.layer, fact.features, fact.whole, fact.normalised)
    assert images.mean((0, 2, 3)).tolist() == pytest.approx(fact.means, rel=1e-3)


@pytest.mark.parametrize("layer", [nn.LSTM(2, 4, batch_first=True), nn.GRU(2, 4), nn.RNN(2, 4)])
def test_series_are_seen_without_the_states_of_zeros(layer: nn.Module) -> None:
    """What goes into a recurrent layer."""
    [fact] = scales(layer, torch.randn(6, 5, 2) + 70)
    assert (2, 30) == (fact.features, fact.samples) and 65 < fact.mean < 75


def test_what_a_normalisation_follows_is_marked() -> None:
    """BatchNorm behind the first layer; one before it leaves nothing to tell; nor do indices."""
    [fact] = scales(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), X)
    assert fact.normalised
    assert [] == scales(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), X)
    assert [] == scales(nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 3)), Y)


def test_huge_numbers_far_from_zero_keep_their_deviation() -> None:
    """Times in seconds: 1.7e9, give or take a day."""
    times = 1.7e9 + 1e5 * torch.randn(64, 1)
    [fact] = scales(nn.Linear(1, 2), times[:32], times[32:])
    assert 0.9 * float(times.std()) < fact.deviations[0] < 1.1 * float(times.std())


# -- whether batches repeat --------------------------------------------------------------------------------------------


def looks(batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> Any:
    """What is known at the end of a run on these batches; None: they differ."""
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    with gradscope.watch(model, optimizer) as scope:
        for x, y in batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return next((fact for fact in newest_of(scope.record.facts.of(BatchLooks)) if fact.equal), None)


class Same(Dataset[Any]):
    """The first sample, whatever the index."""

    def __len__(self) -> int:
        return 160

    def __getitem__(self, index: int) -> Any:
        return X[1], Y[1]


class Wrapped(DataLoader):  # type: ignore[type-arg]
    """One with an `__iter__` of its own, as libraries have them."""

    def __iter__(self) -> Any:
        yield from super().__iter__()


def anew(**options: Any) -> Iterator[tuple[Tensor, Tensor]]:
    loader = options.pop("kind", DataLoader)(TensorDataset(X, Y), batch_size=8, **options)
    for _ in range(6):
        yield next(iter(loader))


def in_turn(data: Any, epochs: int = 1, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(data, **options)
    for _ in range(epochs):
        yield from loader


def instead(of: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True):
        yield of, Y[:8]


def made_anew() -> Iterator[tuple[Tensor, Tensor]]:
    data = TensorDataset(X, Y)
    for _ in range(6):
        yield next(iter(DataLoader(data, batch_size=8)))


@pytest.mark.parametrize("kind", [DataLoader, Wrapped])
def test_iterators_begun_anew_are_counted(kind: Any) -> None:
    """Six of one batch each, of twenty, all alike; with the line."""
    fact = looks(lambda: anew(kind=kind))
    assert (True, 6, 6, 1, 20, True) == (fact.advances, fact.begun, fact.given, fact.most, fact.batches, fact.alike)
    assert (4, 6, 8, True, False) == (fact.looks, fact.steps, fact.samples, fact.complete, fact.library)
    assert fact.site.file.endswith("test_input_probes.py")


def test_loaders_made_anew_are_one() -> None:
    """Of the same data set, at the same line."""
    fact = looks(made_anew)
    assert (True, 6, 6, 1, 20) == (fact.advances, fact.begun, fact.given, fact.most, fact.batches)


def test_short_last_batches_are_passed_over() -> None:
    """The fourth batch of 18 is of six samples: three looks in four rows, all alike."""
    fact = looks(lambda: in_turn(torch.utils.data.Subset(Same(), range(60)), 2, batch_size=18))
    assert (True, True, 8) == (fact.equal, fact.alike, fact.steps)


def test_batches_that_differ_are_no_finding() -> None:
    """In order, at random, or begun anew over a loader that shuffles."""
    assert looks(lambda: in_turn(TensorDataset(X, Y), batch_size=8)) is None
    assert looks(lambda: in_turn(TensorDataset(X, Y), batch_size=8, shuffle=True)) is None
    assert looks(lambda: anew(shuffle=True)) is None


def test_a_data_set_that_ignores_its_index_gives_batches_alike() -> None:
    """Over one iterator."""
    fact = looks(lambda: in_turn(Same(), batch_size=8, shuffle=True))
    assert (True, 1, 20, True) == (fact.advances, fact.begun, fact.most, fact.alike)


def test_a_loader_that_is_passed_by_has_other_batches() -> None:
    """It goes on, and the model gets the same."""
    fact = looks(lambda: instead(X[:8]))
    assert (True, False, True) == (fact.advances, fact.alike, fact.complete)


def test_full_batches_come_to_an_end_each_time() -> None:
    """A loader of one batch."""
    fact = looks(lambda: in_turn(TensorDataset(X, Y), 6, batch_size=160))
    assert (1, 1) == (fact.most, fact.batches) or not fact.advances


def test_ones_tell_nothing() -> None:
    """Inputs of one value are the same in every batch."""
    assert looks(lambda: instead(torch.ones(8, 4))) is None


def drawn(steps: int = 6, seed: Callable[[int], int] = lambda step: 7) -> Iterator[tuple[Tensor, Tensor]]:
    torch.manual_seed(7)
    for step in range(steps):
        torch.manual_seed(seed(step))
        at = torch.randint(len(X), (8,))
        yield X[at], Y[at]


def seeded_in_full() -> Iterator[tuple[Tensor, Tensor]]:
    """As one does for dropout: the batch is not drawn."""
    while True:
        torch.manual_seed(7)
        yield X.clone(), Y


def test_a_seed_before_each_batch_is_counted() -> None:
    """With the line in the loop, not that before it."""
    fact = looks(drawn)
    assert (7, 6, 0) == (fact.seeded, fact.steps, fact.begun)
    assert drawn.__code__.co_firstlineno + 3 == fact.site.line


def test_seeds_that_do_not_make_the_batch_are_not_counted() -> None:
    """Nothing drawn before the model's call; or seeded once, or with other seeds."""
    assert 0 == looks(lambda: islice(seeded_in_full(), 6)).seeded
    assert 0 == looks(lambda: ((X[:8], Y[:8]) for _ in range(6))).seeded
    assert looks(lambda: drawn(seed=lambda step: step)) is None


def test_seeding_is_put_back_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under both of its names, which stay one function; what it returns is torch's own generator."""
    before = torch.random.manual_seed
    monkeypatch.setattr(torch, "manual_seed", before)  # torch._dynamo may have wrapped it
    expected = torch.rand(3, generator=torch.Generator().manual_seed(3))
    with gradscope.watch():
        assert torch.manual_seed is torch.random.manual_seed is not before
        generator = torch.manual_seed(3)
        assert torch.default_generator is generator and torch.equal(torch.rand(3), expected)
    assert torch.manual_seed is torch.random.manual_seed is before


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield X[0], Y[0]


def test_the_length_of_a_stream_is_not_asked_for() -> None:
    """It is not known; nor is one that raises."""
    loader = DataLoader(Endless(), batch_size=8)
    fact = looks(lambda: (next(iter(loader)) for _ in range(5)))
    assert (5, 0) == (fact.begun, fact.batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_watching_a_loader_changes_nothing(workers: int) -> None:
    """The same batches, the same random numbers, the original methods afterwards."""
    kinds = [DataLoader, loaders._SingleProcessDataLoaderIter, loaders._MultiProcessingDataLoaderIter]
    before = [dict(vars(kind)) for kind in kinds]
    given = []
    for watched in (False, True):
        torch.manual_seed(3)
        loader = DataLoader(TensorDataset(X, Y), batch_size=40, shuffle=True, num_workers=workers)
        scope = gradscope.watch() if watched else None
        given.append(torch.cat([x for _ in range(2) for x, _ in loader] + [torch.rand(1, 4)]))
        if scope is not None:
            [feed] = DISPATCHER.feeds.all()
            assert (2, 2, 8, 4) == (feed.begun, feed.ended, feed.given, feed.most)
            with torch.no_grad():
                assert 4 == len(list(loader)) and 8 == feed.given
            scope.close()
    assert torch.equal(*given)
    assert before == [dict(vars(kind)) for kind in kinds]


def test_places_are_spread_over_a_tensor() -> None:
    """Off rows and columns, on views too; all of a small one."""
    image = torch.arange(28 * 28 * 64.0).reshape(64, 1, 28, 28)
    chosen = places(image)
    assert 64 == len(chosen) == len(set(chosen.tolist())) and len({int(v) % 28 for v in chosen}) > 20
    assert len({int(v) // 784 for v in chosen}) > 30
    assert torch.equal(image.transpose(0, 3).reshape(-1)[:3], places(image.transpose(0, 3)[0, 0, 0, :3]))
