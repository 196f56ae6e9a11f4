"""SUPPLY: what the loop has beside the batch at hand: more rows like it, and a number that says how large one is."""
from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from types import FrameType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

from gradscope.hooks.sites import users_frames, variables

_FRAMES = 4
_NAMES = 400  # of one frame, or one object
_ITEMS = 16  # of a list
_DEPTH = 2  # of attributes and keys: self.data, config.train.batch_size
_LARGER = 4  # times the batch
_SIZES = re.compile(r"(?:^|[_.'])(?:mini)?(?:batch|bs)(?:_?size)?(?:'\])?$", re.IGNORECASE)
_ROWS, _COLUMNS = 5, 8  # of the batch, that are looked for,
_SEARCHED = 1 << 16  # among so many
_FOUND = 0.5


class Supply(NamedTuple):
    """`rows` of the array `pool`, which the batch is part of; `size` is a number of the loop that says how many one
    batch has. `kept`: arrays as large as the batch; one of them may be it."""

    pool: str = ""
    rows: int = 0
    size: str = ""
    kept: tuple[weakref.ref[Any], ...] = ()

    def after(self, before: Supply) -> Supply:
        """The same with what was there at the look before: a number that counts is no size."""
        known = {id(one()) for one in before.kept}
        kept = tuple(one for one in self.kept if one() is not None and id(one()) in known)
        return self._replace(kept=kept, size=self.size if self.size == before.size else "")


def supply(frame: FrameType | None, batch: torch.Tensor, closely: bool) -> Supply:
    """What the user's frames and their modules hold; a pool is looked for `closely` only."""
    pool, rows, size, best = "", 0, "", 0.0
    kept: list[weakref.ref[Any]] = []
    for name, value in _held(frame):
        if type(value) is int:
            if value == len(batch) and _SIZES.search(name):
                size = size or name
        elif len(value) == len(batch):
            kept.append(weakref.ref(value))
        elif closely and len(value) >= _LARGER * len(batch):
            share = _contained(value, batch)
            if share and (share, -len(value)) > (best, -rows):  # the smallest is without what is held out
                pool, rows, best = name, len(value), share
    return Supply(pool, rows, size, tuple(kept))


def _held(frame: FrameType | None) -> Iterator[tuple[str, Any]]:
    """Whole numbers, and arrays with rows, with their names; of the innermost frame first."""
    seen: set[int] = set()
    for user in users_frames(frame, _FRAMES):
        scope = variables(user)
        if id(user.f_globals) not in seen and user.f_code.co_name != "<module>":
            scope += list(user.f_globals.items())[:_NAMES]
        seen.add(id(user.f_globals))
        for name, value in scope:
            if not name.startswith("__"):
                yield from _inside(str(name), value, _DEPTH, seen)


def _inside(name: str, value: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if kind is int:
        yield name, value
        return
    if id(value) in seen:
        return
    if kind in (torch.Tensor, np.ndarray):
        seen.add(id(value))
        if len(value.shape) and value.shape[0] and getattr(value, "grad_fn", None) is None:
            yield name, value
    elif not depth or issubclass(kind, (ModuleType, str, float, torch.nn.Module)):
        return
    elif kind in (list, tuple):
        for at, item in enumerate(value[:_ITEMS]):
            yield from _inside(f"{name}[{at}]", item, 0, seen)
    else:
        seen.add(id(value))
        inside = value if kind is dict else _attributes(value)
        for key, item in list(inside.items())[:_NAMES]:
            if type(key) is str and not key.startswith("__"):
                yield from _inside(f"{name}[{key!r}]" if kind is dict else f"{name}.{key}", item, depth - 1, seen)


def _attributes(value: Any) -> dict[str, Any]:
    """Its own; of a class used as a name for settings, those written in it."""
    try:
        inside = object.__getattribute__(value, "__dict__") if not isinstance(value, type) else dict(vars(value))
    except (AttributeError, TypeError):
        return {}
    return inside if type(inside) is dict else {}


def _contained(pool: Any, batch: torch.Tensor) -> float:
    """How much of a few rows of the batch is found in rows of it; 0 where it is not half of each (masks hide some)."""
    columns = int(np.prod(pool.shape[1:], dtype=np.int64))
    if columns != batch[0].numel() or batch.device.type != "cpu":  # the loop would wait for another device
        return 0.0
    at, rows = _spread(columns, _COLUMNS), pool[:_SEARCHED]
    if type(rows) is np.ndarray:
        if rows.dtype.kind not in "fiub":
            return 0.0
        rows = torch.from_numpy(np.array(rows.reshape(len(rows), -1)[:, at], np.float64))
    else:
        if rows.is_complex() or rows.device != batch.device or rows.layout != torch.strided:
            return 0.0
        rows = rows.detach().reshape(len(rows), -1)[:, at].double()
    some = batch.detach().reshape(len(batch), -1)[_spread(len(batch), _ROWS)][:, at].double()
    shares = (rows == some[:, None]).float().mean(2).amax(1)  # of (some, rows, columns)
    return float(shares.mean()) if bool((shares >= _FOUND).all()) else 0.0


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` different numbers below `count`, not at equal distances."""
    return sorted({int((i + 0.5) * 0.6180339887 * count) % count for i in range(most)})
