"""The tab in a browser, as people meet it: what they see, point at, press and read."""
from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradscope
from gradscope.events import Point
from gradscope.record.metrics import MetricSums
from gradscope.record.reader import read_record
from gradscope.record.run_folder import RunFolder
from tests.boards import Writer, arrays, plain_run, scalars, table
from tests.browser import chromium, tensorboard

TAB = "/data/plugin_entry.html?name=gradscope"  # what TensorBoard shows in its frame
NAMES = ("<script>alert(1)</script>", "<img src=x onerror='alert(1)'>", "\"quoted\" & <b>", "层 ünï", "n" * 300)


class Cnn(nn.Module):
    """The tutorial's network, a few times smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 4, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5, padding=2), nn.MaxPool2d(4),
            nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> Any:
        return self.model(images)


def cnn_without_zero_grad(folder: Path) -> Path:
    """Made pictures, and nobody calls zero_grad; returns the run's folder."""
    torch.manual_seed(0)
    model, loss_of = Cnn(), nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.randn(16, 3, 32, 32), torch.randint(0, 10, (16,))
    with gradscope.watch(model, sgd, log_dir=folder, every=1):
        for step in range(60):
            loss_of(model(images[step % 4 :: 4]), labels[step % 4 :: 4]).backward()
            sgd.step()
    [run] = folder.iterdir()
    return run


