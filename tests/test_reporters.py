"""The report as text and as JSON, on made findings: what a person reads, what a machine reads."""
from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest

from gradscope.diagnosis import fold
from gradscope.events import Site
from gradscope.findings import Advice, Finding, from_line, to_line
from gradscope.record.record import Meta
from gradscope.reporters import json as json_reporter
from gradscope.reporters import terminal
from gradscope.reporters.report import Report
from gradscope.rules.catalogue import RULES
from gradscope.rules.loss.loss_rising import LossRising

META = Meta(
    script="train.py", status="finished", exit_code=0, rows=200, backwards=200, overhead=0.011, optimizers=["SGD"]
)
CAUSE = Finding(
    "GS101",
    "missing-zero-grad",
    "error",
    "{when} used gradients that still contain all the earlier ones: |g| grew {first} -> {last} in 200 steps",
    (1, 200),
    evidence={"when": "every step since 1", "first": 0.9, "last": 184.0},
    optimizer=0,
    parameters=("model.0.weight",),
    where=Site("/home/me/train.py", 30),
    advice=(Advice("call optim.zero_grad() before line 30", "insert-zero-grad", {"optimizer": 0, "line": 30}),),
    step=1,
    label="adds to gradients that step 0 has already used",
    source=((29, "    loss = loss_fn(model(imgs), targets)"), (30, "    loss.backward()")),
)
RISING = Finding("GS203", "loss-rising", "warning", "the loss rose", (41, 200), optimizer=0, step=60)
EXPLODING = Finding("GS402", "gradient-exploding", "warning", "the norm grew", (12, 200), optimizer=0, step=20)
UNRELATED = Finding(
    "GS102",
    "gradient-is-none",
    "warning",
    "{names} had no gradient in all 200 steps: the forward never uses it",
    (0, 199),
    evidence={"names": "head.weight"},
    optimizer=0,
    where=Site("/home/me/train.py", 31),
    advice=(Advice("use it in forward(), or remove it"),),
    step=19,
    source=((31, "    optim.step()"),),
)


def report(*findings: Finding, **changes: object) -> Report:
    meta = dataclasses.replace(META, **{k: v for k, v in changes.items() if hasattr(META, k)})
    return Report(meta, fold(findings, RULES), {}, Path("/home/me/runs/train-1"), Path("/home/me"))


def test_one_error_with_consequences(golden) -> None:
    """Place, what, quoted source, cure; the consequences in one line; nothing else."""
    golden(terminal.render(report(RISING, CAUSE, EXPLODING), width=90))


def test_several_findings(golden) -> None:
    """Errors before warnings, each with its own place and cure."""
    golden(terminal.render(report(UNRELATED, CAUSE), width=90))


def test_silence(golden) -> None:
    """A healthy run is told in one line."""
    golden(terminal.render(report(), width=90))


def test_no_training_loop(golden) -> None:
    """No step was seen: that is what is said, not "no errors"."""
    golden(terminal.render(report(rows=0, backwards=0), width=90))


def test_narrow_with_long_and_chinese_names(golden) -> None:
    """80 columns: long names wrap, wide characters count double, nothing is cut off."""
    names = "模型.编码器.注意力.权重, " + ".".join(["a_very_long_module_name"] * 6) + ".weight"
    sick = dataclasses.replace(UNRELATED, evidence={"names": names})
    golden(terminal.render(report(sick), width=80))


