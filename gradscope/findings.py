"""What gradscope tells: a Finding, its Advice, and how both become JSON. No torch."""
from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Mapping

from gradscope.events import Site
from gradscope.plain import printable, sentence
from gradscope.quoting import line_of

SEVERITIES = ("error", "warning", "info")  # from worst to mildest
MAX_NAMES = 20


@dataclass(frozen=True)
class Advice:
    """What to change: `text` for people; `action` and `values` for machines (set-lr, clip-grad-norm, ...)."""

    text: str
    action: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"action": self.action, "text": self.text, **_plain(self.values)}


@dataclass(frozen=True)
class Finding:
    """One sickness of one stream.

    `message` is a template that `evidence` fills. `steps` are the first and last row affected, `step` is the row at
    which it was detected (set by the engine). `parameters` are names. `optimizer` and `group` are numbers, or None.
    """

    code: str
    name: str
    severity: str
    message: str
    steps: tuple[int, int]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    stream: int = 0
    optimizer: int | None = None
    group: int | None = None
    parameters: tuple[str, ...] = ()
    where: Site | None = None
    advice: tuple[Advice, ...] = ()
    step: int = -1
    caused_by: str | None = None
    label: str = ""  # what to write under the cited line
    ranks: tuple[int, ...] = ()  # of many processes those that have it; () where there is one
    source: tuple[tuple[int, str], ...] = ()  # the user's lines around `where`, as they were then

    @property
    def id(self) -> str:
        """(code, stream, optimizer, site), as text."""
        place = f"{Path(self.where.file).name}:{self.where.line}" if self.where else "-"
        optimizer = "-" if self.optimizer is None else self.optimizer
        return f"{self.code}/{self.stream}/{optimizer}/{place}"

    @property
    def text(self) -> str:
        """The message, filled in."""
        return self.message.format_map({k: show(v) for k, v in self.evidence.items()})

    @property
    def line(self) -> str:
        """All in one line, with the first advice: "GS101 missing-zero-grad (step 1): ... Help: ..."."""
        told = f"{self.code} {self.name} (step {self.steps[0] if self.step < 0 else self.step}): {self.text}"
        return sentence(f"{told}. Help: {self.advice[0].text}" if self.advice else told)

    def __str__(self) -> str:
        place = "" if self.where is None else f"{shorten(self.where.file, _here())}:{self.where.line}: "
        return sentence(f"{place}{self.severity} {self.line}")

    def __repr__(self) -> str:
        first, last = self.steps
        return f"<Finding {printable(self.id)}: {self.severity}, steps {first}-{last}: {self.text!r}>"

    def detected(self, step: int) -> Finding:
        """The same finding, with the row of its first detection and the source lines of its place."""
        return replace(self, step=step, source=_source(self.where))

    def to_json(self, base: Path | None = None) -> dict[str, Any]:
        """As in the JSON report (schema 1). Files below `base` are named relative to it."""
        where = None
        if self.where is not None:
            where = {"file": shorten(self.where.file, base), "line": self.where.line}
        names = list(self.parameters[:MAX_NAMES])
        if len(self.parameters) > MAX_NAMES:
            names.append(f"and {len(self.parameters) - MAX_NAMES} more")
        return {
            "id": self.id,
            "code": self.code,
            "name": self.name,
            "severity": self.severity,
            "step": self.step,
            "steps": list(self.steps),
            **({"ranks": list(self.ranks)} if self.ranks else {}),
            "stream": self.stream,
            "message": self.text,
            "evidence": _plain(self.evidence),
            "parameters": names,
            "optimizer": self.optimizer,
            "group": self.group,
            "where": where,
            "caused_by": self.caused_by,
            "advice": [a.to_json() for a in self.advice],
        }


def to_line(finding: Finding, order: int) -> dict[str, Any]:
    """A finding as a line of findings.jsonl: the JSON report's fields, and what a report printed later needs."""
    return {**finding.to_json(), "order": order, "label": finding.label, "source": [list(s) for s in finding.source]}


def from_line(line: Mapping[str, Any]) -> Finding:
    """The inverse of `to_line`. KeyError, TypeError or ValueError where the line is not of its form."""
    where = line["where"]
    advice = tuple(_advice(one) for one in line["advice"])
    if line["severity"] not in SEVERITIES:
        raise ValueError(line["severity"])
    return Finding(
        str(line["code"]),
        str(line["name"]),
        line["severity"],
        str(line["message"]).replace("{", "{{").replace("}", "}}"),
        (int(line["steps"][0]), int(line["steps"][1])),
        evidence=_plain(dict(line["evidence"])),
        stream=int(line["stream"]),
        optimizer=None if line["optimizer"] is None else int(line["optimizer"]),
        group=None if line["group"] is None else int(line["group"]),
        parameters=tuple(map(str, line["parameters"])),
        where=None if where is None else Site(str(where["file"]), int(where["line"])),
        advice=advice,
        step=int(line["step"]),
        caused_by=None if line["caused_by"] is None else str(line["caused_by"]),
        label=str(line.get("label", "")),
        source=tuple((int(n), str(text)) for n, text in line.get("source", ())),
    )


def _advice(line: Mapping[str, Any]) -> Advice:
    values = {name: value for name, value in line.items() if name not in ("text", "action")}
    return Advice(str(line["text"]), None if line["action"] is None else str(line["action"]), _plain(values))


def shorten(file: str, base: Path | None) -> str:
    """A path as people write it: relative to `base` where it lies below, else as it is, but for detours ("a/../b")."""
    if base is None:
        return file
    try:
        real = Path(file).resolve()
        if real.is_relative_to(base.resolve()):
            return str(real.relative_to(base.resolve()))
        straight = os.path.normpath(file) if file else file
        return straight if Path(straight).resolve() == real else file  # a/.. is elsewhere where a is a link
    except (ValueError, OSError, RuntimeError):  # the last: links in a circle
        return file


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it has been removed
        return None


def show(value: Any) -> str:
    """A value of the evidence as people read it: four significant digits, names joined by commas."""
    if isinstance(value, float):
        return format(value, ".4g")
    if isinstance(value, (list, tuple)):
        return ", ".join(show(v) for v in value)
    return str(value)


def list_names(names: tuple[str, ...], most: int = 3) -> str:
    """The first few names, then a count."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _plain(value: Any) -> Any:
    """JSON values only; non-finite numbers become the strings "nan", "inf", "-inf"."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _source(where: Site | None) -> tuple[tuple[int, str], ...]:
    if where is None:
        return ()
    lines = ((n, line_of(where.file, n).rstrip("\n")) for n in range(where.line - 1, where.line + 1))
    return tuple((n, text) for n, text in lines if n > 0 and text.strip())