def with_names(folder: Path, names: tuple[str, ...], steps: int = 12, every: int = 1) -> Path:
    """A healthy run of a small model whose layers have these names."""
    torch.manual_seed(0)
    model = nn.Sequential()
    for name in names:
        model.add_module(name, nn.Linear(3, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with gradscope.watch(model, optimizer, log_dir=folder, every=every) as scope:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(8, 3)).square().mean().backward()
            optimizer.step()
            scope.log(**{"<b>val</b> loss": 1.0})
    [run] = folder.iterdir()
    return run


def growing_until_nan(folder: Path) -> None:
    """Nobody calls zero_grad, and the rate is far too high: findings that follow from others. It is not ended."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, sgd, log_dir=folder, every=1):
        for _ in range(90):
            x = torch.randn(8, 4)
            (model(x) - x[:, :2]).pow(2).mean().backward()
            sgd.step()
    [run] = folder.iterdir()
    meta = json.loads((run / "meta.json").read_text())
    (run / "meta.json").write_text(json.dumps({**meta, "status": "running"}))
    for file in run.iterdir():
        os.utime(file, (time.time() - 1000, time.time() - 1000))


def only_losses(folder: Path) -> None:
    """As `budget=0` leaves it, with two metrics of one name."""
    one = table(0, ["a.weight"])
    writer = Writer(folder, one)
    writer.rows(one, [scalars(row, 1.0, wiring=0) for row in range(9)])
    for number, value in enumerate((0.25, 0.75)):
        metric = MetricSums(number, "acc", "log", (), number)
        for row in range(9):
            writer.folder.metric(metric, row, value)
    writer.flush("finished")


def measured_late(folder: Path) -> None:
    """As where the first gradients of a record are damaged."""
    one = table(0, ["a.weight", "a.bias"])
    writer = Writer(folder, one)
    writer.rows(one, [scalars(row, 1.0) for row in range(40)], [arrays(row, 2) for row in range(20, 40)])
    writer.flush("finished")


@dataclass
class Tab:
    """A page of the browser, what it complained of, and how to look at it."""

    page: Any
    address: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str = TAB) -> Tab:
        self.page.goto(self.address + path)
        return self

    def by(self, name: str, more: str = "") -> Any:
        return self.page.locator(f"[data-testid={name}]{more}")

    def drawn(self) -> Tab:
        """Wait until the heatmap is."""
        self.ready().page.locator(".heat .figure image").first.wait_for(state="attached", timeout=30_000)
        return self

    def ready(self) -> Tab:
        """Wait until the chosen run's answers are there."""
        self.page.locator("main[aria-busy=false]").wait_for(state="attached", timeout=30_000)
        return self

    def choose_run(self, name: str) -> Tab:
        self.by("run-select").locator("option").first.wait_for(state="attached")
        return self.ready().choose_run_at_once(name)

    def choose_run_at_once(self, name: str) -> Tab:
        runs = self.by("run-select").locator("option").evaluate_all("all => all.map(one => one.value)")
        [run] = [run for run in runs if run.startswith(name)]
        self.by("run-select").select_option(run)
        return self

    def cell(self, line: str, step: float) -> tuple[float, float]:
        """Where on the screen a step of a line is."""
        box = self.by("heatmap-line", f'[data-name="{line}"]').bounding_box()
        size = self.page.evaluate(SIZE)
        share = (step - size["from"]) / (size["to"] - size["from"])
        return size["left"] + share * size["width"], box["y"] + box["height"] / 2

    def range(self) -> tuple[float, float]:
        """The steps that the heatmap shows."""
        size = self.page.evaluate(SIZE)
        return size["from"], size["to"]


# Of the heatmap, as plotly has drawn it.
SIZE = """() => {
  const figure = document.querySelector('.heat .figure'), {_size: size, xaxis} = figure._fullLayout;
  return {left: figure.getBoundingClientRect().left + size.l, width: size.w, from: xaxis.range[0], to: xaxis.range[1]};
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log directory with two models, hostile names and a damaged record."""
    logdir = tmp_path_factory.mktemp("runs")
    only_losses(logdir / "f-losses")
    measured_late(logdir / "g-late")
    cnn_without_zero_grad(logdir / "a-cnn")
    with_names(logdir / "b-small", ("first", "second"))
    with_names(logdir / "c-names", NAMES)
    with_names(logdir / "f-long", tuple(f"layer{i:02}" for i in range(60)), steps=3)
    with_names(logdir / "g-held", ("first",), steps=40, every=16)
    growing_until_nan(logdir / "h-nan")
    with_names(logdir / "i-empty", ("first",), steps=0)
    for rank, steps in ((0, 20), (1, 12)):
        plain_run(logdir / "e-ranks" / f"rank{rank}", steps)
    damaged = with_names(logdir / "d-damaged", ("first",))
    (damaged / "meta.json").write_text("{")
    return logdir


@pytest.fixture(scope="module")
def addresses(browser: Any, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """TensorBoard on these runs, and on a folder with none."""
    ready = "/data/plugins_listing"
    with tensorboard(runs, ready) as full, tensorboard(tmp_path_factory.mktemp("empty"), ready) as empty:
        yield [full, empty]


@pytest.fixture
def tab(browser: Any, addresses: list[str]) -> Iterator[Tab]:
    """A fresh page; the test fails where it has complained, but for what the test has taken out of `complaints`."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = Tab(context.new_page(), addresses[0])
    tab.page.set_default_timeout(20_000)
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.page.on("console", lambda said: tab.complaints.append(f"{said.text} {said.location}") if bad(said) else None)
    tab.page.on("dialog", lambda dialog: tab.complaints.append(f"dialog: {dialog.message}"))
    yield tab
    context.close()
    assert [] == tab.complaints


def bad(said: Any) -> bool:
    """An error or a warning, but for TensorBoard's own."""
    own = "Three.js" in said.text or said.location.get("url", "").endswith("/favicon.ico")
    return said.type in ("error", "warning") and not own


def keep(tab: Tab, name: str, tmp_path: Path) -> None:
    """A picture of the page, for people to look at."""
    file = tmp_path / f"{name}.png"
    tab.page.screenshot(path=file)
    assert file.stat().st_size > 10_000
    if "GRADSCOPE_SCREENSHOTS" in os.environ:
        Path(os.environ["GRADSCOPE_SCREENSHOTS"], file.name).write_bytes(file.read_bytes())


# -- in TensorBoard -------------------------------------------------------------------------------------------------


def test_in_tensorboard(tab: Tab, tmp_path: Path) -> None:
    """Somebody opens TensorBoard and the tab: the newest run's pictures; its dark mode is followed at once."""
    tab.open("/#gradscope")
    tab.page.get_by_role("tab", name="gradscope").or_(tab.page.get_by_text("GRADSCOPE", exact=True)).first.wait_for()
    tab.page.wait_for_selector("iframe")
    frame = next(f for f in iter_frames(tab.page) if "plugin_entry" in f.url)
    frame.wait_for_selector("[data-testid=run-select] option", state="attached")
    names = frame.locator("[data-testid=run-select] option").evaluate_all("all => all.map(one => one.value)")
    frame.select_option("[data-testid=run-select]", names[0])
    frame.wait_for_selector("[data-testid=finding][data-code=GS101]")
    frame.wait_for_selector(".heat .figure image", state="attached")
    assert "light" == frame.evaluate("document.documentElement.dataset.theme")
    keep(tab, "light", tmp_path)
    tab.page.evaluate("document.body.classList.add('dark-mode')")  # what TensorBoard's switch does
    frame.wait_for_selector(":root[data-theme=dark]", state="attached")
    dark = frame.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in dark.strip("rgb()").split(",")) < 60
    keep(tab, "dark", tmp_path)
    tab.page.evaluate("document.body.classList.remove('dark-mode')")
    frame.wait_for_selector(":root[data-theme=light]", state="attached")


def iter_frames(page: Any) -> Any:
    for _ in range(100):
        if any("plugin_entry" in frame.url for frame in page.frames):
            break
        page.wait_for_timeout(100)
    return page.frames


# -- what is seen ---------------------------------------------------------------------------------------------------


def test_what_is_seen_at_first(tab: Tab, tmp_path: Path) -> None:
    """A forgotten zero_grad: the finding as a compiler would print it, its step's timeline, its parameter's curves."""
    tab.open().choose_run("a-cnn").drawn()
    card = tab.by("finding", "[data-code=GS101]")
    told = card.text_content()
    for part in ("error", "GS101", "missing-zero-grad", "steps 1-59", "_browser.py:", "help: call sgd.zero_grad()"):
        assert part in told
    tab.by("timeline").get_by_text("Step 1", exact=True).wait_for()
    table = tab.by("timeline").inner_text()
    assert "zero_grad()" in table and "old" in table and "model.0.weight" in table
    tab.by("parameter-curves").get_by_role("heading", name="model.0.weight").wait_for()
    lines = tab.by("heatmap-line").evaluate_all("all => all.map(one => one.dataset.name)")
    assert ["model", "model.0", "model.0.weight", "model.0.bias", "model.2", "model.2.weight"] == lines[:6]
    assert "last" in tab.by("loss").get_attribute("aria-label")
    keep(tab, "cnn", tmp_path)


def test_pictures_share_one_axis(tab: Tab) -> None:
    """Loss, lr and heatmap begin and end at the same pixel and show the same steps; so does the lane, by its bars."""
    tab.open().choose_run("a-cnn").drawn()
    charts, heat = tab.page.evaluate(
        """() => ['.charts .figure', '.heat .figure'].map((one) => {
        const node = document.querySelector(one), {_size: size, xaxis} = node._fullLayout;
        const left = node.getBoundingClientRect().left + size.l;
        return [left, left + size.w, ...xaxis.range];
    })"""
    )
    assert heat == charts
    bar = tab.page.locator(".lane-bar.error").first.bounding_box()
    x, _ = tab.cell("model", 1)
    assert x == pytest.approx(bar["x"], abs=1) and heat[1] == pytest.approx(bar["x"] + bar["width"], abs=1)


# -- the hand -------------------------------------------------------------------------------------------------------


def test_hover_and_click(tab: Tab, runs: Path) -> None:
    """The tooltip has the record's number; a click shows that parameter's curves and that step's timeline."""
    tab.open().choose_run("a-cnn").drawn()
    [run] = (runs / "a-cnn").iterdir()
    optimizer = read_record(run).optimizers[0]
    column = [p.name for p in optimizer.parameters].index("model.2.bias")
    norm = optimizer.grad_norm(Point.BEFORE_STEP)[30, column]
    tab.page.mouse.move(*tab.cell("model.2.bias", 30.5))
    tab.by("tooltip").wait_for()
    told = tab.by("tooltip").inner_text()
    assert "model.2.bias" in told and "step 30" in told and "stale" in told
    assert float(f"{norm:.4g}") == float(told.split("gradient norm")[1].split()[0])
    tab.page.mouse.click(*tab.cell("model.2.bias", 30.5))
    tab.by("parameter-curves").get_by_role("heading", name="model.2.bias").wait_for()
    tab.by("timeline").get_by_text("Step 30", exact=True).wait_for()
    tab.by("timeline").get_by_role("button", name="Measured step after").click()
    tab.by("timeline").get_by_text("Step 31", exact=True).wait_for()
    tab.page.mouse.move(5, 5)
    tab.by("tooltip").wait_for(state="hidden")


def test_what_was_not_measured(tab: Tab) -> None:
    """Steps 0, 16 and 32 of 40 were measured: the rest is pale, and told; a click there shows that step."""
    tab.open().choose_run("g-held").drawn()
    tab.page.locator(".legend").get_by_text("not measured since").wait_for()
    parts = tab.page.locator(".held-part").evaluate_all("all => all.map(one => one.getBoundingClientRect().left)")
    assert [tab.cell("first.weight", step)[0] for step in (1, 17, 33)] == pytest.approx(parts, abs=1)
    tab.page.mouse.move(*tab.cell("first.weight", 38.5))
    tab.by("tooltip").get_by_text("measured at step 32, not since").wait_for()
    tab.page.mouse.move(*tab.cell("first.weight", 14.5))
    tab.by("tooltip").get_by_text("measured at step 0, then not until step 16").wait_for()
    tab.page.mouse.click(*tab.cell("first.weight", 14.5))
    tab.by("timeline").get_by_text("Step 0", exact=True).wait_for()
    for step in (16, 32):
        tab.by("timeline").get_by_role("button", name="Measured step after").click()
        tab.by("timeline").get_by_text(f"Step {step}", exact=True).wait_for()
    assert tab.by("timeline").get_by_role("button", name="Measured step after").is_disabled()
    assert tab.by("norm").get_attribute("aria-label").endswith("at step 32")


def test_what_is_marked(tab: Tab) -> None:
    """A click in the charts moves the marked cell and the line; Escape takes both away, a scroll the tooltip."""
    tab.open().choose_run("a-cnn").drawn()
    cell, pin = tab.page.locator(".cursor-cell"), tab.page.locator(".stage .pin")
    x, _ = tab.cell("model", 40.5)
    box = tab.by("loss").bounding_box()
    tab.page.mouse.click(x, box["y"] + 30)
    tab.by("timeline").get_by_text("Step 40", exact=True).wait_for()
    around = cell.bounding_box()
    assert around["x"] <= x <= around["x"] + around["width"] and pin.bounding_box()["x"] == pytest.approx(x, abs=5)
    tab.page.mouse.move(*tab.cell("model", 30.5))
    tab.by("tooltip").wait_for()
    tab.page.evaluate("window.scrollBy(0, 40)")
    tab.by("tooltip").wait_for(state="hidden")
    tab.page.keyboard.press("Escape")
    cell.wait_for(state="hidden")
    assert pin.is_hidden() and 0 == tab.page.locator(".card.chosen").count()


def test_a_run_without_steps(tab: Tab) -> None:
    """One sentence, and nothing of the run before."""
    tab.page.set_viewport_size({"width": 1280, "height": 500})
    tab.open().choose_run("a-cnn").drawn()
    tab.page.locator(".peek").wait_for()
    tab.choose_run("i-empty").ready()
    tab.by("message").filter(has_text="nothing to draw").wait_for()
    assert tab.page.locator(".peek").is_hidden() and tab.by("timeline").is_hidden()
    assert "model.0" not in tab.page.locator("main").inner_text()


def test_consequences(tab: Tab) -> None:
    """Folded under their cause; a click on one, or on its bar, opens it, with what it says."""
    tab.open().choose_run("h-nan").drawn()
    assert "not ended · last written" in tab.page.locator(".badge").inner_text()
    folded = tab.by("consequence", "[data-code=GS201]")
    assert folded.get_attribute("open") is None
    folded.locator("summary").click()
    tab.by("consequence", "[data-code=GS201][open]").get_by_text("What is GS201?").wait_for()
    other = tab.by("consequence", ":not([data-code=GS201])").first.get_attribute("data-finding")
    tab.page.locator(f".lane-bar.consequence[data-finding='{other}']").click()
    tab.page.locator(f".consequence[open][data-finding='{other}'] .told").wait_for()


def test_what_was_not_checked(tab: Tab) -> None:
    """Where nothing was found, what nobody looked for is told beside it, and the card is not green."""

    def answer(route: Any) -> None:
        answered = route.fetch()
        route.fulfill(json={**answered.json(), "unchecked": ["GS105 was not checked: no <b>"]})

    tab.page.route(lambda url: "/run?run=g-held" in url, answer)
    tab.open().choose_run("g-held").drawn()
    card = tab.page.locator(".card.neutral")
    assert "Nothing was found in 40 steps." in card.inner_text() and "not checked: no <b>." in card.inner_text()
    assert 0 == tab.page.locator(".card.healthy").count()


def test_statistics(tab: Tab, tmp_path: Path) -> None:
    """The switch asks for another picture; it is kept when the page is loaded again."""
    tab.open().choose_run("a-cnn").drawn()
    for stat, seen in (("update", "usual"), ("weight", ""), ("state", "stale")):
        with tab.page.expect_response(lambda answer: f"stat={stat}" in answer.url):
            tab.by(f"stat-{stat}").click()
        tab.page.locator(".legend").get_by_text(seen).first.wait_for()
        assert "true" == tab.by(f"stat-{stat}").get_attribute("aria-checked")
    keep(tab, "state", tmp_path)
    tab.page.reload()
    tab.drawn()
    assert "true" == tab.by("stat-state").get_attribute("aria-checked")
    assert tab.by("run-select").input_value().startswith("a-cnn")


def test_zoom(tab: Tab, tmp_path: Path) -> None:
    """By a drag, the wheel, buttons and keys; the server is asked for these steps only; a double click shows all."""
    tab.open().choose_run("a-cnn").drawn()
    assert (0, 60) == tab.range()
    (x0, y), (x1, _) = tab.cell("model.0", 20.5), tab.cell("model.0", 39.5)
    tab.page.mouse.move(x0, y)
    tab.page.mouse.down()
    tab.page.mouse.move((x0 + x1) / 2, y)
    tab.page.mouse.move(x1, y)
    with tab.page.expect_response(lambda answer: "heatmap" in answer.url and "from=19" in answer.url):
        tab.page.mouse.up()
    assert (20, 40) == tab.range()
    keep(tab, "zoomed", tmp_path)
    tab.page.get_by_role("button", name="Zoom in (+)").click()
    tab.page.wait_for_function(f"() => ({SIZE})().from === 25")
    tab.page.keyboard.press("-")
    tab.page.wait_for_function(f"() => ({SIZE})().from === 20")
    tab.page.mouse.move(x1, y)
    tab.page.keyboard.down("Control")
    tab.page.mouse.wheel(0, -120)
    tab.page.keyboard.up("Control")
    tab.page.wait_for_function(f"() => ({SIZE})().from > 20")
    tab.page.mouse.dblclick(x0, y)
    tab.page.wait_for_function(f"() => ({SIZE})().from === 0 && ({SIZE})().to === 60")


def test_a_button_that_is_let_go_outside(tab: Tab) -> None:
    """Just beyond the edge of the pictures: back inside nothing is being dragged."""
    mouse = tab.open().choose_run("b-small").drawn().page.mouse
    tab.page.locator(".stage").evaluate("stage => stage.scrollIntoView({block: 'end'})")
    box = tab.page.locator(".stage").bounding_box()
    x, bottom = box["x"] + box["width"] / 2, box["y"] + box["height"]
    mouse.move(x, bottom - 3)
    mouse.down()
    mouse.move(x, bottom + 1)
    mouse.up()
    mouse.move(x + 100, bottom - 40)
    tab.page.locator(".crosshair").wait_for()
    assert not tab.page.locator(".drag-band").is_visible()


def test_by_keyboard_alone(tab: Tab) -> None:
    """A cursor that arrows move, read aloud; Enter chooses, Space closes a module; the rule's page and back."""
    tab.open().choose_run("a-cnn").drawn()
    tab.by("heatmap").focus()
    for key in ("ArrowUp", "ArrowDown", "Home", "ArrowRight", "ArrowRight"):  # from the chosen cell
        tab.page.keyboard.press(key)
    spoken = tab.by("announcer").filter(has_text="model.0.weight, step 2: gradient norm")
    spoken.wait_for(state="attached")
    tab.page.keyboard.press("Enter")
    tab.by("timeline").get_by_text("Step 2", exact=True).wait_for()
    before = tab.by("heatmap-line").count()
    tab.page.keyboard.press("ArrowUp")
    tab.page.keyboard.press(" ")
    assert before - 2 == tab.by("heatmap-line").count()
    what = tab.page.get_by_role("button", name="What is GS101?")
    what.focus()
    tab.page.keyboard.press("Enter")
    tab.by("rule-dialog").get_by_text("What it finds").wait_for()
    assert "optimizer.zero_grad()" in tab.by("rule-dialog").locator("pre").nth(1).inner_text()
    tab.page.keyboard.press("Escape")
    tab.by("rule-dialog").wait_for(state="hidden")
    assert what.evaluate("node => node === document.activeElement")


def test_advice_is_copied(tab: Tab) -> None:
    """What stands behind "help:", with the file and the line that it is about."""
    tab.open().choose_run("a-cnn").drawn()
    card = tab.by("finding", "[data-code=GS101]")
    card.locator("[data-testid=copy-advice]").first.click()
    tab.by("announcer").filter(has_text="copied").wait_for(state="attached")
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    place, advice = copied.split(": ", 1)
    assert advice.startswith("call sgd.zero_grad() before line") and advice in card.inner_text()
    assert place in card.text_content() and "_browser.py:" in place


# -- several runs, and what is wrong with them ----------------------------------------------------------------------


def test_runs_of_different_models(tab: Tab) -> None:
    """The tree, the findings and the steps are those of the chosen run."""
    tab.open().choose_run("a-cnn").drawn()
    tab.by("finding", "[data-code=GS101]").wait_for()
    tab.choose_run("b-small")
    tab.by("heatmap-line", '[data-name="second.weight"]').wait_for()
    assert 0 == tab.by("finding", "[data-code=GS101]").count()
    assert 0 == tab.by("heatmap-line", '[data-name="model.0"]').count()
    tab.drawn().page.wait_for_function(f"() => ({SIZE})().to === 12")


def test_lines_are_seen_after_scrolling(tab: Tab) -> None:
    """Far down in a long run, then fewer lines: another run's, or those of closed modules. The window shows them."""
    bottom = "document.querySelector('.heat').scrollTop = 1e6"
    tab.open().choose_run("f-long").drawn()
    tab.page.get_by_role("button", name="Open all modules").click()
    tab.page.evaluate(bottom)
    tab.by("heatmap-line", '[data-name="layer59.bias"]').wait_for()
    tab.page.get_by_role("button", name="Close all modules").click()
    tab.by("heatmap-line", '[data-name="layer59"]').wait_for()
    assert seen_lines(tab) > 30
    tab.page.get_by_role("button", name="Open all modules").click()
    tab.page.evaluate(bottom)
    tab.by("heatmap-line", '[data-name="layer59.bias"]').wait_for()
    tab.choose_run("b-small").drawn()
    tab.by("heatmap-line", '[data-name="second.weight"]').wait_for()
    assert seen_lines(tab) == tab.by("heatmap-line").count() == 6


def seen_lines(tab: Tab) -> Any:
    """How many lines lie inside the heatmap's window."""
    return tab.page.evaluate(
        """() => {
        const box = document.querySelector('.heat').getBoundingClientRect();
        return [...document.querySelectorAll('[data-testid=heatmap-line]')].map(one => one.getBoundingClientRect())
            .filter(line => line.top >= box.top - 1 && line.bottom <= box.bottom + 1).length;
    }"""
    )


def test_choices_while_a_run_is_read(tab: Tab) -> None:
    """What is asked meanwhile is of the run that is still shown; then the chosen one is shown."""
    tab.open().choose_run("a-cnn").drawn()
    held: list[Any] = []
    tab.page.route(lambda url: "/run?run=b-small" in url, lambda route: held.append(route))
    tab.choose_run("b-small")
    with tab.page.expect_response(lambda answer: "stat=weight" in answer.url) as asked:
        tab.by("stat-weight").click()
    assert "run=a-cnn" in asked.value.url and asked.value.ok
    held[0].continue_()
    tab.by("heatmap-line", '[data-name="second.weight"]').wait_for()
    tab.drawn().page.wait_for_function(f"() => ({SIZE})().to === 12")


def test_names_are_text(tab: Tab, tmp_path: Path) -> None:
    """Markup in names of modules and metrics is shown, never run; a long one stays in its line."""
    tab.open().choose_run("c-names").drawn()
    sizes = "all => all.map(one => [one.dataset.name, one.offsetHeight, one.offsetWidth])"
    lines = tab.by("heatmap-line").evaluate_all(sizes)
    for name in NAMES:
        assert any(line.startswith(name.partition("=")[0]) for line, _, _ in lines)
    assert 1 == len({(height, width) for _, height, width in lines})
    tab.page.mouse.move(*tab.cell(NAMES[4] + ".weight", 5.5))
    tab.by("tooltip").wait_for()
    assert NAMES[4] in tab.by("tooltip").inner_text() and tab.by("tooltip").bounding_box()["width"] < 400
    assert "<b>val</b> loss" in tab.page.locator(".charts").inner_text()
    tab.by("timeline").get_by_text("<script>").first.wait_for()
    assert 0 == tab.page.locator("main script, main img, main b:not(.advice b, .then b)").count()
    assert 1280 == tab.page.evaluate("document.documentElement.scrollWidth")
    keep(tab, "names", tmp_path)


def test_a_damaged_record(tab: Tab) -> None:
    """One sentence in its place; the other runs can be chosen as before."""
    tab.open().choose_run("d-damaged")
    tab.by("message").filter(has_text="damaged").wait_for()
    assert 1 == tab.by("message").locator("visible=true").count()
    tab.choose_run("b-small").drawn()
    assert 0 == tab.by("message").filter(has_text="damaged").count()


def test_a_late_answer_of_another_run(tab: Tab) -> None:
    """It is dropped where a run that cannot be read was chosen meanwhile; a zoom asks for what is shown until then."""
    tab.open().choose_run("b-small").drawn()
    held: list[Any] = []
    tab.page.route("**/run?*", lambda route: held.append(route))
    tab.choose_run("c-names")
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url) if "/heatmap?" in request.url else None)
    with tab.page.expect_request("**/heatmap?*"):
        tab.by("heatmap").press("+")
    assert asked and all("run=b-small" in url for url in asked)
    tab.by("heatmap").press("-")  # and is asked for again when the run is closed
    tab.choose_run_at_once("d-damaged")
    sentence = tab.by("message").filter(has_text="damaged")
    sentence.wait_for()
    with tab.page.expect_response("**/run?*"):
        held[0].continue_()
    tab.page.wait_for_timeout(400)
    assert sentence.is_visible() and not tab.by("heatmap").is_visible()
    tab.page.unroute("**/run?*")


