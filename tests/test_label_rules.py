"""GS602 and GS604 on hand-made records: quiet, found, just below and just above their thresholds."""
from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from gradscope.facts.catalogue import from_json, to_json
from gradscope.facts.fact import Fact
from gradscope.facts.labels import LabelCounts, LabelOrder
from gradscope.facts.loss import SharedLoss
from gradscope.findings import Finding
from gradscope.rules.base import Rule
from gradscope.rules.data.class_imbalance import ClassImbalance
from gradscope.rules.data.unshuffled_data import UnshuffledData
from tests.records import optimizer, record

ROWS = 100


def found(rule: Rule, facts: list[Fact], losses: list[float] | None = None, status: str = "running") -> list[Finding]:
    return list(rule.check(record(optimizer(losses=losses or [1.0] * ROWS), facts=facts, status=status)))


# -- GS602 -------------------------------------------------------------------------------------------------------------


def blocks(*lengths: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Of (class, rows) one after the other, each row looked at."""
    firsts = [sum(rows for _, rows in lengths[:i]) for i in range(len(lengths))]
    lasts = [first + rows - 1 for first, (_, rows) in zip(firsts, lengths)]
    return {
        "classes": tuple(c for c, _ in lengths),
        "since": tuple(firsts),
        "firsts": tuple(firsts),
        "lasts": tuple(lasts),
    }


TWICE = blocks(*[(c, 6) for _ in range(3) for c in range(4)])


def order(of_blocks: dict[str, tuple[int, ...]] = TWICE, **more: Any) -> LabelOrder:
    values = {"looks": 64, "samples": 2048, "entropy": math.log(4), "within": 0.9, "sigmas": 300.0, "joined": 0.9}
    return LabelOrder(64, 0, **{**values, "pairs": 63, **of_blocks, **more})


def counts(share: float = 0.25, loss: float = 1.0, **more: Any) -> LabelCounts:
    """Of 1,000 labels, half of them late; such a share of class 0, the others evenly of two more."""
    rest = round(500 * (1 - share))
    values = {
        "function": "cross-entropy", "of": 3, "looks": 100, "samples": 1000, "labels": (0, 2, 1),
        "counts": (1000 - 2 * rest, rest, rest), "since": 50, "late": 500,
        "given": (500 - rest, rest - rest // 2, rest // 2), "predicted": (500, 0, 0), "hit": (500 - rest, 0, 0),
        "loss": loss, "entropy": 1.0, "weighted": False, "dense": False, "ids": False,
    }  # fmt: skip
    return LabelCounts(ROWS - 1, 0, **{**values, **more})


def test_sorted_batches_are_told_with_their_blocks() -> None:
    """Which steps hold which class, since the first step; the cure as code."""
    (finding,) = found(UnshuffledData(), [order(), counts()])
    assert ("warning", (0, ROWS - 1)) == (finding.severity, finding.steps)
    assert finding.text == (
        "the batches are sorted by class: steps 0-5 hold class 0, steps 6-11 hold class 1, steps 12-17 hold class 2 "
        "..., and class 0 again from step 24"
    )
    assert "shuffle=True" in finding.advice[0].text and "torch.randperm" in finding.advice[0].text


@pytest.mark.parametrize(
    "details, count",
    [
        ({"within": 0.49}, 0), ({"within": 0.51}, 1), ({"joined": 0.49}, 0), ({"joined": 0.51}, 1),
        ({"sigmas": 7.9}, 0), ({"sigmas": 8.1}, 1), ({"samples": 63}, 0), ({"samples": 64}, 1),
        ({"pairs": 15}, 0), ({"pairs": 16}, 1), ({"within": math.nan}, 0), ({"sigmas": math.nan}, 0),
        (blocks((0, 64)), 0),
    ],
)  # fmt: skip
def test_order_is_more_than_chance(details: dict[str, Any], count: int) -> None:
    """Alike within rows, joined from row to row, by more than chance, over enough labels, of two classes."""
    assert count == len(found(UnshuffledData(), [order(**details), counts()]))


def epochs(*one: tuple[int, int], number: int = 3) -> dict[str, tuple[int, ...]]:
    return blocks(*one * number)


@pytest.mark.parametrize(
    "of_blocks, severity",
    [
        (epochs((0, 6), (1, 6), (2, 6), (3, 6), number=1), "info"),  # one epoch
        (blocks(*[(c, 6) for c in (0, 1, 2, 3, 0, 1, 2, 3)]), "info"),  # the last block may go on
        (blocks(*[(c, 6) for c in (0, 1, 2, 3, 0, 1, 2, 3, 0)]), "warning"),
        (epochs((0, 30), (1, 20), number=2), "info"),
        (epochs((0, 30), (1, 20)), "warning"),
        (blocks((0, 30), (1, 20), (0, 27), (1, 20), (0, 30)), "info"),  # three rows shorter than before
        (blocks((0, 30), (1, 20), (0, 28), (1, 20), (0, 30)), "warning"),
        (epochs((0, 6), (1, 6), (2, 6), (1, 6), (3, 6)), "info"),  # class 1 twice: a sequence of what happened
        (epochs((0, 1), (1, 2), (2, 1), (3, 1)), "warning"),
    ],
)
def test_each_class_has_one_block_an_epoch(of_blocks: dict[str, tuple[int, ...]], severity: str) -> None:
    """Of the same length each time; what is in another order for a reason is not."""
    assert [severity] == [f.severity for f in found(UnshuffledData(), [order(of_blocks), counts()])]


def test_blocks_that_are_not_seen_sharply_say_nothing() -> None:
    """Looks that lie a block apart."""
    seen = order()
    blurred = replace(seen, since=tuple(max(0, first - 5) for first in seen.firsts))
    assert ["info"] == [f.severity for f in found(UnshuffledData(), [blurred, counts()])]


@pytest.mark.parametrize("loss, severity", [(0.13, "info"), (0.15, "warning"), (math.nan, "info")])
def test_order_that_does_no_harm_is_info(loss: float, severity: str) -> None:
    """A tenth of ln 4, and no leaps."""
    assert [severity] == [f.severity for f in found(UnshuffledData(), [order(), counts(loss=loss)])]


@pytest.mark.parametrize("leap, severity", [(1.9, "info"), (2.1, "warning")])
def test_a_loss_that_leaps_at_each_class_is_harm(leap: float, severity: str) -> None:
    """The first rows of a block against the last of the one before, whatever the loss is multiplied by."""
    losses = [100 * (leap if row % 6 == 0 else 1.0) for row in range(ROWS)]
    assert [severity] == [f.severity for f in found(UnshuffledData(), [order(), counts(loss=0.1)], losses)]


def test_leaps_of_next_to_nothing_are_none() -> None:
    """All is learned: 2 % of ln 4 is not reached."""
    losses = [9.0 if row % 6 == 0 else 1.0 for row in range(ROWS)]
    assert ["info"] == [f.severity for f in found(UnshuffledData(), [order(), counts(loss=0.001)], losses)]


def test_adversarial_losses_are_not_judged() -> None:
    """A discriminator that is given the real ones first."""
    assert [] == found(UnshuffledData(), [order(), counts(), SharedLoss(0, 0, 1)])


# -- GS604 -------------------------------------------------------------------------------------------------------------

LONG = [1.0] * 300


def imbalanced(share: float = 0.95, **more: Any) -> LabelCounts:
    return replace(counts(share, **{"loss": 1.0, **more}), row=299)


def test_a_model_that_predicts_one_class_only() -> None:
    """How frequent it is, what was found of the others, and the weights, in the order of the classes."""
    (finding,) = found(ClassImbalance(), [imbalanced()], LONG, "finished")
    assert ("warning", (0, 299)) == (finding.severity, finding.steps)
    assert finding.text == (
        "class 0 makes up 95 % of the labels, and of 25 labels of other classes since step 50 the model finds none: "
        "its loss is that of guessing by frequency"
    )
    assert "nn.CrossEntropyLoss(weight=torch.tensor([0.35, 13.0, 13.0]))" in finding.advice[0].text


def test_a_model_that_ranks_but_predicts_one_class_only() -> None:
    """Its loss is below that of guessing, and still nothing else is predicted."""
    (finding,) = found(ClassImbalance(), [imbalanced(loss=0.7, predicted=(498, 1, 1))], LONG, "finished")
    assert "warning" == finding.severity
    assert finding.text.endswith("the model finds none: it predicts class 0 for 99.6 % of all")


def test_a_binary_loss_has_one_weight() -> None:
    """The others against it, whichever is rare; a float."""
    binary: dict[str, Any] = {
        "function": "binary-cross-entropy", "of": 2, "labels": (0, 1), "counts": (950, 50), "given": (475, 25),
        "predicted": (500, 0), "hit": (475, 0),
    }  # fmt: skip
    (finding,) = found(ClassImbalance(), [imbalanced(**binary)], LONG, "finished")
    assert "pos_weight=torch.tensor([19.0])" in finding.advice[0].text
    (finding,) = found(ClassImbalance(), [imbalanced(**{**binary, "labels": (1, 0)})], LONG, "finished")
    assert "pos_weight=torch.tensor([0.053])" in finding.advice[0].text


def test_many_classes_are_weighed_by_a_formula() -> None:
    """Not all of them were seen."""
    (finding,) = found(ClassImbalance(), [imbalanced(of=40)], LONG, "finished")
    assert "torch.bincount(labels)" in finding.advice[0].text


@pytest.mark.parametrize(
    "fact, severity",
    [
        (imbalanced(0.89), None),
        (imbalanced(0.91), "warning"),
        (imbalanced(loss=0.49), "info"),
        (imbalanced(loss=0.51), "warning"),
        (imbalanced(loss=math.nan), "info"),
        (imbalanced(hit=(475, 1, 1)), "warning"),
        (imbalanced(hit=(475, 2, 1)), "info"),
        (imbalanced(predicted=(495, 3, 2)), "warning"),
        (imbalanced(predicted=(494, 3, 3)), "info"),
        (imbalanced(hit=(475, 6, 6)), "info"),
        (imbalanced(hit=(475, 7, 6)), None),
        (imbalanced(given=(481, 10, 9)), "info"),
        (imbalanced(given=(480, 10, 10)), "warning"),
        (imbalanced(given=(500, 0, 0)), None),
        (imbalanced(weighted=True), None),
        (imbalanced(dense=True), "warning"),
        (imbalanced(dense=True, loss=0.49), None),
        (imbalanced(dense=True, hit=(475, 2, 1)), None),
        (imbalanced(dense=True, predicted=(494, 3, 3)), None),
        (imbalanced(ids=True), "warning"),
        (imbalanced(ids=True, function="binary-cross-entropy"), "info"),
        (imbalanced(samples=255, counts=(243, 6, 6)), None),
        (imbalanced(labels=(0,), counts=(1000,), given=(500,), predicted=(500,), hit=(500,)), None),
    ],
)
def test_imbalance_is_weighed_against_what_was_learned(fact: LabelCounts, severity: str | None) -> None:
    """Nine in ten of the labels; half the loss of guessing; one in ten of the others found, one in five predicted."""
    assert [severity] * bool(severity) == [f.severity for f in found(ClassImbalance(), [fact], LONG, "finished")]


def test_a_model_has_its_time() -> None:
    """128 rows, or 4,096 of a run that goes on; and a loss that has begun to fall is not judged."""
    early = replace(imbalanced(), row=126)
    assert [] == found(ClassImbalance(), [early], LONG[:127], "finished")
    assert 1 == len(found(ClassImbalance(), [early], LONG[:128], "finished"))
    late = replace(imbalanced(), row=4000)
    assert [] == found(ClassImbalance(), [late], [1.0] * 4095)
    assert 1 == len(found(ClassImbalance(), [late], [1.0] * 4096))
    for newest, severity in ((0.7, "info"), (0.9, "warning")):
        losses = [1.0] * 220 + [newest] * 80
        assert [severity] == [f.severity for f in found(ClassImbalance(), [imbalanced()], losses, "finished")]


def test_sorted_and_adversarial_labels_are_another_matter() -> None:
    """What was seen of sorted data says nothing of the rest."""
    assert [] == found(ClassImbalance(), [imbalanced(), order()], LONG, "finished")
    assert ["info"] == [
        f.severity for f in found(ClassImbalance(), [imbalanced(), SharedLoss(0, 0, 1)], LONG, "finished")
    ]


@pytest.mark.parametrize("fact", [order(), imbalanced()])
def test_label_facts_can_be_written(fact: Fact) -> None:
    """To JSON and back."""
    assert fact == from_json(to_json(fact))
