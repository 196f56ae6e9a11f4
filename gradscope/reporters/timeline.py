"""The timeline of one step as a table: where gradients are None, where they become numbers, where they are used up."""
from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from gradscope.events import GradState, Point
from gradscope.findings import shorten
from gradscope.plain import printable
from gradscope.quoting import line_of
from gradscope.record.record import Record
from gradscope.reporters.grid import Column, crop, fit_name, rows_of
from gradscope.reporters.moments import (
    HAS_NUMBER,
    MOST_LINES,
    POINTS_OF,
    Call,
    Cell,
    Moment,
    OptimizerMoment,
    moment_of,
)
from gradscope.reporters.terminal import HEIGHT

NARROWEST = 40  # columns
_AT_USE = (Point.AFTER_BACKWARD, Point.BEFORE_STEP)  # here a used gradient is one that should have been cleared
_MARKS = {"used": "*", "old": "!", "sum": "+"}  # where there is no room for the words
_STYLE = {"old": "bold red", "sum": "yellow", "used": "dim", "None": "cyan", "-": "dim"}
LEGEND = {
    "None": "no gradient",
    "0": "a gradient that is all zeros",
    "used": "a step has used this gradient",
    "old": "an EARLIER step has used this gradient already, or a part of it",
    "sum": "several backward() calls added up",
    "-": "not seen",
}
# What to tell of a line whose parameters differ: the first of these that is there; what is old comes before all.
_TELLING = (GradState.NONE, GradState.ZERO, GradState.NOT_SEEN, GradState.ACCUMULATED, GradState.STALE)


def render(
    record: Record,
    step: int | None = None,
    width: int = 100,
    color: bool = False,
    base: Path | None = None,
    every_parameter: bool = False,
    hint: str = "",
) -> str:
    """Step `step` of a run as text, `width` columns wide: one table per optimizer that stepped there.

    None: the newest measured step. More than 40 parameters are grouped by module unless `every_parameter`; `hint` tells
    how to ask for that. Raises what `moment_of` raises.
    """
    moment = moment_of(record, step, None if every_parameter else MOST_LINES)
    text = io.StringIO()
    console = Console(file=text, width=max(NARROWEST, width), height=HEIGHT, force_terminal=color, force_jupyter=False,
                      no_color=not color, highlight=False, emoji=False)  # fmt: skip
    one_loss = _head(console, moment)
    shown: set[str] = set()
    for optimizer in moment.optimizers:
        console.print()
        shown |= _optimizer(console, optimizer, base, hint, own_loss=not one_loss)
    console.print()
    _legend(console, shown)
    _others(console, moment)
    return text.getvalue()


def _head(console: Console, moment: Moment) -> bool:
    """The step and what else could be shown; returns whether its loss is told, being the same for all optimizers."""
    losses = {repr(o.head.loss): o.head.loss for o in moment.optimizers}
    head = Text(f"step {moment.step}", "bold")
    if len(losses) == 1:
        head.append(f" · {_loss(next(iter(losses.values())))}", "not bold")
    console.print(head)
    if moment.asked is not None and moment.asked != moment.step:
        side = "before" if moment.step < moment.asked else "after"
        console.print(Text(f"Step {moment.asked} was not measured: this is the nearest measured one {side} it."))
    last = moment.steps - 1
    run = (f"the run's steps 0-{last}" if last else "the run's only step") + ("" if moment.ended else " so far")
    if len(moment.measured) == moment.steps:
        told = f"{run}{', all measured' if last else ''}"
    else:
        told = f"{run}; measured: {ranges(moment.measured)} ({len(moment.measured):,} of {moment.steps:,})"
    console.print(Text(told, "dim"))
    return len(losses) == 1


def ranges(steps: Sequence[int], most: int = 6) -> str:
    """Step numbers as people write them: "0-31, 40, 48 ... 96"; the middle of a long story is left out."""
    parts: list[str] = []
    at = 0
    while at < len(steps):
        gap = steps[at + 1] - steps[at] if at + 1 < len(steps) else 0
        end = at
        while end + 1 < len(steps) and steps[end + 1] - steps[end] == gap:
            end += 1
        if gap == 1 and end > at + 1:
            parts.append(f"{steps[at]}-{steps[end]}")
        elif end > at + 2:
            parts.append(f"{steps[at]}, {steps[at + 1]} ... {steps[end]}")
        else:
            end = at
            parts.append(str(steps[at]))
        at = end + 1
    if len(parts) > most:
        parts[most - 1 : -1] = ["..."]
    return ", ".join(parts).replace("..., ", "... ").replace(", ...", " ...")


def _optimizer(console: Console, moment: OptimizerMoment, base: Path | None, hint: str, own_loss: bool) -> set[str]:
    """One optimizer's calls and table; returns what stands in its cells."""
    _calls(console, moment, base, own_loss)
    console.print()
    points = [point for call in moment.head.calls for point in POINTS_OF[call.phase]]
    names = [printable(line.name) + (f" ({line.parameters})" if line.parameters > 1 else "") for line in moment.lines]
    wanted = min(max(map(cell_len, (*names, "parameter"))), 24)
    for marks, mixed_norms in ((False, True), (False, False), (True, False)):
        cells = [[cell_texts(line.cells[p], p, marks, mixed_norms) for p in points] for line in moment.lines]
        columns = [Column.of(_when(point), [row[i] for row in cells]) for i, point in enumerate(points)]
        room = console.width - sum(column.width + 2 for column in columns)
        if room >= wanted:
            break
    names = [fit_name(name, max(9, room)) for name in names]
    spans = [(f"{call.phase.value}()", len(POINTS_OF[call.phase])) for call in moment.head.calls]
    for text in rows_of("parameter", names, spans, columns, cells, _style):
        console.print(text, soft_wrap=True)
    if len(moment.lines) < moment.parameters:
        told = f"{moment.parameters:,} parameters in {len(moment.lines)} lines, by module; (n): so many in one"
        console.print(Text(told + (f"; {hint}" if hint else ""), "dim"))
    return {text.split()[0] for row in cells for cell in row for text in cell if text}


