"""What a child is told, and what it tells: two small JSON files. No torch."""
from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Plan:
    """One run of the script. `folder` takes the record, the status while it runs, and the outcome.

    `treatment`: the interventions, as plain values. `linked`: links in the copy that must not be written through.
    """

    target: str
    arguments: list[str]
    as_module: bool
    folder: str
    steps: int | None = None
    seed: int = 0
    select: str = ""
    ignore: str = ""
    treatment: list[dict[str, Any]] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    every: int | None = None  # measure norms at every k-th step

    def write(self) -> Path:
        """Write it into its folder."""
        file = Path(self.folder, "plan.json")
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return file

    @classmethod
    def read(cls, file: str) -> Plan:
        return cls(**json.loads(Path(file).read_text(encoding="utf-8")))

    @property
    def record(self) -> Path:
        return Path(self.folder, "record")

    @property
    def status(self) -> Path:
        """How far the child is, in words."""
        return Path(self.folder, "status")

    @property
    def outcome(self) -> Path:
        return Path(self.folder, "outcome.json")


@dataclass(frozen=True)
class Told:
    """What a child says of itself at its end. `stopped`: by `--steps`."""

    stopped: bool = False
    applied: list[int] = field(default_factory=list)  # how often each intervention took place
    failure: str = ""

    def write(self, file: Path) -> None:
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(part, file)

    @classmethod
    def read(cls, file: Path) -> Told | None:
        """None where the child has not come to say anything."""
        try:
            told = cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        kinds = type(told.stopped), type(told.failure), type(told.applied)
        return told if kinds == (bool, str, list) and {*map(type, told.applied)} <= {int} else None
