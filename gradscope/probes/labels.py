"""Which class labels an optimizer is given, row by row, and what its model makes of them."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch

from gradscope.events import Site
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.labels import Labels, Place, place, read
from gradscope.probes.arrivals import Arrivals
from gradscope.probes.base import Probe, Scene
from gradscope.probes.label_fit import Fit, label_fit
from gradscope.probes.label_tally import Tally
from gradscope.recording.track import Track

FIRST = 64  # rows: each is looked at,
GROWTH = 1.015  # then one each time their number has grown so much
_WAITING = 128  # rows
_PARTS = 64  # backwards of one row
_OPTIMIZERS = 32
_FIT = 4  # numbers


class _Row:
    """The labels of one row, still on their device, and whose they are: the number of an optimizer, -1: not known."""

    def __init__(self, number: int, at: Place) -> None:
        self.number, self.at = number, at
        self.parts: list[Labels] = []
        self.fresh = False
        self.optimizer = -1


class LabelsProbe(Probe):
    """Follows the way from a loss to the labels that its function has saved; what it has copied is read together.

    The way is found in the rows that are looked at closely. An optimizer whose losses turn out to be of several kinds
    (another number of classes by turns) is passed over from then on.
    """

    cost = "70 us in each of the first 64 rows, then each time their number has grown by 1.5 %"
    always = frozenset({"before_backward"})

    def __init__(self) -> None:
        self._places: dict[Site, Place | None] = {}  # None: the labels are in no one place
        self._optimizers: dict[Site, int] = {}
        self._kinds: dict[int, Place | None] = {}  # by optimizer, the way left out; None: there are several
        self._tallies: dict[int, Tally] = {}  # by optimizer
        self._rows: list[_Row] = []  # looked at, not handed over
        self._row = self._close_row = -1  # looked at last
        self._next = 0  # to be looked at
        self._several = False  # backwards a row

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        row = scene.row
        if row < self._next and row != self._row and row != self._close_row and row >= FIRST:
            if scene.survey() is None:
                return
        if len(roots) == 1 and roots[0].grad_fn is not None:
            self._look(scene, roots[0].grad_fn, site)

    def _look(self, scene: Scene, node: object, site: Site) -> None:
        row = scene.row
        survey = scene.survey()
        closely = survey is not None
        if survey is not None:
            self._close_row = row
            self._places[site] = place(node, survey.nodes)
        at = self._places.get(site)
        if at is None or self._several and row >= FIRST and not closely:  # not all its backwards would be told of
            return
        labels = read(node, at, closely)
        if labels is None:
            return
        if row != self._row:
            self._row, self._next = row, max(row + 1, int(row * GROWTH))
            self._rows.append(_Row(row, at))
            feeds = [feed for feed in DISPATCHER.feeds.all() if feed.given]
            self._rows[-1].fresh = bool(feeds) and not any(feed.ended for feed in feeds)
        entry = self._rows[-1]
        if len(entry.parts) >= _PARTS:
            return
        self._several = self._several or bool(entry.parts)
        entry.parts.append(labels)
        entry.optimizer = self._optimizers.get(site, -1)

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        if not reached or self._row != scene.row or not self._rows:
            return
        number, at = reached[0].number, self._places.get(site)
        self._optimizers[site] = self._rows[-1].optimizer = number
        if self._close_row == scene.row:
            kind = None if at is None else at._replace(way=())
            self._kinds[number] = kind if kind == self._kinds.get(number, kind) else None

    def after_step(self, scene: Scene, track: Track) -> None:
        if self._rows and (self._close_row == scene.row or len(self._rows) >= _WAITING):
            for arrivals in self._arrivals(scene):
                track.expect([arrivals])

    def ended(self, scene: Scene, finished: bool) -> None:
        for arrivals in self._arrivals(scene):
            if arrivals.tensor is not None and (finished or arrivals.tensor.is_cpu):
                arrivals.fill(arrivals.tensor.cpu().numpy())
        self._places = {}

    def _arrivals(self, scene: Scene) -> list[Arrivals]:
        """What is waiting, on its way; once it is there, what follows from it is told."""
        known = [row for row in self._rows if self._kinds.get(row.optimizer) is not None]
        self._rows = []
        found = []
        for number, group in groupby(known, lambda row: row.optimizer):
            if number in self._tallies or len(self._tallies) < _OPTIMIZERS:
                found.append(self._arriving(scene, number, list(group)))
        return found

    def _arriving(self, scene: Scene, number: int, rows: list[_Row]) -> Arrivals:
        tally = self._tallies.setdefault(number, Tally())
        newest, at = rows[-1].number, rows[-1].at
        sizes = [(row, part.true.numel()) for row in rows for part in row.parts]

        def made(values: np.ndarray) -> None:
            start = 0
            for row, size in sizes:
                true, predicted, loss = values[start : start + 3 * size].reshape(3, size)
                start += 3 * size + _FIT
                known = true != at.ignored
                tally.add(row.number, true[known], predicted[known], loss[known])
                tally.fits.append(Fit(row.number, row.fresh, *map(float, values[start - _FIT : start])))
            order, counts = tally.order(newest, number), tally.counts(newest, number, at)
            if order is not None and not at.dense:
                scene.emit(replace(order, in_order=any(feed.in_order() for feed in DISPATCHER.feeds.all())))
            for fact in (counts, label_fit(tally.fits, newest, number)):
                if fact is not None:
                    scene.emit(fact)

        return Arrivals([tensor for row in rows for part in row.parts for tensor in part], made)
