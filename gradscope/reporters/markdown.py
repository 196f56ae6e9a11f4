"""The report as markdown, for TensorBoard's text page."""
from __future__ import annotations

import re

from gradscope.findings import Finding, shorten
from gradscope.plain import printable, sentence
from gradscope.reporters.report import Report, how_it_ended, plural

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#+!&|~]")


def render(report: Report) -> str:
    """All findings, causes first, with their consequences folded under them."""
    meta = report.meta
    parts = [f"## {report.tally()} in {plural(meta.rows, 'step')}"]
    parts += [_finding(finding, report) for finding in report.findings if finding.caused_by is None]
    if meta.ended and (ended := how_it_ended(meta)):
        parts.append(f"{ended[0].upper()}{ended[1:]}.")
    notes = [*report.unchecked(), *meta.notes, *report.notes]
    parts.append("\n".join(f"- {text(note)}" for note in notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def text(plain: str) -> str:
    """Text that markdown shows as it is, in one line."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match.group())};", sentence(plain))


def _finding(finding: Finding, report: Report) -> str:
    where = finding.where
    place = "" if where is None else f"{text(shorten(where.file, report.base))}:{where.line}: "
    head = f"### {place}{finding.severity} {text(finding.code)} {text(finding.name)} *({text(report.whose(finding))})*"
    parts = [head, text(finding.text), _quote(finding)]
    parts += [f"**help:** {text(advice.text)}" for advice in finding.advice]
    told = ", ".join(f"{text(f.code)} {text(f.name)} (from step {f.steps[0]})" for f in report.consequences(finding))
    if told:
        parts.append(f"**then:** {told}")
    return "\n\n".join(part for part in parts if part)


def _quote(finding: Finding) -> str:
    """The user's lines as an indented block: there markdown leaves everything as it is."""
    lines = []
    margin = min((len(line) - len(line.lstrip()) for _, line in finding.source), default=0)
    for number, line in finding.source:
        shown = printable(line[margin:].expandtabs(4))
        lines.append(f"    {number:>5} | {shown}")
        if finding.where is not None and number == finding.where.line and finding.label:
            lines.append(f"    {'':>5} | {' ' * (len(shown) - len(shown.lstrip()))}^ {printable(finding.label)}")
    return "\n".join(lines)
