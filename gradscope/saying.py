"""Text on a stream that may be closed, or that nobody reads: nothing is raised, and nothing is left behind."""
from __future__ import annotations

import contextlib
import os
from typing import IO


def put(text: str, stream: IO[str] | None) -> None:
    """Write text on a stream, with "?" for signs that it cannot encode. A closed stream is not our business."""
    encoding, errors = getattr(stream, "encoding", None) or "utf-8", getattr(stream, "errors", None) or "strict"
    try:
        if stream is not None:
            stream.write(text.encode(encoding, "replace").decode(encoding) if errors == "strict" else text)
            stream.flush()
    except OSError:
        with contextlib.suppress(Exception):
            _forget(stream)
    except (ValueError, AttributeError, LookupError):
        pass


def _forget(stream: IO[str] | None) -> None:
    """What stays in its buffer would fail once more when the process ends, and change its exit code."""
    assert stream is not None
    number = stream.fileno()
    kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, number)
        stream.flush()
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)
