"""The scope of a recording that could not begin: it answers everything, and knows nothing."""
from __future__ import annotations

from html import escape
from typing import Any

import torch

from gradscope.diagnosis import Diagnosis
from gradscope.facts.fact import FactLog
from gradscope.findings import Finding
from gradscope.record.record import Meta, Record
from gradscope.reporters.notebook import Shown
from gradscope.scope import Scope


class Unwatched(Scope):
    """What `watch` gives back when gradscope itself has failed; `why` is in everything that it says."""

    def __init__(self, error: Exception) -> None:
        self._why = f"watching could not begin: {type(error).__name__}: {error}"

    @property
    def record(self) -> Record:
        return Record((), (), FactLog(), (), Meta(blind={"loop": self._why}))

    @property
    def findings(self) -> tuple[Finding, ...]:
        return ()

    def diagnose(self) -> Diagnosis:
        return Diagnosis((), {"GS": self._why})

    def log(self, **metrics: Any) -> None:
        pass

    def report(self, width: int = 100) -> Shown:
        text = f"nothing was watched: {self._why}\n"
        return Shown.of(text, f"<pre>{escape(text)}</pre>")

    def timeline(self, step: int | None = None, width: int = 100, every_parameter: bool = False) -> str:
        return self.report(width)

    def close(self) -> None:
        pass

    def same(self, model: torch.nn.Module | None, optimizers: tuple[torch.optim.Optimizer, ...]) -> bool:
        return False

    def __enter__(self) -> Scope:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _repr_html_(self) -> str:
        return self.report().page

    def __repr__(self) -> str:
        return f"<gradscope.Scope: {self._why}>"
