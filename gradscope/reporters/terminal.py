"""The report as a compiler would print it: place, severity, what, the user's own line, why, what to do."""
from __future__ import annotations

import io
from typing import IO

from rich.console import Console
from rich.text import Text

from gradscope.findings import Finding, shorten
from gradscope.plain import lines_of, printable
from gradscope.record.record import Meta
from gradscope.reporters.grid import crop
from gradscope.reporters.report import Report, plural
from gradscope.saying import put

_STYLE = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
_INDENT = "   "
HEIGHT = 25  # lines: rich would take it from the environment, and stumble over what it may say there
_WIDEST = 1000  # columns
_LONGEST = 240  # columns of a quoted line: what was written by a machine is cut


def render(report: Report, width: int = 100, color: bool = False) -> str:
    """The report as text, without a trailing blank line; `width` columns."""
    text = io.StringIO()
    console = Console(
        file=text,
        width=width,
        height=HEIGHT,
        force_terminal=color,
        force_jupyter=False,  # in a notebook it would print into the cell instead
        no_color=not color,
        highlight=False,
        emoji=False,
        soft_wrap=False,
    )
    for finding in report.findings:
        if finding.caused_by is None:
            _finding(console, finding, report)
            console.print()
    _summary(console, report)
    return text.getvalue()


def write(report: Report, stream: IO[str], width: int | None = None) -> None:
    """Print the report on a stream, in colour where that is a terminal. A closed stream is not our business."""
    columns, terminal = size(stream)
    put(render(report, width or columns, terminal), stream)


def size(stream: IO[str]) -> tuple[int, bool]:
    """How many columns a stream has, and whether it is a terminal (where not, 100)."""
    try:
        terminal = stream.isatty()
        width = Console(file=stream, height=HEIGHT, force_jupyter=False).width if terminal else 100
        return min(width, _WIDEST), terminal
    except (OSError, ValueError, AttributeError):
        return 100, False


def _finding(console: Console, finding: Finding, report: Report) -> None:
    place = "" if finding.where is None else f"{shorten(finding.where.file, report.base)}:{finding.where.line}: "
    head = Text(printable(place), "bold")
    head.append(printable(f"{finding.severity} {finding.code}"), _STYLE[finding.severity])
    head.append(printable(f" {finding.name}"), "bold")
    head.append(printable(f"  ({report.whose(finding)})"))
    console.print(head, soft_wrap=True)
    _wrapped(console, finding.text)
    _quote(console, finding)
    for text in dict.fromkeys(advice.text for advice in finding.advice):  # the same for several groups, once
        _wrapped(console, text, "help: ", "green")
    consequences = report.consequences(finding)
    if consequences:
        told = ", ".join(f"{f.code} {f.name} (from step {f.steps[0]})" for f in consequences)
        _wrapped(console, told, "then: ", "dim")


def _wrapped(console: Console, text: str, label: str = "", style: str = "") -> None:
    """Text in paragraphs under the head, the label hanging out."""
    hanging = " " * len(label)
    lines = Text("\n".join(lines_of(text))).wrap(console, max(20, console.width - len(_INDENT) - len(label)))
    for number, line in enumerate(lines):
        shown = Text(_INDENT)
        shown.append(hanging if number else label, style)
        shown.append_text(line)
        shown.rstrip()
        console.print(shown, soft_wrap=True)


def _quote(console: Console, finding: Finding) -> None:
    if not finding.source or finding.where is None:
        return
    gutter = max(len(str(number)) for number, _ in finding.source)
    margin = min(len(text) - len(text.lstrip()) for _, text in finding.source)
    for number, text in finding.source:
        shown = crop(printable(text[margin:].expandtabs(4)), max(console.width, _LONGEST))
        console.print(Text(f"{_INDENT}{number:>{gutter}} | ", "dim").append(shown, "default"), soft_wrap=True)
        if number == finding.where.line and finding.label:
            caret = " " * (len(shown) - len(shown.lstrip()))
            label = printable(finding.label)
            console.print(Text(f"{_INDENT}{'':>{gutter}} | {caret}^ {label}", "cyan"), soft_wrap=True)


def _bill(meta: Meta) -> str:
    """What watching took: a share, or seconds where they were few, or most of the run; and how much was measured."""
    if 0 < meta.seconds < 0.95:
        took = f"{meta.seconds:.1g} s"
    else:
        took = f"{100 * meta.overhead:.1f} %" if meta.overhead < 1 else f"{meta.seconds:.1f} s"
    if meta.stride == 1:
        sampled = ""
    elif not meta.measured:
        sampled = ", norms not measured"
    elif meta.rows < 4 * meta.stride or not meta.stride:
        sampled = f", norms measured at {meta.measured} of {meta.rows:,} steps"
    else:
        sampled = f", norms measured at 1 of {meta.stride} steps"
    return f"watched for {took} of the run's time{sampled}"


def _summary(console: Console, report: Report) -> None:
    meta = report.meta
    if meta.rows == 0 and not report.findings:
        sentence = "no optimizer step was seen: nothing to diagnose"
        if meta.backwards:
            sentence = f"no optimizer step was seen in {meta.backwards} backwards: nothing to diagnose"
        console.print(Text(f"gradscope: {sentence}."), soft_wrap=True)
    else:
        ranks = f" on {len(report.ranks)} ranks" if report.ranks else ""
        sentence = f"{report.tally()} in {plural(meta.rows, 'step')}{ranks} ({_bill(meta)})."
        hints = [f"gradscope explain {report.findings[0].code}"] if report.findings else []
        if report.folder is not None and report.findings:
            hints.append(f"gradscope report {shorten(str(report.folder), report.base)}")
        told = "gradscope: " + sentence + (f"  {' · '.join(hints)}" if hints else "")
        console.print(Text(printable(told)), soft_wrap=True)
    for note in (*report.unchecked(), *meta.notes, *report.notes):
        _wrapped(console, note, "note: ")
    if report.suppressed:
        _wrapped(console, f"{plural(report.suppressed, 'finding')} suppressed in the source", "note: ")
