"""``gradscope try``: the advice applied from outside does what it says, and the verdict is what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from gradscope.cli import main
from gradscope.errors import GradscopeError
from gradscope.findings import Advice, Finding
from gradscope.reporters import chart
from gradscope.trying import attempt
from gradscope.trying.comparison import Course, compare
from gradscope.trying.treatments import Treatment, choose
from gradscope.trying.workplace import Workplace, environment, survey
from tests.shell import HEALTHY, TIMEOUT
from tests.shell import environment as shell_environment
from tests.shell import write

# -- what is tried ---------------------------------------------------------------------------------------------------


def finding(code: str, *advice: Advice, severity: str = "warning", **fields: Any) -> Finding:
    return Finding(code, "a-name", severity, "sick", (0, 9), advice=advice, **fields)


def set_lr(to: Any, group: int = 0) -> Advice:
    return Advice("lower lr", "set-lr", {"optimizer": 0, "group": group, "from": 0.1, "to": to})


def test_causes_are_tried_in_order_and_once() -> None:
    """No consequence, no note, no advice for people only, nothing twice; the groups of one finding together."""
    groups = finding("GS301", set_lr(0.01, 0), set_lr(0.02, 1))
    chosen = choose(
        [
            finding("GS101", Advice("clear", "insert-zero-grad", {"optimizer": 0}), severity="error"),
            finding("GS203", set_lr(0.001), caused_by="GS101"),
            finding("GS109", Advice("write .item()")),
            groups,
            finding("GS203", set_lr(0.02, 1), set_lr(0.01, 0)),
            finding("GS405", set_lr(1.0), severity="info"),
            finding("GS203", set_lr("nan")),
            finding("GS203", set_lr(0)),
        ]
    )
    assert ["zero_grad() before backward", "lr 0.01 (group 0), 0.02 (group 1)"] == [t.label for t in chosen]
    assert [1, 2] == [len(t.steps) for t in chosen]
    assert groups is chosen[1].finding


def test_no_more_than_a_handful() -> None:
    """Each costs a whole run."""
    assert 4 == len(choose([finding("GS301", set_lr(10.0**-n)) for n in range(9)]))


# -- the verdict -----------------------------------------------------------------------------------------------------


def course(losses: Any) -> Course:
    losses = np.asarray(losses, np.float64)
    return Course(np.arange(len(losses), dtype=np.float64), losses)


def noise(seed: int, count: int = 400) -> Any:
    return np.random.default_rng(seed).normal(size=count)


def test_a_difference_below_the_noise_of_each_run_is_seen_where_the_noise_is_shared() -> None:
    """The same batches make the same noise in both runs: step by step it cancels."""
    compared = compare(course(2.0 + noise(0)), course(1.9 + noise(0)))
    assert "helps" == compared.verdict
    assert 40 == compared.window and 399 == compared.step and not compared.alike
    assert "no-help" == compare(course(1.9 + noise(0)), course(2.0 + noise(0))).verdict


def test_noise_is_no_help() -> None:
    """Two runs of the same level are never told apart: of 200 pairs, at most a few."""
    verdicts = [compare(course(2 + noise(2 * n)), course(2 + noise(2 * n + 1))).verdict for n in range(200)]
    assert verdicts.count("unclear") + verdicts.count("no-help") >= 196
    assert verdicts.count("unclear") > 150
    assert verdicts.count("helps") <= 3


@pytest.mark.parametrize(
    "before, after, verdict, why",
    [
        ([1.0] * 10, [np.nan] * 10, "no-help", "with it the loss is not finite"),
        ([np.inf] * 10, [5.0] * 10, "helps", "without it"),
        ([np.nan] * 10, [np.nan] * 10, "no-help", "either way"),
        ([1.0] * 50, [1.0] * 50, "no-help", "no difference"),
        ([2.0, 1.0, 1.0], [2.0, 0.5, 0.5], "unclear", "too few"),
        ([], [], "unclear", "no step"),
        ([2.0] * 20, [1.0] * 20, "helps", ""),
        ([1.0] * 20, [2.0] * 20, "no-help", "higher"),
        ([1.0] * 20, [0.999] * 20, "no-help", "next to no"),
        ([1e300] * 20, [1.0] * 20, "helps", ""),
        ([10.0 ** (n / 4) for n in range(80)], [1.0] * 80, "helps", ""),
        ([1.0] * 80, [10.0 ** (n / 4) for n in range(80)], "no-help", "higher"),
    ],
)
def test_verdicts(before: list[float], after: list[float], verdict: str, why: str) -> None:
    """What is not finite is the worst there is; what is alike is said to be."""
    compared = compare(course(before), course(after))
    assert verdict == compared.verdict
    assert why in compared.why


def test_only_steps_that_both_have_count() -> None:
    """A run that ends sooner is compared with what the other was then."""
    falling = np.linspace(2, 0, 200)
    compared = compare(course(falling), course(falling[:100] - 0.1))
    assert "helps" == compared.verdict
    assert 99 == compared.step
    assert compared.baseline > 1


# -- the chart -------------------------------------------------------------------------------------------------------


def points(values: Any) -> tuple[Any, Any]:
    values = np.asarray(values, np.float64)
    return np.arange(len(values), dtype=np.float64), values


def test_the_chart(golden: Callable[[str], None]) -> None:
    """Two curves that part, on a linear axis."""
    x = np.linspace(0, 1, 4000)
    golden(chart.draw(points(2 - x * (1 - x) * 2), points(2 - x), ("as it is", "with lr 0.001")) + "\n")


def test_the_chart_of_an_explosion_in_ascii(golden: Callable[[str], None]) -> None:
    """A logarithmic axis of a few decades; what is higher, or NaN, stands on its edge."""
    rising = 10.0 ** np.arange(0, 20, 0.1)
    rising[150:] = np.nan
    marks = chart.marks_for("ascii")
    golden(chart.draw(points(rising), points(1 / (1 + np.arange(200))), ("a", "b"), 40, 8, marks) + "\n")


@pytest.mark.parametrize("values", [[], [np.nan], [1.0], [0.0, 0.0], [-5.0, np.inf, 3.0]])
def test_charts_of_next_to_nothing(values: list[float]) -> None:
    """No curve is too short or too strange to be drawn; every line keeps the width."""
    drawn = chart.draw(points(values), points([]), ("a", "b"), 30, 6, color=False).splitlines()
    assert 9 == len(drawn)
    assert "step" in drawn[7]


# -- the copy --------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "home" / "project"
    write(root, "print(1)", "src/train.py")
    write(root, "old", "runs/x/record.bin")
    write(root, "cached", "src/__pycache__/train.pyc")
    write(root.parent, "1,2", "data/table.csv")
    (root / "big.csv").write_bytes(b"x" * (11 << 20))
    (root / "model.pt").write_bytes(b"x" * (11 << 20))
    os.symlink("src/train.py", root / "again.py")
    os.symlink(root.parent / "data", root / "data")
    os.symlink("nowhere", root / "dangling")
    return root


def test_the_copy_is_fresh_each_time_and_the_same_place(project: Path, tmp_path: Path) -> None:
    """What a child has changed is gone for the next one; the original stays what it was."""
    (tmp_path / "scratch").mkdir()
    made = Workplace(project, tmp_path / "scratch")
    made.prepare()
    (made.place / "src" / "train.py").write_text("changed")
    (made.place / "new").write_text("new")
    (project / "src" / "train.py").write_text("edited meanwhile")
    made.prepare()
    assert "print(1)" == (made.place / "src" / "train.py").read_text()
    assert "print(1)" == (made.place / "again.py").read_text()
    assert not (made.place / "new").exists()
    assert not (made.place / "runs").exists() and not (made.place / "src" / "__pycache__").exists()
    assert "1,2" == (made.place / "data" / "table.csv").read_text()
    assert "1,2" == (made.place / ".." / "data" / "table.csv").read_text()
    assert (made.place / "big.csv").is_symlink() and not (made.place / "model.pt").is_symlink()
    assert "src/train.py" == made.inside("src/train.py")
    assert str(made.place / "src" / "train.py") == made.inside(str(project / "src" / "train.py"))
    assert "/elsewhere.py" == made.inside("/elsewhere.py")


LINKS = """
import sys
import torch
from gradscope.trying.links import break_when_written

