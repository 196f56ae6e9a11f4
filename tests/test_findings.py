"""A finding as people see it where they print one, and the paths of files as they are told."""
from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from gradscope.events import Site
from gradscope.findings import Advice, Finding, shorten

FOUND = Finding(
    "GS101", "missing-zero-grad", "error", "{when} is{how}", (1, 311), {"when": "step 1", "how": " old"}, optimizer=0,
    where=Site("train.py", 46), advice=(Advice("call it"), Advice("or that")), step=2,
)  # fmt: skip


def test_a_finding_as_text() -> None:
    """One line, the message filled in."""
    told = "error GS101 missing-zero-grad (step 2): step 1 is old"
    assert f"train.py:46: {told}. Help: call it" == str(FOUND) == f"{FOUND}"
    assert told == str(dataclasses.replace(FOUND, where=None, advice=()))
    assert "(step 1)" in str(dataclasses.replace(FOUND, step=-1))  # as a rule has made it


def test_a_finding_as_python_shows_it() -> None:
    """No template, whatever else is in it."""
    assert "<Finding GS101/0/0/train.py:46: error, steps 1-311: 'step 1 is old'>" == repr(FOUND)
    assert f"({FOUND!r},)" == str((FOUND,))


def test_text_that_a_terminal_would_obey() -> None:
    hostile = dataclasses.replace(FOUND, where=Site("a\x1b[31m\nb.py", 3), evidence={"when": "\x1b]0;x", "how": "\r\n"})
    for text in (str(hostile), repr(hostile)):
        assert text.isprintable()


def test_the_file_is_told_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = dataclasses.replace(FOUND, where=Site(str(tmp_path / "src" / "train.py"), 4))
    assert str(there).startswith("src/train.py:4: ")
    monkeypatch.setattr("os.getcwd", lambda: os.stat(tmp_path / "removed"))
    assert str(FOUND).startswith("train.py:46: ")


@pytest.mark.parametrize(
    "file, told",
    [
        ("base/train.py", "train.py"),
        ("base/src/../train.py", "train.py"),
        ("base/../other/train.py", "{}/other/train.py"),
        ("base/./../other//train.py", "{}/other/train.py"),
        ("base/link/../train.py", "{}/base/link/../train.py"),  # it is that of real/, not of base/
        ("other/../base/../real/deep/../train.py", "{}/real/train.py"),
    ],
)
def test_paths_without_detours(tmp_path: Path, file: str, told: str) -> None:
    """Below the base relative to it, else straight."""
    for folder in ("base/src", "other", "real/deep"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "base" / "link").symlink_to(tmp_path / "real" / "deep")
    assert told.format(tmp_path) == shorten(f"{tmp_path}/{file}", tmp_path / "base")


@pytest.mark.parametrize("file", ["<stdin>", "", "\0", "/a/../\0", "<ipython-input-1-0>"])
def test_what_is_no_path(tmp_path: Path, file: str) -> None:
    assert file == shorten(file, tmp_path) == shorten(file, None)
