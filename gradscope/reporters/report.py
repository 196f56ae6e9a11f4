"""What every reporter renders."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping

from gradscope.findings import Finding
from gradscope.record.record import Meta


@dataclass(frozen=True)
class Report:
    """A run's findings, causes first, with what could not be checked and what is known of the run.

    `folder` is the run folder, if there is one; `base` is the
    directory that paths are shown relative to.
    """

    meta: Meta
    findings: tuple[Finding, ...]
    skipped: Mapping[str, str]
    folder: Path | None = None
    base: Path | None = None
    suppressed: int = 0
    notes: tuple[str, ...] = field(default=())

    def count(self, severity: str) -> int:
        """Findings of this severity that are not consequences of others."""
        return sum(f.severity == severity and f.caused_by is None for f in self.findings)