def _calls(console: Console, moment: OptimizerMoment, base: Path | None, own_loss: bool) -> None:
    """The optimizer, its learning rates, and where each call was made."""
    head, many = moment.head, len(moment.numbers)
    title = Text(f"{many} x " if many > 1 else "", "bold")
    title.append(printable(f"{head.variable} ({head.kind})" if head.variable else head.kind), "bold")
    title.append(f" · {rates(head.lr)}" if head.lr else "", "not bold")
    title.append(f" · {_loss(head.loss)}" if own_loss else "", "not bold")
    console.print(title)
    places = [_place(call, base) for call in head.calls]
    room = max(map(cell_len, places))
    for call, place in zip(head.calls, places):
        text = Text(f"  {call.phase.value + '()':<11}  ")
        text.append(place, "bold" if call.site else "dim")
        source, padding = _quoted(call), " " * (room - cell_len(place))
        left = console.width - text.cell_len - len(padding) - 2
        if source and left >= min(24, cell_len(source)):
            text.append(f"{padding}  {crop(source, left)}", "dim")
        console.print(text, soft_wrap=True)


def _place(call: Call, base: Path | None) -> str:
    if call.site is None:
        return "not called" if call.known else "(no longer in the record)"
    times = f" (the last of {call.times})" if call.times > 1 else ""
    return printable(f"{shorten(call.site.file, base)}:{call.site.line}") + times


def _quoted(call: Call) -> str:
    """The source line of a call; nothing where the file is not there, or has another line there by now."""
    if call.site is None:
        return ""
    line = printable(line_of(call.site.file, call.site.line).strip())
    return line if call.phase.value in line else ""


def _legend(console: Console, shown: set[str]) -> None:
    """What the words in the tables mean: only those that are in one."""
    told = ["numbers: the gradient's norm"] if any(text[0].isdigit() and text != "0" for text in shown) else []
    for word, meaning in LEGEND.items():
        told += [f"{said}: {meaning}" for said in dict.fromkeys((word, _MARKS.get(word, word))) if said in shown]
    lines = told[:1]
    for item in told[1:]:
        longer = f"{lines[-1]} · {item}"
        lines[-1:] = [longer] if cell_len(longer) <= console.width else [lines[-1], item]
    console.print(Text("\n".join(lines), "dim"))


def _others(console: Console, moment: Moment) -> None:
    for stepped, told in ((False, "Did not step here"), (True, "Not measured here")):
        others = [o for o in moment.others if o.stepped is stepped]
        shown = ", ".join(f"{printable(o.variable or o.kind)} (see step {o.nearest})" for o in others[:6])
        more = f", and {len(others) - 6} more" if len(others) > 6 else ""
        if others:
            console.print(Text(f"{told}: {shown}{more}."))


def cell_texts(cell: Cell, point: Point, marks: bool, mixed_norms: bool) -> tuple[str, str]:
    """A cell's number, where it has one, and its word."""
    state = cell.state
    number = number_text(cell.norm) if any(s in HAS_NUMBER for s in cell.counts) else ""
    if state is not None:
        word = _word(state, point)
        return number, _MARKS.get(word, word) if marks else word
    told = telling(cell, point)
    word = _word(told, point)
    word = f"{_MARKS.get(word, word) if marks else word} {cell.counts[told]}/{sum(cell.counts.values())}"
    return (number if mixed_norms else "", word)


def telling(cell: Cell, point: Point) -> GradState:
    """The state to tell of a cell: that of all, or of those whose parameters differ the most telling one."""
    if cell.state is not None:
        return cell.state
    old = GradState.STALE in cell.counts and point in _AT_USE
    return GradState.STALE if old else next(s for s in _TELLING if s in cell.counts)


def _word(state: GradState, point: Point) -> str:
    stale = "old" if point in _AT_USE else "used"
    words = {GradState.NOT_SEEN: "-", GradState.NONE: "None", GradState.ZERO: "0", GradState.STALE: stale}
    return {**words, GradState.ACCUMULATED: "sum"}.get(state, "")


def _when(point: Point) -> str:
    return point.name.split("_")[0].lower()


def _style(number: str, word: str) -> str:
    if number in ("nan", "inf"):
        return "bold red"
    said = word.split()[0] if word else ""
    return _STYLE.get(next((w for w, mark in _MARKS.items() if mark == said), said), "default")


def number_text(value: float) -> str:
    """Three significant digits, none dropped, so that columns stand in line: 0.500, 12.0, 345, 1.20e-05."""
    if 99.95 <= abs(value) < 99999.5:
        return format(value, ".0f")
    return format(value, "#.3g") if math.isfinite(value) else str(value)


def _loss(loss: float | None) -> str:
    return "no loss known" if loss is None else f"loss {loss:.4g}"


def rates(rates: Sequence[float]) -> str:
    """The learning rates of the groups: one if they agree."""
    told = [format(rate, ".4g") for rate in rates]
    if len(set(told)) == 1:
        return f"lr {told[0]}" + (f" in all {len(told)} groups" if len(told) > 1 else "")
    shown = told if len(told) <= 6 else [*told[:3], "...", *told[-2:]]
    return f"lr {', '.join(shown)} (groups 0-{len(told) - 1})"
