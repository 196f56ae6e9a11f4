"""Shared by all tests: the golden files' switch, and no recording that outlives its test."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import pytest
import torch
from hypothesis import settings

import gradscope

settings.register_profile("untimed", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("untimed")
torch.set_num_threads(1)  # the tests run side by side: more threads only get into each other's way
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the processes that they start

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Close what a failing test has left open, so that the next one starts from nothing."""
    yield
    gradscope.unwatch()


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """`golden(text)` compares with tests/golden/<test name>.txt, or writes it with --update-golden."""

    def compare(text: str) -> None:
        file = GOLDEN / f"{request.node.name}.txt"
        if request.config.getoption("--update-golden"):
            GOLDEN.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert file.read_text(encoding="utf-8") == text

    return compare
