"""The one door to what the tab and the page show: a document by its name and what is asked of it."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope.board.curves import courses, curves, parameter
from gradscope.board.files import SCRIPTS
from gradscope.board.heatmap import STATISTICS, Question, heatmap
from gradscope.board.lines import Lines
from gradscope.board.listing import Listing
from gradscope.board.moment import moment
from gradscope.board.overview import overview
from gradscope.board.places import relative
from gradscope.board.plotly import script
from gradscope.board.runs import Runs
from gradscope.board.source import Fold, Opened, Sources
from gradscope.board.together import Together
from gradscope.errors import GradscopeError, UsageError
from gradscope.record.record import Stream
from gradscope.record.search import parts_of
from gradscope.version import __version__

WIDTH, WIDEST = 800, 4000  # columns
MOST_CELLS = 4_000_000
MOST_RANKS = 8  # beside the chosen one


class NotThere(GradscopeError):
    """There is no such run, step, rule or document. `str(error)` is one sentence."""


@dataclass(frozen=True)
class Page:
    """A rule, for those who want to know more."""

    code: str
    name: str
    severity: str
    page: str


class Documents:
    """`get(name, asked)`: all of them JSON objects.

    `pages(code)` gives a rule's page, None where there is no such rule; `fold` puts findings into order, causes first;
    files below `base` are told relative to it.
    """

    def __init__(
        self, runs: Runs, pages: Callable[[str], Page | None], fold: Fold, base: Path | None = None
    ) -> None:
        self._runs, self._pages, self._base = runs, pages, base
        self._sources, self._listing, self._together = Sources(fold), Listing(fold), Together(fold)
        self._beside = Sources(fold, MOST_RANKS)
        self._documents: dict[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
            "files": self._files,
            "runs": self._list,
            "run": self._run,
            "curves": self._curves,
            "heatmap": self._heatmap,
            "parameter": self._parameter,
            "moment": self._moment,
            "rule": self._rule,
        }

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._documents)

    def get(self, name: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """A document. UsageError where the question is off, another GradscopeError where there is no answer."""
        if name not in self._documents:
            raise NotThere("there is no such document")
        return self._documents[name](asked)

    # -- the documents ----------------------------------------------------------------------------------------------

    def _files(self, asked: Mapping[str, str]) -> dict[str, Any]:
        return {"scripts": list(SCRIPTS), "plotly": script() is not None, "gradscope": __version__}

    def _list(self, asked: Mapping[str, str]) -> dict[str, Any]:
        folders = self._runs.folders(fresh=0.5)
        return self._listing.document(folders, self._runs.note)

    def _run(self, asked: Mapping[str, str]) -> dict[str, Any]:
        folder = self._folder(asked)
        together = self._together.of(folder) if parts_of(folder) else None
        with self._opened(asked) as opened:
            document = overview(asked["run"], opened, together)
        relative((p for finding in document["findings"] for p in (finding["where"], *finding["advice"])), self._base)
        return document

    def _curves(self, asked: Mapping[str, str]) -> dict[str, Any]:
        question = _question(asked)
        with self._opened(asked) as opened:
            stream = _stream(opened, asked)
            document = {**curves(opened.record, stream, question), "revision": opened.revision}
        parts = parts_of(self._folder(asked))
        if not parts:
            return document
        metrics = [metric for metric in document["metrics"] if metric["source"] != "ranks"]  # the same, but rarer
        return {**document, "metrics": metrics, **self._others(parts, asked, question)}

    def _others(self, parts: Mapping[int, Path], asked: Mapping[str, str], question: Question) -> dict[str, Any]:
        """The curves of the other ranks: of some of them, where they are many."""
        shown = part_chosen(parts, _number(asked, "rank"))
        others = [rank for rank in parts if parts[rank] != shown]
        some = others[:: -(-len(others) // MOST_RANKS)] if others else []
        found = []
        for rank in some:
            try:
                with self._beside.of(parts[rank]).open() as opened:
                    found.append({"rank": rank, **courses(_stream(opened, asked), question)})
            except GradscopeError:  # it has not stepped yet, or cannot be read: the list of ranks says so
                continue
        return {"others": found}

    def _heatmap(self, asked: Mapping[str, str]) -> dict[str, Any]:
        question, stat = _question(asked), asked.get("stat") or STATISTICS[0]
        if stat not in STATISTICS:
            raise UsageError(f"stat is one of {', '.join(STATISTICS)}, not {stat[:40]!r}")
        with self._opened(asked) as opened:
            stream = _stream(opened, asked)
            order = opened.order(stream)
            lines = Lines.parse(asked.get("lines", ""), len(order))
            columns = min(question.width, len(opened.measured(stream)))
            if len(lines) * columns > MOST_CELLS:
                raise UsageError(f"{len(lines)} lines of {columns} columns are too many: ask for fewer")
            return {**heatmap(stream, order, stat, question, lines), "revision": opened.revision}

    def _parameter(self, asked: Mapping[str, str]) -> dict[str, Any]:
        question = _question(asked)
        with self._opened(asked) as opened:
            stream = _stream(opened, asked)
            order = opened.order(stream)
            line = Lines.parse(asked.get("line") or "?", len(order))
            if len(line) != 1:
                raise UsageError("one line is asked for: 7, or 3-9")
            return {**parameter(stream, order, line, question), "revision": opened.revision}

    def _moment(self, asked: Mapping[str, str]) -> dict[str, Any]:
        step = _number(asked, "step")
        with self._opened(asked) as opened:
            stream = _stream(opened, asked)
            document = {**moment(opened.record, stream, opened.order(stream), step), "revision": opened.revision}
        relative((call for table in document["optimizers"] for call in table["calls"]), self._base)
        return document

    def _rule(self, asked: Mapping[str, str]) -> dict[str, Any]:
        page = self._pages(asked.get("code", ""))
        if page is None:
            raise NotThere("there is no such rule")
        return {"code": page.code, "name": page.name, "severity": page.severity, "page": page.page}

    def _opened(self, asked: Mapping[str, str]) -> AbstractContextManager[Opened]:
        """The run that is asked for; nobody else reads it meanwhile."""
        folder = self._folder(asked)
        parts = parts_of(folder)
        return self._sources.of(part_chosen(parts, _number(asked, "rank")) if parts else folder).open()

    def _folder(self, asked: Mapping[str, str]) -> Path:
        folder = self._runs.folder(asked.get("run", ""))
        if folder is None:
            raise NotThere("there is no such run")
        return folder


def part_chosen(parts: Mapping[int, Path], rank: int | None) -> Path:
    """The part of the rank that is asked for, else the first one."""
    if rank is not None and rank not in parts:
        raise NotThere(f"there is no rank {rank} in this run")
    return parts[min(parts) if rank is None else rank]


# -- what is asked --------------------------------------------------------------------------------------------------


def _stream(opened: Opened, asked: Mapping[str, str]) -> Stream:
    """The stream that is asked for, else the first one."""
    number, streams = _number(asked, "stream"), opened.record.streams
    for stream in streams:
        if number is None or stream.number == number:
            return stream
    raise NotThere(f"there is no stream {number} in this run" if streams else "no optimizer step was seen in this run")


def _question(asked: Mapping[str, str]) -> Question:
    start, stop, width = _number(asked, "from"), _number(asked, "to"), _number(asked, "width")
    if start is not None and stop is not None and start > stop:
        raise UsageError("from is beyond to")
    width = WIDTH if width is None else width
    if not 1 <= width <= WIDEST:
        raise UsageError(f"width is between 1 and {WIDEST}")
    return Question(start, stop, width)


def _number(asked: Mapping[str, str], name: str) -> int | None:
    """A whole number; None where it is not given."""
    text = asked.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise UsageError(f"{name} is a whole number, not {text[:40]!r}")
    return int(text)
