"""The documents of run folders: which runs there are, what each says, and that nothing else can be asked for."""
from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import gradscope
from gradscope.board.documents import Documents, NotThere, Page
from gradscope.board.encoding import decode
from gradscope.board.heatmap import STATISTICS
from gradscope.board.runs import Runs, roots_of
from gradscope.errors import DamagedRecord, GradscopeError, UsageError
from gradscope.events import GradState, Point
from gradscope.record.metrics import MetricSums
from gradscope.record.record import Wiring
from tests.boards import NAN, Writer, arrays, documents, finding, plain_run, scalars, table, values


def names_of(logdir: Path) -> list[str]:
    return [run["run"] for run in documents(logdir).get("runs", {})["runs"]]


# -- which runs there are -------------------------------------------------------------------------------------------


def test_the_log_directory_is_a_run(tmp_path: Path) -> None:
    plain_run(tmp_path)
    assert ["."] == names_of(tmp_path)
    assert 20 == documents(tmp_path).get("run", {"run": "."})["meta"]["steps"]


def test_runs_among_other_things(tmp_path: Path) -> None:
    """Nested ones, the parts of one, and in the order of people: 2 before 10."""
    for name in ("run-10", "run-2", "sweep/a", "run-2/rank1", "ünï <b> 'q\""):
        plain_run(tmp_path / name)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "events.out.tfevents.1").write_bytes(b"x")
    assert ["run-2", "run-10", "sweep/a", "ünï <b> 'q\""] == names_of(tmp_path)


def test_a_run_of_many_processes(tmp_path: Path) -> None:
    """It is listed once; a rank is asked for, else the first; findings are those of all, with their ranks."""
    writers = [plain_run(tmp_path / "many" / f"rank{rank}", steps) for rank, steps in ((0, 20), (1, 12), (10, 16))]
    writers[1].folder.finding(finding("GS101"))
    writers[2].folder.finding(finding("GS101"))
    told = documents(tmp_path)
    [listed] = told.get("runs", {})["runs"]
    assert ("many", "finished", 20, 1) == tuple(listed[name] for name in ("run", "status", "steps", "errors"))
    for asked, rank, steps in (({}, 0, 20), ({"rank": "1"}, 1, 12), ({"rank": "10"}, 10, 16)):
        run = told.get("run", {"run": "many", **asked})
        assert (rank, steps) == (run["rank"], run["meta"]["steps"])
        assert [[1, 10]] == [one["ranks"] for one in run["findings"]]
        assert [(0, 0), (1, 1), (10, 1)] == [(one["rank"], one["found"]) for one in run["ranks"]]
        curves = told.get("curves", {"run": "many", **asked})
        assert steps == len(values(curves["loss"]["mean"]))
        assert {0, 1, 10} - {rank} == {other["rank"] for other in curves["others"]}
    first = told.get("run", {"run": "many"})["revision"]
    writers[1].folder.finding(finding("GS102"))
    assert first != told.get("run", {"run": "many"})["revision"]
    with pytest.raises(NotThere, match="no rank 2"):
        told.get("run", {"run": "many", "rank": "2"})