break_when_written(sys.argv[1:], torch)
torch.save(torch.zeros(3), sys.argv[1])
open(sys.argv[2], "w").write("new")
open(sys.argv[3], "a").write(" and more")
print(open(sys.argv[3]).read(), open(sys.argv[4]).read())
"""


def test_links_are_not_written_through(tmp_path: Path) -> None:
    """torch.save, open("w") and open("a") on a linked file give the copy a file of its own."""
    links = []
    for name in "abcd":
        (tmp_path / name).write_text("original")
        os.symlink(tmp_path / name, tmp_path / f"{name}-link")
        links.append(f"{name}-link")
    done = subprocess.run([sys.executable, "-c", LINKS, *links], cwd=tmp_path, capture_output=True, text=True)
    assert "original and more original\n" == done.stdout, done.stderr
    assert {"original"} == {(tmp_path / name).read_text() for name in "abcd"}
    assert [False, False, False, True] == [(tmp_path / link).is_symlink() for link in links]
    assert "new" == (tmp_path / "b-link").read_text()


def test_data_is_linked_file_by_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much in a directory without Python files; checkpoints and code are copied all the same."""
    monkeypatch.setattr("gradscope.trying.workplace.DATA_FROM", 10)
    for name in ("images/train/1.png", "images/train/last.ckpt", "images/2.png", "package/assets/3.png", "readme.txt"):
        write(project, "0123456789", name)
    write(project, "", "package/code.py")
    found = survey(project)
    assert {"images/train/1.png", "images/2.png", "big.csv"} == set(found.linked)
    assert {"images/train/last.ckpt", "package/assets/3.png", "readme.txt", "model.pt"} <= set(found.files)