def test_only_losses(tab: Tab) -> None:
    """Said in the pictures' places, nothing is asked for in vain; metrics of one name are told apart."""
    tab.open().choose_run("f-losses").ready()
    tab.by("timeline").get_by_text("there is no timeline").wait_for()
    charts = tab.page.locator(".charts")
    charts.get_by_text("0.25 at 8").wait_for()
    charts.get_by_text("0.75 at 8").wait_for()


def test_one_rank_of_many(tab: Tab) -> None:
    """A run of many processes is listed once; a rank is picked, and its curves stand before those of the others."""
    tab.open().choose_run("e-ranks").drawn()
    assert ["rank 0", "rank 1"] == tab.by("rank-select").locator("option").all_inner_texts()
    assert "20 steps on 2 ranks" in tab.page.locator(".tally").inner_text()
    tab.by("rank-select").select_option("1")
    tab.page.locator(".tally", has_text="12 steps on 2 ranks").wait_for()
    tab.page.locator(".charts").get_by_text("last 0.08333").wait_for()
    longest = "() => Math.max(...document.querySelector('.charts .figure').data.map((trace) => trace.x.length))"
    tab.page.wait_for_function(f"({longest})() === 20")  # rank 0's losses
    tab.page.reload()
    tab.drawn().page.locator(".tally", has_text="12 steps on 2 ranks").wait_for()
    tab.choose_run("a-cnn").drawn()
    assert tab.by("rank-select").is_hidden()