def test_nothing_there(tmp_path: Path) -> None:
    """An empty log directory, one that is a file, and none at all."""
    (tmp_path / "file").write_text("x")
    for logdir in (tmp_path, tmp_path / "file", tmp_path / "none"):
        assert {"runs": [], "newest": None, "note": None} == documents(logdir).get("runs", {})
        assert not Runs({"": logdir}).any()


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither a folder that is a link, nor a run whose file is one, nor a pipe that would never end."""
    plain_run(tmp_path / "outside")
    logdir = tmp_path / "logs"
    for name in ("meta.json", "index.jsonl", "record.bin", "findings.jsonl"):
        plain_run(logdir / name)
        (logdir / name / name).unlink()
        (logdir / name / name).symlink_to(tmp_path / "outside" / name)
    plain_run(logdir / "pipe")
    (logdir / "pipe" / "record.bin").unlink()
    os.mkfifo(logdir / "pipe" / "record.bin")
    (logdir / "linked").symlink_to(tmp_path / "outside")
    (logdir / "up").symlink_to(tmp_path)
    assert [] == names_of(logdir)


def test_a_folder_that_becomes_a_link(tmp_path: Path) -> None:
    """Between the listing and the question: it is looked at again."""
    plain_run(tmp_path / "outside" / "x")
    plain_run(tmp_path / "logs" / "a" / "x")
    known = documents(tmp_path / "logs")
    assert known.get("run", {"run": "a/x"})
    (tmp_path / "logs" / "a").rename(tmp_path / "away")
    (tmp_path / "logs" / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(NotThere):
        known.get("run", {"run": "a/x"})


@pytest.mark.parametrize("name", ["", "..", "../outside", "/etc", "./.", "a/../a", "a/", "a\0", "A", "%2e%2e"])
def test_no_other_run_can_be_asked_for(tmp_path: Path, name: str) -> None:
    plain_run(tmp_path / "outside")
    plain_run(tmp_path / "logs" / "a")
    with pytest.raises(NotThere):
        documents(tmp_path / "logs").get("run", {"run": name.replace("/etc", str(tmp_path / "outside"))})


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere refuse such names")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """It is listed in a form that can be asked for: a browser cannot send a lone surrogate."""
    plain_run(tmp_path / os.fsdecode(b"lat\xe9in"))
    [name] = names_of(tmp_path)
    assert "lat\\xe9in" == name
    assert name == documents(tmp_path).get("run", {"run": name})["run"]


def test_a_new_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing is good for a moment only; one that is asked for by name is looked for again."""
    runs = Runs({"": tmp_path})
    assert {} == runs.folders()
    plain_run(tmp_path / "late")
    assert {} == runs.folders()
    monkeypatch.setattr("time.monotonic", lambda now=time.monotonic: now() + 1)
    assert tmp_path / "late" == runs.folder("late")
    assert runs.any()


