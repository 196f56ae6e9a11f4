"""The report as one file for a browser: what stands in it, that nothing leads out of it, and what people see."""
from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import gradscope
from gradscope.board import page
from gradscope.board.embedding import nodes_of, rounded
from gradscope.board.encoding import TYPES
from gradscope.board.places import relative
from gradscope.cli import main
from gradscope.findings import from_line, to_line
from tests.browser import chromium
from tests.test_hostile import HOSTILE, finding

Capture = pytest.CaptureFixture[str]


def train(folder: Path, steps: int = 40, names: tuple[str, ...] = ("first", "second"), clear: bool = False) -> Path:
    """A run of a small model whose modules have these names; without `clear` nobody calls zero_grad: GS101."""
    torch.manual_seed(0)
    model = nn.Sequential()
    for name in names:
        model.add_module(name, nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradscope.watch(log_dir=folder, every=1):
        for _ in range(steps):
            if clear:
                optimizer.zero_grad()
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
    [run] = folder.iterdir()
    return run


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without zero_grad."""
    return train(tmp_path_factory.mktemp("sick"))


class Reader(html.parser.HTMLParser):
    """The elements of a page: (tag, attributes, text in it)."""

    CDATA_CONTENT_ELEMENTS = ("script", "style", "noscript")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("", {}, ""))  # takes what stands behind it

    def handle_data(self, data: str) -> None:
        if self.elements:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = tag, attributes, text + data

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for kind, attributes, text in self.elements if kind == tag]

    def by_id(self, name: str) -> str:
        [found] = [text for _, attributes, text in self.elements if attributes.get("id") == name]
        return found


def made(run: Path, file: Path) -> Reader:
    """`gradscope report RUN --html FILE`, read."""
    assert 0 == main(["report", str(run), "--html", str(file)])
    return Reader(file.read_text(encoding="utf-8"))


def array(reader: Reader, told: Any) -> Any:
    """An array of the page, unpacked as its script does."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(reader.by_id(f"gradscope-{told['at']}"))), np.uint8)
    kind = np.dtype(TYPES[told["type"]])
    return np.ascontiguousarray(planes.reshape(kind.itemsize, -1).T).view(kind).reshape(told["shape"])


# -- what stands in it ----------------------------------------------------------------------------------------------


def test_what_the_page_holds(sick: Path, tmp_path: Path, capsys: Capture) -> None:
    """Run, curves, all four pictures of all parameters and modules, timelines, the pages of what was found; the numbers
    are those of the record."""
    reader = made(sick, tmp_path / "out.html")
    said = capsys.readouterr().out
    size = (tmp_path / "out.html").stat().st_size
    assert f"out.html is written ({size / 1e6:.1f} MB)" in said.replace("\n", "") and "error GS101" in said
    data = json.loads(reader.by_id("gradscope-data"))
    [stream] = data["run"]["streams"]
    assert ["first.weight", "first.bias", "second.weight", "second.bias"] == [p["name"] for p in stream["parameters"]]
    assert [[0, 0], [0, 1], [0, 3], [1, 1], [2, 2], [2, 3], [3, 3]] == data["nodes"]["0"]
    assert {"gradient", "update", "weight", "state"} == set(data["heatmaps"]["0"])
    assert {"GS101"} <= set(data["rules"]) == {f["code"] for f in data["run"]["findings"]}
    assert "What it finds" in data["rules"]["GS101"]["page"]
    assert [0, 1, 39] == [m["step"] for m in data["moments"]["0"] if m["step"] in (0, 1, 39)]
    record = gradscope.record.reader.read_record(sick).optimizers[0]
    heat = data["heatmaps"]["0"]["gradient"]
    mean = array(reader, heat["mean"])
    assert (7, 40) == mean.shape and list(range(41)) == array(reader, heat["edges"]).tolist()
    norms = record.grad_norm(gradscope.events.Point.BEFORE_STEP)
    np.testing.assert_allclose(mean[[0, 3, 4, 6]], norms.T, rtol=1e-5)
    np.testing.assert_allclose(mean[2], np.sqrt((norms.astype(float) ** 2).sum(1)), rtol=1e-5)
    assert array(reader, data["curves"]["0"]["loss"]["mean"]).tolist() == record.scalars["loss"].tolist()


def test_nothing_leads_out_of_it(sick: Path, tmp_path: Path) -> None:
    """No element loads anything; the policy allows the page's own scripts, by their hashes, and no network."""
    reader = made(sick, tmp_path / "out.html")
    loading = {"src", "srcset", "data", "action", "background", "poster", "formaction"}
    leads = [(tag, a) for tag, attributes, _ in reader.elements for a in attributes if a in loading]
    assert [] == leads
    assert ["data:,"] == [attributes["href"] for attributes, _ in reader.all("link")]
    assert [] == reader.all("base") + reader.all("iframe") + reader.all("img") + reader.all("a")
    [policy] = [a["content"] or "" for a, _ in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert "'none'" == rules["default-src"] and "http" not in policy and "eval" not in policy
    code = [text for attributes, text in reader.all("script") if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert [f"'sha256-{known}'" for known in hashes] == rules["script-src"].split()
    assert any("plotly" in text for text in code)


def test_its_title_and_its_text(sick: Path, tmp_path: Path) -> None:
    """The script and the tally; without JavaScript, the report as text."""
    reader = made(sick, tmp_path / "out.html")
    [(_, title)] = reader.all("title")[:1]
    assert re.fullmatch(r"\S+: 1 error, 0 warnings, 1 note - gradscope", title)
    [(_, text)] = reader.all("noscript")
    assert "error GS101 missing-zero-grad" in text


def test_with_json_and_rediagnosed(sick: Path, tmp_path: Path) -> None:
    """All three together: the page has what the rules say now, and what they could not look at."""
    files = ["--html", str(tmp_path / "o.html"), "--json", str(tmp_path / "o.json")]
    assert 0 == main(["report", str(sick), *files, "--rediagnose"])
    told = json.loads((tmp_path / "o.json").read_text())
    data = json.loads(Reader((tmp_path / "o.html").read_text()).by_id("gradscope-data"))
    assert [f["id"] for f in told["findings"]] == [f["id"] for f in data["run"]["findings"]]
    assert any("the record holds 40 of 40 steps whole" in note for note in data["run"]["meta"]["notes"])


def test_the_newest_run_of_a_folder(sick: Path, tmp_path: Path) -> None:
    """RUN is what it is for the report: also a folder with runs in it."""
    data = json.loads(made(sick.parent, tmp_path / "out.html").by_id("gradscope-data"))
    assert sick.name == data["run"]["run"] == data["listed"]["run"]


def test_places_are_told_as_in_the_terminal(sick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to where the command is given: a page that is sent around does not tell of one's home."""
    monkeypatch.chdir(Path(__file__).parent)
    reader = made(sick, tmp_path / "out.html")
    data = json.loads(reader.by_id("gradscope-data"))
    assert {"test_page.py"} == {f["where"]["file"] for f in data["run"]["findings"]}
    calls = [call for moment in data["moments"]["0"] for table in moment["optimizers"] for call in table["calls"]]
    assert {"test_page.py", None} >= {call["file"] for call in calls}
    told = json.dumps({**data["run"], "meta": None})
    assert str(Path(__file__).parent) not in told


@pytest.mark.parametrize(
    "file, shown",
    [
        ("/home/me/train.py", "train.py"),
        ("/home/me/src/../train.py", "train.py"),
        ("/home/me2/train.py", "/home/me2/train.py"),
        ("/home/me", "/home/me"),
        ("/home/me/../../etc/passwd", "/etc/passwd"),
        ("<stdin>", "<stdin>"),
        ("", ""),
        ("/home/me/\0", "\0"),
        (None, None),
    ],
)
def test_what_lies_below_a_folder(file: str | None, shown: str | None) -> None:
    """By the name alone."""
    place = {"file": file}
    relative([place, None], Path("/home/me"))
    assert {"file": shown} == place
    relative([place], None)
    assert {"file": shown} == place


# -- hostile text ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.text(st.characters()))
@example("</script><script>alert(1)</script><!--")
@example("\u2028\u2029&lt;]]>")
def test_json_in_a_script_element(text: str) -> None:
    """No sign that HTML or an old JavaScript would take for its own; the text comes back."""
    shown = page.as_json({"name": text})
    assert not re.search("[<>&\u2028\u2029]", shown) and shown.isascii()
    assert {"name": text} == json.loads(shown)


@pytest.mark.parametrize("code", ["a = '</script>'", "b = '</SCRIPT x'", "c = '<!-- <script>'", "d = 1;\r\ne"])
def test_scripts_in_a_script_element(code: str) -> None:
    """One end only, and the same to the browser's hash."""
    shown = page._inline(code)
    assert not re.search("</script|<!--|\r", shown, re.IGNORECASE)
    assert code.replace("\r", "") == shown.replace("<\\/", "</").replace("<\\!", "<!")


def hostile_run(folder: Path) -> Path:
    """A run of a model with such names, and a stored finding in which everything is hostile."""
    chosen = ("markup", "escapes", "directions", "surrogates", "long", "wide")
    names = tuple(HOSTILE[name].replace(".", "") for name in chosen)
    run = train(folder, names=("</script><script>window[0]=1</script>", *names))
    with open(run / "findings.jsonl", "a") as file:
        for i, text in enumerate(HOSTILE.values()):
            one = replace(finding(f"<img src=x onerror=window[0]=1>{text}"), name=f"n{i}{text}", where=None)
            file.write(json.dumps({**to_line(one, 90 + i), "id": f"x{i}"}) + "\n")
    return run


def test_hostile_text_stays_data(tmp_path: Path) -> None:
    """No element comes of it, and no names are lost."""
    reader = made(hostile_run(tmp_path / "runs"), tmp_path / "out.html")
    plain = made(train(tmp_path / "plain"), tmp_path / "plain.html")
    kinds = [[tag for tag, _, _ in r.elements if tag != "script"] for r in (reader, plain)]
    assert kinds[0] == kinds[1]
    code = [[text for attributes, text in r.all("script") if "type" not in attributes] for r in (reader, plain)]
    assert code[0] == code[1]
    names = [p["name"] for p in json.loads(reader.by_id("gradscope-data"))["run"]["streams"][0]["parameters"]]
    assert "</script><script>window[0]=1</script>.weight" in names and 14 == len(names)


# -- sizes ----------------------------------------------------------------------------------------------------------


def names(*sizes: int) -> list[str]:
    """Parameters of so many modules."""
    return [f"m{m}.p{i}" for m, size in enumerate(sizes) for i in range(size)]


@pytest.mark.parametrize(
    "given_, expected",
    [
        ([], []),
        (["w"], [[0, 0]]),
        (["w", "b"], [[0, 0], [0, 1], [1, 1]]),
        (["a.w", "a.b", "c.w"], [[0, 0], [0, 1], [0, 2], [1, 1], [2, 2]]),
        (["a.x.w", "a.x.b"], [[0, 0], [0, 1], [1, 1]]),
        (["a.w", "a.x.w=b.w", "a.x.b", "z"], [[0, 0], [0, 2], [0, 3], [1, 1], [1, 2], [2, 2], [3, 3]]),
        (["a.w", "a.w"], [[0, 0], [0, 1], [1, 1]]),
    ],
)
def test_lines_of_the_tree(given_: list[str], expected: list[list[int]]) -> None:
    """Every parameter, every module of several, each once."""
    assert expected == nodes_of(given_)


def test_lines_of_a_huge_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outer ones where all are too many."""
    monkeypatch.setattr("gradscope.board.embedding.MOST_LINES", 50)
    modules = [[m * 20, m * 20 + 19] for m in range(30)]
    assert sorted([[0, 599], *modules]) == sorted(nodes_of(names(*[20] * 30)))


def test_many_parameters_have_fewer_columns(sick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the page stays small; it says so, and all steps are in the columns there are."""
    monkeypatch.setattr("gradscope.board.embedding.MOST", 3000)
    monkeypatch.setattr("gradscope.board.embedding.NARROWEST", 5)
    reader = made(sick, tmp_path / "out.html")
    data = json.loads(reader.by_id("gradscope-data"))
    heat = data["heatmaps"]["0"]["gradient"]
    rows = array(reader, heat["rows"])
    assert 5 <= len(rows) < 40 and 40 == rows.sum()
    assert any("columns, for 40 measured steps" in note for note in data["run"]["meta"]["notes"])


def test_parameters_without_a_line_are_told_of(sick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many lines, the page says how many it leaves out."""
    monkeypatch.setattr("gradscope.board.embedding.MOST_LINES", 4)
    data = json.loads(made(sick, tmp_path / "out.html").by_id("gradscope-data"))
    assert [[0, 1], [0, 3], [2, 3]] == data["nodes"]["0"]
    assert any(note.startswith("4 parameters have no line") for note in data["run"]["meta"]["notes"])


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=1))
@example([3.4e38, 3.4028234e38, float("inf"), float("nan"), -0.0, 1e-45])
def test_rounded_numbers_have_five_digits(values: list[float]) -> None:
    """And what is not finite stays what it is."""
    array_ = np.array(values, np.float32)
    short = rounded(array_)
    np.testing.assert_allclose(short, array_, rtol=2.0**-17, atol=1e-42)
    assert (np.isfinite(array_) == np.isfinite(short)).all()


# -- what goes wrong ------------------------------------------------------------------------------------------------


def refused(capsys: Capture, run: Path, file: Path, says: str) -> None:
    """Exit code 1, one sentence, nothing printed, no file left."""
    before = sorted(file.parent.iterdir()) if file.parent.is_dir() else None
    assert 1 == main(["report", str(run), "--html", str(file)])
    said = capsys.readouterr()
    assert "" == said.out and says in said.err and 1 == said.err.count("\n")
    assert before is None or before == sorted(file.parent.iterdir())


def test_without_plotly(sick: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install; the report without --html needs none."""
    monkeypatch.setattr(page, "script", lambda: None)
    refused(capsys, sick, tmp_path / "out.html", "pip install plotly")
    assert 0 == main(["report", str(sick)])


def test_file_cannot_be_written(sick: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a missing folder, a name that is too long, a full disk, a disk that fills up: one sentence."""
    refused(capsys, sick, tmp_path, "cannot be written (Is a directory)")
    refused(capsys, sick, tmp_path / "missing" / "out.html", "cannot be written (No such file or directory)")
    refused(capsys, sick, tmp_path / ("x" * 300), "cannot be written (File name too long)")
    if os.path.exists("/dev/full"):
        assert 1 == main(["report", str(sick), "--html", "/dev/full"])
        assert "cannot be written (No space left on device)" in capsys.readouterr().err
    (tmp_path / "old.html").write_text("old")

    def half(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    refused(capsys, sick, tmp_path / "old.html", "cannot be written (No space left on device)")
    assert "old" == (tmp_path / "old.html").read_text()


def test_an_old_file_is_replaced(sick: Path, tmp_path: Path) -> None:
    """A link leads to the file that is; its rights are those of any new file."""
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to("real.html")
    made(sick, tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "real.html").stat().st_size > 1_000_000
    (tmp_path / "other").touch()
    assert (tmp_path / "other").stat().st_mode == (tmp_path / "real.html").stat().st_mode


def test_damaged_records(sick: Path, tmp_path: Path, capsys: Capture) -> None:
    """What the report refuses is refused in the same words; what it passes over is told in the page."""
    refused(capsys, tmp_path / "missing", tmp_path / "out.html", "there is no run folder at")
    run = Path(shutil.copytree(sick, tmp_path / "run"))
    with open(run / "findings.jsonl", "a") as file:
        file.write('{"id": "x", "code": "GS101"}\n')
    (run / "record.bin").write_bytes(b"")
    data = json.loads(made(run, tmp_path / "out.html").by_id("gradscope-data"))
    notes = data["run"]["meta"]["notes"]
    assert any("damaged finding" in note for note in notes) and any("damaged parts" in note for note in notes)
    (run / "meta.json").write_text("{")
    capsys.readouterr()
    refused(capsys, run, tmp_path / "other.html", "meta.json is missing or damaged")


def test_runs_that_are_not_over_and_without_steps(sick: Path, tmp_path: Path) -> None:
    """A page, that says so."""
    run = Path(shutil.copytree(sick, tmp_path / "run"))
    meta = json.loads((run / "meta.json").read_text())
    (run / "meta.json").write_text(json.dumps({**meta, "status": "running"}))
    data = json.loads(made(run, tmp_path / "out.html").by_id("gradscope-data"))
    assert "running" == data["run"]["meta"]["status"]
    assert any("the run has not ended" in note for note in data["run"]["meta"]["notes"])
    with gradscope.watch(log_dir=tmp_path / "empty"):
        pass
    data = json.loads(made(tmp_path / "empty", tmp_path / "out.html").by_id("gradscope-data"))
    assert [] == data["run"]["streams"] and {} == data["heatmaps"]


def gan(folder: Path) -> None:
    """Two optimizers that step by turns, and a validation loss."""
    torch.manual_seed(0)
    nets = [nn.Linear(3, 3), nn.Linear(3, 1)]
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.01) for net in nets]
    with gradscope.watch(log_dir=folder, every=1) as scope:
        for step in range(12):
            for net, optimizer in zip(nets, optimizers):
                optimizer.zero_grad()
                net(torch.randn(4, 3)).square().mean().backward()
                optimizer.step()
            scope.log(val_loss=1.0 / (step + 1))


def test_several_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its pictures and timelines; where there are very many, the page says which it leaves out."""
    gan(tmp_path / "runs")
    data = json.loads(made(tmp_path / "runs", tmp_path / "out.html").by_id("gradscope-data"))
    numbers = [str(stream["number"]) for stream in data["run"]["streams"]]
    assert 2 == len(numbers)
    for part in ("curves", "nodes", "heatmaps", "moments"):
        assert set(numbers) == set(data[part]), part
    assert all(data["moments"].values()) and ["val_loss"] == [m["name"] for m in data["curves"]["0"]["metrics"]]
    monkeypatch.setattr("gradscope.board.embedding.MOST_STREAMS", 1)
    data = json.loads(made(tmp_path / "runs", tmp_path / "out.html").by_id("gradscope-data"))
    assert 1 == len(data["run"]["streams"]) == len(data["heatmaps"])
    assert "this page holds the first 1 of 2 streams" in data["run"]["meta"]["notes"]


def test_a_run_without_norms(tmp_path: Path) -> None:
    """`budget=0`: losses and calls; the page has what there is."""
    with gradscope.watch(log_dir=tmp_path / "runs", budget=0):
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    data = json.loads(made(tmp_path / "runs", tmp_path / "out.html").by_id("gradscope-data"))
    [stream] = data["run"]["streams"]
    assert 6 == stream["rows"] and [6] == data["curves"]["0"]["loss"]["mean"]["shape"]


def test_stored_findings_are_those_of_the_report(sick: Path, tmp_path: Path) -> None:
    """Suppressing nothing, inventing nothing."""
    data = json.loads(made(sick, tmp_path / "out.html").by_id("gradscope-data"))
    lines = [json.loads(line) for line in (sick / "findings.jsonl").read_text().splitlines()]
    assert {from_line(line).code for line in lines} == {f["code"] for f in data["run"]["findings"]}


# -- in the browser -------------------------------------------------------------------------------------------------


@pytest.fixture
def opened() -> Iterator[Any]:
    """`opened(file)` shows it in a browser without a network; returns the tab, and what it asked for and complained of.

    At the end nothing but the files was asked for, and nothing was complained of.
    """
    with chromium() as browser:
        asked: list[str] = []
        said: list[str] = []
        files: list[str] = []

        def show(file: Path, **options: Any) -> Any:
            context = browser.new_context(viewport={"width": 1440, "height": 1000}, offline=True, **options)
            tab = context.new_page()
            tab.set_default_timeout(15_000)
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            files.append(file.as_uri())
            tab.goto(file.as_uri())
            return tab

        show.said = said
        yield show
        assert files == asked
        assert [] == said


def at(tab: Any, name: str) -> Any:
    """The element with this test id."""
    return tab.locator(f"[data-testid={name}]")


def ground(tab: Any) -> int:
    """How bright the ground is, 0 to 765."""
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_in_the_browser(opened: Any, sick: Path, tmp_path: Path) -> None:
    """From a file, with no network: findings, pictures, a parameter's curves and a step's timeline; the statistics
    switch, a step and a rule are chosen; it goes dark with the system. Nothing is asked of anybody."""
    made(sick, tmp_path / "out.html")
    tab = opened(tmp_path / "out.html", color_scheme="light")
    tab.get_by_text("call optimizer.zero_grad() before line").first.wait_for()
    at(tab, "heatmap-line").nth(5).wait_for()
    assert "1 error, 0 warnings" in tab.title()
    tab.locator("[data-testid=heatmap] image").first.wait_for()  # plotly's
    shown = [line.get_attribute("data-name") for line in at(tab, "heatmap-line").all()]
    assert ["first", "first.weight", "first.bias", "second", "second.weight", "second.bias"] == shown
    for stat in ("update", "weight", "state", "gradient"):
        at(tab, f"stat-{stat}").click()
        tab.locator(f"[data-testid=stat-{stat}][aria-checked=true]").wait_for()
    box = at(tab, "heatmap").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 24)
    tab.get_by_text(re.compile(r"^step 1\d$|^step 2\d$")).first.wait_for()  # the tooltip
    tab.mouse.click(box["x"] + box["width"] - 25, box["y"] + 24)
    timeline = at(tab, "timeline")
    timeline.get_by_text("Step 39").wait_for()
    timeline.get_by_text("old").first.wait_for()
    at(tab, "parameter-curves").get_by_text("first.weight").first.wait_for()
    tab.get_by_text("What is GS101?").click()
    at(tab, "rule-dialog").get_by_text("Why it matters").wait_for()
    tab.keyboard.press("Escape")
    at(tab, "heatmap").focus()
    tab.keyboard.press("+")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    assert ground(tab) > 600
    tab.emulate_media(color_scheme="dark")
    tab.locator("html[data-theme=dark]").wait_for(state="attached")
    assert ground(tab) < 200


def test_hostile_text_in_the_browser(opened: Any, tmp_path: Path) -> None:
    """It is shown as text, and runs nowhere."""
    made(hostile_run(tmp_path / "runs"), tmp_path / "out.html")
    tab = opened(tmp_path / "out.html")
    at(tab, "heatmap-line").first.wait_for()
    tab.get_by_text("<img src=x onerror=window[0]=1>").first.wait_for()
    tab.locator("[data-name='</script><script>window[0]=1</script>.weight'], "
                "[data-name='</script><script>window[0]=1</script>']").first.wait_for()  # fmt: skip
    assert 0 == tab.locator("img, iframe, object, embed").count()
    assert tab.evaluate("window[0] === undefined")
    for stat in ("state", "update"):
        at(tab, f"stat-{stat}").click()
    tab.mouse.move(900, 700)


def test_the_policy_holds(opened: Any, sick: Path, tmp_path: Path) -> None:
    """A script that somebody has put in does not run, and the page's own can send nothing."""
    made(sick, tmp_path / "out.html")
    text = (tmp_path / "out.html").read_text()
    (tmp_path / "out.html").write_text(text.replace("</body>", "<script>window.hacked = 1</script></body>"))
    tab = opened(tmp_path / "out.html")
    at(tab, "heatmap-line").first.wait_for()
    assert tab.evaluate("window.hacked === undefined")
    refused = tab.evaluate("""new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
        fetch('https://example.org').catch(() => {});
    })""")
    assert "connect-src" == refused
    assert [] != opened.said
    opened.said.clear()


def test_a_page_of_a_run_without_steps(opened: Any, tmp_path: Path) -> None:
    """One sentence instead of pictures."""
    with gradscope.watch(log_dir=tmp_path / "empty"):
        pass
    made(tmp_path / "empty", tmp_path / "out.html")
    opened(tmp_path / "out.html").get_by_text("there is nothing to draw").wait_for()