def test_too_much_to_copy_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that says what to do instead."""
    monkeypatch.setattr("gradscope.trying.workplace.MOST_FILES", 2)
    with pytest.raises(GradscopeError, match="--in-place"):
        survey(project)


def test_the_environment(tmp_path: Path) -> None:
    """Trackers off, equal hashes, paths outside of the directory still found."""
    own = {"PYTHONPATH": os.pathsep.join(["src", "../shared", "/abs"]), "WANDB_MODE": "online", "KEPT": "1"}
    env = environment(own, tmp_path, Path("/home/me/project"))
    assert ("1", "disabled", "offline", "0", "1") == tuple(
        env[name] for name in ("GRADSCOPE_TRY", "WANDB_MODE", "NEPTUNE_MODE", "PYTHONHASHSEED", "KEPT")
    )
    assert env["MLFLOW_TRACKING_URI"].startswith("file:///")
    assert os.pathsep.join(["src", "/home/me/shared", "/abs"]) == env["PYTHONPATH"]
    assert "7" == environment({"PYTHONHASHSEED": "7"}, tmp_path, tmp_path)["PYTHONHASHSEED"]


# -- whole attempts, in processes of their own -----------------------------------------------------------------------

SICK = """
import json
import os
import random
import sys

import numpy
import torch
from torch import nn

diary = sys.argv[1]


def note(**what):
    with open(diary, "a") as file:
        file.write(json.dumps(what) + "\\n")


note(cwd=os.getcwd(), argv=sys.argv, file=__file__, path0=sys.path[0], holds=sorted(os.listdir()))
note(env={n: os.environ.get(n) for n in ("GRADSCOPE_TRY", "WANDB_MODE", "PYTHONHASHSEED")}, hash=hash("a"))
note(drawn=[random.random(), float(numpy.random.rand()), float(torch.rand(1))])
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(64, 4)
try:
    for step in range(40):
        batch = x[torch.randint(64, (8,))]
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        print("step", step)
        open("progress.txt", "a").write("x")
finally:
    note(finally_=step)
note(end=step, weight=model.weight.tolist(), wrote=os.path.getsize("progress.txt"))
"""


def attempted(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``gradscope try --json r.json <arguments>`` in `folder`; asserts that no copy is left behind."""
    temporary = folder.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "gradscope", "try", "--json", "r.json", *arguments],
        cwd=folder,
        env=shell_environment(TMPDIR=str(temporary)),
        capture_output=True,
        text=True,
        timeout=3 * TIMEOUT,
    )
    assert [] == list(temporary.glob("gradscope-*"))
    return done


def place(tmp_path: Path, text: str, name: str = "train.py") -> Path:
    folder = tmp_path / "project"
    write(folder, text, name)
    return folder


