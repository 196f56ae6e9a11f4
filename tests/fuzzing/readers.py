"""The ways in which gradscope reads what may be damaged, each with what it must not do whatever is in there."""
from __future__ import annotations

import contextlib
import html.parser
import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

from werkzeug.test import Client

from gradscope.board.heatmap import STATISTICS
from gradscope.cli import main
from gradscope.config import codes, read_config
from gradscope.diagnosis import Diagnosis, FindingLog
from gradscope.errors import GradscopeError
from gradscope.events import Site
from gradscope.facts.fact import FactLog
from gradscope.findings import Finding
from gradscope.plugin import GradscopePlugin
from gradscope.ranks.joining import join, launched
from gradscope.record.record import Meta, Record
from gradscope.reporters import terminal
from gradscope.reporters.report import Report
from gradscope.rules.catalogue import RULES, select
from gradscope.trying.plan import Told
from tests.fuzzing.guarded import Reader, raised
from tests.fuzzing.inputs import Input

PAGE = "report --html"
LONGEST = 5000  # signs of an error
READ, DAMAGED, REFUSED = "read", "read, damage told", "refused"


def readers_of(made: Input, place: Path) -> Iterator[tuple[str, Reader]]:
    """What reads an input."""
    names = set(made.files)
    if made.environment and "work/note.json" not in names:
        yield "joining a launch", lambda: _joined(made, place)
        yield "report", lambda: _with_environment(made, lambda: _command("report", str(place / "logs")))
        return
    if "work/note.json" in names:
        yield "joining a launch", lambda: _joined(made, place)
    elif "work/outcome.json" in names:
        yield "a child's outcome", lambda: _outcome(place)
    elif "work/train.py" in names:
        yield "ignore comments", lambda: _comment(place)
    elif made.files.keys() & {"work/setup.cfg", "work/pyproject.toml"}:
        yield "settings of run", lambda: _command("run", "missing.py")
        yield "settings of watch", lambda: _settings(place)
    else:
        yield from _of_records(place / "logs", any("/rank" in name for name in names))


def _of_records(logs: Path, ranks: bool) -> Iterator[tuple[str, Reader]]:
    run = str(logs / "run")
    yield "report --json", lambda: _json("report", run)
    yield "report --rediagnose", lambda: _json("report", "--rediagnose", str(logs))
    yield "timeline", lambda: _command("timeline", run)
    yield "timeline --step", lambda: _command("timeline", run, "--step", "9", "--all")
    if ranks:
        yield "report --rank", lambda: _command("report", run, "--rank", "1")
        yield "timeline --rank", lambda: _command("timeline", run, "--rank", "1")
    yield "the tab", lambda: _tab(logs, ranks)
    yield PAGE, lambda: _page("report", run)


# -- the command line -----------------------------------------------------------------------------------------------


