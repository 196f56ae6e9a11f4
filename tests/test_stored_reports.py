"""What a report printed later tells: as much as the one at the run's end, and how the run ended."""
from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradscope
from gradscope.cli import main
from gradscope.errors import DamagedRecord
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


# -- how the run ended ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, exit_code, note",
    [
        ("crashed", 1, "note: the run crashed (exit code 1)"),
        ("crashed", None, "note: the run crashed"),
        ("interrupted", 130, "note: the run was interrupted (exit code 130)"),
        ("finished", 0, ""),
        ("finished", 3, ""),
        ("<b>\x1b", 3, ""),
    ],
)
def test_how_a_run_ended(tmp_path: Path, capsys: Capture, status: str, exit_code: int | None, note: str) -> None:
    """What did not come to its end is said to have not."""
    plain_run(tmp_path)
    change(tmp_path, status=status, exit_code=exit_code)
    text = told(capsys, str(tmp_path))
    assert text.endswith(note)
    assert ("the run" in text.replace("of the run's time", "")) is bool(note)


@pytest.mark.parametrize(
    "seconds, ago",
    [(0.5, "0 seconds"), (1.5, "1 second"), (119, "119 seconds"), (185, "3 minutes"), (7300, "2 hours"),
     (200_000, "2 days"), (2000 * 86400, "2,000 days"), (-50, "0 seconds")],
)  # fmt: skip
def test_a_run_that_has_not_ended(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, seconds: float, ago: str
) -> None:
    """Killed or not: when its newest file was written. A clock that was put back is none of our business."""
    plain_run(tmp_path)
    change(tmp_path, status="running")
    now = time.time()
    for name, age in (("meta.json", 500), ("index.jsonl", 0), ("record.bin", 9000), ("findings.jsonl", 500)):
        os.utime(tmp_path / name, (now - age, now - age))
    monkeypatch.setattr("time.time", lambda: now + seconds)
    note = f"note: the run has not ended, or was killed: it was last written {ago} before this report"
    assert told(capsys, str(tmp_path)).endswith(note)


# -- which run --------------------------------------------------------------------------------------------------------


def at(run: Path, when: float) -> Path:
    plain_run(run)
    os.utime(run / "meta.json", (when, when))
    return run


def test_the_newest_run_below_is_meant(tmp_path: Path, capsys: Capture) -> None:
    """However deep it lies; links are not followed."""
    logs = tmp_path / "runs"
    at(logs / "a", 3000)
    at(logs / "demo-1" / "b" / "c", 5000)
    at(logs / "demo-1" / "d", 4000)
    outside = at(tmp_path / "outside", 9000)
    (logs / "link").symlink_to(outside)
    (logs / "up").symlink_to(tmp_path)
    assert logs / "demo-1" / "b" / "c" == find_run(logs)
    assert logs / "a" == find_run(logs / "a")
    change(logs / "demo-1" / "b" / "c", script="deep.py")
    os.utime(logs / "demo-1" / "b" / "c" / "meta.json", (5000, 5000))
    told(capsys, str(logs), "--json", str(tmp_path / "r.json"))
    assert "deep.py" == json.loads((tmp_path / "r.json").read_text())["run"]["script"]
    assert 0 == main(["timeline", str(logs)])


def test_the_walk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest first; where nothing was found by then, it is said that not all was looked through."""
    at(tmp_path / "x" / "a", 3000)
    at(tmp_path / "x" / "b" / "c" / "d", 5000)
    monkeypatch.setattr("gradscope.record.search.DEEPEST", 2)
    assert tmp_path / "x" / "a" == find_run(tmp_path / "x")
    assert tmp_path / "x" / "b" / "c" / "d" == find_run(tmp_path / "x" / "b")
    monkeypatch.setattr("gradscope.record.search.MOST_FOLDERS", 1)
    with pytest.raises(DamagedRecord, match="no gradscope record .*too large"):
        find_run(tmp_path)
