"""``gradscope run`` leaves a script's outcome alone, however it ends, and what was found by then is there.

Some of each kind run as processes that begin with nothing, the others as forks of one that has imported torch.
"""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import gradscope
from tests import forks
from tests.forks import cli
from tests.shell import (
    HEALTHY,
    SICK,
    TIMEOUT,
    Outcome,
    environment,
    plain,
    read_report,
    watched,
    watched_command,
    write,
)

FAILING_BACKWARD = """
class Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise ZeroDivisionError("inside backward")


def train():
    Failing.apply(model(torch.randn(8, 4))).sum().backward()


train()
"""
CHAINED = """
def again(twice):
    loss = model(torch.randn(8, 4)).sum()
    loss.backward()
    if twice:
        loss.backward()


def save():
    try:
        again(twice=True)
    except RuntimeError as error:
        raise KeyError("while saving") from error


try:
    save()
except KeyError:
    try:
        again(twice="no"[9])
    except IndexError:
        raise ValueError("only this one and what it was caused by") from OSError("told as the cause")
"""
GROUP = """
def failed():
    try:
        Failing.apply(model(torch.randn(8, 4))).sum().backward()
    except ZeroDivisionError as error:
        return error


raise ExceptionGroup("two of them", [failed(), ValueError("other")])
"""
HOOK = """
import sys


def hook(kind, error, traceback):
    frames = 0
    while traceback is not None:
        frames, traceback = frames + 1, traceback.tb_next
    print("custom hook:", kind.__name__, error, frames, file=sys.stderr)
    {then}


sys.excepthook = hook
raise ValueError("told to the hook")
"""
BORROWED_RUNPY = """
import runpy

open("other.py", "w").write("1 / 0")
runpy.run_path("other.py")
"""
AT_EXIT = """
import atexit
import pickle


class Settings:
    lr = 0.01


def save(settings):
    print("saved", pickle.loads(pickle.dumps(settings)).lr, type(pickle.loads(pickle.dumps(model))).__name__)


atexit.register(save, Settings())
"""

ENDINGS = {
    "normally": ("", "finished"),
    "exit-3": ("import sys; sys.exit(3)", "finished"),
    "exit-message": ("import sys; sys.exit('no more data')", "finished"),
    "exit-at-a-hook": ("import sys\nmodel.bias.register_hook(lambda grad: sys.exit(4))\nstep()", "finished"),
    "exception": ("def f(x):\n    return x / 0\n\n\nf(\n    1)", "crashed"),
    "exception-inside-backward": (FAILING_BACKWARD, "crashed"),
    "exceptions-chained": (CHAINED, "crashed"),
    "end-of-file-error": ("input()", "crashed"),
    "broken-pipe-error": ("raise BrokenPipeError(32, 'Broken pipe')", "crashed"),
    "error-of-click": ("import click\nraise click.UsageError('of the script itself')", "crashed"),
    "keyboard-interrupt": ("raise KeyboardInterrupt", "interrupted"),
    "excepthook": (HOOK.format(then=""), "crashed"),
    "excepthook-that-exits": (HOOK.format(then="sys.exit(5)"), "crashed"),
    "runpy-of-its-own": (BORROWED_RUNPY, "crashed"),
    "at-exit": (AT_EXIT, "finished"),
}
if sys.version_info >= (3, 11):
    ENDINGS["exception-group"] = (FAILING_BACKWARD.replace("\ntrain()\n", GROUP), "crashed")
BEGIN_WITH_NOTHING = ("exception", "at-exit", "package.module crash", "closed")


def both(kind: str, folder: Path, *arguments: str) -> tuple[Outcome, Outcome]:
    """Under plain python, and under ``gradscope run``."""
    if kind in BEGIN_WITH_NOTHING:
        return plain(folder, *arguments), watched(folder, *arguments)
    return forks.plain(folder, *arguments), forks.watched(folder, *arguments)


def one_report(outcome: Outcome) -> None:
    """The report stands on stderr once, and names what the sick script does wrong."""
    assert 1 == outcome.reports, outcome.stderr
    assert "GS101" == outcome.codes[0]


