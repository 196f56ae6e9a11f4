"""Places as people write them: relative to where they are. No file is looked at: a record could name any."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterable


def relative(places: Iterable[dict[str, Any] | None], base: Path | None) -> None:
    """Shorten the "file" of each place that lies below `base`, and take the detours ("a/../b") out, in place."""
    above = "" if base is None else os.path.join(os.path.normpath(base), "")
    for place in places:
        file = (place or {}).get("file")
        if above and place is not None and isinstance(file, str) and file:
            straight = os.path.normpath(file)
            place["file"] = straight[len(above) :] if straight.startswith(above) else straight
