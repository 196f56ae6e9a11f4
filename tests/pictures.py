"""The README's pictures: TensorBoard's tab, light and dark, and the page, of the runs of tensorboard_report.py.

python -m tests.pictures [--to examples/pictures]

Needs playwright and a Chromium (`chromium` or `google-chrome`).
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from examples.tensorboard_report import record
from tests.browser import chromium, tensorboard

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = {"width": 1280, "height": 900}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", type=Path, default=EXAMPLES / "pictures")
    options = parser.parse_args()
    options.to = options.to.resolve()
    options.to.mkdir(parents=True, exist_ok=True)
    os.chdir(EXAMPLES)  # places are told relative to it
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        runs = Path(scratch) / "runs"
        record(runs / "digits", 150, forget_zero_grad=False)
        record(runs / "digits-no-zero-grad", 150, forget_zero_grad=True)
        with tensorboard(runs) as address:
            for theme in ("light", "dark"):
                tab(browser, address, theme, options.to / f"tab-{theme}.png")
        whole(browser, runs / "digits-no-zero-grad", Path(scratch) / "report.html", options.to / "page.png")


def tab(browser: Any, address: str, theme: str, file: Path) -> None:
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


def whole(browser: Any, run: Path, report: Path, file: Path) -> None:
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


def settle(page: Any) -> None:
    """Until the pictures stand."""
    page.wait_for_timeout(2000)


if __name__ == "__main__":
    main()
