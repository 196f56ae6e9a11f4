"""The data of the pictures: every kept row, parameter and finding of a record, in documents that a browser can read."""
from __future__ import annotations

import json
import math
from bisect import bisect_right
from typing import Any, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradscope.board.axis import axis_of
from gradscope.board.encoding import decode, encode, number
from gradscope.board.heatmap import STATISTICS, Question, heatmap
from gradscope.board.lines import Lines, Place, tree_order
from gradscope.errors import UsageError
from gradscope.events import GradState
from gradscope.record.record import OptimizerRecord, Stream
from tests.boards import INF, NAN, STEP, optimizer, stream_of, values

TOLD = (GradState.STALE, GradState.NONE, GradState.ZERO, GradState.ACCUMULATED, GradState.FRESH, GradState.NOT_SEEN)


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "u1", "u2"])
def test_arrays_come_back(kind: str) -> None:
    """What is encoded is decoded, with its shape; NaN and Inf too."""
    array = np.array([[0, 1, 2], [3, 200, 250]]) + (np.array([[NAN], [INF]]) if kind[0] == "f" else 0)
    assert np.array_equal(array, decode(json.loads(json.dumps(encode(array, kind)))), equal_nan=True)


def test_counts_saturate() -> None:
    assert [65535, 65535, 7] == values(encode(np.array([70000, 65535, 7]), "u2"))


def test_numbers_that_json_does_not_have() -> None:
    assert ["nan", "inf", "-inf", 0.5] == [number(NAN), number(INF), number(-INF), number(0.5)]


# -- lines ----------------------------------------------------------------------------------------------------------


def names_in_order(*optimizers: OptimizerRecord) -> list[str]:
    return [optimizers[p.optimizer].parameters[p.column].name for p in tree_order(optimizers)]


def test_modules_are_side_by_side() -> None:
    """Groups of weights and of biases: in the tree each layer is one again, layers in the order of the model."""
    names = ["b.0.weight", "b.1.weight", "head.weight", "b.0.bias", "b.1.bias", "head.bias"]
    expected = ["b.0.weight", "b.0.bias", "b.1.weight", "b.1.bias", "head.weight", "head.bias"]
    assert expected == names_in_order(optimizer(names, [0], places=[0, 2, 4, 1, 3, 5]))


def test_the_model_decides_where_it_is_known() -> None:
    """Several optimizers, the later part of the model first; what has no place comes last; tied: the first path."""
    one = optimizer(["z.w=a.tied", "late"], [0], places=[5, -1])
    two = optimizer(["a.w", "z.v", "m"], [0], number=1, places=[7, 9, 0])
    assert ["m", "z.w=a.tied", "z.v", "a.w", "late"] == names_in_order(one, two)


def test_names_that_are_strange() -> None:
    """A parameter named as a module is, names that are the same, empty ones, and 5,000 levels."""
    deep = ".".join("x" * 5000)
    names = ["a", "a.b", "", "a.b", deep, ".", "a"]
    assert sorted(names) == sorted(names_in_order(optimizer(names, [0])))
    assert ["a", "a", "a.b", "a.b"] == names_in_order(optimizer(names, [0]))[:4]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=20), st.randoms())
def test_each_module_is_one_range(paths: list[list[str]], random: Any) -> None:
    """Whatever the names and their order: at every level, a module's parameters have no stranger among them."""
    places = list(range(len(paths)))
    random.shuffle(places)
    found = [name.split(".") for name in names_in_order(optimizer([".".join(p) for p in paths], [0], places=places))]
    assert sorted(paths) == sorted(found)
    for path in paths:
        for depth in range(1, len(path) + 1):
            inside = [i for i, other in enumerate(found) if other[:depth] == path[:depth]]
            assert inside[-1] - inside[0] == len(inside) - 1