def _command(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return _judged(code, out.getvalue(), err.getvalue())


def _judged(code: int, out: str, err: str) -> tuple[str, str]:
    if not _harmless(out) or not _harmless(err):
        return REFUSED if code else READ, f"signs that a terminal obeys: {out + err!r:.300}"
    if code == 0:
        return DAMAGED if "damaged" in out else READ, f"on stderr: {err:.2000}" if err else ""
    clear = code in (1, 2) and err.startswith("gradscope: error: ") and err.count("\n") == 1
    wrong = "" if clear else f"said: {err:.2000}"
    if out and code:
        wrong += f" on stdout: {out:.300}"
    return REFUSED, wrong if len(err) <= LONGEST else f"an error of {len(err)} signs: {err:.200}"


def _harmless(shown: str) -> bool:
    return all(line.isprintable() for line in shown.split("\n"))


def _json(*arguments: str) -> tuple[str, str]:
    outcome, wrong = _command(*arguments, "--json", "r.json")
    file = Path("r.json")
    if not wrong and outcome != REFUSED:
        text = file.read_text(encoding="utf-8")
        data = json.loads(text, parse_constant=_refuse)
        json.dumps(data, ensure_ascii=False).encode("utf-8")
        if data["schema"] != 1 or not isinstance(data["findings"], list):
            wrong = f"no report: {text:.200}"
    file.unlink(missing_ok=True)
    return outcome, wrong


def _refuse(word: str) -> None:
    raise ValueError(f"{word} in JSON")


# -- pages ----------------------------------------------------------------------------------------------------------


class _Elements(html.parser.HTMLParser):
    """The elements of a page with their attributes' names; several of the same in a row are one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, ...]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = tag, *(name for name, _ in attrs)
        if not self.seen or self.seen[-1] != element:
            self.seen.append(element)


ELEMENTS = [
    ("html", "lang"), ("head",), ("meta", "charset"), ("meta", "http-equiv", "content"), ("meta", "name", "content"),
    ("title",), ("link", "rel", "href"), ("style",), ("body", "class"), ("div", "id"), ("noscript",), ("p",), ("pre",),
    ("script", "type", "id"), ("script",),
]  # fmt: skip


def _page(*arguments: str) -> tuple[str, str]:
    outcome, wrong = _command(*arguments, "--html", "p.html")
    file = Path("p.html")
    if not wrong and outcome != REFUSED:
        elements, text = _Elements(), file.read_text(encoding="utf-8")
        elements.feed(re.sub(r"<script>.*?</script>", "<script></script>", text, flags=re.DOTALL))
        if elements.seen != ELEMENTS:
            wrong = f"elements that are not ours: {[e for e in elements.seen if e not in ELEMENTS] or elements.seen}"
        held = re.search(r'id="gradscope-data">(.*?)</script>', text, re.DOTALL)
        assert held is not None
        json.loads(held.group(1), parse_constant=_refuse)
    file.unlink(missing_ok=True)
    return outcome, wrong


# -- the tab --------------------------------------------------------------------------------------------------------


class _Told(logging.Handler):
    """What the plugin logs where it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors += [given for given in record.args or () if isinstance(given, BaseException)]


def _tab(logs: Path, ranks: bool) -> tuple[str, str]:
    told = _Told()
    logging.getLogger("gradscope.plugin").addHandler(told)
    plugin = GradscopePlugin(SimpleNamespace(logdir=str(logs), flags=None))
    apps = plugin.get_plugin_apps()
    plugin.is_active()
    outcome = READ
    for name, question in _questions("run", "1" if ranks else ""):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            answer = Client(apps[f"/{name}"]).get(f"/{name}", query_string=question)
        if told.errors:
            return outcome, f"{name}: {raised(told.errors[0])}"
        document = json.loads(answer.get_data(), parse_constant=_refuse)
        if answer.status_code not in (200, 400, 404) or answer.content_type != "application/json; charset=utf-8":
            return outcome, f"{name}: {answer.status}"
        if answer.status_code != 200:
            outcome = REFUSED
            if len(document["error"]) > LONGEST or "\n" in document["error"]:
                return outcome, f"{name}: an error of {len(document['error'])} signs"
        if err.getvalue():
            return outcome, f"{name}: on stderr: {err.getvalue():.2000}"
    return outcome, ""


def _questions(run: str, rank: str) -> list[tuple[str, dict[str, str]]]:
    about = {"run": run, **({"rank": rank} if rank else {})}
    return [
        ("runs", {}),
        ("run", about),
        ("curves", about),
        *(("heatmap", {**about, "stat": stat, "lines": "0", "width": "20"}) for stat in STATISTICS),
        ("parameter", {**about, "line": "0"}),
        ("moment", about),
        ("moment", {**about, "step": "9"}),
    ]


# -- the rest -------------------------------------------------------------------------------------------------------


def _with_environment(made: Input, work: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    os.environ.update(made.environment)
    return work()


def _joined(made: Input, place: Path) -> tuple[str, str]:
    """As `run` and `watch` join a launch: what they do not expect is an error that would reach the user's program."""
    directory = Path("logs")
    directory.mkdir()
    (directory / "watch-20260101-000000").mkdir()
    process = launched(made.environment)
    if process is None:
        return "alone", ""
    note = place / "work" / "note.json"
    try:
        first = join(directory, "watch", process)
        if note.exists():
            for file in directory.glob(".ranks-*"):
                note.replace(file)
            first = join(directory, "watch", process)
    except OSError as error:
        return REFUSED, "" if error.strerror else repr(error)
    inside = Path(os.path.realpath(first.path)).parent.parent == Path(os.path.realpath(directory))
    return "joined", "" if inside else f"joined {first.path}"


def _outcome(place: Path) -> tuple[str, str]:
    told = Told.read(place / "work" / "outcome.json")
    if told is None:
        return REFUSED, ""
    whole = isinstance(told.stopped, bool) and isinstance(told.failure, str) and isinstance(told.applied, list)
    return READ, "" if whole and all(type(count) is int for count in told.applied) else repr(told)[:300]


def _settings(place: Path) -> tuple[str, str]:
    """As `watch` reads them."""
    try:
        config = read_config(Path.cwd())
        select(codes("") or config.select, (*codes(()), *config.ignore))
        config.limits(None, None, None, None, None)
    except GradscopeError as error:
        told = str(error)
        return REFUSED, "" if len(told) <= LONGEST else f"an error of {len(told)} signs: {told:.200}"
    return READ, ""


def _comment(place: Path) -> tuple[str, str]:
    """The cited line is looked at, and quoted."""
    site = Site(str(place / "work" / "train.py"), 2, "main")
    finding = Finding("GS101", "missing-zero-grad", "error", "m", (0, 1), where=site)
    log, meta = FindingLog(RULES), Meta(rows=3)
    log.update(Diagnosis((finding,), {}), 1, Record((), (), FactLog(), (), meta))
    out = io.StringIO()
    terminal.write(Report(meta, log.findings, {}, base=Path.cwd()), out)
    return READ if log.findings else "suppressed", "" if _harmless(out.getvalue()) else f"{out.getvalue()!r:.300}"