def test_steps_before_the_first_measured_one(tab: Tab) -> None:
    """Zoomed to them there is no cell to point at, and nothing breaks."""
    tab.open().choose_run("g-late").drawn()
    tab.page.mouse.move(*tab.cell("a.weight", 1))
    tab.page.mouse.down()
    tab.page.mouse.move(*tab.cell("a.weight", 8), steps=4)
    with tab.page.expect_response("**/parameter?*"):
        tab.page.mouse.up()
    tab.page.wait_for_timeout(300)
    assert tab.range()[1] < 20
    x, y = tab.cell("a.weight", 4)
    tab.page.mouse.move(x, y)
    tab.page.mouse.move(x, tab.page.locator(".curves-picture").bounding_box()["y"] + 60)
    for key in ("ArrowLeft", "ArrowRight", "Enter"):
        tab.by("heatmap").press(key)
    tab.page.mouse.click(x, y)
    with tab.page.expect_response("**/moment?*") as answer:
        tab.page.mouse.click(x, y)
    assert 200 == answer.value.status


def test_no_runs(tab: Tab, addresses: list[str]) -> None:
    """One sentence that says how to make one."""
    tab.address = addresses[1]
    tab.open().by("message").filter(has_text="gradscope run").wait_for()


def test_a_run_that_is_still_written(tab: Tab, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh shows what has come since; zoom and choice stay."""
    monkeypatch.setattr(RunFolder, "due", lambda self: True)
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(8, 3)).square().mean().backward()
            optimizer.step()

    with gradscope.watch(model, optimizer, log_dir=runs / "e-growing", every=1):
        train(20)
        tab.open().choose_run("e-growing").drawn()
        tab.page.locator(".badge.running").wait_for()
        first = tab.range()
        assert 15 < first[1] <= 20
        tab.page.mouse.click(*tab.cell("weight", 5.5))
        tab.by("timeline").get_by_text("Step 5", exact=True).wait_for()
        train(20)
        tab.by("refresh").click()
        tab.page.wait_for_function(f"() => ({SIZE})().to > 30")
        assert "Step 5" in tab.by("timeline").inner_text()


def test_requests_that_fail(tab: Tab) -> None:
    """One sentence where the picture would be, and a button that tries again."""
    answer = json.dumps({"error": "No such picture."})
    tab.page.route("**/heatmap?*", lambda route: route.fulfill(status=404, body=answer))
    tab.open().choose_run("b-small").ready()
    sentence = tab.by("message").filter(has_text="No such picture.")
    sentence.wait_for()
    tab.page.unroute("**/heatmap?*")
    sentence.get_by_role("button", name="Try again").click()
    tab.drawn()
    assert 0 == sentence.count()
    assert tab.complaints and all("404" in said for said in tab.complaints)  # the browser's own word on it
    tab.complaints.clear()


def test_without_plotly(tab: Tab) -> None:
    """One line says how to get it; findings and timeline are there."""
    files = {"plotly": False}
    answer = tab.page.request.get(tab.address + "/data/plugin/gradscope/files").json()
    tab.page.route("**/files", lambda route: route.fulfill(body=json.dumps({**answer, **files})))
    tab.open().choose_run("a-cnn")
    tab.by("message").filter(has_text="pip install").wait_for()
    tab.by("finding", "[data-code=GS101]").wait_for()
    tab.by("timeline").get_by_text("Step 1", exact=True).wait_for()