def test_lines_that_are_asked_for() -> None:
    lines = Lines.parse("7,3-9,4*2", 12)
    assert [(7, 8), (3, 10), (4, 5), (5, 6)] == list(zip(lines.starts.tolist(), lines.stops.tolist()))
    assert 12 == len(Lines.parse("", 12))


@pytest.mark.parametrize("wrong", ["x", "-", "3-", "-3", "9-3", "12", "0-12", "4*0", "4*9", "1,,2", "1.5", "²", "1 ",
                                   "9999999999", "0*9999999999"])  # fmt: skip
def test_lines_that_are_none(wrong: str) -> None:
    with pytest.raises(UsageError):
        Lines.parse(wrong, 12)


# -- the axis -------------------------------------------------------------------------------------------------------

STEPS = st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True).map(sorted)
RANGE = st.one_of(st.none(), st.integers(0, 420))


def axis(steps: Sequence[int], start: Any = None, stop: Any = None, width: int = 800, end: int | None = None) -> Any:
    return axis_of(np.array(steps, np.int64), steps[-1] + 1 if end is None else end, start, stop, width)


def test_rows_stand_until_the_next_one() -> None:
    assert [0, 1, 5, 9] == axis([0, 1, 5], end=9).edges.tolist()


def test_zoomed_into_a_gap() -> None:
    """Between two measured rows stands the first of them; beyond the end stands none."""
    assert [10.0, 20.0] == axis([0, 10, 20], 12, 15).edges.tolist()
    assert [0] == axis([0, 10, 20], 25, 30).counts.tolist() or 0 == len(axis([0, 10, 20], 25, 30))
    assert 0 == len(axis([5, 10], 0, 4))


def test_equal_columns_without_empty_ones() -> None:
    """0-9 and 95-99, at most 10 columns: ten steps each; those without rows are the first one's."""
    found = axis([*range(10), *range(95, 100)], width=10)
    assert ([0, 90, 100], [10, 5]) == (found.edges.tolist(), found.counts.tolist())


@given(STEPS, RANGE, RANGE, st.integers(1, 70))
def test_each_row_is_in_one_column(steps: list[int], start: Any, stop: Any, width: int) -> None:
    """Rows that stand somewhere in the range, and no others; at most `width` columns, none empty."""
    if start is not None and stop is not None and start > stop:
        start, stop = stop, start
    ends = [*steps[1:], steps[-1] + 1]
    wanted = [
        step
        for step, end in zip(steps, ends)
        if (start is None or end > start) and (stop is None or step <= stop)
    ]
    found = axis(steps, start, stop, width)
    assert wanted == found.rows.tolist() == steps[found.first : found.first + len(wanted)]
    if wanted:
        assert 1 <= len(found) <= width and (len(wanted) > width or len(found) == len(wanted))
        assert np.all(np.diff(found.edges) > 0) and found.counts.min() >= 1 and found.counts.sum() == len(wanted)
        columns = [bisect_right(found.edges.tolist(), step) - 1 for step in wanted]
        assert found.counts.tolist() == [columns.count(i) for i in range(len(found))]
        after = dict(zip(steps, ends))[wanted[-1]]
        assert (wanted[0], after) == (found.edges[0], found.edges[-1])
        sizes = np.diff(np.unique((found.edges[:-1] - found.edges[0])))
        assert len(wanted) <= width or not len(sizes) or math.gcd(*map(int, sizes)) >= (after - wanted[0]) / width


# -- heatmaps against a naive loop ----------------------------------------------------------------------------------


