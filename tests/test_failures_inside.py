"""When gradscope itself fails, the training does not: same result, one sentence, nothing left behind, not silent."""

import errno
import importlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers

import gradscope
from gradscope import watching as scopes
from gradscope.diagnosis import FindingLog
from gradscope.hooks.clipping import BY_NORM, BY_VALUE, cell_of
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.evaluation import LossCalls
from gradscope.hooks.forward import ForwardTrace
from gradscope.hooks.sites import SiteFinder
from gradscope.probes.catalogue import make_probes
from gradscope.record.chunks import DATA, FINDINGS, INDEX, META, ChunkWriter
from gradscope.record.run_folder import RunFolder
from gradscope.recording.ledger import Ledger
from gradscope.recording.naming import Names
from gradscope.recording.recorder import Recorder
from gradscope.recording.rows import Rows
from gradscope.recording.stats import Norms
from gradscope.recording.track import Track
from gradscope.rules.catalogue import RULES
from gradscope.session import Session
from tests.forks import run, watched
from tests.records import NO_METRIC
from tests.shell import SICK, execute, read_report, watched_arguments, watched_command, write

STEPS = 20
PLANTED = "planted failure"


def train(steps: int = STEPS, sick: bool = False) -> list[float]:
    """A small training whose result shows any change of weights, gradients or random numbers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    for _ in range(steps):
        if not sick:
            optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
    tensors = [*model.parameters(), *(p.grad for p in model.parameters())]
    return [value for tensor in tensors for value in tensor.flatten().tolist()] + torch.rand(2).tolist()


def patched() -> list[Any]:
    """All that gradscope puts hooks and patches on, as it is now."""
    return [
        torch.autograd.backward,
        torch.optim.Optimizer.zero_grad,
        torch.optim.Optimizer.__init__,
        nn.Module.zero_grad,
        torch.optim.lr_scheduler._enable_get_lr_call,
        torch.amp.GradScaler.scale,
        torch.amp.GradScaler.step,
        cell_of(BY_NORM).cell_contents,
        cell_of(BY_VALUE).cell_contents,
        *map(dict, (optimizers._global_optimizer_pre_hooks, optimizers._global_optimizer_post_hooks)),
        *map(dict, (modules._global_forward_hooks, modules._global_forward_pre_hooks)),
    ]


@pytest.fixture
def untouched() -> Iterator[list[float]]:
    """The result of the training without gradscope; afterwards no hook may be left."""
    before, expected = patched(), train()
    yield expected
    gradscope.unwatch()
    after = patched()
    DISPATCHER.detach()  # a failure here must not spoil the tests that follow
    assert before == after


def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: Callable[[int], bool]) -> list[int]:
    """Make a method raise at those of its calls, counted from 1, for which `at` holds; returns the growing count."""
    original, calls = getattr(owner, name), [0]

    def replaced(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if at(calls[0]):
            raise ArithmeticError(PLANTED)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, replaced)
    return calls


# -- the recorder ---------------------------------------------------------------------------------------------------

RECORDING = [
    (Recorder, "begin"),
    (Recorder, "end"),
    (Recorder, "optimizer_created"),
    (Recorder, "scheduler_stepped"),
    (Rows, "finish"),
    (Recorder, "view"),
    (Track, "look"),
    (Track, "replay"),
    (Names, "name"),
    (Ledger, "zero_grad"),
    (Ledger, "backward"),
    (Ledger, "step"),
    (Norms, "of"),
    (Norms, "fill"),
    (Norms, "read"),
    (Session, "_row_finished"),
    (FindingLog, "update"),
    (ChunkWriter, "row"),
    (SiteFinder, "find"),
    (Rows, "close"),
]


@pytest.mark.parametrize("at", [1, 9, 0], ids=["first", "ninth", "always"])
@pytest.mark.parametrize("owner, name", RECORDING, ids=lambda part: getattr(part, "__name__", part))
def test_recorder_fails(
    owner: Any,
    name: str,
    at: int,
    untouched: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Whatever breaks in the recording, and when: the training's result is bit-identical, one sentence says so on
    stderr, and the report says so too.
    """
    calls = failing(monkeypatch, owner, name, lambda call: call == at or not at)
    with gradscope.watch(log_dir=tmp_path) as scope:
        result = train()
    report = scope.report()
    said = capsys.readouterr()

    assert untouched == result
    if calls[0] < max(1, at):
        pytest.skip("not called that often")
    assert "" == said.out
    assert 1 == said.err.count(PLANTED), said.err
    assert 1 == said.err.count("\n")
    assert PLANTED in " ".join(report.split())


