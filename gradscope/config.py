"""Settings of the working directory: `[tool:gradscope]` in setup.cfg, `[tool.gradscope]` in pyproject.toml."""
from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Config:
    """Codes to select (none: all) and to ignore."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


def read_config(directory: Path) -> Config:
    """The settings found in `directory`; pyproject.toml wins over setup.cfg. UsageError where a file is damaged."""
    settings: dict[str, Any] = {}
    setup = directory / "setup.cfg"
    if setup.is_file():
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(setup, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise UsageError(f"setup.cfg cannot be read: {str(error).splitlines()[0]}") from None
        if parser.has_section("tool:gradscope"):
            section = parser["tool:gradscope"]
            settings.update({key: section[key] for key in section if key not in parser.defaults()})
    pyproject = directory / "pyproject.toml"
    if pyproject.is_file():
        try:
            data = tomllib.loads(pyproject.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"pyproject.toml cannot be read: {error}") from None
        tool = data.get("tool", {})
        table = tool.get("gradscope", {}) if isinstance(tool, dict) else {}
        if not isinstance(table, dict):
            raise UsageError("pyproject.toml: tool.gradscope must be a table")
        settings.update(table)
    unknown = sorted(set(settings) - {"select", "ignore"})
    if unknown:
        raise UsageError(f"unknown gradscope setting {unknown[0]!r} (there are: select, ignore)")
    return Config(codes(settings.get("select", "")), codes(settings.get("ignore", "")))


def codes(value: Any) -> tuple[str, ...]:
    """Codes from "GS101, GS102" or a list of such."""
    words = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    return tuple(code for word in words for code in re.split(r"[\s,]+", str(word)) if code)
