"""What the README says is so: its rule table, its test command, its example."""
from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

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


def test_the_pictures_are_there() -> None:
    """As files of the repository, each small enough for it, with words for those who cannot see them."""
    pictures = re.findall(r'<img src="([^"]+)"[^>]* alt="([^"]+)"', README)
    assert pictures
    for file, words in pictures:
        assert 10_000 < (ROOT / file).stat().st_size < 300_000
        assert len(words) > 40


LONG = """
import sys
import time
import torch
import tqdm

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
start = time.monotonic()
while time.monotonic() - start < 8.5:
    optimizer.zero_grad()
    model(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()
    time.sleep(0.01)
    if tqdm.tqdm._instances and time.monotonic() - start > 6.5:
        tqdm.tqdm._instances.clear()
        print("the bar is gone", file=sys.stderr, flush=True)
print("done")
"""


def on_a_terminal(tmp_path: Path) -> str:
    """What a long run that has a bar of tqdm's for a while shows on its terminal's stderr."""
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "tqdm" / "__init__.py").write_text("from tqdm.std import tqdm\n")
    (tmp_path / "tqdm" / "std.py").write_text("class tqdm:\n    _instances = ['a bar']\n")
    (tmp_path / "train.py").write_text(LONG)
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

    While tqdm shows a bar there is no line beside it; that tqdm is imported (torch does that wherever it is installed)
    is no bar.
    """
    beside, alone = on_a_terminal(tmp_path).split("the bar is gone")
    assert "steps/s" not in beside
    assert re.search(r"gradscope: step [\d,]+ · [\d,.]+ steps/s · loss [\d.e+-]+ · lr 0\.01 · 0 findings", alone)
    assert alone.rindex("\x1b[2K\r") < alone.rindex("no errors, no warnings")
