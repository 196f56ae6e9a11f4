"""Numbers on their way to a browser: arrays as base64, so that NaN and Inf survive, and single numbers as JSON."""
from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from gradscope.record.record import Array

TYPES = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "u1": "|u1", "u2": "<u2"}


def encode(array: Array, kind: str) -> dict[str, Any]:
    """An array as JSON, in one of `TYPES`; whole numbers too large for theirs become the largest there is."""
    wanted = np.dtype(TYPES[kind])
    array = np.asarray(array)
    if wanted.kind in "iu" and array.dtype != wanted:
        array = np.minimum(array, np.iinfo(wanted).max)
    with np.errstate(over="ignore"):
        data = np.ascontiguousarray(array, wanted).tobytes()
    return {"type": kind, "shape": list(array.shape), "data": base64.b64encode(data).decode("ascii")}


def decode(document: Any) -> Array:
    """The inverse of `encode`."""
    data = base64.b64decode(document["data"])
    return np.frombuffer(data, TYPES[document["type"]]).reshape(document["shape"])


def number(value: float) -> float | str:
    """One number; what is not finite is "nan", "inf" or "-inf"."""
    return value if math.isfinite(value) else str(value)
