"""The tab in TensorBoard: routes to the documents of the board and to the files of its front-end.

TensorBoard imports this at its start, whoever's logs it is to show: what takes time is imported with the first request.
"""
from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tensorboard.plugins import base_plugin
from werkzeug import Request, Response

from gradscope.errors import GradscopeError, UsageError

if TYPE_CHECKING:
    from gradscope.board.documents import Documents, Page
    from gradscope.board.runs import Runs

NAME, TAB = "gradscope", "GradScope"
AN_HOUR = 3600  # seconds
DOCUMENTS = ("files", "runs", "run", "curves", "heatmap", "parameter", "moment", "rule")
_KINDS = {"js": "text/javascript", "css": "text/css"}
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
Answer = Callable[[Request], Response]


class GradscopePlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """What TensorBoard asks of a plugin. It answers from the run folders below the log directory, and nothing else."""

    plugin_name = NAME

    def __init__(self, context: Any) -> None:
        self._base = _here()  # places in the user's files are told relative to it
        self._logdir = str(getattr(context, "logdir", None) or "")
        self._spec = str(getattr(getattr(context, "flags", None), "logdir_spec", None) or "")

    @cached_property
    def _runs(self) -> Runs:
        from gradscope.board.runs import Runs, roots_of

        return Runs(*roots_of(self._logdir, self._spec))

    @cached_property
    def _documents(self) -> Documents:
        from gradscope.board.documents import Documents
        from gradscope.diagnosis import fold
        from gradscope.rules.catalogue import RULES

        return Documents(self._runs, page_of, lambda findings: fold(findings, RULES), self._base)

    def frontend_metadata(self) -> Any:
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name=TAB)

    def is_active(self) -> bool:
        """Whether there is a run that gradscope has recorded."""
        try:
            return self._runs.any()
        except Exception:
            return False

    def get_plugin_apps(self) -> dict[str, Any]:
        from gradscope.board.files import OTHERS, SCRIPTS

        routes = {f"/{name}": _app(self._document(name)) for name in DOCUMENTS}
        for name in (*OTHERS, *SCRIPTS):
            routes[f"/{name}"] = routes[f"/static/{name}"] = _app(_file(name))
        return {**routes, "/plotly.js": _app(_plotly)}

    def _document(self, name: str) -> Answer:
        return lambda request: _json(self._documents.get(name, request.args))


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it has been removed
        return None


def page_of(code: str) -> Page | None:
    """A rule's page, None where there is no such rule."""
    from gradscope.board.documents import Page
    from gradscope.rules.catalogue import RULES

    rule = next((rule for rule in RULES if rule.code == code), None)
    return None if rule is None else Page(rule.code, rule.name, rule.severity, rule.page())


def _app(answer: Answer) -> Any:
    """A WSGI application; what goes wrong in it is one sentence."""

    @Request.application
    def app(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _error(405, "only GET is answered here")
        try:
            return answer(request)
        except UsageError as error:
            return _error(400, str(error))
        except GradscopeError as error:
            return _error(404, str(error))
        except Exception as error:
            logging.getLogger(__name__).warning("gradscope's tab: %s failed: %r", request.path, error)
            return _error(500, f"gradscope could not make this: {type(error).__name__}")

    return app


def _file(name: str) -> Answer:
    def answer(request: Request) -> Response:
        from gradscope.board.files import read

        try:
            return _content(read(name), name)
        except OSError:
            return _error(404, f"gradscope was installed without its {name}")

    return answer


def _plotly(request: Request) -> Response:
    from gradscope.board.plotly import MISSING, script

    file = script()
    if file is None:
        return _error(404, MISSING)
    headers = {"Cache-Control": f"private, max-age={AN_HOUR}", "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return _content(file.read_bytes(), file.name, headers)
    return _content(_packed(file, file.stat().st_mtime_ns), file.name, {**headers, "Content-Encoding": "gzip"})


@lru_cache(maxsize=1)
def _packed(file: Path, changed: int) -> bytes:
    return gzip.compress(file.read_bytes(), 6)


def _content(content: bytes, name: str, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """A file. Without "304 Not Modified": TensorBoard objects to answers that have no Content-Type."""
    kind = _KINDS[name.rpartition(".")[2]]
    return Response(content, content_type=f"{kind}; charset=utf-8", headers={**_HEADERS, **headers})


def _json(document: dict[str, Any], status: int = 200) -> Response:
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    headers = {**_HEADERS, "Cache-Control": "no-store"}
    return Response(text, status, content_type="application/json; charset=utf-8", headers=headers)


def _error(status: int, sentence: str) -> Response:
    return _json({"error": sentence}, status)
