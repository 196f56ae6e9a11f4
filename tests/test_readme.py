"""What the README says is so, and what docs/ says: rules, options, commands, pictures, links; both languages alike."""
from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gradscope.cli import commands
from gradscope.rules.catalogue import RULES

ROOT = Path(__file__).parent.parent
README, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *DOCS]


def test_the_rule_table_is_that_of_the_code() -> None:
    """Code, name and severity of every rule, in order."""
    table = re.findall(r"^\| (GS\d{3}) \| ([\w-]+) \| (\w+) \|", README, re.MULTILINE)
    assert table == [(rule.code, rule.name, rule.severity) for rule in RULES]


def test_the_options_are_those_of_the_command() -> None:
    """Every option of `gradscope run` is in the table, and no other."""
    done = subprocess.run([sys.executable, "-m", "gradscope", "run", "--help"], capture_output=True, text=True)
    offered = set(re.findall(r"(--[a-z-]+)", done.stdout)) - {"--help"}
    page = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")
    told = set(re.findall(r"(--[a-z][a-z-]*)", page.split("| option |")[1].split("\n\n")[0])) | {"-q"}
    assert {o for o in offered if o != "--quiet"} <= told
    assert told - {"-q"} <= offered


def test_the_code_about_watch_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The Python of docs/watch.md, block after block, with a loop of the reader's: names and shapes are as told."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            optimizer.step()

    names: dict[str, Any] = {"model": model, "optimizer": optimizer, "train": train}
    for block in blocks((ROOT / "docs" / "watch.md").read_text(encoding="utf-8"), "python"):
        exec("\n".join(block.splitlines()[1:-1]), names)
    assert "no errors, no warnings in 3 steps" in capsys.readouterr().out
    watched, point = names["optimizer"], names["Point"]
    assert "0.weight" == watched.parameters[0].name
    assert (3, 2) == watched.grad_state(point.BEFORE_STEP).shape == watched.grad_norm(point.AFTER_BACKWARD).shape
    assert (3,) == watched.scalars["loss"].shape and (3, 1) == watched.lr.shape


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pictures_are_there(page: Path) -> None:
    """As files of the repository, each small enough for it, with words for those who cannot see them."""
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="([^"]+)"[^>]* alt="([^"]+)"', text)
    assert len(pictures) == text.count("<img ") and (pictures or "README" not in page.name)
    for file, words in pictures:
        assert 10_000 < (page.parent / file).stat().st_size < 300_000
        assert len(words) > (40 if words.isascii() else 20)
    for file in re.findall(r'srcset="([^"]+)"', text):
        assert (page.parent / file).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_linked_or_named_is_there(page: Path) -> None:
    """Files that are linked, and those of examples, benchmarks and tests that are named."""
    text = page.read_text(encoding="utf-8")
    for file in links(text):
        assert (page.parent / file).exists(), file
    for file in re.findall(r"\b((?:examples|benchmarks|tests)/[\w./-]*\w)", text):
        assert (ROOT / file).exists(), file


def test_every_page_is_linked_from_the_readme() -> None:
    """None of docs/ is to be found by chance only."""
    assert {f"docs/{page.name}" for page in DOCS} <= set(links(README))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_and_options_exist(page: Path) -> None:
    """Each `gradscope COMMAND --option` that is shown is taken by that command."""
    typed = "\n".join(blocks(page.read_text(encoding="utf-8"), "console"))
    shown = re.findall(r"\bgradscope (\w+)((?: [^\s`#]+)*)", typed)
    assert shown or "README" not in page.name
    for name, words in shown:
        command = commands.commands[name]
        taken = {option for parameter in command.params for option in parameter.opts}
        own = re.split(r" [^\s-]\S*\.py\b", words)[0]  # what follows the script is the script's
        assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", own)) <= taken, (name, words)


def blocks(text: str, kind: str = "") -> list[str]:
    """The fenced blocks of a page, with what their first line says they are."""
    return re.findall(rf"^```{kind}.*?\n.*?^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Where the links of a page lead, those into the network left out."""
    return [file for file in re.findall(r"\]\(([^)#]+)[^)]*\)", prose(text)) if "://" not in file]


def sections(text: str) -> list[tuple[int, str]]:
    """The level of each heading and what stands below it, the heading included."""
    parts = re.split(r"^(?=#+ )", prose(text), flags=re.MULTILINE)
    return [(len(part) - len(part.lstrip("#")), part) for part in parts if part.startswith("#")]


def numbers(text: str) -> list[str]:
    """All that is written in digits, sorted, as another language has another order of words."""
    return sorted(re.findall(r"\d+(?:[.,]\d+)*", text))


def test_the_languages_have_the_same_blocks_pictures_and_headings() -> None:
    """Code and output are the same to the letter, in the same order."""
    assert blocks(README) == blocks(CHINESE)
    for pattern in (r'(?:src|srcset)="([^"]+)"', r"<!-- .*? -->"):
        assert re.findall(pattern, README) == re.findall(pattern, CHINESE)
    assert links(README) == [link.replace("README.md", "README.zh.md") for link in links(CHINESE)]
    assert [level for level, _ in sections(README)] == [level for level, _ in sections(CHINESE)]


def test_the_languages_have_the_same_tables() -> None:
    """Row by row the same number of cells and the same figures; of a rule also its code, its name and how bad it is."""
    ours, theirs = (re.findall(r"^\|.*\|$", text, re.MULTILINE) for text in (README, CHINESE))
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our.count(" | ") == their.count(" | "), their
        assert numbers(our) == numbers(their), (our, their)
        if our.startswith("| GS"):
            assert our.split(" | ")[:3] == their.split(" | ")[:3]


def test_the_languages_say_the_same_in_every_section() -> None:
    """As far as a machine can tell: the same figures, and the same words in the type of code."""
    for (_, ours), (_, theirs) in zip(sections(README), sections(CHINESE), strict=True):
        title = ours.splitlines()[0]
        assert numbers(ours) == numbers(theirs), title
        assert sorted(re.findall(r"`([^`\n]+)`", ours)) == sorted(re.findall(r"`([^`\n]+)`", theirs)), title


def test_chinese_is_chinese() -> None:
    """No paragraph was left in English, and no half-width comma stands between two Chinese characters."""
    paragraphs = [p for _, part in sections(CHINESE) for p in part.split("\n\n") if len(p) > 60]
    for paragraph in paragraphs:
        assert paragraph.lstrip().startswith(("<", "|")) or re.search(r"[\u4e00-\u9fff]{2}", paragraph), paragraph
    assert not re.findall(r"[\u4e00-\u9fff][,;:?!][\u4e00-\u9fff]", CHINESE)


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
