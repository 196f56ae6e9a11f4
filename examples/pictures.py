"""The README's pictures: TensorBoard's tab, light and dark, and the page, of the runs of tensorboard_report.py.

python examples/pictures.py [--to examples/pictures]

Needs playwright and a Chromium (`chromium`, `google-chrome`, or `playwright install chromium`).
"""
import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from tensorboard_report import record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZE = {"width": 1280, "height": 900}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "pictures")
    options = parser.parse_args()
    options.to = options.to.resolve()
    options.to.mkdir(parents=True, exist_ok=True)
    os.chdir(Path(__file__).parent)  # places are told relative to it
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        runs = Path(scratch) / "runs"
        record(runs / "digits", 150, forget_zero_grad=False)
        record(runs / "digits-no-zero-grad", 150, forget_zero_grad=True)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        with tensorboard(runs) as address:
            for theme in ("light", "dark"):
                tab(browser, address, theme, options.to / f"tab-{theme}.png")
        whole(browser, runs / "digits-no-zero-grad", Path(scratch) / "report.html", options.to / "page.png")
        browser.close()


@contextmanager
def tensorboard(runs: Path) -> Iterator[str]:
    """A TensorBoard that has read the runs; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1"]
    command += ["--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/data/runs")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for(address: str) -> None:
    """Until the server answers with something."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if len(answer.read()) > 2:
                    return
        except OSError:
            pass
        time.sleep(0.3)
    raise SystemExit("TensorBoard does not answer")


def tab(browser: Browser, address: str, theme: str, file: Path) -> None:
    """The tab with the sick run; in the dark one, what state each gradient was in."""
    page = browser.new_page(viewport=SIZE)
    page.goto(f"{address}/?darkMode={'true' if theme == 'dark' else 'false'}#gradscope")
    frame = page.frame_locator("iframe").first
    runs = frame.locator("[data-testid=run-select]")
    runs.wait_for()
    name = next(n for n in runs.locator("option").all_inner_texts() if "no-zero-grad" in n)
    runs.select_option(label=name)
    frame.get_by_text("GS101").first.wait_for()
    if theme == "dark":
        frame.locator("[data-testid=stat-state]").click()
    settle(page)
    page.screenshot(path=file)
    page.close()


def whole(browser: Browser, run: Path, report: Path, file: Path) -> None:
    """The page, down to the timeline of a step."""
    subprocess.run([sys.executable, "-m", "gradscope", "report", str(run), "--html", str(report)], check=True)
    page = browser.new_page(viewport=SIZE)
    page.goto(report.as_uri())
    page.get_by_text("GS101").first.wait_for()
    settle(page)
    height = page.locator("body").evaluate("body => Math.ceil(body.getBoundingClientRect().height)")
    page.set_viewport_size({**SIZE, "height": height})
    settle(page)
    page.screenshot(path=file)
    page.close()


def settle(page: Page) -> None:
    """Until the pictures stand."""
    page.wait_for_timeout(2000)


if __name__ == "__main__":
    main()