def test_too_many_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking is bounded, the nearest first, and the listing says so."""
    for name in ("a", "b/c/d", "b/e"):
        plain_run(tmp_path / name)
    monkeypatch.setattr("gradscope.record.search.MOST_FOLDERS", 3)
    listed = documents(tmp_path).get("runs", {})
    assert ["a"] == [run["run"] for run in listed["runs"]]
    assert "too large" in listed["note"]


def test_log_directories() -> None:
    """As TensorBoard takes them: one, or several with names; what is not on this machine is said."""
    assert {"": Path("/x/y")} == roots_of("/x/y", "")[0]
    assert {"a": Path("/x"), "b": Path("/y")} == roots_of("", "a:/x,b:/y")[0]
    assert {"": Path("/x"), "y": Path("/z/y")} == roots_of("", "/x,/z/y")[0]
    several = {"": Path("/a/x"), "x": Path("/b/x"), "x (2)": Path("/c/x"), "x (3)": Path("/d/x")}
    assert several == roots_of("", "/a/x,/b/x,/c/x,/d/x")[0]
    assert ({}, "") == roots_of("", "")
    roots, note = roots_of("", "a:gs://bucket/x,b:/y")
    assert {"b": Path("/y")} == roots
    assert "gs://bucket/x" in note and "local folders only" in note
    assert ({}, roots_of("s3://x", "")[1]) == roots_of("s3://x", "")


def test_named_log_directories(tmp_path: Path) -> None:
    plain_run(tmp_path / "one")
    plain_run(tmp_path / "two" / "x")
    assert ["a", "b/x"] == list(Runs({"a": tmp_path / "one", "b": tmp_path / "two"}).folders())


# -- the listing ----------------------------------------------------------------------------------------------------


def test_what_is_told_of_each_run(tmp_path: Path) -> None:
    """Findings that are not consequences are counted; the newest run is named."""
    writer = plain_run(tmp_path / "b")
    for told in (("GS101",), ("GS203", "warning", "GS101"), ("GS301", "warning"), ("GS9", "info")):
        writer.folder.finding(finding(*told))
    os.utime(tmp_path / "b" / "meta.json", (1, 1))
    plain_run(tmp_path / "a")
    listed = documents(tmp_path).get("runs", {})
    told = {"script": "train.py", "status": "finished", "steps": 20, "problem": None}
    assert {"run": "b", **told, "errors": 1, "warnings": 1, "notes": 1} == listed["runs"][1]
    assert "a" == listed["newest"]


def test_the_listing_is_brought_up_to_date(tmp_path: Path) -> None:
    """More steps and findings of a run that goes on; a run that is gone."""
    writer = plain_run(tmp_path / "a")
    plain_run(tmp_path / "b")
    known = documents(tmp_path)
    assert [0, 0] == [run["errors"] for run in known.get("runs", {})["runs"]]
    writer.folder.finding(finding("GS101"))
    assert [1, 0] == [run["errors"] for run in known.get("runs", {})["runs"]]


DAMAGES = {
    "no meta.json": lambda run: (run / "meta.json").unlink(),
    "meta.json is torn": lambda run: (run / "meta.json").write_text('{"schema": 1, "ar'),
    "meta.json is no object": lambda run: (run / "meta.json").write_text("[[[[1]]]]"),
    "meta.json is from the future": lambda run: (run / "meta.json").write_text('{"schema": 99}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run(tmp_path: Path, damage: str) -> None:
    """It is listed, with what is wrong in a sentence; the others are as they were."""
    plain_run(tmp_path / "good")
    plain_run(tmp_path / "bad")
    DAMAGES[damage](tmp_path / "bad")
    known = documents(tmp_path)
    bad, good = known.get("runs", {})["runs"]
    assert good["problem"] is None and good["steps"] == 20
    assert bad["problem"] and str(tmp_path) not in bad["problem"] and "\n" not in bad["problem"]
    assert "good" == known.get("runs", {})["newest"]
    with pytest.raises(DamagedRecord):
        known.get("run", {"run": "bad"})


def test_damaged_parts_are_told(tmp_path: Path) -> None:
    """A bit of the data is wrong, a finding too: the rest is shown, and said to be the rest."""
    writer = plain_run(tmp_path / "run")
    writer.folder.finding(finding("GS101"))
    blob = bytearray((tmp_path / "run" / "record.bin").read_bytes())
    blob[len(blob) // 2] ^= 1
    (tmp_path / "run" / "record.bin").write_bytes(blob)
    with open(tmp_path / "run" / "findings.jsonl", "a") as file:
        file.write('{"id": "x", "code": "GS1"}\n{"id": "y", "code": "GS2", "severity": "worst"}\n')
    notes = documents(tmp_path).get("run", {"run": "run"})["meta"]["notes"]
    assert 2 == len(notes)
    assert "damaged parts of the record were left out" in notes[0]
    assert "2 damaged findings were left out" == notes[1]


# -- one run --------------------------------------------------------------------------------------------------------


def test_the_run_document(tmp_path: Path) -> None:
    """Findings with what is folded under them, streams with their parameters, metrics."""
    muon, adamw = table(0, ["a.weight", "b.weight"], "Muon", "muon"), table(1, ["b.bias"], "AdamW", "")
    writer = Writer(tmp_path, muon, adamw, streams=((0, 1),))
    for one, size in ((muon, 2), (adamw, 1)):
        writer.rows(one, [scalars(i, 1.0) for i in range(5)], [arrays(i, size) for i in (0, 2)])
    for found in (finding("GS101"), finding("GS203", "warning", "GS101", 9), finding("GS301", "warning", None, 4)):
        writer.folder.finding(found)
    writer.folder.metric(MetricSums(0, "val_loss", "log", (), 0), 3, 0.5)
    writer.meta.skipped = {"GS202": "adversarial", "GS203": "adversarial", "GS501": "forward: compiled"}
    writer.flush("crashed")
    for name, when in (("meta.json", 3000), ("index.jsonl", 5000.25), ("record.bin", 4000), ("findings.jsonl", 2000)):
        os.utime(tmp_path / name, (when, when))
    run = documents(tmp_path).get("run", {"run": "."})
    assert 5000.25 == run["meta"]["written"]
    assert writer.meta.skipped == run["skipped"]
    wanted = ["GS202, GS203 were not checked: adversarial", "GS501 was not checked: forward: compiled"]
    assert wanted == run["unchecked"]
    assert "1 error, 1 warning" == run["tally"]
    assert ("crashed", 5, "train.py") == (run["meta"]["status"], run["meta"]["steps"], run["meta"]["script"])
    first = run["findings"][0]
    assert ("GS101", "it is bad", "Muon #0, steps 1-9") == (first["code"], first["message"], first["whose"])
    assert [run["findings"][1]["id"]] == first["then"]
    assert [] == run["findings"][1]["then"] == run["findings"][2]["then"]
    (stream,) = run["streams"]
    told = [stream[key] for key in ("title", "first", "last", "rows", "measured")]
    assert ["muon (Muon), AdamW", 0, 4, 5, 2] == told
    shown = [(p["name"], p["shape"], p["optimizer"]) for p in stream["parameters"]]
    assert [("a.weight", [2], 0), ("b.bias", [2], 1), ("b.weight", [2], 0)] == shown
    assert [{"number": 0, "name": "val_loss", "source": "log"}] == run["metrics"]


HOSTILE = "<script>alert(1)</script>\"'&\u202e😀\ud800\x00\n" + "x" * 300


def test_names_are_passed_on_as_they_are(tmp_path: Path) -> None:
    """Whatever stands in a name or a message is text, in JSON that is all ASCII."""
    plain_run(tmp_path, names=[HOSTILE, "a." + HOSTILE, ".", ""])
    text = json.dumps(documents(tmp_path).get("run", {"run": "."}))
    assert text.isascii()
    assert HOSTILE in [p["name"] for p in json.loads(text)["streams"][0]["parameters"]]


def test_nothing_stepped(tmp_path: Path) -> None:
    """A run that has only begun is no error; its pictures are asked for in vain."""
    Writer(tmp_path).flush()
    known = documents(tmp_path)
    assert [] == known.get("run", {"run": "."})["streams"]
    for name in ("curves", "heatmap", "moment"):
        with pytest.raises(NotThere, match="no optimizer step was seen"):
            known.get(name, {"run": "."})


def test_nothing_measured(tmp_path: Path) -> None:
    """Rows without statistics: the curves are there, the heatmap has no columns."""
    one = table(0, ["a", "b"])
    writer = Writer(tmp_path, one)
    writer.rows(one, [scalars(i, 1.0, 0, NAN) for i in range(5)])
    writer.flush()
    known = documents(tmp_path)
    assert [0] * 5 == values(known.get("curves", {"run": "."})["norm"]["not_finite"])
    for stat in STATISTICS:
        found = known.get("heatmap", {"run": ".", "stat": stat})
        assert [2, 0] == found["mean"]["shape"] and [] == values(found["rows"])
    assert [] == values(known.get("parameter", {"run": ".", "line": "0-1"})["weight"]["mean"])
    with pytest.raises(GradscopeError, match="no step of this record holds measured gradients"):
        known.get("moment", {"run": "."})


# -- pictures -------------------------------------------------------------------------------------------------------


def test_curves(tmp_path: Path) -> None:
    """Means over the finite losses, what is not finite counted, norms of both optimizers together, rates, metrics."""
    one, two = table(0, ["a"], variable="muon"), table(1, ["b"], variable="adamw")
    writer = Writer(tmp_path, one, two, streams=((0, 1),))
    losses = [4.0, 2.0, NAN, math.inf, 1.0, 1.0]
    wiring = [64, 64, 64, 0, int(Wiring.NO_LOSS), 64]
    norms = [3.0, 3.0, NAN, NAN, NAN, math.inf]
    writer.rows(one, [scalars(i, *told) for i, told in enumerate(zip(losses, wiring, norms))])
    writer.rows(two, [scalars(i, *told, lr=0.1 * i) for i, told in enumerate(zip(losses, wiring, [4.0] * 6))])
    metric, other = MetricSums(0, "val", "log", (), 0), MetricSums(1, "not ours", "log", (7,), 0)
    for row in (1, 4):
        writer.folder.metric(metric, row, row / 2)
    writer.folder.metric(other, 1, 1.0)
    writer.flush()
    found = documents(tmp_path).get("curves", {"run": ".", "width": "3"})
    assert ([0, 2, 4, 6], [2, 2, 2]) == (values(found["edges"]), values(found["rows"]))
    assert [3.0, NAN, 1.0] == pytest.approx(values(found["loss"]["mean"]), nan_ok=True)
    assert [2.0, NAN, 1.0] == pytest.approx(values(found["loss"]["low"]), nan_ok=True)
    assert [4.0, NAN, 1.0] == pytest.approx(values(found["loss"]["high"]), nan_ok=True)
    assert [0, 2, 0] == values(found["loss"]["not_finite"])
    assert [5.0, NAN, NAN] == pytest.approx(values(found["norm"]["mean"]), nan_ok=True)
    assert [0, 1, 1] == values(found["norm"]["not_finite"])
    assert ["muon", "adamw"] == [rate["label"] for rate in found["lr"]]
    assert [0.05, 0.25, 0.45] == pytest.approx(values(found["lr"][1]["values"]))
    assert ["val"] == [metric["name"] for metric in found["metrics"]]
    assert ([1, 4], [0.5, 2.0]) == (values(found["metrics"][0]["steps"]), values(found["metrics"][0]["values"]))
    zoomed = documents(tmp_path).get("curves", {"run": ".", "from": "1", "to": "3"})
    assert [1, 2, 3, 4] == values(zoomed["edges"])
    assert [1] == values(zoomed["metrics"][0]["steps"])


@pytest.mark.parametrize("without", [0, 1])
def test_the_loss_of_a_stream_in_which_an_optimizer_has_none(tmp_path: Path, without: int) -> None:
    """Its backward starts from gradients: the other one's loss is shown, whichever is first."""
    tables = [table(i, [f"p{i}"], variable=f"opt{i}") for i in range(2)]
    writer = Writer(tmp_path, *tables, streams=((0, 1),))
    for i, one in enumerate(tables):
        bits, own = (int(Wiring.NO_LOSS), NAN) if i == without else (0, 0.5)
        writer.rows(one, [(row, own, 0.5, *scalars(row, own, bits)[3:]) for row in range(3)])
    writer.flush()
    found = documents(tmp_path).get("curves", {"run": "."})["loss"]
    assert ([0.5] * 3, [0] * 3) == (values(found["mean"]), values(found["not_finite"]))


