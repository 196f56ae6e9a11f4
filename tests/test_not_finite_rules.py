"""GS401, GS605 and the origin that GS201 names, on hand-made records: quiet, found, and just on either side."""
from __future__ import annotations

import json
from typing import Any, Sequence

import numpy as np
import pytest

from gradscope.diagnosis import diagnose
from gradscope.events import GradState, Point, Site
from gradscope.facts.catalogue import from_json, to_json
from gradscope.facts.fact import Fact
from gradscope.facts.not_finite import GradientOrigin, LossOrigin
from gradscope.findings import Finding
from gradscope.record.record import OptimizerRecord, Record
from gradscope.record.rowstore import pad
from gradscope.record.table import array_columns
from gradscope.rules.base import Rule
from gradscope.rules.catalogue import RULES
from gradscope.rules.data.input_not_finite import InputNotFinite
from gradscope.rules.gradients.gradient_not_finite import GradientNotFinite
from gradscope.rules.loss.loss_not_finite import LossNotFinite
from tests.records import BACKWARD, optimizer, record

NAN, INF = float("nan"), float("inf")


def found(rule: Rule, losses: Sequence[float], *facts: Fact, status: str = "running") -> list[Finding]:
    return list(rule.check(record(optimizer(losses=losses), facts=facts, status=status)))


