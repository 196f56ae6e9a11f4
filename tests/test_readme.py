"""What the README says is so: its rule table, its test command, its example."""
from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradscope.rules.catalogue import RULES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_rule_table_is_that_of_the_code() -> None:
    """Code, name and severity of every rule, in order."""
    table = re.findall(r"^\| (GS\d{3}) \| ([\w-]+) \| (\w+) \|", README, re.MULTILINE)
    assert table == [(rule.code, rule.name, rule.severity) for rule in RULES]


def test_the_options_are_those_of_the_command() -> None:
    """Every option of `gradscope run` is in the table, and no other."""
    done = subprocess.run([sys.executable, "-m", "gradscope", "run", "--help"], capture_output=True, text=True)
    offered = set(re.findall(r"(--[a-z-]+)", done.stdout)) - {"--help"}
    told = set(re.findall(r"(--[a-z][a-z-]*)", README.split("| option |")[1].split("\n\n")[0])) | {"-q"}
    assert {o for o in offered if o != "--quiet"} <= told
    assert told - {"-q"} <= offered


@pytest.mark.parametrize("arguments, told", [((), "no errors, no warnings"), (("--forget-zero-grad",), "error GS101")])
def test_the_example_runs(arguments: tuple[str, ...], told: str) -> None:
    """A newcomer's first file: healthy as it is, and with the classic mistake."""
    example = ROOT / "examples" / "wrap_existing_loop.py"
    done = subprocess.run([sys.executable, str(example), *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


def test_the_pictures_are_there() -> None:
    """As files of the repository, each small enough for it, with words for those who cannot see them."""
    pictures = re.findall(r'<img src="([^"]+)"[^>]* alt="([^"]+)"', README)
    assert pictures
    for file, words in pictures:
        assert 10_000 < (ROOT / file).stat().st_size < 300_000
        assert len(words) > 40


LONG = """
import time
import torch

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
start = time.monotonic()
while time.monotonic() - start < 7.5:
    optimizer.zero_grad()
    model(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()
    time.sleep(0.01)
print("done")
"""


def on_a_terminal(tmp_path: Path, bars: str) -> str:
    """What a long run that has imported tqdm shows on its terminal's stderr."""
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "tqdm" / "__init__.py").write_text("from tqdm.std import tqdm\n")
    (tmp_path / "tqdm" / "std.py").write_text(f"class tqdm:\n    _instances = {bars}\n")
    (tmp_path / "train.py").write_text("import tqdm\n" + LONG)
    parent, terminal = pty.openpty()
    command = [sys.executable, "-m", "gradscope", "run", "train.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=terminal, text=True) as process:
        os.close(terminal)
        assert process.stdout is not None
        assert process.stdout.read() == "done\n"
        process.wait()
    shown = b""
    try:
        while chunk := os.read(parent, 65536):
            shown += chunk
    except OSError:  # the terminal is closed
        pass
    os.close(parent)
    return shown.decode()


def test_a_long_run_shows_where_it_stands(tmp_path: Path) -> None:
    """On a terminal's stderr: steps, speed, loss, lr, findings; never in the script's stdout, and gone at the end.

    With tqdm imported (torch does that wherever it is installed), but no bar of it on the screen.
    """
    text = on_a_terminal(tmp_path, "[]")
    assert re.search(r"gradscope: step [\d,]+ · [\d,.]+ steps/s · loss [\d.e+-]+ · lr 0\.01 · 0 findings", text)
    assert text.rindex("\x1b[2K\r") < text.rindex("no errors, no warnings")


def test_a_bar_is_not_written_over(tmp_path: Path) -> None:
    """Where tqdm shows a bar, there is no line of ours beside it."""
    text = on_a_terminal(tmp_path, "['a bar']")
    assert "steps/s" not in text and "no errors, no warnings" in text