def test_rates_that_are_the_same_share_a_curve(tmp_path: Path) -> None:
    tables = [table(i, [f"p{i}"], variable=f"opt{i}") for i in range(5)]
    writer = Writer(tmp_path, *tables, streams=((0, 1, 2, 3, 4),))
    for one in tables:
        writer.rows(one, [scalars(i, 1.0) for i in range(3)])
    writer.flush()
    assert ["opt0 and 4 more"] == [rate["label"] for rate in documents(tmp_path).get("curves", {"run": "."})["lr"]]


def test_two_streams(tmp_path: Path) -> None:
    """Each has its own rows; one that is not there is said."""
    d, g = table(0, ["d"], variable="opt_d"), table(1, ["g.0", "g.1"], variable="opt_g")
    writer = Writer(tmp_path, d, g)
    writer.rows(d, [scalars(i, 1.0) for i in (0, 2, 4)], [arrays(i, 1) for i in (0, 2)])
    writer.rows(g, [scalars(i, 2.0) for i in (1, 3)], [arrays(i, 2) for i in (1, 3)])
    writer.flush()
    known = documents(tmp_path)
    assert [0, 2, 5] == values(known.get("heatmap", {"run": ".", "stream": "0"})["edges"])
    assert [1, 3, 4] == values(known.get("heatmap", {"run": ".", "stream": "1"})["edges"])
    assert [2, 2] == known.get("heatmap", {"run": ".", "stream": "1"})["mean"]["shape"]
    with pytest.raises(NotThere, match="there is no stream 7"):
        known.get("heatmap", {"run": ".", "stream": "7"})


