"""The one door to what the tab and the page show: a document by its name and what is asked of it."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradscope.board import moment, overview
from gradscope.board.curves import curves, parameter
from gradscope.board.files import SCRIPTS
from gradscope.board.heatmap import STATISTICS, Question, heatmap
from gradscope.board.lines import Lines
from gradscope.board.plotly import script
from gradscope.board.runs import Runs
from gradscope.board.source import Fold, Opened, Source, Sources
from gradscope.errors import GradscopeError, UsageError
from gradscope.version import __version__

WIDTH, WIDEST = 800, 4000  # columns
MOST_CELLS = 4_000_000


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

    `pages(code)` gives a rule's page, None where there is no such rule; `fold` puts findings into order, causes first.
    """

    def __init__(self, runs: Runs, pages: Callable[[str], Page | None], fold: Fold) -> None:
        self._runs, self._pages, self._sources = runs, pages, Sources(fold)
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
        """A document. UsageError where the question is off, NotThere or DamagedRecord where there is no answer."""
        if name not in self._documents:
            raise NotThere("there is no such document")
        return self._documents[name](asked)

    # -- the documents ----------------------------------------------------------------------------------------------

    def _files(self, asked: Mapping[str, str]) -> dict[str, Any]:
        return {"scripts": list(SCRIPTS), "plotly": script() is not None, "gradscope": __version__}

    def _list(self, asked: Mapping[str, str]) -> dict[str, Any]:
        runs = [overview.listed(name, self._sources.of(folder)) for name, folder in self._runs.folders().items()]
        newest = max(runs, key=lambda run: run.pop("changed"), default=None)
        return {"runs": runs, "newest": None if newest is None else newest["run"]}

    def _run(self, asked: Mapping[str, str]) -> dict[str, Any]:
        name, source = self._source(asked)
        return overview.overview(name, source.open())

    def _curves(self, asked: Mapping[str, str]) -> dict[str, Any]:
        opened = self._opened(asked)
        stream = opened.stream(_number(asked, "stream"))
        return {**curves(opened.record, stream, _question(asked)), "revision": opened.revision}

    def _heatmap(self, asked: Mapping[str, str]) -> dict[str, Any]:
        opened = self._opened(asked)
        stream = opened.stream(_number(asked, "stream"))
        stat = asked.get("stat") or STATISTICS[0]
        if stat not in STATISTICS:
            raise UsageError(f"stat is one of {', '.join(STATISTICS)}, not {stat[:40]!r}")
        order, question = opened.order(stream), _question(asked)
        lines = Lines.parse(asked.get("lines", ""), len(order))
        if len(lines) * question.width > MOST_CELLS:
            raise UsageError(f"{len(lines)} lines of {question.width} columns are too many: ask for fewer")
        return {**heatmap(stream, order, stat, question, lines), "revision": opened.revision}

    def _parameter(self, asked: Mapping[str, str]) -> dict[str, Any]:
        opened = self._opened(asked)
        stream = opened.stream(_number(asked, "stream"))
        order = opened.order(stream)
        line = Lines.parse(asked.get("line") or "?", len(order))
        if len(line) != 1:
            raise UsageError("one line is asked for: 7, or 3-9")
        return {**parameter(stream, order, line, _question(asked)), "revision": opened.revision}

    def _moment(self, asked: Mapping[str, str]) -> dict[str, Any]:
        opened = self._opened(asked)
        stream = opened.stream(_number(asked, "stream"))
        try:
            return moment.moment(opened.record, stream, opened.order(stream), _number(asked, "step"))
        except UsageError:
            raise
        except GradscopeError as error:
            raise NotThere(str(error)) from None

    def _rule(self, asked: Mapping[str, str]) -> dict[str, Any]:
        page = self._pages(asked.get("code", ""))
        if page is None:
            raise NotThere("there is no such rule")
        return {"code": page.code, "name": page.name, "severity": page.severity, "page": page.page}

    # -- what is asked ----------------------------------------------------------------------------------------------

    def _source(self, asked: Mapping[str, str]) -> tuple[str, Source]:
        name = asked.get("run", "")
        folder = self._runs.folder(name)
        if folder is None:
            raise NotThere("there is no such run")
        return name, self._sources.of(folder)

    def _opened(self, asked: Mapping[str, str]) -> Opened:
        return self._source(asked)[1].open()


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
