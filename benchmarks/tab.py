"""How long a person waits for the tab in TensorBoard: first picture, zoom, another statistic, a thousand lines.

    python benchmarks/tab.py [--steps 100000] [--blocks 12] [--experts 16] [--folder F] [--rounds 5]

TensorBoard is started on a run of invented numbers (1,000 parameters by default; F: a run folder that is there, of
`benchmarks/board.py --keep --folder F`, say). Each round is a visit in headless Chromium, with nothing cached. What is
waited for is on the screen: the first picture begins with the tab's address, once TensorBoard's server is up and in its
first visit has read nothing of the run yet; a zoom ends when the finer columns that it has asked for are drawn.
"""
from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from made_runs import make_run

TAB = "/data/plugin_entry.html?name=gradscope"  # what TensorBoard shows in its frame
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DRAWN = "() => [...document.querySelectorAll('.heat .figure image')].map((one) => one.outerHTML).join()"


class Visit:
    """A page with an empty cache; `took` are seconds by what was waited for."""

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_context(viewport={"width": 1500, "height": 1000}).new_page()
        self.address = address
        self.took: dict[str, float] = {}

    def make(self) -> dict[str, float]:
        """Go through all of it."""
        started = time.perf_counter()
        self.page.goto(self.address + TAB)
        self.page.wait_for_selector("main[aria-busy=false] .heat .figure image", state="attached")
        self.took["first picture"] = time.perf_counter() - started
        self.page.wait_for_load_state("networkidle")
        zoom = self.page.get_by_title("Zoom in (+)")
        for number in (1, 2, 3):
            self.after(f"zoom, {number}", lambda: zoom.click())
        self.after("zoom, the whole run", lambda: self.page.keyboard.press("0"))
        for stat in ("update", "weight", "state", "gradient"):
            self.after(f"statistic: {stat}", lambda: self.page.click(f"[data-testid=stat-{stat}]"))
        self.after("all groups open", lambda: self.page.get_by_title("Open all modules").click())
        self.page.context.close()
        return self.took

    def after(self, what: str, action: Callable[[], Any]) -> None:
        """Until what an action has asked for is drawn."""
        before = self.page.evaluate(DRAWN)
        started = time.perf_counter()
        with self.page.expect_response(lambda answer: "/heatmap" in answer.url):
            action()
        self.page.wait_for_function(f"(before) => ({DRAWN})() !== before", arg=before)
        self.took[what] = time.perf_counter() - started
        self.page.wait_for_load_state("networkidle")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a person waits for in the tab.")
    parser.add_argument("--steps", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--blocks", type=int, default=12, help="of the model; default: %(default)s")
    parser.add_argument("--experts", type=int, default=16, help="a block; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="a run folder that is there")
    parser.add_argument("--rounds", type=int, default=5, help="visits; default: %(default)s")
    given = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        parser.error("there is no chromium")
    with tempfile.TemporaryDirectory(prefix="gradscope-tab-") as place:
        folder = given.folder
        if folder is None:
            folder = Path(place) / "run"
            make_run(folder, given.steps, given.blocks, given.experts)
        measure(folder, chromium, given.rounds)


def measure(folder: Path, chromium: str, rounds: int) -> None:
    from playwright.sync_api import sync_playwright

    visits = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for _ in range(rounds):  # each with a TensorBoard of its own: nothing is in its memory yet
            port = free_port()
            command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                address = f"http://localhost:{port}"
                wait_for(address)
                visits.append(Visit(browser, address).make())
            finally:
                server.terminate()
                server.wait()
        browser.close()
    print(f"{'':<24} {'median':>8} {'least':>8} {'most':>8}")
    for what in visits[0]:
        took = [visit[what] for visit in visits]
        print(f"{what:<24} {statistics.median(took):>6.2f} s {min(took):>6.2f} s {max(took):>6.2f} s")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/data/environment", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("TensorBoard does not answer")


if __name__ == "__main__":
    main()
