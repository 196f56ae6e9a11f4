"""Where the charts' library is: the script that the installed plotly brings along. It is not imported."""
from __future__ import annotations

import importlib.util
from pathlib import Path

MISSING = "the charts need plotly: pip install plotly"


def script() -> Path | None:
    """plotly.min.js; None where plotly is not installed, or has no such file."""
    try:
        found = importlib.util.find_spec("plotly")
    except (ImportError, ValueError):
        return None
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        file = Path(place) / "package_data" / "plotly.min.js"
        if file.is_file():
            return file
    return None
