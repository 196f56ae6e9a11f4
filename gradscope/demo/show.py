"""Runs the demo's scripts under gradscope, one after another, and tells what was found."""
from __future__ import annotations

import contextlib
import importlib.resources
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from gradscope.demo.mistakes import MISTAKES, Mistake
from gradscope.errors import GradscopeError
from gradscope.findings import Finding
from gradscope.launch import Launch, Options
from gradscope.record.run_folder import new_run_folder
from gradscope.reporters.report import Report
from gradscope.rules.base import Rule
from gradscope.rules.catalogue import select

Say = Callable[[str], None]

NOTED = "GS506"  # true of the tutorial's network itself, so that each of its runs would say it again
NOTE = f"(The note is right: this tutorial's network has no activation. The next runs leave it out: --ignore {NOTED}.)"


def show(log_dir: Path, say: Say) -> int:
    """Write the scripts into a new folder in `log_dir`, run each, and print what was planted beside what was found.

    Returns the exit code: 0 where every mistake was found and nothing else. GradscopeError where the folder cannot be
    written, or scikit-learn, whose images the scripts use, is not there.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise GradscopeError("the demo trains on scikit-learn's digits: pip install scikit-learn")
    healthy = importlib.resources.files("gradscope.demo").joinpath("tutorial.py").read_text(encoding="utf-8")
    try:
        folder = new_run_folder(log_dir, "demo")
        for name, text in [("healthy", healthy), *((m.name, m.make(healthy)) for m in MISTAKES)]:
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
    except OSError as error:
        raise GradscopeError(f"{log_dir} cannot be written ({error.strerror}); choose another --log-dir") from None
    rows = []
    for number, mistake in enumerate((None, *MISTAKES), 1):
        _announce(say, number, mistake)
        if mistake is None:
            report = _watched(folder, "healthy", select())
            say(NOTE)
        else:
            report = _watched(folder, mistake.name, select(ignored=(NOTED,)))
        if report.meta.status != "finished":
            return 130 if report.meta.status == "interrupted" else 1
        rows.append((mistake, report))
    right = [_right(mistake, report) for mistake, report in rows]
    _summary(say, rows, folder)
    return 0 if all(right) else 1


def _announce(say: Say, number: int, mistake: Mistake | None) -> None:
    title = "the tutorial's script as it is" if mistake is None else mistake.title
    say(f"\n== {number} of {len(MISTAKES) + 1}: {title} ".ljust(100, "="))
    for line in () if mistake is None else mistake.difference():
        say(line)
    say("")


def _watched(folder: Path, name: str, rules: tuple[Rule, ...]) -> Report:
    """What `gradscope run` does, in this process: torch is imported once for all of them."""
    options = Options(rules, folder)
    with _untouched(), contextlib.redirect_stderr(sys.stdout):
        launch = Launch(str(folder / f"{name}.py"), (), False, options)
        launch.run()
    assert launch.report is not None
    return launch.report


@contextlib.contextmanager
def _untouched() -> Iterator[None]:
    """A program sets argv, the path and __main__; afterwards they are what they were."""
    argv, path, main = sys.argv, list(sys.path), sys.modules["__main__"]
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = argv, path, main


def _roots(report: Report) -> list[Finding]:
    return [f for f in report.findings if f.caused_by is None and f.severity != "info"]


def _right(mistake: Mistake | None, report: Report) -> bool:
    return [f.code for f in _roots(report)] == ([] if mistake is None else [mistake.code])


def _summary(say: Say, rows: list[tuple[Mistake | None, Report]], folder: Path) -> None:
    say("\n" + "== what was planted, and what was found ".ljust(100, "="))
    for mistake, report in rows:
        planted = "nothing" if mistake is None else mistake.title
        found = ", ".join(f"{f.code} {f.name} (step {f.step})" for f in _roots(report))
        say(f"{planted:<54} {found or 'nothing'}")
    kept = next(report.folder for mistake, report in rows if mistake is MISTAKES[0])
    forgotten = kept and folder / kept.name  # relative, where the folder is
    say(
        f"\nThe scripts and their records are in {folder}. Have a look:\n"
        f"  tensorboard --logdir {folder}\n"
        f"  gradscope timeline {forgotten} --step 1\n"
        f"  gradscope report {forgotten}\n"
        f"  gradscope explain {MISTAKES[0].code}\n"
        f"Your own script: gradscope run train.py"
    )
