"""Running somebody's script inside a recording: its argv, paths, exit code and traceback stay its own."""
from __future__ import annotations

import builtins
import contextlib
import importlib.machinery
import importlib.util
import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from gradscope.errors import UsageError
from gradscope.signals import Termination

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Outcome:
    """How the script ended: `status` for the report, `exit_code`, and what it raised, if anything."""

    def __init__(self, status: str, exit_code: int, error: BaseException | None = None) -> None:
        self.status, self.exit_code, self.error = status, exit_code, error

    def leave(self, exit_code: int) -> int:
        """End the process as the script would have: by its exception (shown already), its SystemExit, or the code."""
        if isinstance(self.error, SystemExit):
            if exit_code == self.exit_code:
                raise self.error
        elif self.error is not None:
            sys.excepthook = lambda *_: None
            raise self.error
        return exit_code


class Program:
    """What is to be run: its code, and the `__main__` it runs in. UsageError where there is nothing to run."""

    def __init__(self, target: str, arguments: Sequence[str], as_module: bool) -> None:
        self.main = ModuleType("__main__")
        self.main.__dict__.update(__builtins__=builtins, __annotations__={})
        if as_module:
            self.path0 = os.getcwd()
            self._set_path()
            self.argv = [self._find_module(target), *arguments]
        else:
            path = check_script(target)
            self.path0 = os.path.dirname(os.path.realpath(path))
            self.argv = [target, *arguments]
            file = os.path.join("" if os.path.isabs(target) else os.getcwd(), target)
            loader = importlib.machinery.SourceFileLoader("__main__", file)
            self.main.__dict__.update(__file__=file, __loader__=loader, __cached__=None)
            self._code: Callable[[], CodeType] = lambda: _compile(file)

    def run(self) -> None:
        """Run it in this process, as python would."""
        sys.argv = self.argv
        self._set_path()
        sys.modules["__main__"] = self.main
        exec(self._code(), self.main.__dict__)

    def _set_path(self) -> None:
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = self.path0

    def _find_module(self, name: str) -> str:
        try:
            _, spec, code = runpy._get_module_details(name)  # type: ignore[attr-defined]
        except ImportError as error:
            raise UsageError(f"there is no module to run: {error}") from None
        self.main.__dict__.update(
            __file__=spec.origin, __cached__=spec.cached, __loader__=spec.loader, __package__=spec.parent, __spec__=spec
        )
        self._code = lambda: code
        return str(spec.origin)


def run(
    program: Program, finish: Callable[[Outcome], None], unheard: Callable[[Outcome], None] | None = None
) -> Outcome:
    """Run the program to its end, then `finish(outcome)`: once, and only in the process that started.

    A SIGTERM that the script does not handle itself finishes too, and then kills the process as it would have done
    anyway. `unheard(outcome)` is called instead, in another thread, where this one is stuck.
    """
    owner, done = os.getpid(), False

    def finish_once(outcome: Outcome) -> None:
        nonlocal done
        if not done and os.getpid() == owner:
            done = True
            finish(outcome)

    def stuck() -> None:
        nonlocal done
        if not done and unheard is not None:
            done = True
            unheard(terminated)

    terminated = Outcome("interrupted", 128 + signal.SIGTERM)
    with Termination(lambda: finish_once(terminated), None if unheard is None else stuck) as termination:
        try:
            program.run()
            outcome = Outcome("finished", 0)
        except SystemExit as exit_:
            outcome = Outcome("finished", _exit_code(exit_.code), exit_)
        except KeyboardInterrupt as error:
            outcome = Outcome("interrupted", 128 + signal.SIGINT, error)
        except BaseException as error:
            outcome = Outcome("crashed", 1, error)
        if outcome.error is not None and not isinstance(outcome.error, SystemExit):
            try:
                _show_traceback(outcome.error)
            except SystemExit as exit_:  # by the script's own excepthook
                outcome = Outcome(outcome.status, _exit_code(exit_.code), exit_)
        _join_threads()
        with termination.finishing():
            finish_once(outcome)
    return outcome


@contextlib.contextmanager
def when_torch_is_there(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` once torch has been imported (now, if it has been): not sooner, so that what a script sets up
    before its own `import torch` (OMP_NUM_THREADS, say) still counts."""
    if "torch" in sys.modules:
        action()
        yield
        return
    finder = _TorchFinder(action)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(finder)


class _TorchFinder(MetaPathFinder):
    """Finds torch as it would be found anyway, and calls `action` after its import."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader = None if spec is None else spec.loader
        if loader is not None:
            original = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                del loader.exec_module  # the instance's; the class's shows again
                original(module)
                self._action()

            loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def check_script(script: str) -> Path:
    """The path of a script; UsageError where there is none."""
    path = Path(script)
    if os.path.isdir(path):  # not Path's: these ask no questions of a name that cannot be one
        raise UsageError(f"{script} is a directory, not a script")
    if not os.path.isfile(path):
        raise UsageError(f"there is no script {script}")
    return path


def _compile(file: str) -> CodeType:
    with open(file, "rb") as source:
        return compile(source.read(), file, "exec", dont_inherit=True)


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def _join_threads() -> None:
    """Wait for the script's own threads, as python does before it ends."""
    while True:
        waiting = [t for t in threading.enumerate() if not t.daemon and t is not threading.current_thread()]
        if not waiting:
            return
        try:
            waiting[0].join()
        except (KeyboardInterrupt, RuntimeError):
            return


def _show_traceback(error: BaseException) -> None:
    """The traceback as python itself would print it, without gradscope's frames, by the script's own excepthook."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        link = queue.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = _strip(link.__traceback__)
            queue += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit:
        raise
    except BaseException as failed:
        print("Error in sys.excepthook:", file=sys.stderr)
        traceback.print_exception(type(failed), failed, _strip(failed.__traceback__))
        print("\nOriginal exception was:", file=sys.stderr)
        traceback.print_exception(type(error), error, error.__traceback__)


def _strip(trace: TracebackType | None) -> TracebackType | None:
    frames = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OWN):
            frames.append(trace)
        trace = trace.tb_next
    following: TracebackType | None = None
    for link in reversed(frames):
        following = TracebackType(following, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return following
