"""One line of the user's code, to be quoted."""
from __future__ import annotations

import linecache
import os
import stat

_LARGEST = 16 << 20  # bytes of a file that is looked into


def line_of(file: str, number: int) -> str:
    """The line as it stands in the file, or in the notebook's cell; "" where it cannot be read.

    A record that came from elsewhere can name any file: a pipe would be waited for, and a device has no end.
    """
    if file not in linecache.cache and not _is_small(file):
        return ""
    return linecache.getline(file, number)


def _is_small(file: str) -> bool:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST
