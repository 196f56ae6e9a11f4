"""What came of it: for people (both curves and a sentence) and as JSON (schema 1)."""
from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradscope.findings import Finding, show
from gradscope.plain import printable
from gradscope.reporters import chart
from gradscope.reporters.json import sound
from gradscope.reporters.report import plural
from gradscope.trying.children import Ran
from gradscope.trying.comparison import Comparison, Course
from gradscope.trying.treatments import MOST, Treatment, choose, roots

SCHEMA = 1
_SAID = {
    "helps": "The advice helps",
    "no-help": "The advice does not help",
    "unclear": "It cannot be told whether the advice helps",
    "failed": "The advice could not be tried",
}


@dataclass(frozen=True)
class Trial:
    """One treatment and what came of it. `verdict`: helps, no-help, unclear or failed, and `why`.

    `courses`: the losses as it is and with the treatment; None, like `comparison`, where there is nothing to compare.
    """

    treatment: Treatment
    ran: Ran
    verdict: str
    why: str
    comparison: Comparison | None = None
    courses: tuple[Course, Course] | None = None
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """ "with lr 0.001: 1.53 after 40,000 steps; without: 2.00. The advice helps." """
        told = ""
        if self.comparison is not None and self.comparison.step >= 0:
            compared = self.comparison
            told = (
                f"with {self.treatment.label}: {show(compared.loss)} after {plural(compared.step + 1, 'step')}; "
                f"without: {show(compared.baseline)}. "
            )
        return f"{told}{_SAID[self.verdict]}{f': {self.why}' if self.why else ''}."

    def chart(self, width: int, marks: chart.Marks, color: bool) -> str:
        """Both curves, so many columns wide; "" where there are none."""
        if self.courses is None:
            return ""
        before, after = ((course.steps, course.losses) for course in self.courses)
        return chart.draw(before, after, ("as it is", f"with {self.treatment.label}"), width, marks=marks, color=color)


@dataclass(frozen=True)
class Receipt:
    """The script as it is (`loss`: at the end of its main stream), and the trials. `real` names a file of the copy as
    people know it.
    """

    script: str
    argv: tuple[str, ...]
    baseline: Ran
    loss: float
    real: Callable[[str], str]
    trials: Sequence[Trial] = ()

    @property
    def exit_code(self) -> int:
        """0, unless there was something to try and none of it could be."""
        return int(bool(self.trials) and all(trial.verdict == "failed" for trial in self.trials))

    def heading(self, finding: Finding) -> str:
        """ "train.py:46: error GS101 missing-zero-grad" """
        where = f"{self.real(finding.where.file)}:{finding.where.line}: " if finding.where else ""
        return printable(f"{where}{finding.severity} {finding.code} {finding.name}")

    def untried(self) -> list[tuple[Finding, str]]:
        """Errors and warnings none of whose advices was tried, and why not."""
        tried, left = {trial.treatment.key for trial in self.trials}, []
        for finding in roots(self.baseline.findings):
            mine = choose([finding])
            if not mine:
                left.append((finding, "it is a change of the script itself"))
            elif not any(treatment.key in tried for treatment in mine):
                left.append((finding, f"only the first {MOST} are"))
        return left

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; non-finite numbers are the strings "nan", "inf", "-inf"."""
        ran = self.baseline
        return {
            "schema": SCHEMA,
            "script": self.script,
            "argv": list(self.argv),
            "baseline": {**_run(ran), "loss": _number(self.loss)},
            "trials": [self._trial(trial) for trial in self.trials],
            "untried": [finding.code for finding, _ in self.untried()],
        }

    def to_json(self) -> str:
        return json.dumps(sound(self.to_dict()), indent=1, allow_nan=False) + "\n"

    def _trial(self, trial: Trial) -> dict[str, Any]:
        finding, compared = trial.treatment.finding, trial.comparison
        advice = [a.to_json() for a in trial.treatment.advice]
        for one in advice:
            if isinstance(one.get("file"), str):
                one["file"] = self.real(one["file"])
        return {
            "code": finding.code,
            "name": finding.name,
            "advice": advice[0],
            "more_advice": advice[1:],
            "label": trial.treatment.label,
            **_run(trial.ran),
            "loss": None if compared is None else _number(compared.loss),
            "baseline_loss": None if compared is None else _number(compared.baseline),
            "compared": None if compared is None else {"last_step": compared.step, "steps": compared.window},
            "alike": None if compared is None else compared.alike,
            "verdict": trial.verdict,
            "why": trial.why,
            "notes": list(trial.notes),
        }


def _run(ran: Ran) -> dict[str, Any]:
    return {
        "steps": ran.steps,
        "status": ran.status,
        "exit_code": ran.exit_code,
        "findings": [finding.code for finding in roots(ran.findings)],
    }


def _number(value: float) -> float | str | None:
    return value if math.isfinite(value) else str(value)
