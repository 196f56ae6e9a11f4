"""What a report printed later tells: as much as the one at the run's end, and how the run ended."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradscope
from gradscope.cli import main
from gradscope.record.reader import find_run, read_record
from tests.boards import documents, plain_run

Capture = pytest.CaptureFixture[str]


def told(capsys: Capture, *arguments: str) -> str:
    """What `gradscope report` prints, as one line."""
    capsys.readouterr()
    assert 0 == main(["report", *arguments])
    return " ".join(capsys.readouterr().out.split())


def change(run: Path, **fields: Any) -> None:
    meta = json.loads((run / "meta.json").read_text())
    (run / "meta.json").write_text(json.dumps({**meta, **fields}))


# -- what was not checked ---------------------------------------------------------------------------------------------


@pytest.fixture
def blindfolded(tmp_path: Path) -> tuple[Path, str]:
    """A run without norms, and its own report."""
    with gradscope.watch(log_dir=tmp_path, budget=0) as scope:
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.ones(3, 2)).square().mean().backward()
            optimizer.step()
    assert "not checked: norms: the budget is 0" in " ".join(scope.report().split())
    return find_run(tmp_path), scope.report()


def test_what_was_not_checked_is_kept(blindfolded: tuple[Path, str], tmp_path: Path, capsys: Capture) -> None:
    """Report, JSON, page and tab tell it as the report at the end did."""
    run, report = blindfolded
    notes = " ".join(report[report.index("note: ") :].split())
    assert notes in told(capsys, str(run), "--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html"))
    skipped = json.loads((tmp_path / "r.json").read_text())["skipped"]
    assert "norms: the budget is 0" in skipped["GS106"]
    document = documents(tmp_path).get("run", {"run": run.name})
    assert skipped == document["skipped"] == read_record(run).meta.skipped
    page = (tmp_path / "r.html").read_text()
    data = json.loads(page.split('id="gradscope-data">')[1].split("</script>")[0])
    assert (document["skipped"], document["unchecked"]) == (data["run"]["skipped"], data["run"]["unchecked"])
    assert document["unchecked"] and not set(document["unchecked"]) & set(data["run"]["meta"]["notes"])


def test_it_is_kept_while_the_run_goes_on(tmp_path: Path) -> None:
    """Not only at the end: a run may be killed."""
    seen = ""
    with gradscope.watch(log_dir=tmp_path, budget=0):
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for step in range(20_000):
            optimizer.zero_grad()
            model(torch.ones(3, 2)).square().mean().backward()
            optimizer.step()
            seen = "" if step % 100 else read_record(find_run(tmp_path)).meta.skipped.get("GS106", "")
            if seen:
                break
    assert "norms: the budget is 0" in seen


@pytest.mark.parametrize(
    "skipped, kept",
    [
        (None, {}),
        (5, {}),
        (["GS101"], {}),
        ({"GS101": 5, "GS102": None, "GS103": {"a": "b"}, "GS104": "so it is"}, {"GS104": "so it is"}),
        ({"\x1b[2J<b>": "\ud800\x1b[31m</script>\nx"}, {"\x1b[2J<b>": "\ud800\x1b[31m</script>\nx"}),
    ],
)
def test_it_is_damaged(tmp_path: Path, capsys: Capture, skipped: Any, kept: dict[str, str]) -> None:
    """Whatever stands there is text, or nothing."""
    plain_run(tmp_path / "run")
    change(tmp_path / "run", skipped=skipped)
    assert kept == read_record(tmp_path / "run").meta.skipped
    text = told(capsys, str(tmp_path / "run"), "--json", str(tmp_path / "r.json"))
    assert ("not checked" in text) is bool(kept)
    assert "\x1b" not in text
    assert len(kept) == len(json.loads((tmp_path / "r.json").read_text())["skipped"])
    assert kept == documents(tmp_path).get("run", {"run": "run"})["skipped"]


def test_the_first_records_did_not_keep_it(tmp_path: Path, capsys: Capture) -> None:
    plain_run(tmp_path / "run")
    meta = json.loads((tmp_path / "run" / "meta.json").read_text())
    del meta["skipped"]
    (tmp_path / "run" / "meta.json").write_text(json.dumps(meta))
    assert "not checked" not in told(capsys, str(tmp_path / "run"))