def slow_line(stat: str, stream: Stream, places: Sequence[Place], step: int) -> tuple[float | None, list[int]]:
    """A line's value at a step, None where it has none; and the states of its parameters."""
    above, below, states = [], [], []
    for place in places:
        one = stream.optimizers[place.optimizer]
        if step not in one.measured:
            continue
        at, column = one.measured.tolist().index(step), place.column
        state = int(one.arrays["state"][at, STEP, column])
        states.append(state)
        weight, update = (float(one.arrays[name][at, column]) for name in ("weight_norm", "update_norm"))
        scheduled = not all(math.isnan(u) for u in one.arrays["update_norm"][at])
        if stat in ("gradient", "state") and state >= GradState.ZERO:
            above.append(float(one.arrays["norm"][at, STEP, column]))
        elif stat == "weight" and (state or not math.isnan(weight)):
            above.append(weight)
        elif stat == "update" and (not math.isnan(update) or state and (scheduled or math.isnan(weight))):
            above.append(update)
            below.append(weight)
    if not above:
        return None, states
    value = math.sqrt(sum(x * x for x in above))
    if stat != "update":
        return value, states
    under = math.sqrt(sum(x * x for x in below))
    if under == 0:
        return None, states
    return (NAN if math.isinf(value) and math.isinf(under) else value / under), states


def check(stream: Stream, order: list[Place], stat: str, question: Question, lines: Lines) -> None:
    """The document is what a slow loop finds."""
    found = heatmap(stream, order, stat, question, lines)
    arrays = {name: decode(value) for name, value in found.items() if isinstance(value, dict)}
    steps = sorted({int(row) for one in stream.optimizers for row in one.measured})
    end = max(int(one.rows[-1]) for one in stream.optimizers) + 1
    expected = axis(steps, question.start, question.stop, question.width, end)
    assert expected.edges.tolist() == arrays["edges"].tolist() and expected.counts.tolist() == arrays["rows"].tolist()
    for line, (first, stop) in enumerate(zip(lines.starts.tolist(), lines.stops.tolist())):
        for column in range(len(expected)):
            rows = expected.rows[expected.cuts[column] : expected.cuts[column + 1]].tolist()
            told = [slow_line(stat, stream, order[first:stop], row) for row in rows]
            values = [value for value, _ in told if value is not None]
            finite = [value for value in values if math.isfinite(value)]
            cell = {name: arrays[name][line, column] for name in ("mean", "low", "high", "not_finite", "state")}
            assert len(values) - len(finite) == cell["not_finite"]
            states = [state for _, some in told for state in some]
            telling = next((state for state in TOLD if state in states), GradState.NOT_SEEN)
            assert telling == cell["state"]
            if stat == "state":
                assert [states.count(state) for state in range(6)] == arrays["counts"][line, column].tolist()
            if not finite:
                assert all(math.isnan(cell[name]) for name in ("mean", "low", "high"))
                continue
            assert cell["mean"] == pytest.approx(sum(finite) / len(finite), rel=1e-6)
            assert (cell["low"], cell["high"]) == pytest.approx((min(finite), max(finite)), rel=1e-6)


NORMS = st.sampled_from([NAN, INF, 0.0, 1e-30, 1e-3, 0.5, 1.0, 2.0, 1e3, 5e37])
UPDATES = NORMS.filter(lambda norm: norm != 5e37)  # by 1e-30 is more than a float32 holds
ALL_STATES = st.sampled_from([0, 1, 2, 3, 3, 3, 4, 5])


@st.composite
def streams(draw: Any) -> tuple[Stream, list[Place]]:
    """Up to three optimizers, measured at different steps, with anything in their arrays; some widened later."""
    made, total = [], 0
    for i in range(draw(st.integers(1, 3))):
        size, steps = draw(st.integers(1, 4)), draw(st.lists(st.integers(0, 90), min_size=1, max_size=25, unique=True))
        steps, cells = sorted(steps), len(steps) * size
        drawn = [draw(st.lists(what, min_size=cells, max_size=cells)) for what in (ALL_STATES, NORMS, NORMS, UPDATES)]
        shaped = [np.array(values, kind).reshape(-1, size) for values, kind in zip(drawn, ("u1", "f4", "f4", "f4"))]
        unscheduled = draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
        shaped[3][np.array(unscheduled)] = NAN
        widened = draw(st.integers(0, len(steps)))
        if size > 1:
            for array in shaped:
                array[:widened, -1] = NAN if array.dtype == np.float32 else 0
        names = [f"{draw(st.sampled_from('ab'))}.p{total + k}" for k in range(size)]
        made.append(optimizer(names, steps, *shaped, number=i))
        total += size
    return stream_of(*made)