def test_one_parameter(tmp_path: Path) -> None:
    """The curves of a line are those of its row in the heatmap; after backward it was not seen here."""
    plain_run(tmp_path)
    known = documents(tmp_path)
    asked = {"run": ".", "width": "6", "line": "0-1", "lines": "0-1"}
    one, heat = known.get("parameter", asked), known.get("heatmap", asked)
    assert values(heat["edges"]) == values(one["edges"]) and values(heat["rows"]) == values(one["rows"])
    for name in ("mean", "low", "high"):
        assert values(heat[name])[0] == pytest.approx(values(one["gradient"][name]))
    assert values(heat["state"])[0] == values(one["state"])
    assert all(map(math.isnan, values(one["after_backward"]["mean"])))


def test_a_moment(tmp_path: Path) -> None:
    """Cells with number, word and state at each point; places without the user's source; lines as ranges."""
    plain_run(tmp_path)
    known = documents(tmp_path)
    found = known.get("moment", {"run": ".", "step": "7"})
    assert (7, 7, 20, "0.125") == tuple(found[k] for k in ("step", "asked", "steps", "loss"))
    (shown,) = found["optimizers"]
    assert ("opt (SGD)", "lr 0.1") == (shown["title"], shown["lr"])
    assert ["zero_grad", "backward", "step"] == [call["phase"] for call in shown["calls"]]
    assert ("train.py", 12) == (shown["calls"][1]["file"], shown["calls"][1]["line"])
    assert ["step", "before"] == shown["points"][3]
    line = shown["lines"][1]
    assert ("a.bias", 1, 1, 1) == tuple(line[k] for k in ("name", "parameters", "first", "last"))
    assert {"number": "7.00", "word": "", "state": GradState.FRESH} == line["cells"][3]
    assert "used" == line["cells"][4]["word"]
    assert ["used", "a step has used this gradient"] in found["legend"]
    assert {"before": 6, "after": 8} == found["around"]
    newest = known.get("moment", {"run": "."})
    assert (19, {"before": 18, "after": None}) == (newest["step"], newest["around"])
    with pytest.raises(GradscopeError, match="there is no step 20"):
        known.get("moment", {"run": ".", "step": "20"})


