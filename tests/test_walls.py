"""The walls of the house: who may import whom. Imports only point downward."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gradscope

PACKAGE = Path(gradscope.__file__).parent

# room -> what it must not import (a prefix of the module's name)
WALLS = {
    "facts": ("torch", "gradscope.recording", "gradscope.hooks", "gradscope.rules", "gradscope.record."),
    "findings.py": ("torch", "gradscope.recording", "gradscope.hooks", "gradscope.rules", "gradscope.probes"),
    "events.py": ("torch", "gradscope."),
    "plain.py": ("torch", "gradscope.", "rich"),
    "quoting.py": ("torch", "gradscope.", "rich"),
    "saying.py": ("torch", "gradscope.", "rich"),
    "diagnosis.py": ("torch", "gradscope.hooks", "gradscope.probes", "gradscope.recording", "gradscope.rules.loop"),
    "record": ("torch", "gradscope.hooks", "gradscope.probes", "gradscope.recording", "gradscope.rules"),
    "rules": ("torch", "gradscope.hooks", "gradscope.probes", "gradscope.recording", "gradscope.reporters"),
    "reporters": ("torch", "gradscope.rules", "gradscope.hooks", "gradscope.probes", "gradscope.recording"),
    "plugin.py": ("torch", "plotly", "gradscope.hooks", "gradscope.probes", "gradscope.recording", "gradscope.session"),
    "board": ("torch", "gradscope.rules", "gradscope.hooks", "gradscope.probes", "gradscope.recording", "tensorboard",
              "plotly"),
    "hooks": ("gradscope.record.", "gradscope.recording", "gradscope.probes", "gradscope.rules", "gradscope.facts"),
    "probes": ("gradscope.rules", "gradscope.reporters", "gradscope.session", "gradscope.recording.recorder"),
    "trying": ("gradscope.cli", "gradscope.probes", "gradscope.recording", "gradscope.watching", "gradscope.rules.l"),
    "ranks": ("gradscope.probes", "gradscope.recording", "gradscope.rules", "gradscope.launch", "gradscope.watching"),
    "integrations": ("gradscope.rules", "gradscope.probes", "gradscope.recording", "gradscope.cli", "gradscope.runner"),
    "recording": ("gradscope.rules", "gradscope.reporters", "gradscope.session", "gradscope.diagnosis"),
}


def imported_by(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files_of(room: str) -> list[Path]:
    place = PACKAGE / room
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


@pytest.mark.parametrize("room", WALLS)
def test_nobody_breaks_through_a_wall(room: str) -> None:
    """A room imports nothing that stands above it, or beside it behind a wall."""
    for file in files_of(room):
        bad = [m for m in imported_by(file) if any(m == wall or m.startswith(wall) for wall in WALLS[room])]
        assert bad == [], f"{file.relative_to(PACKAGE)} imports {bad}"


def test_only_the_command_line_knows_of_trying() -> None:
    """What runs scripts again stands above all that watches one; only its children import torch."""
    for file in PACKAGE.rglob("*.py"):
        imports = imported_by(file)
        if "trying" not in file.parts and file.name != "cli.py":
            assert not [m for m in imports if m.startswith("gradscope.trying")], file.name
        elif file.name not in ("child.py", "installed.py") and file.parent.name != "interventions":
            bad = [m for m in imports if m.startswith(("torch", "gradscope.hooks", "gradscope.session"))]
            assert bad == [], f"{file.name} imports {bad}"


def test_rules_do_not_import_each_other() -> None:
    """Only the catalogue knows them all; what several need stands beside `base`, outside of the families."""
    families = tuple(f"gradscope.rules.{folder.name}." for folder in (PACKAGE / "rules").iterdir() if folder.is_dir())
    for file in (PACKAGE / "rules").rglob("*.py"):
        if file.name != "catalogue.py":
            others = [m for m in imported_by(file) if m.startswith((*families, "gradscope.rules.catalogue"))]
            assert others == [], f"{file.name} imports {others}"


def test_the_public_face_imports_neither_rich_nor_tensorboard() -> None:
    """`import gradscope` must stay cheap: what prints and what draws is imported where it is used."""
    files = ("__init__.py", "scope.py", "watching.py", "session.py", "diagnosis.py")
    face = {m for file in files for m in imported_by(PACKAGE / file)}
    assert not [m for m in face if m.split(".")[0] in ("rich", "tensorboard", "click") or m == "gradscope.cli"]