@pytest.mark.parametrize("ending", ENDINGS)
def test_ending(ending: str, tmp_path: Path) -> None:
    """However a script ends: same exit code, same stdout, its own stderr to the letter, and one report behind it."""
    tail, status = ENDINGS[ending]
    script = write(tmp_path, SICK + tail)

    expected, outcome = both(ending, tmp_path, script)

    assert expected.code == outcome.code, outcome.stderr
    assert expected.stdout == outcome.stdout
    assert expected.stderr in outcome.stderr
    assert outcome.stderr.count("Traceback") == expected.stderr.count("Traceback")
    assert "gradscope: error" not in outcome.stderr
    one_report(outcome)
    assert outcome.report is not None
    assert status == outcome.report["run"]["status"]
    assert 12 <= outcome.report["run"]["steps"] <= 13


def test_excepthook_that_raises(tmp_path: Path) -> None:
    """A script's excepthook that fails itself: the exit code stays, its error is told, and the report is made."""
    script = write(tmp_path, SICK + HOOK.format(then="raise OSError('the hook failed')"))
    expected, outcome = both("excepthook-that-fails", tmp_path, script)
    assert expected.code == outcome.code
    assert "the hook failed" in outcome.stderr
    one_report(outcome)


def test_syntax_error(tmp_path: Path) -> None:
    """A script that does not compile ends as under python: its own message, exit code 1, nothing of ours in it."""
    script = write(tmp_path, "import os\nfor\n")
    expected, outcome = plain(tmp_path, script), watched(tmp_path, script)
    assert expected.code == outcome.code == 1
    assert outcome.stderr.startswith(expected.stderr)


def test_ends_by_hard_exit(tmp_path: Path) -> None:
    """os._exit skips everything, our report too; the findings made by then are in the run folder."""
    script = write(tmp_path, SICK + "import os; os._exit(7)")
    outcome = forks.watched(tmp_path, script)
    assert 7 == outcome.code
    assert outcome.report is None
    assert "" == outcome.stderr
    later = cli(tmp_path, "report", "runs", "--json", "r.json")
    assert 0 == later.code
    assert "GS101" in later.stdout
    assert "has not ended" in later.stdout


# -- signals --------------------------------------------------------------------------------------------------------

FOREVER = SICK + """
import signal
import time

signal.signal(signal.SIGINT, signal.default_int_handler)
{before}
print("under way", flush=True)
for _ in range(3000):
    step()
    time.sleep(0.01)
"""


def interrupted(command: list[str], folder: Path, number: signal.Signals, wait: float = 0.2) -> Outcome:
    """Start a script that prints "under way"; a moment later send it a signal; wait for its end."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        printed = b""
        while b"under way" not in printed:
            line = process.stdout.readline()
            assert line, "the script ended before it was under way"
            printed += line
        time.sleep(wait)
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
        process.wait()
    return Outcome(process.returncode, (printed + out).decode(), err.decode(), read_report(folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_dies_by_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C or SIGTERM mid-run kills the process by that very signal, as plain python; the report is made first."""
    script = write(tmp_path, FOREVER.format(before=""))
    expected = interrupted([sys.executable, script], tmp_path, number)
    outcome = interrupted(watched_command(script), tmp_path, number)
    assert -number == expected.code
    assert expected.code == outcome.code, outcome.stderr
    assert expected.stdout == outcome.stdout
    one_report(outcome)
    assert outcome.report is not None
    assert "interrupted" == outcome.report["run"]["status"]
    assert 128 + number == outcome.report["run"]["exit_code"]
    if number is signal.SIGINT:
        assert outcome.stderr.count("KeyboardInterrupt") == 1
        assert "gradscope/" not in outcome.stderr.replace("gradscope report", "")


OWN_HANDLER = """
def stop(number, frame):
    print("saving a checkpoint")
    raise SystemExit(9)


assert signal.getsignal(signal.SIGTERM) is not None
signal.signal(signal.SIGTERM, stop)
"""


def test_handles_sigterm_itself(tmp_path: Path) -> None:
    """A script's own SIGTERM handler is the one that runs; its exit code and output stay."""
    script = write(tmp_path, FOREVER.format(before=OWN_HANDLER))
    outcome = interrupted(watched_command(script), tmp_path, signal.SIGTERM)
    assert 9 == outcome.code
    assert outcome.stdout.endswith("saving a checkpoint\n")
    one_report(outcome)
    assert outcome.report is not None
    assert "finished" == outcome.report["run"]["status"]