# -- GS201's origin ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "details, words",
    [
        ({"kind": "operation", "what": "log of 0 (3 of 9 values)", "operations": ("log",), "inside": "a.b.weight"},
         "Where it began: log of 0 (3 of 9 values), in a.b"),
        ({"kind": "operation", "what": "0 / 0", "operations": ("division",), "before": "net.a.weight",
          "after": "net.b.weight"}, "0 / 0, between net.a and net.b, in net"),
        ({"kind": "operation", "what": "0 / 0", "operations": ("division",), "before": "3.weight"},
         "0 / 0, after layer 3, on the way to the loss"),
        ({"kind": "operation", "what": "0 / 0", "operations": ("division",), "after": "a.weight"}, "0 / 0, before a"),
        ({"kind": "operation", "what": "0 / 0", "operations": ("division",), "before": "a.w", "after": "a.v"},
         "0 / 0, inside a"),
        ({"kind": "operation", "what": "0 / 0", "operations": ("division",), "module": "a", "replayed": True,
          "site": Site("model.py", 7)}, "0 / 0, in a (line 7)"),
        ({"kind": "between", "operations": ("exp", "log"), "why": "hooks"}, "one of exp, log (activation checkpoint"),
        ({"kind": "between", "operations": ("exp", "log")}, "one of exp, log (what lies between is not kept)"),
        ({"kind": "parameter", "parameters": ("w",), "count": 1, "of": 4, "cause": "setting",
          "detail": "eps nan"}, "1 of 4 parameters (w) were no number any more: the step before had eps nan"),
        ({"kind": "parameter", "parameters": ("w",), "count": 1, "of": 1, "cause": "gradient"}, "w was no number any"),
        ({"kind": "parameter", "parameters": ("w",), "count": 1, "of": 1, "cause": "update"}, "too large to be held"),
        ({"kind": "parameter", "parameters": ("w",), "count": 1, "of": 1, "cause": "start"}, "made or loaded so"),
        ({"kind": "parameter", "parameters": ("w",), "count": 1, "of": 1, "cause": "elsewhere"}, "something else"),
        ({"kind": "constant", "operations": ("linear",), "role": "statistics"}, "the running statistics of linear"),
        ({"kind": "unknown", "why": "size"}, "cannot be told: the graph has more than"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_gs201_says_where_it_began(details: dict[str, Any], words: str) -> None:
    """One sentence for each kind of origin, which also survives JSON."""
    fact = LossOrigin(2, **details)
    assert fact == from_json(json.loads(json.dumps(to_json(fact))))
    (finding,) = found(LossNotFinite(), [2.0, 1.5, NAN, NAN, NAN], fact)
    assert words in finding.text
    assert "Where it began" in finding.text


def test_gs201_takes_the_origin_of_its_own_row_only() -> None:
    """One of another row is of another NaN; an unknown one says nothing."""
    fact = LossOrigin(1, "operation", "0 / 0", ("division",))
    for other in (fact, LossOrigin(2, "unknown"), LossOrigin(2, "operation", "0 / 0", optimizers=(5,))):
        (finding,) = found(LossNotFinite(), [2.0, 1.5, NAN, NAN, NAN], other)
        assert "began" not in finding.text


@pytest.mark.parametrize(
    ("lr", "now", "words"),
    [
        ([0.1, NAN, -INF, -INF, -INF], "lr -inf", "the step before had lr nan"),
        ([0.1, INF, 0.1, 0.1, 0.1], "", "the step before had lr inf"),
        ([0.1, 0.1, NAN, NAN, NAN], "lr nan", "(w) were no number any more"),
    ],
    ids=["another one since", "set back", "set since"],
)
def test_the_lr_of_the_step_before_is_to_blame(lr: list[float], now: str, words: str) -> None:
    """A loop that sets lr before each forward has set the next one when the loss is looked at."""
    cause = "lr" if now else "elsewhere"
    fact = LossOrigin(2, "parameter", parameters=("w",), count=1, of=4, cause=cause, detail=now)
    losses = [2.0, 1.5, NAN, NAN, NAN]
    (finding,) = LossNotFinite().check(record(optimizer(losses=losses, lr=lr), facts=[fact]))
    assert finding.text.endswith(words)
    assert ("where lr is set" in finding.advice[0].text) == (not np.isfinite(lr[1]))


def test_a_replay_counts_more_than_what_the_graph_tells() -> None:
    """It knows the one operation."""
    facts = LossOrigin(2, "between", operations=("exp", "log")), LossOrigin(2, "operation", "log of 0", replayed=True)
    (finding,) = found(LossNotFinite(), [2.0, 1.5, NAN, NAN, NAN], *facts)
    assert finding.text.endswith("Where it began: log of 0")


@pytest.mark.parametrize(
    "operation, words",
    [("log", "clamp_min"), ("softmax", "not masked"), ("sqrt", "+ 1e-8"), ("division", "divisor"), ("exp", "bound")],
)
def test_the_advice_is_about_the_operation(operation: str, words: str) -> None:
    """But of a loss that grew without bound, about that."""
    fact = LossOrigin(2, "operation", operation, (operation,))
    (finding,) = found(LossNotFinite(), [2.0, 1.5, NAN, NAN, NAN], fact)
    assert words in finding.advice[0].text
    (finding,) = found(LossNotFinite(), [2.0, 150.0, NAN, NAN, NAN], fact)
    assert "learning rate" in finding.advice[0].text


# -- GS605 -------------------------------------------------------------------------------------------------------------

BROKEN = {"operations": ("linear",), "role": "input", "broken": "3 NaN of 60 values", "samples": 2, "batch": 5}


def batch(row: int, **details: Any) -> LossOrigin:
    return LossOrigin(row, "constant", **{**BROKEN, **details})


def test_gs605_names_the_batch_and_explains_the_rest() -> None:
    """The input of step 2; GS201 is its consequence."""
    losses = [2.0, 1.5, NAN, NAN, NAN]
    (finding,) = found(InputNotFinite(), losses, batch(2, variable="x", inside="stem.weight"))
    assert ("error", (2, 4), BACKWARD) == (finding.severity, finding.steps, finding.where)
    assert (
        "the batch of step 2 is not finite: the input `x` of linear (3 NaN of 60 values, in 2 of 5 samples), in stem, "
        "and the loss was nan" == finding.text
    )
    diagnosis = diagnose(record(optimizer(losses=losses), facts=[batch(2)]), RULES)
    assert [("GS605", None), ("GS201", "GS605")] == [(f.code, f.caused_by) for f in diagnosis.findings]


def test_gs605_blames_no_batch_where_the_tensor_is_not_known() -> None:
    """It may have been computed of a batch that is fine: the logarithm of a negative target."""
    unknown = LossOrigin(2, "constant", operations=("subtraction",), role="target", after="head.weight")
    (finding,) = found(InputNotFinite(), [2.0, 1.5, NAN, NAN, NAN], unknown)
    assert finding.text.startswith("a tensor of step 2 is not finite: what goes into subtraction and has no gradient")
    assert "a logarithm" in finding.advice[0].text and "drop" not in finding.advice[0].text


@pytest.mark.parametrize(("rows", "count"), [(2, 0), (3, 1)])
def test_gs605_asks_for_three_in_a_row(rows: int, count: int) -> None:
    """Or for the end of the run."""
    losses = [2.0, *[NAN] * rows]
    assert count == len(found(InputNotFinite(), losses, batch(1)))
    assert 1 == len(found(InputNotFinite(), losses, batch(1), status="finished"))


def test_gs605_is_info_where_the_weights_were_spared() -> None:
    """At the end only."""
    losses = [2.0, NAN, 1.0, 1.0, 1.0]
    assert [] == found(InputNotFinite(), losses, batch(1))
    (finding,) = found(InputNotFinite(), losses, batch(1), status="finished")
    assert "info" == finding.severity


@pytest.mark.parametrize(("rows", "first", "severity"), [(15, 1, "info"), (16, 5, "error")])
def test_gs605_and_gs401_tell_the_one_that_lasts(rows: int, first: int, severity: str) -> None:
    """An earlier one was spared: sixteen in a row are asked for."""
    losses = [2.0, NAN, 1.0, 1.0, 1.0, *[NAN] * rows]
    (finding,) = found(InputNotFinite(), losses, batch(1), batch(5), status="finished")
    assert (severity, first) == (finding.severity, finding.steps[0])
    (finding,) = found(GradientNotFinite(), losses, gradients(2), gradients(4), status="finished")
    assert (severity, 4 if first == 5 else 2) == (finding.severity, finding.steps[0])


@pytest.mark.parametrize(
    "fact",
    [batch(0), batch(9), batch(2, role="statistics"), LossOrigin(2, "operation", "log of 0", ("log",))],
    ids=["earlier", "later", "statistics", "another kind"],
)
def test_gs605_is_quiet(fact: LossOrigin) -> None:
    """Without the fact of that row, nothing is said of the batch."""
    assert [] == found(InputNotFinite(), [2.0, 1.5, NAN, NAN, NAN], fact)
    assert [] == found(InputNotFinite(), [2.0, 1.5, 1.0], fact)


def test_gs605_explains_gradients_of_a_loss_that_was_a_number() -> None:
    """tanh of an infinite input is 1, and its gradient 0 * inf."""
    losses, fact = [2.0, 1.5, NAN, NAN, NAN], batch(1, of_gradient=True)
    (finding,) = found(InputNotFinite(), losses, fact)
    assert ("error", (1, 4)) == (finding.severity, finding.steps)
    assert finding.text.endswith(", and its gradients are no numbers, though the loss was 1.5")
    assert [] == found(InputNotFinite(), losses[:4], fact)
    assert 1 == len(found(InputNotFinite(), losses[:4], fact, status="finished"))
    assert [] == found(InputNotFinite(), [2.0, NAN, NAN, NAN, NAN], fact)
    (finding,) = found(InputNotFinite(), [2.0, 1.5, 1.0, 0.9, 0.8], fact, status="finished")
    assert "info" == finding.severity
    diagnosis = diagnose(record(optimizer(losses=losses), facts=[fact, gradients(1)]), RULES)
    told = [(f.code, f.caused_by) for f in diagnosis.findings]
    assert [("GS605", None), ("GS401", "GS605"), ("GS201", "GS605")] == told


def test_gs605_tells_features_from_samples() -> None:
    """Broken in every sample: the preparation is to blame."""
    fact = batch(2, samples=5, features=(0, 7))
    (finding,) = found(InputNotFinite(), [2.0, 1.5, NAN, NAN, NAN], fact)
    assert "in 5 of 5 samples: features 0, 7)" in finding.text
    assert "prepared" in finding.advice[0].text


# -- GS401 -------------------------------------------------------------------------------------------------------------


def gradients(row: int, **details: Any) -> GradientOrigin:
    values = {"optimizers": (0,), "parameters": ("layer.weight",), "count": 1, "of": 2, "operations": ("sqrt",),
              "singular": ("sqrt at 0",), "before": "a.w", "after": "b.w"}  # fmt: skip
    return GradientOrigin(row, **{**values, **details})


def test_gs401_names_parameters_operation_and_place() -> None:
    """At the step whose loss still was a number; GS201 is its consequence."""
    losses = [2.0, 1.5, 1.4, NAN, NAN, NAN]
    fact = gradients(2)
    assert fact == from_json(json.loads(json.dumps(to_json(fact))))
    (finding,) = found(GradientNotFinite(), losses, fact)
    assert ("error", (2, 2), BACKWARD, ("layer.weight",)) == (
        finding.severity, finding.steps, finding.where, finding.parameters
    )  # fmt: skip
    assert (
        "the gradients of layer.weight were not finite at step 2, though the loss was 1.4. Of the operations on the "
        "way there, the one that can do so: sqrt at 0, between a and b" == finding.text
    )
    diagnosis = diagnose(record(optimizer(losses=losses), facts=[fact]), RULES)
    assert [("GS401", None), ("GS201", "GS401")] == [(f.code, f.caused_by) for f in diagnosis.findings]


def test_gs401_seen_late_is_the_row_before() -> None:
    """The parameters tell, at the next loss."""
    (finding,) = found(GradientNotFinite(), [2.0, 1.5, 1.4, NAN, NAN], gradients(3, late=True))
    assert 2 == finding.steps[0]
    assert [] == found(GradientNotFinite(), [NAN, NAN, NAN], gradients(0, late=True))


@pytest.mark.parametrize(
    "losses, status, severity",
    [
        ([2.0, 1.5, 1.4], "running", None),
        ([2.0, 1.5, 1.4], "finished", "error"),
        ([2.0, 1.5, 1.4, 1.3], "running", None),
        ([2.0, 1.5, 1.4, 1.3], "finished", "info"),
        ([2.0, 1.5, 1.4, NAN], "running", "error"),
        ([2.0, 1.5, NAN, NAN], "running", None),
        ([2.0, 20.0, 21.0, NAN], "running", None),
        ([2.0, 15.0, 19.9, NAN], "running", "error"),
        ([2.0, 1.5], "finished", None),
        ([], "finished", None),
    ],
    ids=["not yet", "last step", "spared", "spared at the end", "dead", "of a NaN loss", "grew", "hardly grew",
         "no such row", "empty"],
)  # fmt: skip
def test_gs401_asks_for_the_consequence(losses: list[float], status: str, severity: str | None) -> None:
    """A step that changed nothing is no fault; a loss that grew before is another one."""
    severities = [f.severity for f in found(GradientNotFinite(), losses, gradients(2), status=status)]
    assert ([] if severity is None else [severity]) == severities


def measured(losses: Sequence[float], norm: Sequence[Sequence[float]], weights: float = 1.0) -> Record:
    """A record whose rows are measured: `norm` # (rows, 2) before the step, 0 for a gradient that is missing."""
    one = optimizer(losses=losses)
    rows = len(losses)
    columns = {n: np.zeros((rows, *s), d) for n, (d, s) in array_columns(2).items()}
    columns["row"] = np.arange(rows)
    norms = np.array(norm)
    columns["norm"][:, Point.BEFORE_STEP] = np.where(norms == 0, NAN, norms)
    columns["state"][:, Point.BEFORE_STEP] = np.where(norms == 0, GradState.NONE, GradState.FRESH)
    columns["weight_norm"][:] = 1.0
    columns["weight_norm"][-1, 0] = weights
    arrays = pad(columns, array_columns(2))
    values = {**vars(one), "arrays": arrays}
    return record(OptimizerRecord(**values))


def test_gs401_by_the_norms_alone() -> None:
    """On an accelerator no probe has looked at the graph: the parameters are named."""
    sick = measured([2.0, 1.5, NAN], [[1, 1], [NAN, 1], [NAN, NAN]])
    (finding,) = GradientNotFinite().check(sick)
    assert ("layer.weight",) == finding.parameters
    assert "the gradients of layer.weight were not finite at step 1, though the loss was 1.5" == finding.text


@pytest.mark.parametrize("norm", [[[1, 1], [0, 1], [1, 1]], [[1, 1], [1, 1], [NAN, NAN]], [[1, 1], [INF, 1], [1, 1]]])
def test_gs401_is_quiet_on_gradients_that_are_missing_or_of_a_nan_loss(norm: list[list[float]]) -> None:
    """A missing gradient is no NaN; a norm may overflow where the gradient does not."""
    assert [] == list(GradientNotFinite().check(measured([2.0, 1.5, NAN], norm)))


def test_gs401_knows_broken_weights_by_their_norm() -> None:
    """The loss is a number still, as it does not use them each time: that is no spared step."""
    norm = [[1, 1], [NAN, 1], [1, 1], [1, 1]]
    losses = [2.0, 1.5, 1.4, 1.3]
    assert [] == list(GradientNotFinite().check(measured(losses, norm)))
    assert ["error"] == [f.severity for f in GradientNotFinite().check(measured(losses, norm, weights=NAN))]


def test_gs401_words() -> None:
    """Several operations, hidden ones, none, and a replay's."""
    losses = [2.0, 1.5, 1.4, NAN]
    cases = [
        (gradients(2, singular=("sqrt at 0", "log near 0")), "that can do so: sqrt at 0, log near 0, between a and b"),
        (gradients(2, singular=("log near 0",), masked=True), "log near 0, behind a torch.where or a mask"),
        (gradients(2, singular=(), operations=(), before=""), "lost on the way back through b"),
        (gradients(2, replayed=True, what="the derivative of sqrt, a division by 0", site=Site("m.py", 4)),
         "Where it began: the derivative of sqrt, a division by 0, between a and b (line 4)"),
        (gradients(2, count=2), "2 of 2 parameters"),
    ]  # fmt: skip
    for fact, words in cases[:-1]:
        (finding,) = found(GradientNotFinite(), losses, fact)
        assert words in finding.text
    (finding,) = found(GradientNotFinite(), losses, gradients(2, count=2))
    assert "the gradients of all 2 parameters were not finite" in finding.text