def test_failure_is_said_once_for_good(
    untouched: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asking a broken recording again and again does not make it complain again."""
    failing(monkeypatch, Recorder, "view", lambda call: True)
    scope = gradscope.watch()
    train(2)
    for _ in range(3):
        scope.diagnose()
    scope.close()
    assert 1 == capsys.readouterr().err.count(PLANTED)


def test_failure_cannot_even_be_said(untouched: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that fails while stderr is closed: the training goes on all the same."""
    failing(monkeypatch, Recorder, "begin", lambda call: call == 5)
    broken = open(os.devnull, "w")
    broken.close()
    with gradscope.watch() as scope:
        with monkeypatch.context() as inner:
            inner.setattr(sys, "stderr", broken)
            result = train()
    assert untouched == result
    assert PLANTED in scope.report()


def test_after_a_failure_all_is_well_again(
    untouched: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failed recording does not spoil the next one of the same process."""
    with monkeypatch.context() as inner:
        failing(inner, Recorder, "begin", lambda call: call == 7)
        with gradscope.watch():
            train()
    with gradscope.watch() as scope:
        train(sick=True)
    assert ["GS101"] == [finding.code for finding in scope.findings]
    assert 1 == capsys.readouterr().err.count(PLANTED)


BREAKS_INSIDE = SICK.replace("import torch\n", """\
import torch
from gradscope.recording.recorder import Recorder
from gradscope.recording.rows import Rows

begin, calls = Recorder.begin, []


def fails(self, event):
    calls.append(event)
    if len(calls) == {at}:
        raise ArithmeticError("planted failure")
    return begin(self, event)


Recorder.begin = fails
""", 1)


@pytest.mark.parametrize("at, found", [(1, []), (9, ["GS101"])])
def test_recorder_fails_under_run(at: int, found: list[str], tmp_path: Path) -> None:
    """The same under ``gradscope run``: exit code and stdout stay, one sentence is said, what was found by then is
    told, and the JSON report does not look like that of a run that was watched to its end.
    """
    outcome = watched(tmp_path, write(tmp_path, BREAKS_INSIDE.replace("{at}", str(at))))
    assert 0 == outcome.code
    assert 12 == outcome.stdout.count("\n")
    before_the_report = outcome.stderr.split("error GS101")[0]
    assert 1 == before_the_report.count("the training goes on untouched"), outcome.stderr
    assert found == outcome.codes
    assert PLANTED in json.dumps(outcome.report)


# -- probes, rules, the forward trace -------------------------------------------------------------------------------

MOMENTS = [
    "before_backward", "after_backward", "before_step", "after_step", "zero_grad", "scheduler_stepped", "ended",
]  # fmt: skip
PROBES = [type(probe) for probe in make_probes()]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
def test_probe_fails(
    probe: Any, untouched: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A probe that raises is switched off alone: the training and the other findings stay, and the report names it."""
    for moment in MOMENTS:
        monkeypatch.setattr(probe, moment, lambda self, *args: 1 / 0)
    with gradscope.watch() as scope:
        result = train()
        train(sick=True)
    assert untouched == result
    assert "GS101" in [finding.code for finding in scope.findings]
    needing = {rule.code for rule in RULES if probe.__name__ in rule.needs}
    assert needing <= set(scope.diagnose().skipped)
    assert "ZeroDivisionError" in scope.report()
    assert "" == capsys.readouterr().out


def test_probe_fails_and_the_next_one_goes_on(untouched: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The probes after one that raises miss nothing: not even the very moment at which it raised."""
    seen = []
    first, second = PROBES[:2]
    monkeypatch.setattr(first, "before_step", lambda self, scene, track: 1 / 0)
    monkeypatch.setattr(second, "before_step", lambda self, scene, track: seen.append(scene.row))
    with gradscope.watch():
        train(3)
    assert [0, 1, 2] == seen


@pytest.mark.parametrize("name", ["_before", "_after"])
def test_forward_trace_fails(name: str, untouched: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The global forward hooks run inside the user's model: nothing they raise gets out, and the report tells that
    module calls were not seen.
    """
    failing(monkeypatch, ForwardTrace, name, lambda call: call == 3)
    with gradscope.watch() as scope:
        result = train()
    assert untouched == result
    assert PLANTED in scope.report()


def test_the_question_whether_to_look_fails() -> None:
    """What is asked before anything is looked at fails like all the rest: not into the model, nor into its loss."""
    failures: list[BaseException] = []
    watching: list[Any] = [
        ForwardTrace(lambda: 1 // 0 > 0, failures.append, lambda seconds: None, lambda: None),
        LossCalls(lambda: 1 // 0 > 0, lambda *told: None, failures.append, lambda seconds: None),
    ]
    for one in watching:
        one.start()
        try:
            assert 0.0 == nn.functional.mse_loss(nn.Identity()(torch.ones(2)), torch.ones(2)).item()
        finally:
            one.stop()
    assert [ZeroDivisionError] * 2 == [type(failure) for failure in failures]


@pytest.mark.parametrize("trainer, package", [("lightning", "lightning"), ("transformers", "transformers")])
def test_a_trainers_callback_fails(trainer: str, package: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its hooks are handed, nothing is raised into the training, and one sentence says so."""
    pytest.importorskip(package)
    callback = importlib.import_module(f"gradscope.integrations.{trainer}").GradscopeCallback()
    hooks = ("on_train_start", "on_train_batch_end") if trainer == "lightning" else ("on_train_begin", "on_step_end")
    for hook in hooks:
        given = [object()] * (4 if hook == "on_train_batch_end" else 2 if trainer == "lightning" else 3)
        getattr(callback, hook)(*given, **({"batch_idx": 0} if hook == "on_train_batch_end" else {}))
    said = capsys.readouterr().err
    assert 1 == said.count("gradscope: the callback failed: AttributeError") and 1 == said.count("\n")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rule_fails(
    rule: Any, untouched: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rule that raises is skipped, with the reason; the others are judged."""
    failing(monkeypatch, type(rule), "check", lambda call: True)
    with gradscope.watch() as scope:
        result = train()
        train(sick=True)
    assert untouched == result
    assert {rule.code} | NO_METRIC.keys() == set(scope.diagnose().skipped)
    assert PLANTED in scope.diagnose().skipped[rule.code]
    assert ("GS101" in [finding.code for finding in scope.findings]) == (rule.code != "GS101")
    assert f"{rule.code} was not checked" in scope.report()
    assert "" == capsys.readouterr().out


def test_rule_fails_later(untouched: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that raises only later: what it had found before stays found."""
    failing(monkeypatch, type(RULES[0]), "check", lambda call: call > 10)
    with gradscope.watch() as scope:
        train(sick=True)
    assert [("GS101", "error")] == [(finding.code, finding.severity) for finding in scope.findings]


# -- the disk -------------------------------------------------------------------------------------------------------


def test_writing_fails_at_the_end(
    untouched: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of our own while the rest is written: it is said, and what was found is there."""
    failing(monkeypatch, RunFolder, "flush", lambda call: True)
    with gradscope.watch(log_dir=tmp_path / "runs") as scope:
        result = train()
        train(sick=True)
    assert untouched == result
    assert "GS101" in [finding.code for finding in scope.findings]
    assert 1 == capsys.readouterr().err.count(PLANTED)


@pytest.mark.parametrize("method", ["_lines", "_chunk"])
def test_disk_is_full(
    method: str,
    untouched: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """No space left: the record goes on in memory, said once; findings are complete."""
    original = getattr(ChunkWriter, method)
    calls = []

    def full(self: ChunkWriter, *args: Any) -> None:
        calls.append(args)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, *args)

    monkeypatch.setattr(ChunkWriter, method, full)
    monkeypatch.setattr(ChunkWriter, "due", lambda self: True)
    with gradscope.watch(log_dir=tmp_path) as scope:
        result = train()
        train(sick=True)
    said = capsys.readouterr().err
    assert untouched == result
    assert 1 == said.count("\n")
    assert "No space left on device" in said and "in memory" in said
    assert ["GS101"] == [finding.code for finding in scope.findings]
    assert 2 * STEPS == scope.record.meta.rows


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("name", [INDEX, FINDINGS, DATA, META + ".part"])
def test_disk_is_really_full(
    name: str,
    untouched: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The same with a file on a device that is full from the start."""
    (tmp_path / name).symlink_to("/dev/full")
    monkeypatch.setattr(scopes, "new_run_folder", lambda directory, stem: tmp_path)
    with gradscope.watch(log_dir=tmp_path) as scope:
        result = train()
        train(sick=True)
    said = capsys.readouterr().err
    assert untouched == result
    assert 1 == said.count("\n"), said
    assert "No space left on device" in said
    assert ["GS101"] == [finding.code for finding in scope.findings]


FILLS_UP = """
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for _ in range(200):
    step()
"""


def test_files_may_not_grow_under_run(tmp_path: Path) -> None:
    """``gradscope run`` where files stop growing mid-run (a quota): the script ends as it would, the report is
    printed, one sentence says that the folder could not be written.
    """
    (tmp_path / "r.json").symlink_to("/dev/full")
    script = write(tmp_path, SICK + FILLS_UP)
    outcome = execute(watched_command(script), tmp_path)
    assert 0 == outcome.code
    assert 12 == outcome.stdout.count("\n")
    assert "error GS101" in outcome.stderr
    assert 1 == outcome.stderr.count("the run folder cannot be written")
    assert 1 == outcome.stderr.count("r.json cannot be written (No space left on device)")
    assert "Traceback" not in outcome.stderr


def _no_folder(tmp_path: Path, kind: str) -> Path:
    if kind == "a file":
        (tmp_path / "logs").write_text("")
    elif kind == "below a file":
        (tmp_path / "file").write_text("")
        return tmp_path / "file" / "logs"
    elif kind == "/proc":
        return Path("/proc/logs")
    else:
        (tmp_path / "logs").mkdir(mode=0o500)
        if os.access(tmp_path / "logs", os.W_OK):
            pytest.skip("this user may write everywhere")
    return tmp_path / "logs"


@pytest.mark.parametrize("kind", ["a file", "below a file", "/proc", "read-only"])
def test_log_dir_cannot_be_written(
    kind: str, untouched: list[float], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A log_dir where nothing can be made: kept in memory, said once."""
    if kind == "/proc" and not Path("/proc").is_dir():
        pytest.skip("no /proc")
    with gradscope.watch(log_dir=_no_folder(tmp_path, kind)) as scope:
        result = train()
    said = capsys.readouterr().err
    assert untouched == result
    assert 1 == said.count("\n")
    assert "cannot be written" in said and "in memory" in said
    assert STEPS == scope.record.meta.rows


def test_log_dir_is_a_link_to_nowhere(tmp_path: Path) -> None:
    """`runs` is often a link to a scratch disk; where that is not mounted, the script must still start."""
    (tmp_path / "runs").symlink_to(tmp_path / "not" / "mounted")
    script = write(tmp_path, "import torch; print('started')")
    done = watched(tmp_path, script)
    assert "started\n" == done.stdout
    assert 1 == done.stderr.count("cannot be written")


def test_forked_child_leaves_the_record_alone(tmp_path: Path) -> None:
    """A forked child that closes the scope it has inherited writes nothing into its parent's run folder."""
    scope = gradscope.watch(log_dir=tmp_path)
    train(3, sick=True)
    [folder] = tmp_path.iterdir()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has threads, as it would have in the user's process
        child = os.fork()
    if child == 0:
        try:
            scope.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    scope.close()
    assert "finished" == json.loads((folder / META).read_text())["status"]


def test_json_goes_nowhere(tmp_path: Path) -> None:
    """--json into a folder that is not there: one sentence, and the script's own exit code."""
    script = write(tmp_path, SICK + "raise SystemExit(3)")
    outcome = run(watched_arguments(script, options=("--json", "no/such/folder/r.json")), tmp_path)
    assert 3 == outcome.code
    assert 1 == outcome.stderr.count("r.json cannot be written (No such file or directory)")
    assert "error GS101" in outcome.stderr
    assert read_report(tmp_path) is None
