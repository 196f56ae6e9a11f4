"""`gradscope demo` and the examples: what a newcomer runs first."""
from __future__ import annotations

import difflib
import importlib.resources
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gradscope.demo
from gradscope.cli import main
from gradscope.demo.mistakes import MISTAKES, Mistake
from gradscope.demo.show import show
from gradscope.errors import GradscopeError
from gradscope.rules.catalogue import RULES
from tests import forks

EXAMPLES = Path(__file__).parent.parent / "examples"
HEALTHY = importlib.resources.files(gradscope.demo).joinpath("tutorial.py").read_text(encoding="utf-8")


def ran(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False, timeout=900)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_each_mistake_changes_the_healthy_script(mistake: Mistake) -> None:
    """A line that is not there, or there twice, would make a demo of nothing."""
    script = mistake.make(HEALTHY)
    compile(script, mistake.name, "exec")
    assert script != HEALTHY
    assert mistake.code in {rule.code for rule in RULES}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_what_is_shown_of_a_mistake_is_what_was_changed(mistake: Mistake) -> None:
    """A line that has stayed is not shown as one that is gone: difflib says the same lines."""
    told = difflib.unified_diff(HEALTHY.splitlines(), mistake.make(HEALTHY).splitlines(), n=0)
    changed = [line for line in told if not line.startswith(("---", "+++", "@@"))]
    assert changed == [line for line in mistake.difference() if not line.startswith(" ")]


def test_a_line_that_is_not_there_is_refused() -> None:
    """The scripts and the mistakes are kept together by this."""
    with pytest.raises(ValueError, match="does not stand there once"):
        MISTAKES[0].make("print('another script')")


def test_the_demo_finds_what_was_planted(tmp_path: Path) -> None:
    """From a shell: every mistake by its code, nothing on the healthy run, the commands that open the records work."""
    done = ran("-m", "gradscope", "demo", cwd=tmp_path)
    assert 0 == done.returncode, done.stdout + done.stderr
    summary = done.stdout[done.stdout.index("what was planted") :]
    for mistake in MISTAKES:
        assert re.search(rf"{re.escape(mistake.title)} +{mistake.code} ", summary), summary
    assert re.search(r"^nothing +nothing$", summary, re.MULTILINE), summary
    assert 1 == done.stdout.count("info GS506"), "of the network itself: told once"
    timeline = re.search(r"gradscope (timeline \S+ --step 1)", summary)
    report = re.search(r"gradscope (report \S+)", summary)
    assert timeline and report
    assert "not called" in forks.cli(tmp_path, *timeline[1].split()).stdout
    assert "GS101" in forks.cli(tmp_path, *report[1].split()).stdout


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo's scripts have to be somewhere."""
    (tmp_path / "runs").write_text("a file")
    assert 1 == main(["demo", "--log-dir", str(tmp_path / "runs")])
    assert 1 == len(capsys.readouterr().err.splitlines())


def test_without_scikit_learn_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the command."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(GradscopeError, match="pip install scikit-learn"):
        show(tmp_path, print)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["wrap_existing_loop.py"], "no errors, no warnings"),
        (["wrap_existing_loop.py", "--forget-zero-grad"], "1 error, 0 warnings"),  # all else is folded under it
        (["tutorial_cifar10.py", "--epochs", "1", "--data", "in the way/data"], "0 errors, 0 warnings, 1 note"),
        (["gan.py", "--steps", "300"], "no errors, no warnings in 600 steps"),
        (["gan.py", "--steps", "100", "--forget-zero-grad"], "1 error, 0 warnings"),
        (["accumulate_and_amp.py"], "no errors, no warnings in 56 steps"),
        (["accumulate_and_amp.py", "--clip-before-unscale"], "warning GS702 clip-before-unscale"),
    ],
    ids=["wrapped", "wrapped, zero_grad forgotten", "tutorial", "gan", "sick gan", "amp", "sick amp"],
)
def test_the_examples_run(command: list[str], expected: str, tmp_path: Path) -> None:
    """As they stand, from anywhere, and without CIFAR-10."""
    (tmp_path / "in the way").write_text("of a download")
    done = forks.example(tmp_path, str(EXAMPLES / command[0]), *command[1:])
    assert 0 == done.code, done.stderr
    assert expected in done.stdout
    assert ("error GS101 missing-zero-grad" in done.stdout) == ("--forget-zero-grad" in command)


def test_an_example_begins_with_nothing(tmp_path: Path) -> None:
    """A newcomer's first file, in a process of its own."""
    done = ran(str(EXAMPLES / "wrap_existing_loop.py"), cwd=tmp_path)
    assert 0 == done.returncode, done.stderr
    assert "no errors, no warnings" in done.stdout


def test_the_example_for_browsers(tmp_path: Path) -> None:
    """Two runs, one of them sick; what it says to type next makes the page."""
    done = forks.example(tmp_path, str(EXAMPLES / "tensorboard_report.py"), "--steps", "80")
    assert 0 == done.code, done.stderr
    assert "no errors, no warnings in 80 steps" in done.stdout and "error GS101 missing-zero-grad" in done.stdout
    assert "  tensorboard --logdir runs" in done.stdout.splitlines()
    command = done.stdout.splitlines()[-1].split()
    assert ["gradscope", "report"] == command[:2]
    assert 0 == forks.cli(tmp_path, *command[1:]).code
    assert (tmp_path / "report.html").stat().st_size > 1_000_000
