"""The tab in TensorBoard: routes to the documents of the board and to its front-end. It must start in no time."""
from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from tensorboard.plugins import base_plugin
from werkzeug import Request, Response

from gradscope.errors import GradscopeError, UsageError

KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class GradscopePlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """What TensorBoard asks of a plugin; the board does the work."""

    plugin_name = "gradscope"

    def __init__(self, context: Any) -> None:
        self._roots = roots_of(getattr(context, "logdir", None), getattr(context, "flags", None))

    @cached_property
    def _runs(self) -> Any:
        from gradscope.board.runs import Runs

        return Runs(self._roots)

    @cached_property
    def _documents(self) -> Any:
        from gradscope.board.documents import Documents
        from gradscope.diagnosis import fold
        from gradscope.rules.catalogue import RULES

        return Documents(self._runs, page_of, lambda findings: fold(findings, RULES))

    def frontend_metadata(self) -> Any:
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="GradScope", disable_reload=False)

    def is_active(self) -> bool:
        """Whether there is a run that gradscope has recorded."""
        try:
            return bool(self._runs.folders())
        except Exception:
            return False

    def get_plugin_apps(self) -> dict[str, Any]:
        from gradscope.board import files

        routes: dict[str, Any] = {f"/{name}": self._app(self._document(name)) for name in self._documents.names}
        for name in (*files.OTHERS, *files.SCRIPTS):
            routes[f"/{name}"] = routes[f"/static/{name}"] = self._app(self._static(name))
        routes["/plotly.js"] = self._app(self._plotly)
        return routes

    # -- routes -----------------------------------------------------------------------------------------------------

    def _app(self, answer: Callable[[Request], Response]) -> Any:
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
                return _error(500, f"gradscope failed: {type(error).__name__}")

        return app

    def _document(self, name: str) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            return _json(self._documents.get(name, request.args), 200)

        return answer

    def _static(self, name: str) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            from gradscope.board import files

            kind = KINDS[name.rpartition(".")[2]]
            return Response(files.read(name), content_type=f"{kind}; charset=utf-8", headers=HEADERS)

        return answer

    def _plotly(self, request: Request) -> Response:
        from gradscope.board.plotly import MISSING, script

        file = script()
        if file is None:
            return _error(404, MISSING)
        return Response(file.read_bytes(), content_type="text/javascript; charset=utf-8", headers=HEADERS)


def roots_of(logdir: Any, flags: Any) -> dict[str, Path]:
    """The folders to look for runs in, by the name that their runs begin with."""
    spec = getattr(flags, "logdir_spec", None) or ""
    if logdir:
        return {"": Path(logdir).expanduser()}
    roots = {}
    for part in str(spec).split(","):
        name, colon, path = part.partition(":")
        if part:
            roots[name if colon else ""] = Path(path if colon else part).expanduser()
    return roots


def page_of(code: str) -> Any:
    """A rule's page, None where there is no such rule."""
    from gradscope.board.documents import Page
    from gradscope.rules.catalogue import find_rule

    try:
        rule = find_rule(code)
    except GradscopeError:
        return None
    return Page(rule.code, rule.name, rule.severity, rule.page())


def _json(document: dict[str, Any], status: int) -> Response:
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return Response(text, status, content_type="application/json; charset=utf-8", headers=HEADERS)


def _error(status: int, sentence: str) -> Response:
    return _json({"error": sentence}, status)
