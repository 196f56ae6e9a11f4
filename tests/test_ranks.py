"""Several processes that train together: who is who, what each tells the others, and what is found between them."""
from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradscope
from gradscope.facts.ranks import RanksDiffer
from gradscope.record.reader import read_record
from gradscope.record.record import Record
from gradscope.recording.bits import bit_sums, digests
from gradscope.recording.comparing import Comparison, Own
from gradscope.recording.peers import Check, Flag, columns_for, is_check, next_step, position, together, unpacked
from gradscope.rules.catalogue import find_rule
from tests import replicas
from tests.records import STEP, optimizer, record

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
    (written,) = tmp_path.rglob("meta.json")
    stored = read_record(written.parent).meta
    assert expected == (stored.rank, stored.world)


# -- sums over bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (1024,), (700, 9), (4, 1025)])
def test_a_single_bit_and_a_change_of_places_show(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Equal values give equal digests; the smallest change, and two values that change places, do not."""
    values = torch.randn(shape).to(dtype)
    known = words(values)
    assert known == words(values.clone()) and known != 0
    assert 0 == words(torch.zeros_like(values))
    for place in {0, values.numel() // 2, values.numel() - 1}:
        changed = values.clone()
        bits = changed.view(torch.uint8).view(-1)
        bits[place * values.element_size()] ^= 1
        assert known != words(changed)
        swapped = values.clone().view(-1)
        swapped[[0, place]] = swapped[[place, 0]]
        assert (place == 0 or bool(swapped[0] == swapped[place])) == (known == words(swapped))


def test_what_lies_otherwise_in_memory_is_the_same() -> None:
    """A part of a larger tensor, and one that is not contiguous."""
    values = torch.randn(7, 33)
    assert words(values) == words(torch.cat([torch.zeros(1, 33), values])[1:]) == words(values.t().contiguous().t())
    assert words(values.half()) == words(torch.cat([torch.zeros(1, 33), values])[1:].half().clone())


def words(*tensors: torch.Tensor) -> int:
    (found,) = digests(bit_sums(tensors).numpy())
    return int(found)


# -- what is put into the store ---------------------------------------------------------------------------------------


def test_the_schedule() -> None:
    """Checks come in pairs, at the same steps on every rank; each has a place of its own among the newest ones."""
    checks = [step for step in range(320) if is_check(step)]
    assert [0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 100, 101, 200, 201, 300, 301] == checks
    assert list(range(len(checks))) == [position(step) for step in checks]
    wanted = sorted({next_step(step) for step in range(320)} - set(checks))
    assert [12, 20, 36, 68, 104, 204, 304] == wanted[:7], "rank 0 looks at the others a few steps after a pair"


def test_a_check_comes_back_as_it_was_put() -> None:
    """And anything else in its place is passed over."""
    check = made(3, [1, 2, 3], [4, 0, 6])
    back = unpacked(check.packed())
    assert back is not None
    assert repr(check) == repr(back)
    for damaged in (b"", b"x" * 7, check.packed()[:-4], check.packed() + b"abcd"):
        assert unpacked(damaged) is None


def test_many_parameters_share_columns() -> None:
    """Beyond 64 ranks or 1,024 parameters; one that changes still shows, and zeroes stay zeroes."""
    assert list(range(300)) == columns_for(300, 64).tolist()
    starts = columns_for(300, 65)
    assert 64 == len(starts)
    values = np.arange(1, 301, dtype=np.uint32)
    changed = values.copy()
    changed[77] += 1
    assert 1 == (together(values, starts) != together(changed, starts)).sum()
    assert not together(np.zeros(300, np.uint32), starts).any()


# -- comparing --------------------------------------------------------------------------------------------------------


def made(
    step: int, parameters: list[int], gradients: list[int], flags: Flag = Flag(0), owned: bool = True, pauses: int = 0
) -> Check:
    """Columns named 1, 2...; digests as given."""
    names = np.arange(1, len(parameters) + 1, dtype=np.uint32)
    bits = np.array(gradients, np.uint32) * 2 + owned
    return Check(step, flags, pauses, step, 1.0, 1.0, names, np.array(parameters, np.uint32), bits.astype(np.uint32))


class Pair:
    """Two ranks, check by check."""

    def __init__(self, held: bool = False, reduced: bool | list[bool] = False) -> None:
        self.comparison, self.totals = Comparison(), dict[int, int]()
        self.held, self.reduced = held, reduced

    def at(self, own: Check, other: Check) -> list[tuple[str, str, tuple[int, ...]]]:
        self.totals[own.step] = own.total
        count = len(own.names)
        reduced = np.broadcast_to(self.reduced, (count,))
        mine = Own(own, np.full(count, self.held), reduced, own.step)
        return [(d.what, d.how, d.columns) for d in self.comparison.compare(mine, other, self.totals)]


SYNCED = Flag.SYNCED


def test_replicas_that_are_alike_are_silent() -> None:
    """Whatever shows that they are replicas."""
    for flags in (Flag(0), SYNCED, Flag.REDUCED):
        pair = Pair(held=flags is SYNCED, reduced=flags is Flag.REDUCED)
        for step in range(6):
            assert [] == pair.at(made(step, [step + 1] * 3, [9] * 3, flags), made(step, [step + 1] * 3, [9] * 3, flags))
    assert 5 == pair.comparison.last_alike


def test_two_checks_running_make_a_difference() -> None:
    """One may be a moment in which the ranks were not at the same place."""
    pair = Pair(held=True)
    pair.at(made(0, [1, 2], [5, 6], SYNCED), made(0, [1, 2], [5, 6], SYNCED))
    assert [] == pair.at(made(8, [3, 4], [5, 6], SYNCED), made(8, [3, 7], [5, 6], SYNCED))
    assert [("parameters", "ddp", (1,))] == pair.at(made(9, [5, 6], [5, 6], SYNCED), made(9, [5, 8], [5, 6], SYNCED))
    assert [] == pair.at(made(16, [5, 6], [5, 6], SYNCED), made(16, [5, 8], [5, 6], SYNCED))


@pytest.mark.parametrize("aside", [Flag.LOCAL, Flag.HOOKED, Flag.AVERAGED, Flag.UNEVEN])
def test_ranks_that_go_apart_on_purpose_are_silent(aside: Flag) -> None:
    """Steps under no_sync, a communication hook of the loop's own, averaged parameters, unequal numbers of batches."""
    pair = Pair(held=True)
    flags = aside | (Flag(0) if aside is Flag.LOCAL else SYNCED)
    for step in range(6):
        own = made(step, [1 + 10 * step] * 3, [20 + step] * 3, flags)
        assert [] == pair.at(own, made(step, [2 + 10 * step] * 3, [40 + step] * 3, flags))


def test_trainings_of_their_own_are_silent() -> None:
    """Different parameters and gradients, but for a few that are constant."""
    pair = Pair()
    for step in range(6):
        own = made(step, [1 + 10 * step] * 4, [20 + step, 21, 22, 7])
        assert [] == pair.at(own, made(step, [2 + 10 * step] * 4, [30, 31, 32, 7]))


def test_a_rank_some_steps_ahead_is_silent() -> None:
    """It is where the others will be, or have been."""
    for ahead in (-2, -1, 1, 2):
        pair = Pair(held=True)
        for step in (0, 1, 2, 3, 4, 5, 8, 9, 16, 17):
            own = made(step, [step + 9] * 3, [100 + step] * 3, SYNCED)
            other = made(step, [step + 9 + ahead] * 3, [100 + step + ahead] * 3, SYNCED)
            assert [] == pair.at(own, other), (ahead, step)


def test_other_pauses_are_other_steps() -> None:
    """A pause on one rank alone: nothing can be compared."""
    pair = Pair(held=True)
    for step in range(4):
        own = made(step, [2 * step + 1] * 3, [9] * 3, SYNCED)
        assert [] == pair.at(own, made(step, [2 * step + 2] * 3, [9] * 3, SYNCED, pauses=1))


@pytest.mark.parametrize(
    "flags, held, reduced, expected",
    [
        (SYNCED, True, False, [("gradients", "ddp", (2,))]),
        (Flag.REDUCED, False, True, [("gradients", "reduced", (2,))]),
        (Flag.REDUCED, False, [True, True, False], [("gradients", "forgotten", (2,))]),
        (Flag.REDUCED | Flag.TALKS, False, [True, True, False], []),
        (Flag(0), False, False, []),
    ],
)
def test_which_gradients_must_be_alike(
    flags: Flag, held: bool, reduced: bool | list[bool], expected: list[tuple[str, str, tuple[int, ...]]]
) -> None:
    """Those that DDP holds, those that the loop reduces, and one that it forgot, unless ranks hold parts of a model."""
    pair = Pair(held, reduced)
    for step in range(2):
        found = pair.at(made(step, [1, 2, 3], [4, 5, 6], flags), made(step, [1, 2, 3], [4, 5, 7], flags))
    assert expected == found


# -- the rules --------------------------------------------------------------------------------------------------------


def differing(what: str, **details: object) -> RanksDiffer:
    values = {
        "optimizer": 0, "how": "ddp", "rank": 0, "ranks": (1,), "world": 4, "since": 2, "step": 3, "last_alike": 1,
        "parameters": ("layer.weight",), "count": 1, "of": 2, "site": STEP,
    }  # fmt: skip
    return RanksDiffer(5, what=what, **{**values, **details})


def told(code: str, *facts: RanksDiffer) -> list[str]:
    found = several(record(optimizer(), facts=facts))
    return [finding.text for finding in find_rule(code).check(found)]


def several(found: Record) -> Record:
    found.meta.rank, found.meta.world = 0, 4
    return found


def test_the_rules_say_who_and_what() -> None:
    """Ranks by number, parameters by name where they are few."""
    (text,) = told("GS801", differing("parameters"))
    assert text == "rank 1 holds other parameters than rank 0, since step 2: layer.weight. They were the same at step 1"
    many = differing("parameters", ranks=(1, 3), count=2, last_alike=-1, parameters=("layer.weight", "layer.bias"))
    assert ["ranks 1, 3 hold other parameters than rank 0, since step 2: all parameters"] == told("GS801", many)
    (text,) = told("GS802", differing("gradients"))
    assert text.startswith("rank 1 steps with other gradients than rank 0, since step 2: DistributedDataParallel holds")
    assert [] == told("GS801", differing("gradients")) == told("GS802", differing("parameters"))


@pytest.mark.parametrize("code", ["GS801", "GS802"])
def test_one_process_is_not_judged(code: str) -> None:
    """And the report's `skipped` says so."""
    assert "one process only" == find_rule(code).not_judged(record(optimizer()))
    assert "" == find_rule(code).not_judged(several(record(optimizer())))


# -- processes --------------------------------------------------------------------------------------------------------


def test_two_processes(tmp_path: Path) -> None:
    """Each sick loop gives its finding, and that alone; each healthy one none; curves of both ranks are kept."""
    loops = [*replicas.SICK, *replicas.HEALTHY]
    found, _ = replicas.launch(tmp_path, 2, [loop.__name__ for loop in loops])
    expected = {loop.__name__: [code] for loop, code in replicas.SICK.items()}
    expected |= {loop.__name__: [] for loop in replicas.HEALTHY}
    roots = {name: [f[0] for f in run["findings"] if f[2] is None] for name, run in found.items()}
    assert expected == roots
    for name, run in found.items():
        assert [0, 2] == run["place"]
        if name not in ("sharded_parameters", "tensor_parallel", "two_players"):
            assert {"GS901"} == run["skipped"].keys(), name
    sharded = found["sharded_parameters"]
    assert sharded["skipped"].keys() == found["tensor_parallel"]["skipped"].keys()  # it is watched to the end
    (norms,) = sharded["shards"]
    np.testing.assert_allclose(norms["norms"], sharded["exact"][norms["row"]], rtol=1e-6)
    np.testing.assert_allclose(
        sharded["metrics"]["all ranks/grad_norm"],
        np.linalg.norm(np.array(sharded["exact"])[[0, 1, 2, 3, 4, 5, 8, 9]], axis=1),
        rtol=1e-6,
    )
    curves = found["replicas"]["metrics"]
    assert {f"rank {k}/{what}" for k, what in itertools.product((0, 1), ("loss", "grad_norm"))} == curves.keys()
    assert curves["rank 0/grad_norm"] == curves["rank 1/grad_norm"]
    assert curves["rank 0/loss"] != curves["rank 1/loss"]


def test_ranks_that_die_hold_up_nobody(tmp_path: Path) -> None:
    """One is killed, the one with the store leaves: the others train on, and say what they could not see."""
    first, killed, last = replicas.launch(tmp_path, 3, ["deaths"])
    assert killed == {}
    assert (40, []) == (first["steps"], first["findings"])
    assert first["compared"], "the other rank was there for a while"
    assert (203, []) == (last["steps"], last["findings"])
    assert "could not be reached" in last["skipped"]["GS801"]