def test_a_moment_of_many_parameters(tmp_path: Path) -> None:
    """Grouped by module in the order of the tree: the ranges are those of the tree, and hold them all."""
    names = [f"m{i}.{kind}" for kind in ("weight", "bias") for i in range(30)]
    one = table(0, names)
    writer = Writer(tmp_path, one)
    norms = np.arange(60.0)
    states = [GradState.FRESH] * 59 + [GradState.NONE]
    writer.rows(one, [scalars(0, 1.0)], [arrays(0, 60, states, norms)])
    writer.flush()
    shown = documents(tmp_path).get("moment", {"run": "."})["optimizers"][0]["lines"]
    assert [(2 * i, 2 * i + 1) for i in range(30)] == [(line["first"], line["last"]) for line in shown]
    assert "None 1/2" == shown[29]["cells"][Point.BEFORE_STEP]["word"]
    assert "30.0" == shown[0]["cells"][Point.BEFORE_STEP]["number"]  # root of 0 and 30 squared


def test_a_rule_and_the_files(tmp_path: Path) -> None:
    known = documents(tmp_path, lambda code: Page(code, "sick", "error", "text") if code == "GS101" else None)
    rule = {"code": "GS101", "name": "sick", "severity": "error", "page": "text"}
    assert rule == known.get("rule", {"code": "GS101"})
    with pytest.raises(NotThere):
        known.get("rule", {"code": "GS999"})
    with pytest.raises(NotThere):
        known.get("nothing", {})
    assert {"scripts", "plotly", "gradscope"} == set(known.get("files", {}))