def test_killed(tmp_path: Path) -> None:
    """kill -9 after some seconds: findings and the rows up to the last chunk can be read."""
    script = write(tmp_path, FOREVER.format(before=""))
    outcome = interrupted(watched_command(script), tmp_path, signal.SIGKILL, wait=4.0)
    assert -signal.SIGKILL == outcome.code
    assert "" == outcome.stderr

    later = cli(tmp_path, "report", "runs", "--rediagnose", "--json", "r.json")
    assert 0 == later.code, later.stderr
    assert "GS101" in later.stdout  # found again from the rows in record.bin
    assert "has not ended" in later.stdout
    stored = cli(tmp_path, "report", "runs", "--json", "r.json")
    assert "GS101" in stored.stdout
    report = read_report(tmp_path)
    assert report is not None
    assert 12 < report["run"]["steps"]
    assert "running" == report["run"]["status"]


# -- the script's surroundings --------------------------------------------------------------------------------------

SURROUNDINGS = '''"""A docstring."""
from __future__ import annotations

import os
import sys

import __main__
import beside
from deeper import inner

print(sys.argv, __name__, __file__, __doc__, __package__, __spec__)
print(sys.path, os.getcwd())
print(sorted(globals()), type(__builtins__), type(__loader__).__name__)
print(__main__.__dict__ is globals(), sys.modules["__main__"] is __main__, beside.__file__, inner.VALUE)


class Thing:
    pass


print(Thing.__module__, Thing, annotations.compiler_flag != 0)
'''


