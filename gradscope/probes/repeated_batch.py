"""Whether the model sees the same batch again and again, and what its DataLoader has given meanwhile."""
from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.inputs import BatchLooks
from gradscope.hooks.batch import Part, inputs, targets
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.loader import Feed, places, shorter
from gradscope.hooks.supply import Supply, supply
from gradscope.probes.arrivals import Arrivals
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_PARTS = 4  # inputs, and targets, of a backward
_BACKWARDS = 4  # of a row
_LOOKS = 3


class _Glance(NamedTuple):
    """A few values of the batch of one backward; `shapes` says what they are of."""

    values: list[torch.Tensor]
    shapes: tuple[tuple[int, ...], ...]
    inputs: int  # so many of the values are of inputs
    samples: int
    complete: bool
    supply: Supply | None


@dataclass
class _Count:
    """How a loader went on from step to step, as far as two steps in a row were looked at."""

    feed: Feed
    steps: int
    given: int
    ended: int
    pairs: int = 0
    passed_by: int = 0  # of them: it gave nothing between the two
    ending: int = 0  # of them: an iterator came to its end

    def look(self, steps: int) -> None:
        if steps == self.steps + 1:
            self.pairs += 1
            self.passed_by += self.feed.given == self.given
            self.ending += self.feed.ended > self.ended
        self.steps, self.given, self.ended = steps, self.feed.given, self.feed.ended

    @property
    def advances(self) -> bool:
        """It is no validation after every step, nor a loader of one batch."""
        return not self.passed_by and (not self.pairs or self.ending < self.pairs)


@dataclass
class _Seen:
    """What one optimizer's steps were made on."""

    row: list[_Glance] = field(default_factory=list)
    shapes: tuple[tuple[int, ...], ...] = ()
    first: bytes = b""
    looks: int = 0
    equal: bool = True
    fact: BatchLooks | None = None
    counts: list[_Count] = field(default_factory=list)
    supply: Supply | None = None
    drawing: bool = True  # in all rows looked at, random numbers between torch.manual_seed and the model's call


class RepeatedBatchProbe(Probe):
    """Compares a few values of inputs and targets between the rows looked at, until two of them differ."""

    cost = "about 60 us for each input and target, in the rows that are looked at closely"

    def __init__(self) -> None:
        self._glance: _Glance | None = None
        self._drew = False
        self._seen: weakref.WeakKeyDictionary[Track, _Seen] = weakref.WeakKeyDictionary()

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        self._glance = None
        survey = scene.survey()
        self._drew = survey is not None and bool(DISPATCHER.seeds.drew())
        if survey is not None and len(roots) == 1 and any(seen.equal for seen in self._all(scene)):
            given, compared = inputs(survey.nodes)[:_PARTS], targets(survey.nodes)[:_PARTS]
            if given:
                closely = any(seen.equal and seen.looks >= _LOOKS - 1 for seen in self._all(scene))
                with torch.no_grad():
                    self._glance = _glance(given, compared, roots[0].grad_fn)
                    if self._glance is not None and self._glance.samples > 1:
                        beside = supply(scene.frame(), given[0].tensor, closely)
                        self._glance = self._glance._replace(supply=beside)

    def _all(self, scene: Scene) -> list[_Seen]:
        return [self._seen.setdefault(track, _Seen()) for track in scene.tracks]

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        glance, self._glance = self._glance, None
        for track in reached if glance is not None else ():
            seen = self._seen.setdefault(track, _Seen())
            if seen.equal and glance is not None and len(seen.row) < _BACKWARDS:
                seen.row.append(glance)
                seen.drawing = seen.drawing and self._drew

    def after_step(self, scene: Scene, track: Track) -> None:
        seen = self._seen.get(track)
        if seen is None or not seen.row:
            return
        glances, seen.row = seen.row, []
        if not seen.equal or track.number < 0:
            return
        if not seen.looks:
            feeds = [feed for feed in DISPATCHER.feeds.all() if feed.given]
            seen.counts = [_Count(feed, track.steps, feed.given, feed.ended) for feed in feeds]
        for count in seen.counts:
            count.look(track.steps)
        shapes = tuple(shape for glance in glances for shape in glance.shapes)
        if seen.looks and shorter(shapes, seen.shapes):
            return
        seen.equal = not seen.looks or shapes == seen.shapes
        beside, before = glances[0].supply, seen.supply
        seen.supply = beside.after(before) if beside is not None and before is not None else beside
        seen.looks, seen.shapes = seen.looks + 1, shapes
        complete = all(glance.complete for glance in glances)
        fact = BatchLooks(scene.row, track.number, seen.looks, True, track.steps, glances[0].samples, complete)
        track.expect([Arrivals([v for g in glances for v in g.values], _maker(scene, seen, fact, glances))])

    def ended(self, scene: Scene, finished: bool) -> None:
        if self._seen:
            DISPATCHER.feeds.all()  # raises what ended the counting, too
        for track, seen in self._seen.items():
            if seen.equal and seen.fact is not None and seen.looks >= _LOOKS:
                scene.emit(_with_loader(seen, seen.fact, track.steps, scene.row))