def test_wide_with_what_was_not_judged(golden) -> None:
    """160 columns; the loss that falls and then climbs; another stream's losses may rise, which is said once."""
    climbing = Finding(
        "GS203",
        "loss-rising",
        "warning",
        LossRising.message,
        (40960, 59999),
        evidence={"since": 40960, "best": 1.526, "best_at": 27136, "now": 1.995, "window": 8192, "cause": ""},
        optimizer=0,
        where=Site("/home/me/train.py", 46),
        advice=(Advice("lower lr to 0.001 (it is 0.01)", "set-lr", {"from": 0.01, "to": 0.001}),),
        label="this loss",
        source=((45, "        optim.zero_grad()"), (46, "        result_loss.backward()")),
    )
    why = "Adam #1: its loss goes below zero (a likelihood, an adversarial or a reinforcement-learning loss may rise)"
    told = dataclasses.replace(report(climbing, rows=60_000), skipped={"GS202": why, "GS203": why})
    golden(terminal.render(told, width=160))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seconds": 0.21, "overhead": 3.7}, "watched for 0.2 s of the run's time"),
        ({"seconds": 21.0, "overhead": 0.042}, "watched for 4.2 % of the run's time"),
        ({"strides": [(0, 1), (32, 256)], "rows": 48}, "norms measured at 33 of 48 steps"),
        ({"strides": [(0, 1), (32, 4), (64, 0)], "rows": 90}, "norms measured at 40 of 90 steps"),
        ({"strides": [(0, 1), (32, 36)], "rows": 60_000}, "norms measured at 1 of 36 steps"),
        ({"strides": [(0, 0)], "rows": 9}, "norms not measured"),
    ],
)
def test_the_bill(changes: dict[str, object], told: str) -> None:
    """Of a short run seconds: a share of nearly nothing says nothing. What was measured, as numbers or as a share."""
    meta = dataclasses.replace(Meta(rows=100, overhead=0.01), **changes)  # type: ignore[arg-type]
    shown = terminal.render(Report(meta, (), {}))
    assert told in " ".join(shown.split())


def test_markup_in_the_users_text_is_text() -> None:
    """Square brackets, escape codes and braces in names and paths are shown, not obeyed."""
    nasty = dataclasses.replace(UNRELATED, evidence={"names": "[bold red]x[/] {y} layers[0]"})
    shown = terminal.render(report(nasty), width=100)
    assert "[bold red]x[/] {y} layers[0]" in shown
    assert "\x1b" not in shown


def test_colour_only_on_a_terminal() -> None:
    """A pipe gets plain text, a terminal gets colour, and both say the same."""
    plain = io.StringIO()
    terminal.write(report(CAUSE), plain, width=100)
    assert "\x1b" not in plain.getvalue()
    assert "\x1b[" in terminal.render(report(CAUSE), 100, color=True)


def test_a_closed_stream_is_survived() -> None:
    """The script may have closed stderr."""
    stream = io.StringIO()
    stream.close()
    with pytest.raises(ValueError):
        stream.write("")
    terminal.write(report(CAUSE), stream, width=80)


def test_the_json_contract() -> None:
    """Every key of schema 1, causes first, non-finite numbers as strings, paths relative to the start directory."""
    odd = dataclasses.replace(UNRELATED, evidence={"names": "w", "norm": float("nan"), "most": [float("inf"), 1]})
    data = json.loads(json_reporter.render(report(odd, RISING, CAUSE)))
    assert data["schema"] == 1
    assert list(data["run"]) == [
        "script", "argv", "status", "exit_code", "steps", "optimizers", "torch", "overhead", "budget", "sampled",
    ]  # fmt: skip
    assert [(f["code"], f["caused_by"]) for f in data["findings"]] == [
        ("GS101", None), ("GS203", "GS101"), ("GS102", None),
    ]  # fmt: skip
    first = data["findings"][0]
    assert set(first) == {
        "id", "code", "name", "severity", "step", "steps", "stream", "message", "evidence", "parameters", "optimizer",
        "group", "where", "caused_by", "advice",
    }  # fmt: skip
    assert first["where"] == {"file": "train.py", "line": 30}
    assert first["advice"] == [
        {"action": "insert-zero-grad", "text": "call optim.zero_grad() before line 30", "optimizer": 0, "line": 30}
    ]
    assert data["findings"][2]["evidence"] == {"names": "w", "norm": "nan", "most": ["inf", 1]}


def test_findings_survive_their_file() -> None:
    """What `gradscope report` prints later is what was printed at the end of the run."""
    stored = [from_line(json.loads(json.dumps(to_line(f, i)))) for i, f in enumerate((CAUSE, RISING, UNRELATED))]
    assert terminal.render(report(*stored)) == terminal.render(report(CAUSE, RISING, UNRELATED))


def test_a_long_list_of_parameters_ends_in_a_count() -> None:
    """At most 20 names, then how many more."""
    many = dataclasses.replace(CAUSE, parameters=tuple(f"p{i}" for i in range(30)))
    assert many.to_json()["parameters"][-2:] == ["p19", "and 10 more"]
