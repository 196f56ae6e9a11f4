"""Codes for what is not known among the numbers of a table: which columns have one, and what GS601 makes of it."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import gradscope
from gradscope.facts.fact import newest_of
from gradscope.facts.inputs import InputCode
from gradscope.facts.labels import LabelFit
from gradscope.findings import Finding
from gradscope.probes.input_codes import code
from gradscope.rules.data.input_not_normalized import InputNotNormalized
from tests.records import optimizer, record

TABLE = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)


def coded(value: float, every: int, rows: np.ndarray = TABLE) -> np.ndarray:
    """The same with this value in every so manieth row of column 2."""
    found = rows.copy()
    found[::every, 2] = value
    return found


@pytest.mark.parametrize("value", [1e6, -999.0, 200.0])
def test_a_code_is_found(value: float) -> None:
    """Above or below, with what the others are like."""
    found = code(coded(value, 40))
    assert found is not None
    column, which, times, least, most, size = found
    assert (2, value, 10) == (column, which, times)
    others = np.delete(TABLE[:, 2], np.s_[::40])
    assert (others.min(), others.max()) == (least, most)
    assert 0.9 < size < 1.1


@pytest.mark.parametrize(
    "rows",
    [
        TABLE,
        coded(1e6, 100),  # four times
        coded(1e6, 3),  # more than three in ten
        coded(50.0, 40),  # not far enough
        np.exp(3 * TABLE),  # a heavy tail has no value twice
        np.minimum(np.exp(3 * TABLE), 1e3),  # cut off
        coded(1e6, 40, np.round(TABLE.clip(0, 1))),  # 0, 1, and another kind
        coded(np.inf, 40),
        coded(np.nan, 40),
        np.zeros((400, 3), np.float32),
        np.zeros((0, 3), np.float32),
    ],
)
def test_other_columns_have_none(rows: np.ndarray) -> None:
    """Rare, frequent, near, all different, cut off, few values, no numbers, nothing."""
    assert code(rows) is None


def test_the_farthest_of_two_is_told() -> None:
    """Of columns with a code each; what is left has its size without both."""
    rows = coded(-5e3, 50)
    rows[5::50, 0] = 1e7
    found = code(rows)
    assert found is not None and (0, 1e7) == found[:2] and found[-1] < 1.1


def test_the_rows_of_a_run_are_pooled() -> None:
    """One in a batch; a convolution's input, and what a layer before has made, are none."""
    x = torch.from_numpy(coded(1e6, 16))
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    sgd = torch.optim.SGD(model.parameters(), lr=1e-15)
    with gradscope.watch(model, sgd) as scope:
        for i in range(80):
            sgd.zero_grad()
            model(x[i % 25 * 16 :][:16]).square().mean().backward()
            sgd.step()
    (fact,) = newest_of(scope.record.facts.of(InputCode))
    assert ("0", 2, 1e6, 4) == (fact.place, fact.column, fact.value, fact.features)
    assert fact.samples == 16 * fact.times >= 80


CODE = InputCode(150, 0, "fc1", 6, 1200, 1, 1e6, 24, -2.7, 3.6, 1.0)
FIT = LabelFit(150, 0, 40, 1280, 0.1, 0.01, 0.7, 120, 0.28, 0.7)


def found(fact: InputCode = CODE, fit: LabelFit = FIT, rows: int = 160, status: str = "running") -> list[Finding]:
    one = record(optimizer(losses=[0.5] * rows), facts=[fact, fit], status=status)
    return list(InputNotNormalized().check(one))


def test_what_is_said_of_a_code() -> None:
    """Where it is, how often, among what; what to put in its place; over once the loss is far down."""
    (finding,) = found()
    assert "column 1 is 1e+06 in 2 % of the rows, and -2.7 to 3.6 in the others" in finding.text
    assert "the loss is at 0.6 of a blind guess" in finding.text
    assert "x[:, 1] == 1e+06" in finding.advice[0].text
    one = record(optimizer(losses=[0.5] * 160), facts=[CODE, replace(FIT, late_gain=0.65)])
    assert InputNotNormalized().over(finding, one)
    assert not InputNotNormalized().over(finding, record(optimizer(losses=[0.5] * 160), facts=[CODE, FIT]))


@pytest.mark.parametrize(
    "fact, fit, rows, status, severity",
    [
        (CODE, FIT, 160, "running", "warning"),
        (CODE, FIT, 140, "running", None),
        (CODE, FIT, 60, "finished", "warning"),
        (CODE, FIT, 40, "finished", None),
        (replace(CODE, samples=255), FIT, 160, "running", None),
        (replace(CODE, value=99.0), FIT, 160, "running", None),
        (replace(CODE, size=2e4), FIT, 160, "running", None),
        (CODE, replace(FIT, late_gain=0.48), 160, "running", "warning"),
        (CODE, replace(FIT, late_gain=0.5), 160, "running", "info"),
    ],
)
def test_when_a_code_is_told(fact: InputCode, fit: LabelFit, rows: int, status: str, severity: str | None) -> None:
    """After 150 rows, 50 at the end; of 256 samples; far larger than all else; as info where the loss came down."""
    assert [severity] * (severity is not None) == [f.severity for f in found(fact, fit, rows, status)]
