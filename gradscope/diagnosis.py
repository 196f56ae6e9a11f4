"""From rules to a diagnosis: what is wrong, causes first, consequences folded under them, and what was not checked."""
from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field, replace
from typing import Iterable, Mapping, Sequence

import numpy as np

from gradscope.findings import SEVERITIES, Finding
from gradscope.quoting import line_of
from gradscope.record.record import Record
from gradscope.rules.base import Rule
from gradscope.trainers import reword

_IGNORE = re.compile(r"#\s*gradscope:\s*ignore(?:\[([^\]]*)\])?", re.IGNORECASE)
WHOLE_ROWS = 32  # rules run after each of the first rows,
GROWTH, MANY_ROWS = (1.05, 1.1), 256  # then each time their number has grown by 5 %, beyond 256 by 10 %


@dataclass(frozen=True)
class Diagnosis:
    """Findings in the order in which to fix them, and the rules that could not be judged, with the reason."""

    findings: tuple[Finding, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def diagnose(record: Record, rules: Sequence[Rule]) -> Diagnosis:
    """Run the rules over the record. A rule that needs what could not be seen, or that raises, is skipped."""
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    for rule in rules:
        blind = [f"{need}: {record.meta.blind[need]}" for need in rule.needs if need in record.meta.blind]
        if blind:
            skipped[rule.code] = "; ".join(blind)
            continue
        try:
            with np.errstate(all="ignore"):  # whatever the loop has set for its own numbers
                findings.extend(rule.check(record))
                if reason := rule.not_judged(record):
                    skipped[rule.code] = reason
        except Exception as error:
            skipped[rule.code] = f"the rule failed: {type(error).__name__}: {error}"
    return Diagnosis(fold(reword(findings, record.facts), rules), skipped)


def fold(findings: Iterable[Finding], rules: Sequence[Rule]) -> tuple[Finding, ...]:
    """Set `caused_by`, and order: each cause, worst and earliest first, followed by its consequences.

    A finding is a consequence of another one of the same stream whose rule explains its code (directly or through
    others) and that began no later. Of several causes, the one that nothing else explains is named. No finding is lost:
    of those that explain each other in a circle, the most urgent is the cause.
    """
    given = list(findings)
    direct = {rule.code: rule.explains for rule in rules}
    explains = _closure(tuple(direct.items()))

    def causes_of(finding: Finding) -> list[Finding]:
        return [c for c in given if c is not finding and _causes(c, finding, direct, explains)]

    folded = []
    for finding in given:
        causes = causes_of(finding)
        roots = [c for c in causes if not causes_of(c)]
        named = min(roots or causes, key=_urgency, default=None)
        folded.append(replace(finding, caused_by=None if named is None else named.code))
    ordered: list[Finding] = []
    for root in sorted((f for f in folded if f.caused_by is None), key=_urgency):
        mine = [f for f in folded if f.caused_by == root.code and f.stream == root.stream]
        ordered.extend([root, *sorted((f for f in mine if f not in ordered), key=lambda f: (f.steps[0], f.code))])
    left = [f for f in folded if f not in ordered]
    while left:
        root = min(left, key=_urgency)
        mine = [f for f in left if f is not root and _may_cause(root, f, explains)]
        ordered.append(replace(root, caused_by=None))
        ordered.extend(replace(f, caused_by=root.code) for f in sorted(mine, key=lambda f: (f.steps[0], f.code)))
        left = [f for f in left if f is not root and f not in mine]
    return tuple(ordered)


def _causes(
    cause: Finding, finding: Finding, direct: Mapping[str, Sequence[str]], explains: Mapping[str, set[str]]
) -> bool:
    """Of two that began together and explain each other: the one that does so directly."""
    if not _may_cause(cause, finding, explains) or not _may_cause(finding, cause, explains):
        return _may_cause(cause, finding, explains)
    forth, back = finding.code in direct[cause.code], cause.code in direct[finding.code]
    return forth if forth != back else _urgency(cause) < _urgency(finding)


def _may_cause(cause: Finding, finding: Finding, explains: Mapping[str, set[str]]) -> bool:
    return (
        finding.code in explains.get(cause.code, ())
        and cause.stream == finding.stream
        and cause.steps[0] <= finding.steps[0]
        and (cause.severity != "info" or finding.severity == "info")
    )


def _urgency(finding: Finding) -> tuple[int, int, str]:
    return SEVERITIES.index(finding.severity), finding.steps[0], finding.code


@functools.lru_cache
def _closure(pairs: tuple[tuple[str, tuple[str, ...]], ...]) -> Mapping[str, set[str]]:
    """By a rule's code, all that it explains, directly or through others."""
    explains, closed = dict(pairs), {}
    for code in explains:
        reached: set[str] = set()
        queue = list(explains[code])
        while queue:
            following = queue.pop()
            if following not in reached and following != code:
                reached.add(following)
                queue.extend(explains.get(following, ()))
        closed[code] = reached
    return closed


class Cadence:
    """When rules run: a function of the number of rows alone, plus the first sight of each trigger."""

    def __init__(self) -> None:
        self.next = 1
        self._seen: set[str] = set()

    def due(self, rows: int, triggers: Iterable[str] = ()) -> bool:
        """Whether to run the rules now that `rows` rows are finished."""
        new = set(triggers) - self._seen
        self._seen |= new
        if rows < self.next and not new:
            return False
        if rows >= self.next:
            self.next = rows + 1 if rows < WHOLE_ROWS else max(rows + 1, int(rows * GROWTH[rows >= MANY_ROWS]))
        return True


class FindingLog:
    """The findings of a run as they are made: by id, with the row of first detection, newest revision.

    A finding that its rule no longer supports stays (it was true then), but as info: a parameter that got no gradient
    for a while, and does now.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._found: dict[str, Finding] = {}
        self.skipped: dict[str, str] = {}
        self.suppressed: set[str] = set()

    def update(self, diagnosis: Diagnosis, row: int, record: Record) -> list[Finding]:
        """Take in a diagnosis of `record` made at `row`; returns what is new or revised."""
        self.skipped = dict(diagnosis.skipped)
        found = dict(self._found)
        current: set[str] = set()
        for finding in diagnosis.findings:
            if is_ignored(finding):
                self.suppressed.add(finding.id)
                continue
            current.add(finding.id)
            known = found.get(finding.id)
            if known is None:
                found[finding.id] = finding.detected(row)
            else:
                found[finding.id] = replace(finding, step=known.step, source=known.source)
        for key, finding in found.items():
            if key in current or finding.severity == "info":
                continue
            if self._is_over(finding, diagnosis, record):
                found[key] = replace(
                    finding,
                    severity="info",
                    message=finding.message + " (until step {until})",
                    evidence={**finding.evidence, "until": row},
                )
            else:
                found[key] = replace(finding, steps=(finding.steps[0], max(finding.steps[1], row)))
        before, self._found = self._found, {}
        for finding in fold(found.values(), self._rules):  # a cause may show later than its symptom
            self._found[finding.id] = finding
        return [finding for key, finding in self._found.items() if finding != before.get(key)]

    def _is_over(self, finding: Finding, diagnosis: Diagnosis, record: Record) -> bool:
        rule = next((rule for rule in self._rules if rule.code == finding.code), None)
        try:
            if rule is None or finding.code in diagnosis.skipped and not rule.not_judged(record):
                return rule is None
            with np.errstate(all="ignore"):
                return rule.over(finding, record)
        except Exception:  # it is not known: what was found stays
            return False

    def __len__(self) -> int:
        return len(self._found)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, causes first."""
        return fold(self._found.values(), self._rules)


def is_ignored(finding: Finding) -> bool:
    """Whether the cited line says `# gradscope: ignore[CODE]` (or, without codes, ignores everything)."""
    if finding.where is None:
        return False
    match = _IGNORE.search(line_of(finding.where.file, finding.where.line))
    if match is None:
        return False
    codes = match.group(1)
    words = [] if codes is None else [word.strip() for word in codes.split(",")]
    return codes is None or finding.code in map(str.upper, words) or finding.name in words