def _glance(given: list[Part], compared: list[Part], root: object) -> _Glance | None:
    device = given[0].tensor.device
    values, shapes, kept = [], [], 0
    for number, part in enumerate((*given, *compared)):
        tensor = part.tensor
        if type(tensor) is not torch.Tensor or tensor.layout != torch.strided or tensor.device != device:
            return None
        if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
            return None
        if tensor.numel() and not tensor.is_complex():
            values.append(places(tensor).float())
            shapes.append(tuple(tensor.shape))
            kept += number < len(given)
    if not kept:
        return None
    complete = len(compared) == 1 and compared[0].node is root
    first = given[0].tensor
    return _Glance(values, tuple(shapes), kept, len(first) if first.dim() else 1, complete, None)


def _maker(scene: Scene, seen: _Seen, fact: BatchLooks, glances: list[_Glance]) -> Callable[[np.ndarray], None]:
    sizes = [value.numel() for glance in glances for value in glance.values]
    of_inputs = [i < glance.inputs for glance in glances for i in range(len(glance.values))]

    def made(values: np.ndarray) -> None:
        parts = np.split(values, np.cumsum(sizes)[:-1])
        varies = any(given and (part != part[0]).any() for part, given in zip(parts, of_inputs))
        bits = values.astype(np.float32).tobytes()
        if fact.looks == 1:
            seen.first = bits
        if not varies or bits != seen.first:  # ones, or zeros, tell nothing
            seen.equal = False
        if seen.equal:
            seen.fact = fact
            scene.emit(_with_loader(seen, fact, fact.steps, fact.row))
        elif seen.fact is not None:
            scene.emit(replace(fact, equal=False))
            seen.fact = None

    return made


def _with_loader(seen: _Seen, fact: BatchLooks, steps: int, row: int) -> BatchLooks:
    """The same with what is known of the loader behind it: the one that goes on with the steps, or that gave one."""
    fed = [count.feed for count in seen.counts if count.advances and count.feed.given >= 0.9 * steps]
    alone = [c.feed for c in seen.counts if c.feed.given == c.feed.begun and c.feed.most == 1 and not c.feed.ended]
    once = [feed for feed in alone if feed.given == 1 or feed.alike and feed.has(seen.shapes[0])]
    advances = fact.looks > 1 and bool(fed)
    feed = max(fed if advances else once, key=lambda one: one.given, default=None)
    if feed is None:
        seeds = DISPATCHER.seeds
        seeded = seeds.alike if seen.drawing and not seeds.library else 0
        known = replace(fact, row=row, steps=steps, seeded=seeded, site=seeds.site if seeded else None)
        beside = seen.supply
        if beside is None or beside.kept:
            return known
        return replace(known, pool=beside.pool, rows=beside.rows, size=beside.size)
    same = (row, fact.optimizer, fact.looks, True, steps, feed.samples or fact.samples, fact.complete)
    batches = feed.length() if fact.looks >= _LOOKS else 0
    return BatchLooks(
        *same, advances, feed.begun, feed.ended, feed.given, feed.most, batches, feed.alike, feed.library, feed.site,
    )  # fmt: skip
