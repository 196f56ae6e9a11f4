"""Bad input, each with one clear sentence and the right exit code; and the ways to say what not to report."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradscope
from gradscope.cli import commands, main
from gradscope.errors import UsageError
from gradscope.rules.catalogue import RULES
from tests import shell
from tests.forks import watched
from tests.shell import SICK, write

Capture = pytest.CaptureFixture[str]


def parts(**arguments: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model and its optimizer."""
    model = nn.Linear(4, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.01, **arguments)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 6, factor: float = 1.0) -> None:
    """Steps without zero_grad: GS101."""
    for _ in range(steps):
        loss = model(factor * torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()


def codes(scope: gradscope.Scope) -> list[str]:
    return [finding.code for finding in scope.findings]


def refused(capsys: Capture, code: int, *arguments: str, says: str) -> None:
    """The command ends with `code` and a sentence on stderr that says this; no output, no traceback."""
    assert code == main(list(arguments))
    said = capsys.readouterr()
    assert "" == said.out
    assert says in said.err
    assert said.err.startswith(("gradscope: error: ", "Usage: "))
    if not said.err.startswith("Usage: "):
        assert 1 == said.err.count("\n"), said.err


# -- scripts --------------------------------------------------------------------------------------------------------


def test_script_is_missing(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that is not there, or is a directory, is a usage error; no run folder is made for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    refused(capsys, 2, "run", "missing.py", says="there is no script missing.py")
    refused(capsys, 2, "run", "folder", says="folder is a directory, not a script")
    refused(capsys, 2, "run", "", says="script")
    assert not (tmp_path / "runs").exists()


def test_errors_of_a_real_process(tmp_path: Path) -> None:
    """What the shell sees of an error: the exit code, one sentence on stderr, nothing on stdout, no traceback."""
    outcome = shell.cli(tmp_path, "run", "missing.py")
    assert (2, "", "gradscope: error: there is no script missing.py\n") == (
        outcome.code,
        outcome.stdout,
        outcome.stderr,
    )


def test_script_does_not_train(tmp_path: Path) -> None:
    """A script without a training loop is told so, and keeps its exit code 0."""
    outcome = watched(tmp_path, write(tmp_path, "print('hello')"))
    assert (0, "hello\n") == (outcome.code, outcome.stdout)
    assert "gradscope: no optimizer step was seen: nothing to diagnose.\n" == outcome.stderr
    assert [] == outcome.codes


def test_misuse_of_watch_in_a_watched_script(tmp_path: Path) -> None:
    """A script that dies of its own wrong call of watch() dies under ``run`` with python's exit code, told once."""
    outcome = watched(tmp_path, write(tmp_path, SICK + "import gradscope\ngradscope.watch(model)"))
    assert 1 == outcome.code
    assert 1 == outcome.stderr.count("watch(model) needs the optimizer too")
    assert ["GS101"] == outcome.codes


# -- run folders ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a finding, facts, sites and rows in it."""
    folder = tmp_path_factory.mktemp("recorded")
    with gradscope.watch(log_dir=folder):
        train(*parts(), steps=20)
    [run] = folder.iterdir()
    return run


@pytest.fixture
def run_folder(recorded: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(recorded, tmp_path / "run"))


def test_run_folder_is_none(capsys: Capture, tmp_path: Path) -> None:
    """Missing, empty and foreign folders, and files: exit code 1."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "events.out.tfevents").write_bytes(b"\0\1")
    (tmp_path / "file").write_text("text")
    refused(capsys, 1, "report", str(tmp_path / "missing"), says="there is no run folder at")
    refused(capsys, 1, "report", str(tmp_path / "file" / "inside"), says="there is no run folder at")
    for name in ("empty", "foreign", "file"):
        refused(capsys, 1, "report", str(tmp_path / name), says="holds no gradscope record")


@pytest.mark.parametrize(
    "meta",
    [
        "",
        "not json",
        "[]",
        "{}",
        "null",
        '{"schema": "1", "argv": []}',
        '{"schema": 1, "argv": 5}',
        '{"name": "foreign", "version": 3}',
        '{"schema": 1, "argv": [], "rows": "many", "status": 5, "notes": 3, "optimizers": {}}',
        '{"schema": 1, "argv": [], "overhead": "little", "rows": 3}',
        '{"schema": 1, "argv": [], "notes": null}',
        "[" * 100_000,
    ],
)
def test_meta_is_damaged(meta: str, capsys: Capture, run_folder: Path) -> None:
    """A meta.json that is not ours, or not any more: exit code 1 and a sentence that names the file."""
    (run_folder / "meta.json").write_text(meta)
    refused(capsys, 1, "report", str(run_folder), says="meta.json")


def test_meta_is_newer(capsys: Capture, run_folder: Path) -> None:
    """A record of a later format is named as such."""
    meta = json.loads((run_folder / "meta.json").read_text())
    (run_folder / "meta.json").write_text(json.dumps({**meta, "schema": 99}))
    refused(capsys, 1, "report", str(run_folder), says="was written by a newer gradscope (schema 99)")


def test_torn_files_stay_readable(capsys: Capture, run_folder: Path) -> None:
    """A last line half written, and data cut off, as kill -9 or a full disk leave them: the rest is read."""
    for name in ("findings.jsonl", "index.jsonl"):
        with open(run_folder / name, "a") as file:
            file.write('{"id": "GS101/0/0/train.py:1", "co')
    data = (run_folder / "record.bin").read_bytes()
    (run_folder / "record.bin").write_bytes(data[: len(data) // 2])
    assert 0 == main(["report", str(run_folder)])
    assert "error GS101" in capsys.readouterr().out
    assert 0 == main(["report", "--rediagnose", str(run_folder)])
    assert "damaged" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["record.bin", "index.jsonl", "findings.jsonl"])
def test_files_are_missing_or_garbage(name: str, capsys: Capture, run_folder: Path) -> None:
    """Any other file missing, empty or overwritten: still no traceback."""
    (run_folder / name).write_bytes(bytes(range(256)) * 8)
    for rediagnose in ([], ["--rediagnose"]):
        assert main(["report", str(run_folder), *rediagnose]) in (0, 1)
    (run_folder / name).write_bytes(b"")
    for rediagnose in ([], ["--rediagnose"]):
        assert main(["report", str(run_folder), *rediagnose]) in (0, 1)
    (run_folder / name).unlink()
    for rediagnose in ([], ["--rediagnose"]):
        assert main(["report", str(run_folder), *rediagnose]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


def _damaged(value: Any, dice: random.Random) -> Any:
    """A JSON value with one thing in it changed."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(sorted(value))
        return {**value, key: _damaged(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.8:
        at = dice.randrange(len(value))
        return [*value[:at], _damaged(value[at], dice), *value[at + 1 :]]
    return dice.choice([None, -1, 0, 3, 10**9, 1.5, "", "x", [], [[]], {}, [1, 2], {"a": 1}, True, "{0.__class__}"])


@pytest.mark.parametrize("name", ["index.jsonl", "findings.jsonl", "meta.json"])
def test_any_damage(name: str, capsys: Capture, run_folder: Path) -> None:
    """Wrong values anywhere in the JSON: a report or one sentence, never an exception."""
    dice = random.Random(0)
    whole = (run_folder / name).read_text()
    lines = [json.loads(whole)] if name == "meta.json" else [json.loads(line) for line in whole.splitlines()]
    for _ in range(150):
        at = dice.randrange(len(lines))
        changed = [*lines[:at], _damaged(lines[at], dice), *lines[at + 1 :]]
        text = "".join(json.dumps(line) + "\n" for line in changed)
        (run_folder / name).write_text(text)
        for rediagnose in ([], ["--rediagnose"]):
            try:
                code = main(["report", str(run_folder), "--json", str(run_folder / "r.json"), *rediagnose])
            except Exception as error:
                pytest.fail(f"{type(error).__name__}: {error}, with {name}: {changed[at]}")
            assert code in (0, 1)
    capsys.readouterr()


def test_any_cut(capsys: Capture, run_folder: Path) -> None:
    """Each file cut at any place, or with a byte changed: a report or one sentence, never an exception."""
    dice = random.Random(0)
    for name in ("meta.json", "index.jsonl", "findings.jsonl", "record.bin"):
        whole = (run_folder / name).read_bytes()
        for _ in range(40):
            at = dice.randrange(len(whole))
            damaged = whole[:at] if dice.random() < 0.5 else whole[:at] + dice.randbytes(1) + whole[at + 1 :]
            (run_folder / name).write_bytes(damaged)
            for rediagnose in ([], ["--rediagnose"]):
                try:
                    code = main(["report", str(run_folder), *rediagnose])
                except Exception as error:
                    pytest.fail(f"{type(error).__name__}: {error}, with {name} {damaged[max(0, at - 80) : at + 80]!r}")
                assert code in (0, 1)
        (run_folder / name).write_bytes(whole)
    capsys.readouterr()


# -- codes, options, settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word, says",
    [
        ("GS999", "there is no rule 'GS999'; did you mean GS90"),
        ("GS11O", "did you mean GS110"),
        ("mising-zero-grad", "did you mean GS101 missing-zero-grad?"),
        ("zero_grad", "did you mean GS101 missing-zero-grad?"),
        ("", "there is no rule ''"),
        ("@#!", "there is no rule '@#!'; see `gradscope rules`"),
    ],
)
def test_unknown_code(word: str, says: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown code or name is refused with the nearest one: by explain, --select, --ignore, watch() and settings."""
    monkeypatch.chdir(tmp_path)
    script = write(tmp_path, "print(1)")
    refused(capsys, 2, "explain", word, says=says)
    if word:
        refused(capsys, 2, "run", "--select", word, script, says=says)
        refused(capsys, 2, "run", f"--ignore=GS101,{word}", script, says=says)
        with pytest.raises(UsageError, match="there is no rule"):
            gradscope.watch(ignore=[word])
        with pytest.raises(UsageError, match="there is no rule"):
            gradscope.watch(select_codes=word)
        write(tmp_path, f"[tool.gradscope]\nignore = ['{word}']", "pyproject.toml")
        refused(capsys, 2, "run", script, says=says)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "file, text, says",
    [
        ("setup.cfg", "ignore = GS101", "setup.cfg cannot be read: "),
        ("setup.cfg", "[tool:gradscope]\nignore = GS101\nignore = GS102", "setup.cfg cannot be read: "),
        ("setup.cfg", "[tool:gradscope]\nignores = GS101", "unknown gradscope setting 'ignores'"),
        ("pyproject.toml", "[tool.gradscope\n", "pyproject.toml cannot be read: "),
        ("pyproject.toml", "[tool]\ngradscope = 1", "tool.gradscope must be a table"),
        ("pyproject.toml", "[tool.gradscope]\nlevel = 3", "unknown gradscope setting 'level'"),
    ],
)
def test_settings_are_damaged(
    file: str, text: str, says: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A settings file that cannot be read stops the command before the script runs, with the file's name."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, text, file)
    refused(capsys, 2, "run", write(tmp_path, "print(1)"), says=says)
    with pytest.raises(UsageError):
        gradscope.watch()
    assert not (tmp_path / "runs").exists()


def test_settings_are_bytes(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings files that are not text are refused the same way."""
    monkeypatch.chdir(tmp_path)
    script = write(tmp_path, "print(1)")
    (tmp_path / "setup.cfg").write_bytes(b"\xff\xfe[tool")
    refused(capsys, 2, "run", script, says="setup.cfg cannot be read: ")
    (tmp_path / "setup.cfg").unlink()
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe[tool")
    refused(capsys, 2, "run", script, says="pyproject.toml cannot be read: ")


def test_settings_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tools keep in the same files does not disturb: defaults, other sections, percent signs."""
    monkeypatch.chdir(tmp_path)
    others = "[DEFAULT]\nowner = me\n[tool:pytest]\naddopts = -q %d\n"
    write(tmp_path, others + "[tool:gradscope]\nignore = GS101\n", "setup.cfg")
    write(tmp_path, "[tool.black]\nline-length = 120\n", "pyproject.toml")
    with gradscope.watch() as scope:
        train(*parts())
    assert [] == codes(scope)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["run", "--no-such-option", "x.py"], "No such option"),
        (["run", "--fail-on", "catastrophe", "x.py"], "catastrophe"),
        (["run", "--every", "0", "x.py"], "--every"),
        (["run"], "Missing argument"),
        (["run", "--log-dir"], "--log-dir"),
        (["report"], "Missing argument"),
        (["report", "x", "y"], "unexpected extra argument"),
        (["explain"], "Missing argument"),
        (["explian", "GS101"], "explian"),
    ],
)
def test_usage_is_wrong(arguments: list[str], says: str, capsys: Capture) -> None:
    """Wrong options and arguments: exit code 2, and what is wrong with them."""
    assert 2 == main(arguments)
    said = capsys.readouterr()
    assert "" == said.out
    assert says in said.err


@pytest.mark.parametrize("command", ["", "run", "report", "explain", "rules"])
def test_help(command: str, capsys: Capture) -> None:
    """Each command explains itself, on stdout, with exit code 0."""
    for option in ("--help", "-h"):
        assert 0 == main([*command.split(), option])
        said = capsys.readouterr()
        assert said.out.startswith(f"Usage: gradscope {command}".rstrip())
        assert "" == said.err


def test_help_without_a_command(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but `gradscope`: all of the help, line by line, each command with a whole sentence."""
    monkeypatch.setattr("sys.argv", ["gradscope"])
    assert 2 == main()
    lines = capsys.readouterr().err.splitlines()
    listed = lines[lines.index("Commands:") + 1 :]
    assert list(commands.commands) == [line.split()[0] for line in listed]
    assert all(line.endswith(".") and not line.endswith("..") for line in listed)


def test_rules_are_listed(capsys: Capture) -> None:
    """One line for each rule: code, severity, name, what it finds."""
    assert 0 == main(["rules"])
    lines = capsys.readouterr().out.splitlines()
    assert [rule.code for rule in RULES] == [line.split()[0] for line in lines]
    assert all(rule.name in line and rule.severity in line for rule, line in zip(RULES, lines))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_explain(rule: Any, capsys: Capture) -> None:
    """A rule's page is shown by code and by name, in any case."""
    pages = []
    for word in (rule.code, rule.code.lower(), rule.name, f" {rule.name.upper()} "):
        assert 0 == main(["explain", word])
        pages.append(capsys.readouterr().out)
    assert pages[0].startswith(f"{rule.code} {rule.name} ({rule.severity})")
    assert "What to do" in pages[0]
    assert 1 == len(set(pages))


# -- watch ----------------------------------------------------------------------------------------------------------


class Duck:
    """Looks like an optimizer, is none."""

    param_groups = [{"params": [torch.zeros(1)]}]

    def step(self) -> None:
        pass


def without_parameters() -> torch.optim.Optimizer:
    """An optimizer whose only group is empty."""
    optimizer = parts()[1]
    optimizer.param_groups[0]["params"] = []
    return optimizer


WRONG = {
    "no optimizer": (lambda: gradscope.watch(nn.Linear(1, 1)), r"needs the optimizer too: watch\(model, optimizer\)"),
    "no module": (lambda: gradscope.watch("model", parts()[1]), "model must be a torch.nn.Module, not str"),
    "a class": (lambda: gradscope.watch(nn.Linear, parts()[1]), "model must be a torch.nn.Module, not type"),
    "swapped": (lambda: gradscope.watch(*reversed(parts())), "model must be a torch.nn.Module, not SGD"),
    "not torch's": (lambda: gradscope.watch(nn.Linear(1, 1), Duck()), "must be a torch.optim.Optimizer, not Duck"),
    "a class of them": (lambda: gradscope.watch(parts()[0], torch.optim.SGD), "must be a torch.optim.Optimizer"),
    "one of them": (lambda: gradscope.watch(parts()[0], [parts()[1], 3]), "must be a torch.optim.Optimizer, not int"),
    "empty": (lambda: gradscope.watch(parts()[0], without_parameters()), "the SGD holds no parameters"),
    "none of them": (lambda: gradscope.watch(parts()[0], []), "optimizer"),
    "every 0": (lambda: gradscope.watch(every=0), "every must be a whole number of steps, 1 or more, not 0"),
    "every -1": (lambda: gradscope.watch(every=-1), "every must be a whole number"),
    "every 2.5": (lambda: gradscope.watch(every=2.5), "every must be a whole number"),
}


@pytest.mark.parametrize("open_before", [False, True], ids=["first", "inside another"])
@pytest.mark.parametrize("wrong", WRONG)
def test_watch_is_called_wrongly(wrong: str, open_before: bool) -> None:
    """Each wrong call is a ValueError with a sentence that says what is missing, inside another scope too; nothing is
    left open by it.
    """
    call, says = WRONG[wrong]
    if open_before:
        gradscope.watch()
    with pytest.raises(ValueError, match=says):
        call()
    gradscope.unwatch()
    assert "gradscope" not in torch.autograd.backward.__code__.co_filename


def test_watch_takes_any_iterable_of_optimizers() -> None:
    """Optimizers come in lists, tuples, dict views and generators."""
    model, optimizer = parts()
    for given in ([optimizer], (optimizer,), {"a": optimizer}.values(), (o for o in [optimizer])):
        with gradscope.watch(model, given) as scope:
            train(model, optimizer, 3)
        assert ["GS101"] == codes(scope)
        optimizer.zero_grad()


def test_watch_twice() -> None:
    """The same arguments give the same scope, until it is closed; a notebook's cell can be run twice."""
    model, optimizer = parts()
    scope = gradscope.watch(model, optimizer)
    assert gradscope.watch(model, optimizer) is scope
    assert gradscope.watch(model, [optimizer]) is scope
    assert gradscope.watch() is not scope
    assert gradscope.watch() is gradscope.watch()
    gradscope.unwatch()
    assert gradscope.watch(model, optimizer) is not scope


def test_close_twice() -> None:
    """close and unwatch can be called at any time, any number of times; what was found stays."""
    gradscope.unwatch()
    model, optimizer = parts()
    scope = gradscope.watch(model, optimizer)
    train(model, optimizer)
    for _ in range(3):
        scope.close()
        gradscope.unwatch()
    assert ["GS101"] == codes(scope)
    assert 6 == scope.record.meta.rows
    train(model, optimizer)
    assert 6 == scope.record.meta.rows
    assert "closed" in repr(scope)
    with scope:
        pass


def test_watch_inside_watch() -> None:
    """An inner scope is a view on the outer recording: it sees its optimizer's findings only, and ends nothing."""
    model, optimizer = parts()
    other, other_optimizer = parts()
    with gradscope.watch() as outer:
        with gradscope.watch(other, other_optimizer) as inner:
            train(model, optimizer)
            assert [] == codes(inner)
        train(other, other_optimizer)
    assert ["GS101", "GS101"] == codes(outer)
    assert ["GS101"] == codes(inner)
    assert 12 == outer.record.meta.rows


def test_same_watch_inside_itself() -> None:
    """A function that watches, called where the same is watched already: the inner end is not the outer one."""
    model, optimizer = parts()
    with gradscope.watch(model, optimizer) as outer:
        with gradscope.watch(model, optimizer):
            train(model, optimizer, 3)
        train(model, optimizer, 3)
    assert 6 == outer.record.meta.rows


def test_pause() -> None:
    """Nothing inside a pause is seen, and nothing is concluded from it; pauses nest, and survive an exception."""
    model, optimizer = parts()
    with gradscope.watch(model, optimizer) as scope:
        with gradscope.pause(), gradscope.pause():
            train(model, optimizer, 3)
        with pytest.raises(ZeroDivisionError), gradscope.pause():
            1 / 0
        for _ in range(3):
            with gradscope.pause():
                train(model, optimizer, 1)
            optimizer.zero_grad()
            train(model, optimizer, 1)
        assert 3 == len(scope.record.optimizers[0].rows)
    assert [] == codes(scope)


def test_pause_around_the_beginning() -> None:
    """A scope opened in a pause sees what comes after it; a pause without a scope does nothing."""
    model, optimizer = parts()
    with gradscope.pause():
        scope = gradscope.watch(model, optimizer)
        train(model, optimizer, 2)
    train(model, optimizer, 4)
    scope.close()
    assert 4 == scope.record.meta.rows
    assert ["GS101"] == codes(scope)


def test_no_step_at_all() -> None:
    """A scope that saw nothing says that it saw nothing."""
    model, optimizer = parts()
    with gradscope.watch(model, optimizer) as scope:
        pass
    assert [] == codes(scope)
    assert () == scope.record.optimizers
    assert "gradscope: no optimizer step was seen: nothing to diagnose.\n" == scope.report()


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e30])
def test_nothing_but_nan(factor: float, tmp_path: Path, capsys: Capture) -> None:
    """NaN in every loss, gradient and weight breaks nothing: the wiring is still judged, the JSON is still JSON."""
    model, optimizer = parts()
    with gradscope.watch(model, optimizer, log_dir=tmp_path) as scope:
        train(model, optimizer, 40, factor)
    of_the_batch = ["GS605"] if factor != 1e30 else []  # in its targets
    assert ["GS101", "GS201", *of_the_batch] == sorted(codes(scope))
    assert scope.report()
    for rediagnose in ([], ["--rediagnose"]):
        assert 0 == main(["report", str(tmp_path), "--json", str(tmp_path / "r.json"), *rediagnose])
        text = (tmp_path / "r.json").read_text()
        findings = json.loads(text, parse_constant=pytest.fail)["findings"]
        assert ["GS101", "GS201", *of_the_batch] == sorted(finding["code"] for finding in findings)
    assert "" == capsys.readouterr().err


# -- suppression ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "comment, suppressed",
    [
        ("gradscope: ignore[GS101]", True),
        ("gradscope: ignore[gs101, GS102]", True),
        ("gradscope: ignore[missing-zero-grad]", True),
        ("wanted here  # gradscope:ignore", True),
        ("gradscope: ignore[GS102]", False),
        ("gradscope: ignore[]", False),
        ("gradscope is fine", False),
    ],
)
def test_suppressed_by_a_comment(comment: str, suppressed: bool, tmp_path: Path) -> None:
    """`# gradscope: ignore[...]` on the cited line drops the finding, and the report says that something was dropped;
    other codes do not.
    """
    script = tmp_path / "train.py"
    script.write_text(SICK.replace(".backward()", f".backward()  # {comment}"))
    with gradscope.watch() as scope:
        exec(compile(script.read_text(), script, "exec"), {})
    assert ([] if suppressed else ["GS101"]) == codes(scope)
    assert suppressed == ("1 finding suppressed in the source" in scope.report())


@pytest.mark.parametrize(
    "file, text",
    [
        ("setup.cfg", "[tool:gradscope]\nignore = GS101"),
        ("setup.cfg", "[tool:gradscope]\nignore =\n    GS102\n    missing-zero-grad\n"),
        ("setup.cfg", "[tool:gradscope]\nselect = GS102, GS103"),
        ("pyproject.toml", "[tool.gradscope]\nignore = ['GS1']"),
        ("pyproject.toml", "[tool.gradscope]\nselect = 'GS105'"),
    ],
)
def test_suppressed_by_settings(file: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the working directory hold for watch(), too; what it selects itself replaces their selection."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, text, file)
    with gradscope.watch() as scope:
        train(*parts())
    assert [] == codes(scope)
    if "select" in text:
        with gradscope.watch(select_codes="GS101") as scope:
            train(*parts())
        assert ["GS101"] == codes(scope)


@pytest.mark.parametrize("ignore", ["GS101", ["GS101"], "GS102, gs101", ("missing-zero-grad",), "GS1"])
def test_suppressed_by_watch(ignore: Any) -> None:
    """watch(ignore=...) takes a code, several in one string, a list, names, and the start of a code."""
    with gradscope.watch(ignore=ignore) as scope:
        train(*parts())
    assert [] == codes(scope)


def test_suppressed_by_an_inner_watch() -> None:
    """An inner scope's ignore holds for what it shows; the outer recording keeps its own."""
    model, optimizer = parts()
    with gradscope.watch() as outer, gradscope.watch(model, optimizer, ignore="GS101") as inner:
        train(model, optimizer)
    assert ["GS101"] == codes(outer)
    assert [] == codes(inner)


def test_suppressed_under_run(tmp_path: Path) -> None:
    """Under ``run`` settings and --ignore add up; a comment in the script holds too."""
    write(tmp_path, "[tool:gradscope]\nignore = GS102\n", "setup.cfg")
    script = write(tmp_path, SICK)
    assert [] == watched(tmp_path, script, options=("--ignore", "GS101")).codes
    script = write(tmp_path, SICK.replace(".backward()", ".backward()  # gradscope: ignore[GS101]"))
    outcome = watched(tmp_path, script, options=("--fail-on", "error"))
    assert 0 == outcome.code
    assert [] == outcome.codes
    assert "suppressed in the source" in outcome.stderr
