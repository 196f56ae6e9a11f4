"""The report as a notebook shows it: HTML that needs nothing from elsewhere, every text of the user's escaped."""
from __future__ import annotations

from html import escape

from gradscope.findings import Finding, shorten
from gradscope.plain import lines_of, printable, sentence
from gradscope.reporters.report import Report, plural

_COLORS = {"error": "#c62828", "warning": "#b26a00", "info": "#00695c"}
_MONO = "font-family:monospace;white-space:pre-wrap;margin:2px 0 2px 1.5em"


class Shown(str):
    """Text that a notebook shows as HTML; everywhere else it is the text alone."""

    page: str

    @classmethod
    def of(cls, text: str, page: str) -> Shown:
        """`text`, with the HTML that stands for it in a notebook."""
        shown = cls(text)
        shown.page = page
        return shown

    def _repr_html_(self) -> str:
        return self.page


def render(report: Report) -> str:
    """One block: each root cause with its line, evidence, cure and consequences, then what was watched."""
    parts = [_finding(finding, report) for finding in report.findings if finding.caused_by is None]
    seen = f"{report.tally()} in {plural(report.meta.rows, 'step')}"
    if not report.meta.rows and not report.findings:
        seen = "no optimizer step was seen" + ("" if report.meta.ended else " so far")
    parts.append(f"<div><b>gradscope</b>: {_text(seen)}.</div>")
    notes = [*report.unchecked(), *report.meta.notes, *report.notes]
    parts += [f'<div style="opacity:.7">note: {_text(note)}</div>' for note in notes]
    return f'<div style="line-height:1.4">{"".join(parts)}</div>'


def _finding(finding: Finding, report: Report) -> str:
    place = "" if finding.where is None else f"{shorten(finding.where.file, report.base)}:{finding.where.line}: "
    color, code = _COLORS[finding.severity], _text(f"{finding.severity} {finding.code}")
    head = f'<b>{_text(place)}<span style="color:{color}">{code}</span> {_text(finding.name)}</b>'
    parts = [
        f"<div>{head} ({_text(report.whose(finding))})</div>",
        f'<div style="margin-left:1.5em">{_lines(finding.text)}</div>',
    ]
    if finding.source and finding.where is not None:
        parts.append(f'<div style="{_MONO}">{_source(finding, finding.where.line)}</div>')
    for advice in finding.advice:
        parts.append(f'<div style="margin-left:1.5em"><b>help:</b> {_lines(advice.text)}</div>')
    consequences = report.consequences(finding)
    if consequences:
        told = ", ".join(f"{f.code} {f.name} (from step {f.steps[0]})" for f in consequences)
        parts.append(f'<div style="margin-left:1.5em;opacity:.7">then: {_text(told)}</div>')
    return f'<div style="margin-bottom:.8em">{"".join(parts)}</div>'


def _source(finding: Finding, cited: int) -> str:
    margin = min(len(text) - len(text.lstrip()) for _, text in finding.source)
    lines = []
    for number, text in finding.source:
        line = escape(printable(text[margin:].expandtabs(4)[:240]))
        mark = f"  <b>&larr; {_text(finding.label)}</b>" if number == cited and finding.label else ""
        lines.append(f"{number} | {line}{mark}")
    return "<br>".join(lines)


def _text(text: str) -> str:
    return escape(sentence(text)) + (" " if text.endswith(" ") else "")


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in lines_of(text))
