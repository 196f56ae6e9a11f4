"""The files of the front-end, by name: nothing else in `static/` is ever served."""
from __future__ import annotations

from pathlib import Path

SCRIPTS = (  # classic scripts, in the order in which they are loaded
    "dom.js",
    "numbers.js",
    "theme.js",
    "provider.js",
    "axis.js",
    "plots.js",
    "courses.js",
    "tree.js",
    "scale.js",
    "cells.js",
    "tooltip.js",
    "header.js",
    "charts.js",
    "lane.js",
    "paint.js",
    "heatmap.js",
    "cursor.js",
    "stage.js",
    "findings.js",
    "rule.js",
    "detail.js",
    "timeline.js",
    "pictures.js",
    "choices.js",
    "runs.js",
    "app.js",
)
OTHERS = ("index.js", "style.css")  # `index.js`, a module, loads the rest; the self-contained page does without it
PAGE = ("embedded.js",)  # for that page only
FOLDER = Path(__file__).parent / "static"


def read(name: str) -> bytes:
    """A file of the front-end; KeyError for any other name."""
    if name not in (*SCRIPTS, *OTHERS, *PAGE):
        raise KeyError(name)
    return (FOLDER / name).read_bytes()