def surroundings(folder: Path, name: str) -> str:
    """A script that prints all it can know of how it was started."""
    write(folder, "WHERE = __file__\n", str(Path(name).parent / "beside.py"))
    write(folder, "VALUE = 1\n", str(Path(name).parent / "deeper" / "inner.py"))
    return write(folder, SURROUNDINGS, name)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("train.py", ()),
        ("elsewhere/train.py", ("data", "--lr", "0.1")),
        ("./train.py", ("-q", "--json", "x.json", "--log-dir=y", "-m", "z", "--help", "--fail-on", "error")),
        ("größe und farbe/тренировка 1.py", ("--", "-q", "", "ä b", "--")),
    ],
)
def test_surroundings(name: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    """argv, names, paths, globals and imports beside the script are those of plain python; our options are the
    script's own, behind its name.
    """
    script = surroundings(tmp_path, name)
    expected = plain(tmp_path, script, *arguments)
    outcome = watched(tmp_path, script, *arguments)
    assert 0 == expected.code, expected.stderr
    assert expected.stdout == outcome.stdout
    assert 0 == outcome.code
    assert outcome.report is not None
    assert list(arguments) == outcome.report["run"]["argv"]
    assert not (tmp_path / "x.json").exists()


MODULE = SICK + """
import atexit
import pickle
import sys

from . import neighbour


class Settings:
    lr = 0.01


print(sys.argv, __name__, __file__, __package__, __spec__.name, sys.path[0], neighbour.VALUE)
atexit.register(lambda: print("saved", pickle.loads(pickle.dumps(Settings())).lr, sys.argv))
if "crash" in sys.argv:
    raise ValueError("asked for")
"""


@pytest.mark.parametrize(
    "module, arguments",
    [("package.module", ("-q", "--json", "a b")), ("package", ()), ("package.module", ("crash",))],
)
def test_module(module: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    """``run -m package.module`` is ``python -m package.module``: arguments, relative imports, pickling at exit, and
    the traceback, up to the frames of runpy that python itself shows.
    """
    for name in ("module", "__main__"):
        write(tmp_path, MODULE, f"package/{name}.py")
    write(tmp_path, "VALUE = 7\n", "package/neighbour.py")
    write(tmp_path, "", "package/__init__.py")
    expected, outcome = both(" ".join([module, *arguments]), tmp_path, "-m", module, *arguments)
    assert expected.stdout == outcome.stdout, outcome.stderr
    assert expected.code == outcome.code == int("crash" in arguments)
    own = re.sub(r'  File "<frozen runpy>".*\n', "", expected.stderr)
    assert own in outcome.stderr
    assert outcome.stderr.count("Traceback") == own.count("Traceback")
    one_report(outcome)


def test_module_that_is_not_there(tmp_path: Path) -> None:
    """``run -m`` of an unknown module: one sentence, a usage error, no traceback."""
    outcome = watched(tmp_path, "-m", "no_such_module")
    assert 2 == outcome.code
    assert "no_such_module" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_backward_of_a_generator() -> None:
    """torch.autograd.backward takes any iterable of losses; looking at a generator must not use it up."""
    weight = torch.ones(2, requires_grad=True)
    with gradscope.watch(optimizer=torch.optim.SGD([weight], lr=0.1)):
        torch.autograd.backward((weight[i] * 3 for i in range(2)))
    assert [3.0, 3.0] == weight.grad.tolist()


def test_threads_of_torch_are_the_scripts_choice(tmp_path: Path) -> None:
    """A script may set environment variables before its first ``import torch``; they count, as under python."""
    text = "import os\nos.environ['OMP_NUM_THREADS'] = '2'\nimport torch\nprint(torch.get_num_threads())"
    script = write(tmp_path, text)
    expected, outcome = plain(tmp_path, script), watched(tmp_path, script)
    assert expected.stdout == outcome.stdout


CHANGED_DIRECTORY = SICK + """
import os
import shutil
import tempfile

start = os.getcwd()
os.chdir("/")
shutil.rmtree(start)
exec("for _ in range(4): print(step())")
os.chdir(tempfile.mkdtemp())
os.rmdir(os.getcwd())
exec("for _ in range(4): print(step())")
exec("loss = model(torch.randn(8, 4)).sum(); loss.backward(); optimizer.step()")
print("done")
1 / 0
"""


def test_start_directory_is_deleted(tmp_path: Path) -> None:
    """A script that deletes the directory it started in (and then the one it went to) ends as under python, and its
    report is still printed.
    """
    outcomes = []
    for run in (forks.plain, forks.watched):
        folder = tmp_path / run.__name__ / "start"
        folder.mkdir(parents=True)
        outcomes.append(run(folder, write(folder, CHANGED_DIRECTORY)))
    expected, outcome = outcomes
    assert 1 == expected.code == outcome.code, outcome.stderr
    assert expected.stdout == outcome.stdout
    assert "ZeroDivisionError" in outcome.stderr
    assert 1 == outcome.reports
    assert "GS101" in outcome.stderr


def test_directory_is_changed(tmp_path: Path) -> None:
    """The report goes to the starting directory also where the script goes elsewhere; places are named from there."""
    write(tmp_path, SICK + "import os\nos.mkdir('out'); os.chdir('out'); print(step())", "src/train.py")
    outcome = forks.watched(tmp_path, "src/train.py")
    one_report(outcome)
    assert outcome.report is not None
    assert "src/train.py" == outcome.report["findings"][0]["where"]["file"]
    assert [] == list((tmp_path / "out").iterdir())


# -- streams --------------------------------------------------------------------------------------------------------

STREAMS = {
    "captured": "import io, sys\nsys.stdout, sys.stderr = io.StringIO(), io.StringIO()\nprint('lost')",
    "log-file": "import sys\nsys.stderr = open('log.txt', 'w')\nprint('logged', file=sys.stderr)",
    "no-isatty": (
        "import sys\nclass Tee:\n    def write(self, text): return sys.__stdout__.write(text)\n"
        "    def flush(self): sys.__stdout__.flush()\nsys.stdout = sys.stderr = Tee()\nprint('twice')"
    ),
    "none": "import sys\nsys.stdout = sys.stderr = None",
    "closed": "import sys\nsys.stderr.close()",
    "closed-other": "import io, sys\nsys.stderr = io.StringIO()\nsys.stderr.close()",
}


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_are_replaced(kind: str, tmp_path: Path) -> None:
    """Whatever a script puts in place of sys.stdout and sys.stderr: its outcome stays, its own streams get nothing of
    ours, and the report comes out on the stderr of the process, unless the script has closed that.
    """
    script = write(tmp_path, SICK + STREAMS[kind])
    expected, outcome = both(kind, tmp_path, script)
    assert expected.code == outcome.code, outcome.stderr
    assert expected.stdout == outcome.stdout
    assert "GS101" == outcome.codes[0]
    if kind == "log-file":
        assert "logged\n" == (tmp_path / "log.txt").read_text()
    if kind != "closed":
        one_report(outcome)


# -- processes ------------------------------------------------------------------------------------------------------

FORKS = HEALTHY + """
import os
import sys
import warnings

warnings.simplefilter("ignore")
sys.stdout.flush()


def child_that(act):
    pid = os.fork()
    if pid == 0:
        step()
        act()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


print([child_that(lambda: sys.exit(code)) for code in (0, 3)])
print(child_that(lambda: [model.sick for _ in "a"]))
optimizer.zero_grad = lambda: None
print([step() for _ in range(3)])
sys.stdout.flush()
print(child_that(sys.exit))
"""


def test_forks(tmp_path: Path) -> None:
    """Forked children end as under python (also with --fail-on, which is about the parent); one report is made."""
    script = write(tmp_path, FORKS)
    expected = forks.plain(tmp_path, script)
    outcome = forks.watched(tmp_path, script, options=("--fail-on", "error"))
    assert expected.stdout == outcome.stdout
    assert expected.stderr in outcome.stderr  # the traceback of the child that crashed
    assert 1 == outcome.code
    one_report(outcome)
    assert outcome.report is not None
    assert 15 == outcome.report["run"]["steps"]


THREAD = SICK.replace("for _ in range(12):\n    print(step())\n", "") + """
import threading
import time


def train():
    for _ in range(12):
        print(step())
        time.sleep(0.02)


threading.Thread(target=train).start()
"""


def test_training_in_a_thread_that_outlives_the_script(tmp_path: Path) -> None:
    """Python waits for a script's threads, so the report does too: the training in them is in it."""
    script = write(tmp_path, THREAD)
    expected, outcome = both("thread", tmp_path, script)
    assert expected.code == outcome.code
    assert expected.stdout == outcome.stdout
    one_report(outcome)


# -- gradscope inside gradscope -------------------------------------------------------------------------------------

WATCHES_ITSELF = SICK + """
import gradscope

outer = gradscope.watch()
with gradscope.watch(model, optimizer) as scope:
    print(gradscope.watch(model, optimizer) is scope, len(scope.record.optimizers[0].rows))
    print(step(), [finding.code for finding in scope.findings])
gradscope.unwatch()
gradscope.unwatch()
with gradscope.pause():
    print(step())
print(step())
"""


def test_script_watches_itself(tmp_path: Path) -> None:
    """watch() in a script under ``run`` is a view on the run's recording, whose end it does not bring."""
    outcome = forks.watched(tmp_path, write(tmp_path, WATCHES_ITSELF))
    assert 0 == outcome.code, outcome.stderr
    assert "True 12\n" in outcome.stdout
    assert "['GS101']" in outcome.stdout
    one_report(outcome)
    assert outcome.report is not None
    assert 14 == outcome.report["run"]["steps"]


# -- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, options, code, reports",
    [
        (SICK + "raise SystemExit(0)", ("--fail-on", "warning", "-q"), 1, 1),
        (SICK + "raise SystemExit(3)", ("--fail-on", "error"), 3, 1),
        (SICK, ("--fail-on", "error", "--ignore", "GS101", "-q"), 0, 0),
        (HEALTHY, ("-q", "--fail-on", "warning"), 0, 0),
        (HEALTHY, ("--fail-on", "info"), 0, 1),
        ("print(1)", ("-q", "--fail-on", "error"), 0, 0),
    ],
)
def test_fail_on_and_quiet(text: str, options: tuple[str, ...], code: int, reports: int, tmp_path: Path) -> None:
    """--fail-on gives 1 only for a script that ends with 0 and has something as bad; -q is silent where nothing was
    found, and never hides a finding.
    """
    run = watched if code == 3 else forks.watched
    outcome = run(tmp_path, write(tmp_path, text), options=options)
    assert code == outcome.code, outcome.stderr
    assert reports == outcome.reports
    if not reports:
        assert "" == outcome.stderr
