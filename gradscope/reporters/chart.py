"""Curves as plain text: the course of a loss on a terminal."""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DECADES = 6  # of a logarithmic axis at most; what is higher stands on its upper edge
LOG_FROM = 20.0  # highest over lowest


@dataclass(frozen=True)
class Marks:
    """How two curves are drawn: the first, the second, both in one place, beyond the upper edge, the frame."""

    first: str = "○"
    second: str = "●"
    both: str = "◐"
    beyond: str = "↑"
    frame: tuple[str, str, str] = ("┤", "└", "─")


UNICODE, ASCII = Marks(), Marks("o", "x", "*", "^", ("|", "+", "-"))
_COLORS = {"first": "\x1b[33m", "second": "\x1b[1;32m", "both": "\x1b[36m"}


def marks_for(encoding: str | None) -> Marks:
    """The signs that a stream of this encoding can show."""
    try:
        "".join([*vars(UNICODE).values()][:4] + list(UNICODE.frame)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def draw(
    first: tuple[Array, Array],
    second: tuple[Array, Array],
    names: tuple[str, str],
    width: int = 70,
    height: int = 12,
    marks: Marks = UNICODE,
    color: bool = False,
) -> str:
    """Two curves, (steps, values) # (any,) each, as means over columns; the axis is logarithmic where they need it.

    A column that holds a value that is not finite stands on the upper edge.
    """
    span = _span(first[0], second[0])
    columns = [_columns(steps, values, span, width) for steps, values in (first, second)]
    finite = np.concatenate([c[np.isfinite(c)] for c in columns])
    if not len(finite):
        finite = np.array([0.0, 1.0])
    low, high = float(finite.min()), float(finite.max())
    log = low > 0 and high / low >= LOG_FROM
    if log:
        high = min(high, low * 10.0**DECADES)
    rows = [_rows(c, low, high, log, height) for c in columns]
    placed = list(_placed(rows))
    grid = [[" "] * width for _ in range(height)]
    for kind, row, column, beyond in placed:
        grid[row][column] = _colored(marks.beyond if beyond else getattr(marks, kind), kind, color)
    lines, labels = [], _labels(low, high, log, height)
    margin = max(len(label) for label in labels.values())
    tick, corner, line = marks.frame
    for row in range(height):
        lines.append(f"{labels.get(row, ''):>{margin}} {tick}{''.join(grid[row]).rstrip()}")
    lines.append(f"{'':>{margin}} {corner}{line * width}")
    start, end = f"step {int(span[0]):,}", f"{int(span[1]):,}"
    lines.append(f"{'':>{margin}}  {start}{end:>{width - len(start)}}")
    kinds = ((marks.first, "first"), (marks.second, "second"))
    legend = [f"{_colored(mark, kind, color)} {name}" for (mark, kind), name in zip(kinds, names)]
    if any(beyond for _, _, _, beyond in placed):
        legend.append(f"{marks.beyond} higher, or not finite")
    lines.append(f"{'':>{margin}}  {'   '.join(legend)}{'   (logarithmic)' if log else ''}")
    return "\n".join(lines)


def _span(*steps: Array) -> tuple[float, float]:
    known = np.concatenate(steps)
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)


def _columns(steps: Array, values: Array, span: tuple[float, float], width: int) -> Array:
    """The mean of each column # (width,); NaN where there is nothing, inf where something is not finite."""
    means = np.full(width, np.nan)
    if len(steps):
        places = np.minimum(((steps - span[0]) / max(1.0, span[1] - span[0]) * width).astype(int), width - 1)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.bincount(places, np.where(np.isfinite(values), values, np.inf), width)
        count = np.bincount(places, minlength=width)
        np.divide(sums, count, out=means, where=count > 0)
    return means


def _rows(columns: Array, low: float, high: float, log: bool, height: int) -> list[tuple[int, bool] | None]:
    """For each column its row, counted from above, and whether it lies beyond the upper edge."""
    rows: list[tuple[int, bool] | None] = []
    for value in columns.tolist():
        if math.isnan(value):
            rows.append(None)
        elif value > high * (1 + 1e-9) if log else not math.isfinite(value):
            rows.append((0, True))
        else:
            at, bottom, top = (math.log(max(v, low)) if log else v for v in (value, low, high))
            share = (at - bottom) / (top - bottom) if top > bottom else 0.5
            rows.append((height - 1 - round(share * (height - 1)), False))
    return rows


def _placed(rows: list[list[tuple[int, bool] | None]]) -> Iterator[tuple[str, int, int, bool]]:
    """What is to be drawn: first, second or both; row; column; whether it is beyond the upper edge."""
    for column, (one, other) in enumerate(zip(*rows)):
        for kind, at in (("both", one),) if one == other else (("first", one), ("second", other)):
            if at is not None:
                yield kind, at[0], column, at[1]


def _labels(low: float, high: float, log: bool, height: int) -> dict[int, str]:
    """The values of the highest, a middle and the lowest row."""
    if high <= low:
        return {height // 2: f"{low:.3g}"}
    shares = {row: 1 - row / (height - 1) for row in (0, height // 2, height - 1)}
    values = {row: low * (high / low) ** s if log else low + (high - low) * s for row, s in shares.items()}
    return {row: f"{value:.3g}" for row, value in values.items()}


def _colored(mark: str, kind: str, color: bool) -> str:
    return f"{_COLORS[kind]}{mark}\x1b[0m" if color else mark