def test_too_much_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradscope.board.documents.MOST_CELLS", 50)
    plain_run(tmp_path)
    with pytest.raises(UsageError, match="3 lines of 20 columns are too many"):
        documents(tmp_path).get("heatmap", {"run": "."})


# -- questions that are off -----------------------------------------------------------------------------------------

TEXT = st.one_of(st.text(max_size=8), st.integers(-5, 40).map(str), st.sampled_from(["nan", "1e3", "²", "0-1", "0*3"]))
KEYS = st.sampled_from(["stream", "stat", "from", "to", "width", "lines", "line", "step", "code"])
ASKED = st.dictionaries(KEYS, TEXT)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    plain_run(tmp_path_factory.mktemp("logs"))
    return documents(tmp_path_factory.getbasetemp() / "logs0")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["files", "runs", "run", "curves", "heatmap", "parameter", "moment", "rule"]), asked=ASKED)
def test_any_question(known: Documents, name: str, asked: dict[str, str]) -> None:
    """It is answered with JSON, or refused in one sentence."""
    try:
        document = known.get(name, {"run": ".", "stat": "gradient", **asked})
    except GradscopeError as error:
        assert str(error) and "\n" not in repr(str(error))
    else:
        json.dumps(document, allow_nan=False)


@pytest.mark.parametrize("asked", ["from=-1", "from=5&to=4", "width=0", "width=4001", "to=x", "stat=loss", "lines=0-99",
                                   "stream=one", "from=9999999999999999"])  # fmt: skip
def test_questions_that_are_off(known: Documents, asked: str) -> None:
    with pytest.raises(UsageError):
        known.get("heatmap", {"run": ".", **dict(part.split("=") for part in asked.split("&"))})


# -- a run that goes on ---------------------------------------------------------------------------------------------


def test_more_is_shown_when_more_is_there(tmp_path: Path) -> None:
    """Another revision, more rows, and findings; what did not change has the same revision."""
    one = table(0, ["a", "b"])
    writer = Writer(tmp_path, one)
    known = documents(tmp_path)
    revisions = []
    for part in range(3):
        rows = range(10 * part, 10 * part + 10)
        writer.rows(one, [scalars(i, 1.0) for i in rows], [arrays(i, 2, norm=i) for i in rows])
        writer.flush()
        heat, curves = (known.get(name, {"run": "."}) for name in ("heatmap", "curves"))
        assert 10 * part + 10 == sum(values(heat["rows"])) == sum(values(curves["rows"]))
        assert values(heat["mean"])[1] == [float(i) for i in range(10 * part + 10)]
        assert 10 * part + 9 == known.get("moment", {"run": "."})["step"]
        assert heat["revision"] == curves["revision"] == known.get("run", {"run": "."})["revision"]
        revisions.append(heat["revision"])
    assert 3 == len(set(revisions))
    writer.folder.finding(finding("GS101"))
    run = known.get("run", {"run": "."})
    assert ["GS101"] == [found["code"] for found in run["findings"]]
    assert run["revision"] not in revisions


def test_several_threads_ask_while_it_is_written(tmp_path: Path) -> None:
    """TensorBoard's server has threads: each answer is whole, and shows no less than the one before."""
    one = table(0, ["a", "b"])
    writer = Writer(tmp_path, one)
    writer.rows(one, [scalars(0, 1.0)], [arrays(0, 2)])
    writer.flush()
    known, wrong, done = documents(tmp_path), [], threading.Event()

    def ask(name: str) -> None:
        seen = 0
        while not done.is_set():
            try:
                found = known.get(name, {"run": ".", "width": "4000"})
                rows = sum(values(found["rows"]))
                assert rows >= seen and values(found["edges"])[-1] == rows
                seen = rows
            except Exception as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("heatmap", "curves", "heatmap")]
    for thread in threads:
        thread.start()
    for row in range(1, 40):
        writer.rows(one, [scalars(row, 1.0)], [arrays(row, 2)])
        writer.flush()
    done.set()
    for thread in threads:
        thread.join()
    assert [] == wrong


