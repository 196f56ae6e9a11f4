"""Programs run in forks of one process that has imported torch: the import takes longer than most programs do.

A fork is a process of its own, with its own exit, output and atexit; nothing but imports has happened before it. Where
there is no fork, programs are run by ``python`` itself.
"""
from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from tests.shell import Outcome, environment, execute

TIMEOUT = 120  # seconds; a case takes about three
_server: subprocess.Popen[str] | None = None


def run(arguments: list[str], folder: Path) -> Outcome:
    """What ``python <arguments>`` does in `folder`; arguments begin with a script or with -m and a module."""
    if not hasattr(os, "fork"):
        return execute([sys.executable, *arguments], folder)
    server = _serving()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as place:
        request = {"arguments": arguments, "folder": str(folder), "place": place}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        code = json.loads(server.stdout.readline())
        texts = [Path(place, name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")]
    return Outcome(code, *texts)


def _serving() -> subprocess.Popen[str]:
    global _server
    if _server is None or _server.poll() is not None:
        command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
        root = Path(__file__).parent.parent
        _server = subprocess.Popen(
            command, cwd=root, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(_server.kill)
    return _server


def serve() -> None:
    """Import what takes long (torch itself imports _dynamo for the first optimizer). Then, for each line of stdin,
    fork, and answer with the exit code."""
    for name in ("sklearn.datasets", "torch._dynamo", "gradscope.cli", "gradscope.launch", "gradscope.outputs"):
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            answers.close()
            _become(**request)
            return
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), file=answers, flush=True)


def _become(arguments: list[str], folder: str, place: str) -> None:
    """Be the program: its output goes to files in `place`. A signal ends it where it takes too long."""
    signal.alarm(TIMEOUT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(os.path.join(place, name), os.O_WRONLY | os.O_CREAT), number)
    sys.stdin, sys.stdout, sys.stderr = _open(0, "r"), _open(1, "w"), _open(2, "w")
    os.chdir(folder)
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], folder
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, os.path.dirname(os.path.join(folder, arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


def _open(number: int, mode: str) -> IO[str]:
    return open(number, mode, encoding="utf-8", closefd=False)
