"""The programs: clean hosts, and each of their single changes, as files to run.

A host is `hosts/<name>.py`, a whole training script that prints `start: x` and, as its last line, `result: x`, its
held-out loss (or what stands for it: lower is better). `hosts/<name>.toml` lists changes of its text: `[[fault]]`s and
`[[healthy]]` variants. `old` must stand in the host exactly once, and becomes `new`; `then` are further pairs that the
one change needs. A fault has the `code` of the rule that is to find it, and `also` those that name the same root;
`hurts` says what is worse: "result" (the default), "memory" or "time"; `dies` that the program is meant to end with
torch's own error. A healthy variant is `hard` where the way it is trained looks like a fault.

The untouched part are the hosts with sha256(name) mod 3 == 0: no threshold is ever set by what they show.
"""
from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOSTS = Path(__file__).parent / "hosts"
PARTS = ("tuning", "untouched", "all")
HURTS = ("result", "memory", "time")
_KEYS = {
    "fault": {"name", "code", "also", "old", "new", "then", "hurts", "dies", "command"},
    "healthy": {"name", "hard", "old", "new", "then", "command"},
}


@dataclass(frozen=True)
class Program:
    """One script. `codes`: rules that name its fault, the planted one first; empty where it is healthy."""

    host: str
    name: str  # "" is the host itself
    source: str
    codes: tuple[str, ...] = ()
    hard: bool = False
    hurts: str = "result"
    dies: bool = False
    command: tuple[str, ...] = field(default=())  # before the script: torchrun's options, say

    @property
    def faulty(self) -> bool:
        return bool(self.codes)

    @property
    def key(self) -> str:
        return f"{self.host}/{self.name or 'clean'}"


def untouched(host: str) -> bool:
    """Whether no threshold may be set by what this host shows."""
    return int(hashlib.sha256(host.encode()).hexdigest(), 16) % 3 == 0


def hosts(part: str = "all") -> list[str]:
    """The names of the hosts of a part."""
    names = sorted(path.stem for path in HOSTS.glob("*.py"))
    return [name for name in names if part == "all" or untouched(name) == (part == "untouched")]


def programs(part: str = "all") -> Iterator[Program]:
    """Every program: for each host itself, its healthy variants, its faults."""
    for host in hosts(part):
        yield from of_host(host)


def of_host(host: str) -> Iterator[Program]:
    """The host, and its changes. ValueError, with the place, where a change does not fit."""
    source = (HOSTS / f"{host}.py").read_text(encoding="utf-8")
    yield Program(host, "", source)
    changes = tomllib.loads((HOSTS / f"{host}.toml").read_text(encoding="utf-8"))
    for kind in ("healthy", "fault"):
        for change in changes.get(kind, ()):
            yield _changed(host, source, kind, change)


def _changed(host: str, source: str, kind: str, change: Mapping[str, Any]) -> Program:
    place = f"{host}/{change.get('name', '?')}"
    unknown = set(change) - _KEYS[kind]
    if unknown:
        raise ValueError(f"{place}: unknown keys {sorted(unknown)}")
    for old, new in [(change["old"], change["new"]), *change.get("then", ())]:
        if source.count(old) != 1:
            raise ValueError(f"{place}: this stands {source.count(old)} times in the host: {old!r}")
        source = source.replace(old, new)
    codes = (change["code"], *change.get("also", ())) if kind == "fault" else ()
    hurts = change.get("hurts", "result")
    if hurts not in HURTS:
        raise ValueError(f"{place}: hurts is {hurts!r}, not one of {', '.join(HURTS)}")
    flags = {"hard": bool(change.get("hard")), "dies": bool(change.get("dies"))}
    return Program(host, change["name"], source, codes, hurts=hurts, command=tuple(change.get("command", ())), **flags)