@st.composite
def pictures(draw: Any) -> tuple[Stream, list[Place], str, Question, Lines]:
    stream, order = draw(streams())
    bounds = sorted(draw(st.tuples(st.integers(0, 95), st.integers(0, 95))))
    start, stop = draw(st.sampled_from([(None, None), (bounds[0], None), (None, bounds[1]), tuple(bounds)]))
    pairs = [sorted(draw(st.tuples(*[st.integers(0, len(order) - 1)] * 2))) for _ in range(draw(st.integers(1, 5)))]
    lines = Lines(np.array([a for a, _ in pairs]), np.array([b + 1 for _, b in pairs]))
    if draw(st.booleans()):
        lines = Lines.each(len(order))
    return stream, order, draw(st.sampled_from(STATISTICS)), Question(start, stop, draw(st.integers(1, 40))), lines


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pictures())
def test_heatmap_against_a_naive_loop(picture: Any) -> None:
    """Any rows, lines, widths, NaN and Inf, None gradients, several optimizers: all kept rows count, each once."""
    check(*picture)


def test_blocks_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and columns that go over several blocks give the same."""
    rng = np.random.default_rng(0)
    state = rng.integers(0, 6, (80, 3))
    norm = np.where(rng.random((80, 3)) < 0.1, INF, rng.random((80, 3)))
    stream, order = stream_of(optimizer(["a.x", "a.y", "b"], range(80), state, norm))
    for size in (1, 7, 1 << 18):
        monkeypatch.setattr("gradscope.board.measured.BLOCK", size)
        for stat in ("gradient", "state"):
            check(stream, order, stat, Question(width=9), Lines.parse("0-1,2,0-2,1", 3))


def test_many_optimizers_of_one_stream() -> None:
    """One a parameter, as those that step inside backward: their lines are put together."""
    made = [optimizer([f"layer{i}.weight"], range(0, 30, 1 + i % 2), norm=i + 1.0, number=i) for i in range(12)]
    stream, order = stream_of(*made)
    for stat in STATISTICS:
        check(stream, order, stat, Question(width=7), Lines.parse("0-11,3,5-6", 12))


def test_norms_beyond_float32_squared() -> None:
    """Squares are summed in float64: neither too large nor too small for it."""
    stream, order = stream_of(optimizer(["a.x", "a.y"], range(4), norm=[[3e30, 4e30], [3e-30, 4e-30]] * 2))
    found = heatmap(stream, order, "gradient", Question(), Lines.parse("0-1", 2))
    assert [5e30, 5e-30] * 2 == pytest.approx(values(found["mean"])[0])


def test_biases_that_are_still_zero_have_no_ratio() -> None:
    """Zero weights that move: a ratio of Inf would look like a sickness."""
    stream, order = stream_of(optimizer(["a"], range(3), weight=[[0.0], [0.5], [0.5]], update=0.1))
    found = heatmap(stream, order, "update", Question(), Lines.each(1))
    assert [[0, 0, 0]] == values(found["not_finite"])
    assert [NAN, 0.2, 0.2] == pytest.approx(values(found["mean"])[0], nan_ok=True)


def test_counts_of_a_module_saturate() -> None:
    """70,000 parameter-rows in a cell are told as 65,535."""
    stream, order = stream_of(optimizer([f"m.p{i}" for i in range(70)], range(1000)))
    found = heatmap(stream, order, "state", Question(width=1), Lines.parse("0-69,0", 70))
    counts = decode(found["counts"])
    assert (65535, 1000) == (counts[0, 0, GradState.FRESH], counts[1, 0, GradState.FRESH])
