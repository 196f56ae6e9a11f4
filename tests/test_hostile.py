"""What the user's own names, paths and messages may hold is shown as text, wherever it is shown."""
from __future__ import annotations

import dataclasses
import html
import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from torch import nn

import gradscope
from gradscope.cli import main
from gradscope.diagnosis import fold
from gradscope.events import Point, Site
from gradscope.findings import Advice, Finding, from_line, to_line
from gradscope.plain import encodable, lines_of, printable, sentence
from gradscope.record.record import Meta
from gradscope.reporters import json as json_reporter
from gradscope.reporters import markdown, terminal, timeline, warning
from gradscope.reporters.report import Report
from gradscope.rules.catalogue import RULES
from tests.forks import cli, watched
from tests.records import record
from tests.shell import SICK, write
from tests.test_tensorboard import only_run, scalar_tags, texts
from tests.test_timeline import measured, normal

SCRIPT = "<script>alert('x')</script>\"&amp;"
HOSTILE = {
    "markup": SCRIPT,
    "rich": "[bold red]x[/] [link=https://e.org]y[/link] :smile:",
    "escapes": "\x1b[31mred\x1b[2J\x1b]0;title\x07\x9b1m",
    "controls": "a\x00b\x07c\x08d\re\x0bf\x7fg\x85h",
    "lines": "one\ntwo\r\nthree\u2028four\u2029five",
    "directions": "abc\u202edef\u2066ghi\u200f",
    "surrogates": "x\ud800y\udfffz\udcff",
    "long": "a_very_long_name" * 19,
    "wide": "模型编码器" * 30 + "👩‍🔬🏳️‍🌈" + "e\u0301\u0302" * 5,
    "braces": "{0.__class__} {evidence} {{x}} %s %(y)s",
    "markdown": "# h\n\n- *a* _b_ `c` [d](javascript:1) | e | ![f](//g)\n    code",
    "blank": "  ",
}
everything = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
any_text = st.text(st.characters(), max_size=400)  # surrogates among them


def colourless(shown: str) -> str:
    """Without the colours that gradscope itself sets."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def harmless(shown: str) -> bool:
    """Nothing in it but signs and line breaks."""
    return all(line.isprintable() for line in shown.split("\n"))


def finding(text: str) -> Finding:
    """One whose every part is this text."""
    return Finding(
        "GS102",
        "gradient-is-none",
        "warning",
        "{names} had no gradient",
        (0, 9),
        evidence={"names": text},
        optimizer=0,
        parameters=(text, "layer.weight"),
        where=Site(f"/home/{text}/train.py", 3),
        advice=(Advice(f"use {text}", "use", {"name": text, "names": [text]}),),
        step=0,
        label=text,
        source=((2, f"    {text}"), (3, f"    {text}\t{text}")),
    )


def report(text: str, *findings: Finding) -> Report:
    meta = Meta(script=text, argv=(text,), rows=10, optimizers=[text], notes=[text], status="finished")
    return Report(meta, findings or (finding(text),), {"GS201": text}, Path(f"/runs/{text}"), Path("/x"), notes=(text,))


@settings(deadline=None)
@given(any_text)
def test_what_is_printable(text: str) -> None:
    """Text of signs only stays as it is, length and all; nothing else remains."""
    assert printable(text).isprintable()
    assert len(text) == len(printable(text))
    assert [] == [pair for pair in zip(text, printable(text)) if pair[0] != pair[1] and pair[0].isprintable()]
    assert all(line.isprintable() for line in lines_of(text)) and sentence(text).isprintable()
    assert text.encode("utf-8", "replace") == encodable(text).replace("\ufffd", "?").encode() or "\ufffd" in text


@settings(deadline=None)
@given(any_text, st.integers(20, 120), st.booleans())
@example(HOSTILE["escapes"], 80, True)
@example(HOSTILE["lines"], 80, False)
@example(HOSTILE["surrogates"], 80, False)
def test_report_on_a_terminal(text: str, width: int, color: bool) -> None:
    """No control code reaches it but gradscope's own colours; messages are wrapped at its width."""
    shown = terminal.render(report(text), width, color)
    assert harmless(colourless(shown)), repr(shown)
    assert shown.encode("utf-8")
    assert 1 == colourless(shown).count("warning GS102 gradient-is-none")


@everything
def test_report_shows_the_text(text: str) -> None:
    """As text, markup and all: in the message, the advice and the quoted line; the frame stands."""
    shown = terminal.render(report(text), 2000)
    assert sentence(text) in sentence(shown)
    assert "2 | " + re.sub(" +", " ", printable(text)).strip() in re.sub(" +", " ", shown) or not text.strip()
    assert shown.count("\x1b") == 0 and shown.count("warning GS102 gradient-is-none") == 1


def test_a_quoted_line_of_a_megabyte_is_cut() -> None:
    """At once, and not in the middle of what is read."""
    long = dataclasses.replace(finding("x"), source=((3, "x = [" + "0, " * 400_000),))
    shown = terminal.render(report("x", long), 100)
    assert max(map(cell_len, shown.split("\n"))) < 300
    assert "   3 | x = [0, 0, " in shown


@settings(deadline=None)
@given(st.lists(any_text, min_size=1, max_size=4, unique=True), st.integers(40, 120))
@example(list(HOSTILE.values()), 60)
@example(list(HOSTILE.values()), 200)
def test_the_table_stays_aligned(names: list[str], width: int) -> None:
    """One line a parameter, each as wide as the others, whatever the parameters, the optimizer and the files are
    called."""
    made = measured({0: [normal(0.5)] * len(names)}, names, variable=names[0], kind=names[-1])
    shown = timeline.render(record(made, status="finished"), 0, width)
    assert harmless(shown), repr(shown)
    lines = [line for line in shown.split("\n") if " None " in line and "0.500" in line]
    assert len(names) == len(lines)
    assert 1 == len(set(map(cell_len, lines)))


