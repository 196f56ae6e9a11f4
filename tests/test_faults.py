"""The benchmark of planted faults: its programs are what they should be, and so are its figures."""
from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import pytest

from gradscope.rules.catalogue import RULES

FAULTS = Path(__file__).parent.parent / "benchmarks" / "faults"
HOSTS = sorted(path.stem for path in (FAULTS / "hosts").glob("*.py"))


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FAULTS))
    return importlib.import_module("programs")


@pytest.fixture
def scoring(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FAULTS))
    return importlib.import_module("scoring")


@pytest.mark.parametrize("host", HOSTS)
def test_every_change_fits_its_host(programs: ModuleType, host: str) -> None:
    """Each makes a program of its own that is Python, with a name of its own, and the codes are rules'."""
    made = list(programs.of_host(host))
    known = {rule.code for rule in RULES}
    assert len(made) == len({one.name for one in made}) == len({one.source for one in made})
    for one in made:
        compile(one.source, one.key, "exec")
        assert set(one.codes) <= known, one.key
        assert "print(f\"start: " in one.source and "print(f\"result: " in one.source, one.key


def test_a_change_that_does_not_fit_is_told(
    programs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its place: text that is not there, or twice; a key that nobody reads."""
    monkeypatch.setattr(programs, "HOSTS", tmp_path)
    (tmp_path / "host.py").write_text("a = 1\nb = 1\n")
    for change, complaint in (
        ('old = "c"\nnew = ""', "stands 0 times"),
        ('old = "1"\nnew = ""', "stands 2 times"),
        ('old = "a"\nnew = "c"\nwhy = "?"', "unknown keys"),
        ('old = "a"\nnew = "c"\nhurts = "pride"', "hurts is 'pride'"),
    ):
        (tmp_path / "host.toml").write_text(f'[[fault]]\nname = "x"\ncode = "GS101"\n{change}\n')
        with pytest.raises(ValueError, match=f"host/x: .*{complaint}"):
            list(programs.of_host("host"))


@pytest.mark.parametrize(
    "hits, of, low, high", [(0, 37, 0, 0.0949), (5, 10, 0.1871, 0.8129), (54, 54, 0.9340, 1), (0, 0, 0, 1)]
)
def test_intervals(scoring: ModuleType, hits: int, of: int, low: float, high: float) -> None:
    """Clopper and Pearson's, against published values; no programs, no knowledge."""
    assert (low, high) == pytest.approx(scoring.Share(hits, of).interval, abs=1e-4)


def test_what_is_worse_healed_and_learned(scoring: ModuleType) -> None:
    """On both sides of each bound; results below zero are returns with their sign turned."""
    assert [scoring.worse(x, 1.0) for x in (1.0, 1.09, 1.11, math.nan, math.inf)] == [False, False, True, True, True]
    assert [scoring.worse(x, -100.0) for x in (-120, -91, -89)] == [False, False, True]
    assert [scoring.healed(x, 1.0) for x in (0.5, 1.19, 1.21, math.nan)] == [True, True, False, False]
    assert [scoring.learns(2.0, x) for x in (1.0, 1.9, 2.0, math.nan)] == [True, False, False, False]
