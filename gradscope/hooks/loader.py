"""LOADER: what each DataLoader has given, and whether it was ever anything else.

`__next__` itself stays as it is: torch warns from there about the caller's line (`stacklevel=2`). What is replaced is
what it calls, `_next_data` of the iterators, and `DataLoader.__iter__`. Nothing is asked of a loader, nor of its data
set; batches made under no_grad (validation) do not count.
"""
from __future__ import annotations

import contextlib
import functools
import math
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler
from torch.utils.data import dataloader as _module

from gradscope.events import Site
from gradscope.hooks.patching import Patch
from gradscope.hooks.sites import SiteFinder

if TYPE_CHECKING:
    from gradscope.hooks.dispatcher import Dispatcher

PLACES = 64  # values of a tensor that are compared
_TENSORS, _DEPTH = 8, 3  # of a batch
_FIRST = 4  # batches that are looked at, then three from each power of two on
_T = TypeVar("_T")
_Print = tuple[tuple[int, ...], bytes]  # shape, values
_ITERATORS = ("_SingleProcessDataLoaderIter", "_MultiProcessingDataLoaderIter")


class Feed:
    """What one DataLoader has given: batches, by iterators begun, some of which have come to their end.

    `most` is the most that one of them gave. `alike`: all batches looked at were equal (None: not known). `site` is
    where the first iterator was begun, `library` whether by a library's code.
    """

    def __init__(self, loader: Any, site: Site, library: bool) -> None:
        self._loader = weakref.ref(loader)
        self.site, self.library = site, library
        self.begun = self.ended = self.given = self.most = 0
        self.alike: bool | None = None
        self._of_this = 0
        self._length = 0
        self._first: tuple[_Print, ...] | None = None

    def begins(self, loader: Any) -> None:
        if self._loader() is not loader:
            self._loader = weakref.ref(loader)
        self.begun += 1
        self._of_this = 0
        if self.begun == 2 and not self.ended:  # the loader may be gone when the question comes up
            self.length()

    def gave(self, batch: Any) -> None:
        number = self.given
        self.given += 1
        self._of_this += 1
        self.most = max(self.most, self._of_this)
        if self.alike is False or number >= _FIRST and number - (1 << number.bit_length() - 1) > 2:
            return
        prints = _prints(batch)
        if self._first is None:
            self._first = prints
        elif prints is not None and not _shorter(prints, self._first):
            self.alike = prints == self._first

    @property
    def samples(self) -> int:
        """Of its first batch, by the first of its tensors; 0 where that could not be read."""
        return 0 if self._first is None or not self._first[0][0] else self._first[0][0][0]

    def in_order(self) -> bool:
        """Whether it has given anything, and gives its samples one after the other."""
        sampler = getattr(self._loader(), "sampler", None)
        return bool(self.given) and type(sampler) is SequentialSampler

    def has(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of its first batch is of this shape, or can be laid out so."""
        shapes = [own for own, _ in self._first or ()]
        return any(own[:1] == shape[:1] and math.prod(own) == math.prod(shape) for own in shapes)

    def length(self) -> int:
        """How many batches it says that it has; 0 where that is not known. Runs the data set's `__len__`, once."""
        loader = self._loader()
        if self._length or loader is None or isinstance(getattr(loader, "dataset", None), IterableDataset):
            return self._length
        with contextlib.suppress(Exception):
            self._length = len(loader)
        return self._length


class Feeds:
    """The DataLoaders that were iterated over since the hooks were installed.

    One that is made anew, of the same data set at the same line, is the same one.
    """

    def __init__(self) -> None:
        self._by_loader: weakref.WeakKeyDictionary[Any, Feed] = weakref.WeakKeyDictionary()
        self._by_iterator: weakref.WeakKeyDictionary[Any, Feed] = weakref.WeakKeyDictionary()
        self.failure: Exception | None = None  # of our own; nothing is counted any more
        self._by_data: weakref.WeakKeyDictionary[Any, dict[tuple[Any, Site], Feed]] = weakref.WeakKeyDictionary()

    def all(self) -> list[Feed]:
        """Those of loaders and data sets that are still there, each once. Raises what has ended the counting."""
        if self.failure is not None:
            raise self.failure
        found = [*self._by_loader.values(), *(feed for feeds in self._by_data.values() for feed in feeds.values())]
        return list({id(feed): feed for feed in found}.values())

    def begin(self, loader: Any, iterator: Any, caller: FrameType, sites: SiteFinder) -> None:
        feed = self._by_loader.get(loader)
        if feed is None:
            feed = self._by_loader[loader] = self._feed(loader, caller, sites)
        self._by_iterator[iterator] = feed
        feed.begins(loader)

    def _feed(self, loader: Any, caller: FrameType, sites: SiteFinder) -> Feed:
        site = sites.find(caller)
        while caller.f_code.co_name == "__iter__" and caller.f_back is not None:  # of a class of its own
            caller = caller.f_back
        fresh = Feed(loader, site, sites.rank(caller.f_code.co_filename) != 2)
        with contextlib.suppress(TypeError):  # a list, say
            known = self._by_data.setdefault(loader.dataset, {})
            return known.setdefault((loader.batch_size, site), fresh)
        return fresh

    def attempt(self, action: Callable[[], _T]) -> _T | None:
        """What `action` gives; None where it fails, or anything has failed before."""
        if self.failure is not None:
            return None
        try:
            return action()
        except Exception as error:
            self.failure = error
            return None

    def of(self, iterator: Any) -> Feed | None:
        return self._by_iterator.get(iterator)


def places(tensor: torch.Tensor, count: int = PLACES) -> torch.Tensor:
    """# (up to count,) Values spread over a tensor, off its rows and columns; on its device, without a copy of it."""
    number = tensor.numel()
    if number <= count:
        return tensor.detach().reshape(-1)
    step = int(number * 0.6180339887) | 1
    at = torch.arange(count, device=tensor.device, dtype=torch.int64) * step % number
    return tensor.detach().take(at)


def _prints(batch: Any) -> tuple[_Print, ...] | None:
    """Shapes and a few values of its tensors; None where there is none to be read at once, or nothing but one value."""
    found: list[_Print] = []
    varies = False
    for tensor in _tensors(batch, _DEPTH):
        plain = type(tensor) is torch.Tensor and tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not plain or not tensor.numel() or len(found) == _TENSORS:
            return None
        values = places(tensor)
        varies = varies or bool((values != values[0]).any())
        found.append((tuple(tensor.shape), values.contiguous().view(torch.uint8).numpy().tobytes()))
    return tuple(found) if varies else None


def _shorter(prints: tuple[_Print, ...], first: tuple[_Print, ...]) -> bool:
    """The last batch of an epoch may have fewer samples."""
    return shorter(tuple(shape for shape, _ in prints), tuple(shape for shape, _ in first))


def shorter(shapes: tuple[tuple[int, ...], ...], first: tuple[tuple[int, ...], ...]) -> bool:
    """Whether tensors of these shapes are those of the first batch, of fewer samples: one size is smaller."""
    if len(shapes) != len(first) or shapes == first:
        return False
    return all(a == b or len(a) == len(b) and _one_smaller(a, b) for a, b in zip(shapes, first))


def _one_smaller(sizes: tuple[int, ...], first: tuple[int, ...]) -> bool:
    return [a < b for a, b in zip(sizes, first) if a != b] == [True]


def _tensors(batch: Any, depth: int) -> Iterator[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        yield batch
    elif depth and isinstance(batch, (list, tuple, Mapping)):
        for one in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors(one, depth - 1)


def patches(dispatcher: Dispatcher) -> list[Patch]:
    """Two or three small wrappers; a failure of ours inside them ends the counting, and nothing else."""
    mine = dispatcher.generation
    feeds = dispatcher.feeds = Feeds()

    def begin(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __iter__(loader: Any) -> Any:
            iterator = original(loader)
            if dispatcher.hears(mine) and torch.is_grad_enabled():
                caller = sys._getframe(1)
                feeds.attempt(lambda: feeds.begin(loader, iterator, caller, dispatcher.sites))
            return iterator

        return __iter__

    def give(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _next_data(iterator: Any) -> Any:
            feed = feeds.attempt(lambda: feeds.of(iterator))
            if feed is None or not dispatcher.hears(mine) or not torch.is_grad_enabled():
                return original(iterator)
            try:
                batch = original(iterator)
            except StopIteration:
                feed.ended += 1
                raise
            feeds.attempt(lambda: feed.gave(batch))
            return batch

        return _next_data

    kinds = [getattr(_module, name) for name in _ITERATORS if hasattr(getattr(_module, name, None), "_next_data")]
    return [Patch(DataLoader, "__iter__", begin), *(Patch(kind, "_next_data", give) for kind in kinds)]
