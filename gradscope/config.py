"""Settings of the working directory: `[tool:gradscope]` in setup.cfg, `[tool.gradscope]` in pyproject.toml."""
from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gradscope.errors import UsageError
from gradscope.plain import cropped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_MOST = 1e15  # percent, or MB: beyond that it is a slip


def here() -> Path:
    """The current directory; by no name where it has been removed."""
    try:
        return Path.cwd()
    except OSError:
        return Path(".")


@dataclass(frozen=True)
class Limits:
    """What watching may take.

    `budget`: share of the loop's own time for statistics, rules and writing (watching the calls comes on top); 0: only
    calls and losses. `every`: norms are measured at every k-th step, whatever that costs. `memory`: bytes of the record
    in memory. `disk`: bytes of the run folder. `replay`: keep what it takes to run a step again that makes a NaN.
    """

    budget: float = 0.02
    every: int | None = None
    memory: int = 64 << 20
    disk: int = 512 << 20
    replay: bool = False


@dataclass(frozen=True)
class Config:
    """Codes to select (none: all) and to ignore; limits that are set."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    budget: float | None = None  # percent
    memory: float | None = None  # MiB
    disk: float | None = None  # MiB
    replay: bool = False

    def limits(
        self,
        budget: float | None,
        every: int | None,
        memory: float | None,
        disk: float | None,
        replay: bool | None = None,
    ) -> Limits:
        """What is asked for, else what is set here, else the defaults. `budget`: percent; `memory`, `disk`: MiB.

        UsageError where one of them is no such number.
        """
        given = Limits()
        if every is not None and (type(every) is not int or every < 1):
            raise UsageError(f"every must be a whole number of steps, 1 or more, not {every!r}")
        percent = _number("budget", self.budget if budget is None else budget, 0.0)
        megabytes = _number("memory", self.memory if memory is None else memory, 1.0)
        on_disk = _number("disk", self.disk if disk is None else disk, 1.0)
        return Limits(
            given.budget if percent is None else percent / 100,
            every,
            given.memory if megabytes is None else int(megabytes * (1 << 20)),
            given.disk if on_disk is None else int(on_disk * (1 << 20)),
            bool(self.replay if replay is None else replay),
        )


def _number(name: str, value: Any, least: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= _MOST:
        unit = "percent of the loop's time" if name == "budget" else "MB"
        raise UsageError(f"{name} must be a number of {unit}, {least:g} or more, not {as_given(value)}")
    return float(value)


def read_config(directory: Path) -> Config:
    """The settings found in `directory`; pyproject.toml wins over setup.cfg. UsageError where a file is damaged."""
    settings: dict[str, Any] = {}
    setup = directory / "setup.cfg"
    if setup.is_file():
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(setup, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"setup.cfg cannot be read: {_first_line(error)}") from None
        if parser.has_section("tool:gradscope"):
            section = parser["tool:gradscope"]
            settings.update({key: section[key] for key in section if key not in parser.defaults()})
    pyproject = directory / "pyproject.toml"
    if pyproject.is_file():
        try:
            data = tomllib.loads(pyproject.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, OSError) as error:  # of numbers and brackets beyond all bounds, too
            raise UsageError(f"pyproject.toml cannot be read: {_first_line(error)}") from None
        tool = data.get("tool", {})
        table = tool.get("gradscope", {}) if isinstance(tool, dict) else {}
        if not isinstance(table, dict):
            raise UsageError("pyproject.toml: tool.gradscope must be a table")
        settings.update(table)
    known = [field.name for field in fields(Config)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise UsageError(f"unknown gradscope setting {as_given(unknown[0])} (there are: {', '.join(known)})")
    numbers = {name: _parsed(settings[name]) for name in ("budget", "memory", "disk") if name in settings}
    switches = {"replay": _switch(settings["replay"])} if "replay" in settings else {}
    config = Config(codes(settings.get("select", "")), codes(settings.get("ignore", "")), **numbers, **switches)
    config.limits(None, None, None, None)
    return config


def _first_line(error: Exception) -> str:
    return cropped((str(error).splitlines() or [type(error).__name__])[0])


def as_given(value: Any) -> str:
    """A value as it was given, as far as one wants to read it."""
    try:
        return cropped(repr(value))
    except ValueError:  # python refuses to write out numbers of thousands of digits
        return "a number that is too large"


def _parsed(value: Any) -> Any:
    """A number from setup.cfg, where all is text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _switch(value: Any) -> bool:
    """true or false; in setup.cfg any of the words that configparser takes for these."""
    known = configparser.ConfigParser.BOOLEAN_STATES
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise UsageError(f"replay must be true or false, not {as_given(value)}")


def codes(value: Any) -> tuple[str, ...]:
    """Codes from "GS101, GS102" or a list of such."""
    words = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    return tuple(code for word in words for code in re.split(r"[\s,]+", str(word)) if code)
