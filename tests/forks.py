"""Programs run in forks of a process that has imported torch: the import, and python's taking apart of all that was
imported, take longer than most programs do.

A fork is a process of its own, with its own exit, output and atexit; nothing but imports has happened before it, and of
gradscope not even these where the program is not ``-m gradscope``. What is only true of a process that begins with
nothing (what is imported when, environment variables, what happens after atexit) needs `tests.shell`, whose functions
are called as these are. Where there is no fork, they are these.
"""
from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib
import importlib.machinery
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import IO

from tests.shell import Outcome, environment, execute, read_report, watched_arguments

TIMEOUT = 300  # seconds; a case takes about one, but on a busy machine
PLAIN = ("sklearn.datasets", "torch._dynamo")  # torch itself imports _dynamo for the first optimizer
WATCHED = (*PLAIN, "gradscope.cli", "gradscope.launch", "gradscope.outputs", "gradscope.session", "gradscope.watching",
           "torch.utils.tensorboard")  # fmt: skip
_servers: dict[tuple[str, ...], subprocess.Popen[str]] = {}


def plain(folder: Path, *arguments: str) -> Outcome:
    """``python <arguments>``, in `folder`; arguments begin with a script or with -m and a module."""
    return run(arguments, folder)


def example(folder: Path, *arguments: str) -> Outcome:
    """The same for a script that imports gradscope, which has been imported then, too."""
    return together([arguments], folder, WATCHED)[0]


def watched(folder: Path, *arguments: str, options: tuple[str, ...] = ()) -> Outcome:
    """The same under ``gradscope run``, with the report as r.json in the starting directory; it is read, too."""
    done = run(watched_arguments(*arguments, options=options), folder)
    return Outcome(done.code, done.stdout, done.stderr, read_report(folder))


def cli(folder: Path, *arguments: str) -> Outcome:
    """``gradscope <arguments>``, in `folder`."""
    return run(["-m", "gradscope", *arguments], folder)


def run(arguments: Sequence[str], folder: Path) -> Outcome:
    """What ``python <arguments>`` does in `folder`."""
    return together([arguments], folder)[0]


def together(
    programs: Sequence[Sequence[str]], folder: Path, modules: tuple[str, ...] | None = None
) -> list[Outcome]:
    """What they do in `folder`, begun in the same moment, with the modules imported that the first of them needs."""
    if not hasattr(os, "fork"):
        return [execute([sys.executable, *arguments], folder) for arguments in programs]
    server = _serving(modules or (WATCHED if list(programs[0][:2]) == ["-m", "gradscope"] else PLAIN))
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as place:
        request = {"programs": programs, "folder": str(folder.absolute()), "place": place, "environment": environment()}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        codes = json.loads(server.stdout.readline())
        return [Outcome(code, *(_read(place, i, name) for name in STREAMS)) for i, code in enumerate(codes)]


STREAMS = ("stdout", "stderr")


def _read(place: str, number: int, name: str) -> str:
    return Path(place, f"{number}{name}").read_text(encoding="utf-8", errors="replace")


def _serving(modules: tuple[str, ...]) -> subprocess.Popen[str]:
    server = _servers.get(modules)
    if server is None or server.poll() is not None:
        command = [sys.executable, "-c", f"from {__name__} import serve; serve({modules})"]
        root = Path(__file__).parent.parent
        _servers[modules] = server = subprocess.Popen(
            command, cwd=root, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(server.kill)
    return server


def serve(modules: Sequence[str]) -> None:
    """Import what takes long. Then, for each line of stdin, fork once for each program, and answer with their exit
    codes."""
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or each fork would write into, and so copy, all of it
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        programs, place = request.pop("programs"), request.pop("place")
        children = []
        for number, arguments in enumerate(programs):
            children.append(os.fork())
            if children[-1] == 0:
                answers.close()
                _become(arguments, place=os.path.join(place, str(number)), **request)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), file=answers, flush=True)


def _become(arguments: list[str], place: str, folder: str, environment: dict[str, str]) -> None:
    """Be the program: its output goes to files at `place`. A signal ends it where it takes too long."""
    signal.alarm(TIMEOUT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(STREAMS, 1):
        os.dup2(os.open(place + name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stderr()  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    code = 1
    try:
        code = _execute(arguments, folder)
    except BaseException:  # of an excepthook of the program's
        traceback.print_exc()
    finally:
        _leave(code)


def _stderr() -> IO[str]:
    return open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _execute(arguments: list[str], folder: str) -> int:
    """Run it in a `__main__` of its own; the exit code. What it raises is shown without frames of ours."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    code = 0
    try:
        try:
            exec(_prepare(main, arguments, folder), main.__dict__)
        except SystemExit:
            raise
        except BaseException as error:
            code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
            assert error.__traceback__ is not None
            error.__traceback__ = error.__traceback__.tb_next
            sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as exit_:
        code = exit_.code & 0xFF if isinstance(exit_.code, int) else int(exit_.code is not None)
        if not isinstance(exit_.code, int) and exit_.code is not None:
            print(exit_.code, file=sys.stderr)
    return code


def _prepare(main: ModuleType, arguments: list[str], folder: str) -> CodeType:
    """The program's code; its arguments and path are set as python sets them."""
    if arguments[0] == "-m":
        sys.path[0] = folder
        _, spec, code = runpy._get_module_details(arguments[1])  # type: ignore[attr-defined]
        main.__dict__.update(
            __file__=spec.origin, __cached__=spec.cached, __loader__=spec.loader, __package__=spec.parent, __spec__=spec
        )
        sys.argv = [spec.origin, *arguments[2:]]
        return code  # type: ignore[no-any-return]
    file = os.path.join(folder, arguments[0])
    sys.path[0], sys.argv = os.path.dirname(os.path.realpath(file)), arguments
    loader = importlib.machinery.SourceFileLoader("__main__", file)
    main.__dict__.update(__file__=file, __loader__=loader, __cached__=None)
    return compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)


def _leave(code: int) -> None:
    """As python does, up to where it takes apart what was imported."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