def diary_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def receipt(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "r.json").read_text(encoding="utf-8")))


def test_an_advice_that_helps(tmp_path: Path) -> None:
    """A forgotten zero_grad: both curves, the sentence, the JSON; both runs saw the same seeds, paths and files, and
    the directory stays as it was."""
    folder, diary = place(tmp_path, SICK, "src/train.py"), tmp_path / "diary"
    done = attempted(folder, "src/train.py", str(diary))
    assert 0 == done.returncode, done.stderr
    assert "src/train.py:29: error GS101 missing-zero-grad" in done.stdout
    assert "The advice helps." in done.stdout and "○ as it is   ● with zero_grad()" in done.stdout
    assert "not held back" in done.stderr
    assert "step 3" not in done.stdout.replace("step 39", "")  # the script's own output is hidden
    assert ["r.json", "src"] == sorted(os.listdir(folder)) and ["train.py"] == os.listdir(folder / "src")

    told = receipt(folder)
    [trial] = told["trials"]
    assert (1, "src/train.py", [str(diary)]) == (told["schema"], told["script"], told["argv"])
    assert (40, "finished", ["GS101"]) == tuple(told["baseline"][name] for name in ("steps", "status", "findings"))
    assert ("GS101", "helps", 40, True, []) == tuple(
        trial[name] for name in ("code", "verdict", "steps", "alike", "findings")
    )
    assert trial["loss"] < trial["baseline_loss"]
    assert ("insert-zero-grad", "src/train.py", 29) == tuple(trial["advice"][n] for n in ("action", "file", "line"))

    lines = diary_of(diary)
    one, other = lines[:5], lines[5:]
    assert one[:3] == other[:3] and one[-2:] != other[-2:] and len(one) == len(other) == 5
    seen = one[0]
    assert ["src"] == seen["holds"] and folder != Path(seen["cwd"])
    assert ["src/train.py", str(diary)] == seen["argv"]
    assert (f"{seen['cwd']}/src/train.py", f"{seen['cwd']}/src") == (seen["file"], seen["path0"])
    assert {"GRADSCOPE_TRY": "1", "WANDB_MODE": "disabled", "PYTHONHASHSEED": "0"} == one[1]["env"]
    assert 40 == one[-1]["wrote"] == other[-1]["wrote"]


def test_steps_end_a_run_before_its_finalizers(tmp_path: Path) -> None:
    """--steps: so many rows, and neither `finally` nor what follows the loop runs; a script in another directory is
    copied, too."""
    folder, diary = place(tmp_path, "1"), tmp_path / "diary"
    write(tmp_path, SICK + "1 / 0", "elsewhere/train.py")
    done = attempted(folder, "--steps", "16", "../elsewhere/train.py", str(diary))
    assert 0 == done.returncode, done.stderr
    told = receipt(folder)
    assert [16, 16] == [told["baseline"]["steps"], told["trials"][0]["steps"]]
    assert "stopped" == told["baseline"]["status"] == told["trials"][0]["status"]
    assert "about their beginning only" in done.stdout
    assert not [line for line in diary_of(diary) if "finally_" in line or "end" in line]
    assert ["train.py"] == os.listdir(tmp_path / "elsewhere")
    assert not diary_of(diary)[0]["file"].startswith(str(tmp_path / "elsewhere"))


def test_in_place(tmp_path: Path) -> None:
    """--in-place: the runs write where the script would; --show-output lets its output through."""
    folder, diary = place(tmp_path, SICK), tmp_path / "diary"
    done = attempted(folder, "--in-place", "--show-output", "train.py", str(diary))
    assert 0 == done.returncode, done.stderr
    assert 80 == (folder / "progress.txt").stat().st_size
    assert {str(folder)} == {line["cwd"] for line in diary_of(diary) if "cwd" in line}
    assert 2 == done.stdout.count("step 39\n")


def test_a_healthy_script(tmp_path: Path) -> None:
    """Nothing to try is one sentence, and no second run."""
    folder = place(tmp_path, HEALTHY)
    done = attempted(folder, "train.py")
    assert (0, "Nothing to try: no error and no warning in 12 steps.\n") == (done.returncode, done.stdout), done.stderr
    assert [] == receipt(folder)["trials"]


