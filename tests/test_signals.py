"""SIGTERM: the report first, then the end that the process would have had anyway; also where nobody listens."""
from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.shell import TIMEOUT, environment

START = """
import ctypes, os, sys, time
from pathlib import Path
from gradscope import signals

signals.PATIENCE = 0.2
finished, unheard = Path("finished"), Path("unheard")


def finish():
    finished.write_text("")
    time.sleep(float(sys.argv[1]))
    finished.write_text("whole")


"""
HEARD = """
with signals.Termination(finish, lambda: unheard.write_text("whole")):
    print("ready", flush=True)
    time.sleep(60)
"""
REPORTING = """
with signals.Termination(finish) as termination:
    with termination.finishing():
        print("ready", flush=True)
        finish()
time.sleep(60)
"""
STUCK = """
mutex = ctypes.create_string_buffer(128)  # zeroes are an unlocked one
with signals.Termination(finish, lambda: unheard.write_text("whole")):
    if os.fork() == 0:
        os.execlp("sleep", "sleep", "0.1")
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    print("ready", flush=True)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)  # never returns, whatever the signal
"""
FORKED = """
import signal

with signals.Termination(finish, lambda: unheard.write_text("whole")):
    child = os.fork()
    if child == 0:
        time.sleep(60)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    time.sleep(0.6)
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
CASES = {"heard": (HEARD, "finished"), "reporting": (REPORTING, "finished"), "stuck": (STUCK, "unheard")}


def run(folder: Path, code: str, pause: float = 0.0) -> tuple[int, set[str]]:
    """How a script ends that gets SIGTERM when it is ready; which of its files are whole."""
    command = [sys.executable, "-c", START + code, str(pause)]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process, process.stdout:
        assert b"ready\n" == process.stdout.readline()
        time.sleep(0.1)
        process.terminate()
        code_ = process.wait(TIMEOUT)
    return code_, {file.name for file in folder.iterdir() if file.read_text() == "whole"}


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex that is all zeroes is Linux's")
@pytest.mark.parametrize("case", CASES)
def test_the_report_is_made_and_the_process_dies_of_the_signal(case: str, tmp_path: Path) -> None:
    """By its handler; where the report is being made already, that one is made to its end; by a thread of its own where
    the main thread is in a call that never returns."""
    code, whole = CASES[case]
    assert (-signal.SIGTERM, {whole}) == run(tmp_path, code, pause=0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_what_a_forked_child_is_told_is_not_for_its_parent(tmp_path: Path) -> None:
    """A worker that gets SIGTERM dies of it; its parent makes no report and goes on."""
    assert (-signal.SIGTERM, set()) == run(tmp_path, FORKED)