@settings(deadline=None)
@given(any_text)
@example(HOSTILE["markdown"])
@example(HOSTILE["surrogates"])
def test_markdown_shows_it_as_it_is(text: str) -> None:
    """Nothing is left that markdown or HTML would obey; unescaped it is the text."""
    shown = markdown.text(text)
    assert sentence(text) == html.unescape(shown)
    assert not re.search(r"[<>\[\]`*_\\!|~\n]", shown)
    whole = markdown.render(report(text))
    assert harmless(whole) and whole.encode("utf-8")
    assert 2 == len(re.findall("^#", whole, re.MULTILINE))


@settings(deadline=None)
@given(any_text)
@example(HOSTILE["surrogates"])
@example("\ud83d\ude00")
def test_json_stays_valid(text: str) -> None:
    """For strict readers too: no lone surrogate, no NaN; all else comes back as it was."""
    shown = report(text)
    shown.meta.overhead, shown.meta.budget = float("nan"), float("inf")
    data = json.loads(json_reporter.render(shown), parse_constant=lambda word: pytest.fail(word))
    json.dumps(data, ensure_ascii=False).encode("utf-8")
    assert encodable(text) == data["run"]["script"] == data["findings"][0]["parameters"][0]
    assert f"{encodable(text)} had no gradient" == data["findings"][0]["message"]


@settings(deadline=None)
@given(any_text)
def test_findings_of_any_text_survive_their_file(text: str) -> None:
    """What is printed later is what was printed first."""
    stored = from_line(json.loads(json.dumps(to_line(finding(text), 0))))
    assert terminal.render(report(text)) == terminal.render(report(text, *fold([stored], RULES)))


@everything
def test_python_warnings(text: str) -> None:
    """One line, at a place that is text, too."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warning.warn(finding(text))
    assert str(seen[0].message).isprintable() and seen[0].filename.isprintable()
    assert sentence(text) in str(seen[0].message)


@pytest.mark.parametrize("arguments", [["report", "{}"], ["timeline", "{}"], ["explain", "{}"], ["run", "{}.py"],
                                       ["run", "--select", "{}", "x.py"], ["report", "x", "{}"]])  # fmt: skip
@pytest.mark.parametrize("name", ["markup", "escapes", "lines", "directions", "surrogates", "long", "wide"])
def test_errors_of_the_command_line(arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence with the name in it, as text."""
    text = HOSTILE[name].replace("\ud800", "").replace("\udfff", "")  # no shell can hand these over
    assert main([a.format(text) for a in arguments]) in (1, 2)
    said = capsys.readouterr()
    assert "" == said.out
    assert harmless(said.err), repr(said.err)
    assert said.err.count("\n") == 1 or said.err.startswith("Usage: ")


NAMES = [HOSTILE[name] for name in ("markup", "rich", "escapes", "lines", "directions", "surrogates", "long", "wide")]
NET = f"""
net = nn.Module()
for name in {ascii([name.replace(".", "") for name in NAMES])}:
    net.add_module(name, nn.Linear(4, 2))
net.forward = lambda x: sum(layer(x) for layer in [m for m in net.children()][1:])
model = net
"""


def test_a_whole_run(tmp_path: Path) -> None:
    """A script and modules with such names: run, report, timeline and TensorBoard show them; the record is whole."""
    body = SICK.replace("model = nn.Linear(4, 2)\n", NET)
    script = write(tmp_path, body, "tr\x1b[31m<b>'\u202eain " + "x" * 200 + ".py")
    run = watched(tmp_path, script, options=("--every", "1"))
    assert 0 == run.code, run.stderr
    assert harmless(run.stderr) and "cannot be written" not in run.stderr and "TensorBoard" not in run.stderr
    assert {"GS101", "GS102"} <= set(run.codes)
    assert "<script>alert('x')</script>\"&amp;" in sentence(run.stderr)
    for command in (["report", "runs"], ["timeline", "runs", "--step", "0"]):
        outcome = cli(tmp_path, *command)
        assert (0, "") == (outcome.code, outcome.stderr)
        assert harmless(outcome.stdout)
    folder = only_run(tmp_path / "runs")
    tags = [tag for tag in scalar_tags(folder) if tag.startswith("gradscope parameters/")]
    assert 2 * (len(NAMES) - 1) == len(tags) and all(tag.isprintable() for tag in tags)
    assert "<script>" not in texts(folder)[-1] and harmless(texts(folder)[-1])


def test_warnings_of_a_watched_loop(capsys: pytest.CaptureFixture[str]) -> None:
    """What `watch` prints while the loop goes on."""
    model = nn.Module()
    for name in (HOSTILE["escapes"], HOSTILE["lines"]):
        model.register_parameter(name, nn.Parameter(torch.ones(3)))
    used = next(model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        with gradscope.watch(model, optimizer) as scope:
            for _ in range(25):
                (used * torch.randn(3)).square().sum().backward()
                optimizer.step()
    said = capsys.readouterr()
    assert "GS101" in said.err and harmless(said.err)
    assert harmless(scope.report()) and harmless(scope.timeline())
    assert np.isfinite(scope.record.optimizers[0].grad_norm(Point.BEFORE_STEP)[:, 0]).any()