def test_a_script_that_crashes_before_its_first_step(tmp_path: Path) -> None:
    """Its own exit code, and its traceback with its real paths."""
    folder = place(tmp_path, "import sys\ntry:\n    1 / 0\nfinally:\n    print('x', file=sys.stderr)")
    done = attempted(folder, "train.py")
    assert 1 == done.returncode
    assert f'File "{folder}/train.py", line 3' in done.stderr and "ZeroDivisionError" in done.stderr
    assert "" == done.stdout
    assert 7 == attempted(place(tmp_path, "raise SystemExit(7)"), "train.py").returncode


def test_a_script_that_does_not_train(tmp_path: Path) -> None:
    """It is told so, and nothing else."""
    done = attempted(place(tmp_path, "print('hello')"), "train.py")
    assert (0, "No optimizer step was seen: there is nothing to try.\n") == (done.returncode, done.stdout)


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    """A usage error of the first child is that of the command."""
    done = attempted(place(tmp_path, "1"), "-m", "no_such_module")
    assert 2 == done.returncode
    assert "no_such_module" in done.stderr and "Traceback" not in done.stderr


def test_usage_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence each, exit code 2, before anything is copied."""
    monkeypatch.chdir(tmp_path)
    for arguments in (["missing.py"], ["--steps", "0", "x.py"], ["--select", "GS999", "x.py"], ["."], []):
        assert 2 == main(["try", *arguments])
        assert capsys.readouterr().out == ""
    assert [] == list(tmp_path.iterdir())


CRASHES = """
import torch

torch.manual_seed(0)
weight = torch.ones(1, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
for step in range(30):
    optimizer.zero_grad()
    loss = (weight - 3).square().sum() + 1
    if loss < 1.5:
        raise ValueError("too good")
    loss.backward()
    optimizer.step()
"""


def test_what_came_of_it_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rate that makes it worse, one that is better, an optimizer that is not there, a run that dies of it."""
    lower = set_lr(0.0001)
    better = Advice("raise lr", "set-lr", {"optimizer": 0, "group": 0, "from": 0.01, "to": 0.012})
    none = Advice("clip", "clip-grad-norm", {"optimizer": 7, "max_norm": 1.0})
    higher = Advice("raise lr", "set-lr", {"optimizer": 0, "group": None, "from": 0.01, "to": 0.1})
    chosen = tuple(Treatment(finding("GS301", advice), (advice,)) for advice in (lower, better, none, higher))
    monkeypatch.setattr(attempt, "choose", lambda findings: chosen)
    script = CRASHES.replace("lr=0.1", "lr=0.01")
    folder = place(tmp_path, script)
    monkeypatch.chdir(folder)
    assert 0 == main(["try", "--json", "r.json", "train.py"])
    said = capsys.readouterr()
    trials = receipt(folder)["trials"]
    assert ["no-help", "helps", "failed", "failed"] == [trial["verdict"] for trial in trials]
    assert "The advice does not help: the loss is higher with it." in said.out
    assert "nothing that it could act on" in trials[2]["why"]
    assert "crashed" == trials[3]["status"]
    assert "exit code 1 after" in trials[3]["why"] and "ValueError: too good" in said.err


FOREVER = SICK.replace("range(40)", "range(10**9)")


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM: the child is ended without its finalizers, nothing is left behind."""
    folder, diary = place(tmp_path, FOREVER), tmp_path / "diary"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "gradscope", "try", "train.py", str(diary)]
    env = shell_environment(TMPDIR=str(temporary))
    with subprocess.Popen(
        command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # `&` has it ignored
    ) as process:  # fmt: skip
        start = time.monotonic()
        while not (diary.exists() and len(diary.read_text().splitlines()) == 3):
            assert process.poll() is None and time.monotonic() - start < TIMEOUT
            time.sleep(0.1)
        copy = diary_of(diary)[0]["cwd"]
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()
        assert code == process.wait(TIMEOUT)
    assert "stopped" in said and "Traceback" not in said
    assert [] == list(temporary.glob("gradscope-*"))
    assert 3 == len(diary_of(diary))
    assert not [p for p in Path("/proc").glob("[0-9]*/cwd") if os.path.islink(p) and _readlink(p).startswith(copy)]


def _readlink(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