def test_few_runs_stay_open(tmp_path: Path) -> None:
    """Of many runs that are looked at, the newest few are kept in memory."""
    for i in range(8):
        plain_run(tmp_path / str(i))
    known = documents(tmp_path)
    for i in range(8):
        known.get("run", {"run": str(i)})
    assert {tmp_path / "5", tmp_path / "6", tmp_path / "7"} == set(known._sources._sources)


# -- damage of any kind ---------------------------------------------------------------------------------------------

ODD = [None, -1, 0, 1e300, NAN, math.inf, "x", "", [], {}, [[]], 2**70, True, "<b>", {"a": 1}]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _paths(value[key], (*path, key))


def _put(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    value[path[0]] = _put(value[path[0]], path[1:], odd)
    return value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False), file=st.sampled_from(["meta.json", "index.jsonl", "findings.jsonl"]))
def test_whatever_stands_in_the_files(tmp_path_factory: pytest.TempPathFactory, random: Any, file: str) -> None:
    """One value in a run folder is another one: all documents are JSON, or refused in a sentence."""
    folder = tmp_path_factory.mktemp("damaged")
    writer = plain_run(folder, steps=5)
    writer.folder.metric(MetricSums(0, "val", "log", (), 0), 3, 0.5)
    writer.folder.finding(finding("GS101"))
    writer.flush()
    writer.folder.close()
    lines = (folder / file).read_text().splitlines() if file.endswith("l") else [(folder / file).read_text()]
    at = random.randrange(len(lines))
    line = json.loads(lines[at])
    lines[at] = json.dumps(_put(line, random.choice(list(_paths(line))), random.choice(ODD)))
    (folder / file).write_text("\n".join(lines) + "\n")
    known = documents(folder)
    for name in ("runs", "run", "curves", "heatmap", "parameter", "moment"):
        try:
            json.dumps(known.get(name, {"run": ".", "line": "0"}), allow_nan=False)
        except GradscopeError:
            assert name != "runs"


# -- a real run -----------------------------------------------------------------------------------------------------


def test_a_loop_that_adds_parameters(tmp_path: Path) -> None:
    """Weights first, biases and another layer later, one frozen: in the order of the model, with the norms it had."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.SGD([model[0].weight, model[2].weight], lr=0.1)
    seen: list[list[float]] = []
    with gradscope.watch(model, optimizer, log_dir=tmp_path, every=1):
        for step in range(20):
            if step == 8:
                optimizer.add_param_group({"params": [model[0].bias, model[2].bias], "lr": 0.01})
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            seen.append([NAN if p.grad is None else float(p.grad.norm()) for p in model.parameters()])
            optimizer.step()
    known = documents(tmp_path)
    (name,) = (run["run"] for run in known.get("runs", {})["runs"])
    (stream,) = known.get("run", {"run": name})["streams"]
    assert ["0.weight", "0.bias", "2.weight", "2.bias"] == [p["name"] for p in stream["parameters"]]
    heat = known.get("heatmap", {"run": name})
    expected = np.array(seen, np.float32).T
    expected[3, :8] = NAN  # was not the optimizer's then
    assert np.allclose(expected, decode(heat["mean"]), rtol=1e-5, equal_nan=True)
    states = decode(heat["state"])
    assert (GradState.NOT_SEEN, GradState.NONE) == (states[1, 0], states[1, 19])
    assert (GradState.NOT_SEEN, GradState.FRESH) == (states[3, 7], states[3, 8])
    assert 2 == len(known.get("curves", {"run": name})["lr"])
