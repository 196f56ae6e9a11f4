"""What a rule is."""
from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, ClassVar, Iterator

from gradscope.findings import Finding
from gradscope.record.record import Record


@dataclass(frozen=True)
class Rule:
    """A pure function of the record, with its page.

    Fields of a subclass are its thresholds. `needs` names what must have been observed ("forward", a probe, a
    statistic): where the record says that one of them was blind, the rule is skipped and the report says so.
    `explains` lists the codes that are consequences of this one. The docstring is the page `gradscope explain` shows,
    under the headings of HEADINGS.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    severity: ClassVar[str]
    message: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    explains: ClassVar[tuple[str, ...]] = ()

    def check(self, record: Record) -> Iterator[Finding]:
        """The findings that the record supports. Must not change the record, nor depend on anything else."""
        raise NotImplementedError

    def not_judged(self, record: Record) -> str:
        """What of the record this rule does not judge, and why; "" where it judges everything."""
        return ""

    def over(self, finding: Finding, record: Record) -> bool:
        """Whether a finding of this rule, which `check` gives no longer, is a thing of the past (else it stays)."""
        return True

    def finding(self, steps: tuple[int, int], *, severity: str | None = None, **details: Any) -> Finding:
        """A Finding of this rule."""
        return Finding(self.code, self.name, severity or self.severity, self.message, steps, **details)

    @classmethod
    def page(cls) -> str:
        """The docstring, with the thresholds as they stand in the code."""
        text = inspect.cleandoc(cls.__doc__ or "")
        fields = [f"{f.name} = {f.default}" for f in dataclasses.fields(cls)]
        return text.replace("{thresholds}", "; ".join(fields) if fields else "none: it rests on facts")


HEADINGS = ("What it finds", "Why it matters", "Sick", "Healed", "What to do", "Silent on", "Known at", "References")
