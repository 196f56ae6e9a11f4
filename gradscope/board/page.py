"""The report as one file for a browser: everything is in it, and it can load nothing from anywhere."""
from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradscope.board import files
from gradscope.board.documents import Documents, Page
from gradscope.board.embedding import embed
from gradscope.board.overview import unchecked
from gradscope.board.plotly import MISSING, script
from gradscope.board.runs import Runs
from gradscope.errors import DamagedRecord, GradscopeError
from gradscope.plain import printable
from gradscope.reporters.report import Report
from gradscope.version import __version__

START = (
    "gradscope.start({root: document.getElementById('gradscope'), provider: gradscope.embedded(document), "
    "plotly: Promise.resolve(), remember: false});"
)
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'"
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="gradscope {version}">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body class="gradscope">
<div id="gradscope"></div>
<noscript><p>The pictures need JavaScript. This is the report as text:</p><pre>{text}</pre></noscript>
{data}
{scripts}
</body>
</html>
"""


def check() -> str:
    """The charts' script; GradscopeError, which says what to install, where there is none."""
    file = script()
    if file is None:
        raise GradscopeError(MISSING)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise GradscopeError(f"{file} cannot be read; {MISSING}") from None


def render(
    folder: Path, report: Report, pages: Callable[[str], Page | None], text: str = ""
) -> str:
    """The page of a run folder, with the findings of this report and what else it tells, and all of it as `text`; files
    below its `base` are told relative to it."""
    charts = check()
    folder = folder.resolve()
    runs = Runs({folder.name: folder})
    name = next((name for name, place in runs.folders().items() if place == folder), None)
    if name is None:
        raise DamagedRecord(f"{folder} holds links instead of files: no page is made of it")
    held = embed(Documents(runs, pages, lambda stored: report.findings, report.base), name)
    run = held.document["run"]
    run["meta"]["notes"] = list(dict.fromkeys([*run["meta"]["notes"], *report.notes]))
    run.update(unchecked(report))
    own = [files.read(script).decode() for script in (*files.SCRIPTS, *files.PAGE)]
    scripts = [_inline(code) for code in (*own, charts, START)]
    data = [f'<script type="application/json" id="gradscope-data">{as_json(held.document)}</script>']
    data += [f'<script type="text/plain" id="gradscope-{i}">{blob}</script>' for i, blob in enumerate(held.blobs)]
    title = f"{run['meta']['script'] or run['run']}: {run['tally']} - gradscope"
    return _PAGE.format(
        policy=_POLICY.format(scripts=" ".join(f"'sha256-{_hash(code)}'" for code in scripts)),
        version=__version__,
        title=html.escape(printable(title)),
        style=files.read("style.css").decode().replace("</", "<\\/"),
        text=html.escape(text),
        data="\n".join(data),
        scripts="\n".join(f"<script>{code}</script>" for code in scripts),
    )


def write(file: Path, page: str) -> int:
    """Write it, whole or not at all; returns its size in bytes. GradscopeError where it cannot be written."""
    data = page.encode("utf-8")
    try:
        if os.path.exists(file) and not os.path.isfile(file) and not os.path.isdir(file):
            file.write_bytes(data)  # a pipe, a device
            return len(data)
        target = Path(os.path.realpath(file))
        part = target.with_name(f".gradscope-{os.getpid()}.part")
        try:
            part.write_bytes(data)
            os.replace(part, target)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise GradscopeError(f"{file} cannot be written ({getattr(error, 'strerror', None) or error})") from None
    return len(data)


def as_json(document: Any) -> str:
    """JSON that can stand inside of a script element."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))  # ASCII: U+2028 and U+2029 are escaped, too
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _inline(code: str) -> str:
    """A script that can stand inside of a script element; line ends as a browser makes them, for the hash."""
    code = re.sub(r"</(?=script)", r"<\\/", code.replace("\r\n", "\n").replace("\r", "\n"), flags=re.IGNORECASE)
    return code.replace("<!--", "<\\!--")


def _hash(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
