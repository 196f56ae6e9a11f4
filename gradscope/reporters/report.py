"""What every reporter renders."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Sequence

from gradscope.findings import Finding
from gradscope.record.metrics import NONE_LOGGED
from gradscope.record.record import ONE_PROCESS, Meta


@dataclass(frozen=True)
class RankEnd:
    """How one of many processes ended: finished, crashed, interrupted, killed, running, unknown (no record)."""

    rank: int
    status: str
    exit_code: int | None
    steps: int


@dataclass(frozen=True)
class Report:
    """A run's findings, causes first, with what could not be checked and what is known of the run.

    `folder` is the run folder, if there is one; `base` is the
    directory that paths are shown relative to. `ranks` are the processes, where it tells of several.
    """

    meta: Meta
    findings: tuple[Finding, ...]
    skipped: Mapping[str, str]
    folder: Path | None = None
    base: Path | None = None
    suppressed: int = 0
    notes: tuple[str, ...] = field(default=())
    ranks: tuple[RankEnd, ...] = ()

    def count(self, severity: str) -> int:
        """Findings of this severity that are not consequences of others."""
        return sum(f.severity == severity and f.caused_by is None for f in self.findings)

    def consequences(self, finding: Finding) -> list[Finding]:
        """What is folded under a finding."""
        return [f for f in self.findings if f.caused_by == finding.code and f.stream == finding.stream]

    def whose(self, finding: Finding) -> str:
        """Which optimizer a finding is about, which steps, and which ranks: "SGD #1, steps 3-200, ranks 0-3"."""
        first, last = finding.steps
        steps = f"step {first}" if first == last else f"steps {first}-{last}"
        if finding.ranks:
            here = sum(end.status != "unknown" for end in self.ranks)
            steps += f", {ranks_told(finding.ranks)}{' only' if len(finding.ranks) < here else ''}"
        number, optimizers = finding.optimizer, self.meta.optimizers
        if number is None or not 0 <= number < len(optimizers):
            return steps
        which = f" #{number}" if len(optimizers) > 1 else ""
        return f"{optimizers[number]}{which}, {steps}"

    def tally(self) -> str:
        """How much of what was found: "1 error, 0 warnings"."""
        if not self.findings:
            return "no errors, no warnings"
        counts = [plural(self.count("error"), "error"), plural(self.count("warning"), "warning")]
        infos = self.count("info")
        return ", ".join([*counts, plural(infos, "note")] if infos else counts)

    def unchecked(self) -> list[str]:
        """What was not checked, and why: one sentence a reason. What nobody has asked for is not told of."""
        codes: dict[str, list[str]] = {}
        for code, why in self.skipped.items():
            if why not in (NONE_LOGGED, ONE_PROCESS):
                codes.setdefault(why, []).append(code)
        return [f"{', '.join(c)} {_verb(c)} not checked: {why}" for why, c in codes.items()]


def how_it_ended(meta: Meta, since: float | None = None) -> str:
    """How a run ended where it did not come to its end, as one clause; else nothing.

    `since`: how many seconds ago it was last written.
    """
    if not meta.ended:
        told = "the run has not ended, or was killed"
        return told if since is None else f"{told}: it was last written {_span(since)} before this report"
    how = {"crashed": "the run crashed", "interrupted": "the run was interrupted"}.get(meta.status, "")
    return f"{how} (exit code {meta.exit_code})" if how and meta.exit_code else how


def ranks_told(ranks: Sequence[int]) -> str:
    """Ranks as people tell them: "rank 2", "ranks 0-3, 6"."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and rank == spans[-1][-1] + 1:
            spans[-1][1:] = [rank]
        else:
            spans.append([rank])
    told = ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else f"{span[0]}" for span in spans)
    return f"rank{'' if len(ranks) == 1 else 's'} {told}"


def _verb(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 and not names[0].endswith("s") else "were"


def _span(seconds: float) -> str:
    """A time as people tell it: "12 seconds", "3 minutes", "5 hours", "2 days"."""
    units = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))
    size, unit = next((u for u in units if seconds >= 2 * u[0]), (1.0, "second"))
    return plural(max(0, int(seconds / size)), unit)


def plural(number: int, word: str) -> str:
    """The number with its noun: "1 step", "2,000 steps"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
