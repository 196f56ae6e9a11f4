"""Which class labels an optimizer is given, row by row, and what its model makes of them."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch

from gradscope.events import Site
from gradscope.hooks.labels import Labels, Place, place, read
from gradscope.probes.arrivals import Arrivals
from gradscope.probes.base import Probe, Scene
from gradscope.probes.label_tally import Tally
from gradscope.recording.track import Track

FIRST = 64  # rows: each is looked at,
GROWTH = 1.015  # then one each time their number has grown so much
_WAITING = 128  # rows
_OPTIMIZERS = 32


class _Row:
    """The labels of one row, still on their device; `track` is whose they are, None as long as that is not known."""

    def __init__(self, number: int, at: Place) -> None:
        self.number, self.at = number, at
        self.parts: list[Labels] = []
        self.track: Track | None = None


class LabelsProbe(Probe):
    """Follows the way from a loss to the labels that its function has saved; what it has copied is read together.

    The way is found in the rows that are looked at closely. Where they differ (another loss, from the same line), that
    line's labels are not looked at any more.
    """

    cost = "30 us in each of the first 64 rows, then each time their number has grown by 1.5 %"
    always = frozenset({"before_backward"})

    def __init__(self) -> None:
        self._places: dict[Site, Place | None] = {}  # None: the labels are in no one place
        self._tracks: dict[Site, Track] = {}
        self._tallies: dict[int, Tally] = {}  # by the number of an optimizer
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
        closely = scene.survey() is not None
        if closely:
            self._close_row = row
            found = place(node)
            self._places[site] = found if found == self._places.get(site, found) else None
        at = self._places.get(site)
        if at is None or self._several and row >= FIRST and not closely:  # not all its backwards would be told of
            return
        labels = read(node, at, closely)
        if labels is None:
            return
        if row != self._row:
            self._row, self._next = row, max(row + 1, int(row * GROWTH))
            self._rows.append(_Row(row, at))
        entry = self._rows[-1]
        self._several = self._several or bool(entry.parts)
        entry.parts.append(labels)
        entry.track = self._tracks.get(site)

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        if reached and self._row == scene.row and self._rows and self._places.get(site) is not None:
            self._tracks[site] = self._rows[-1].track = reached[0]

    def after_step(self, scene: Scene, track: Track) -> None:
        if self._rows and (self._close_row == scene.row or len(self._rows) >= _WAITING):
            for arrivals in self._arrivals(scene):
                track.expect([arrivals])

    def ended(self, scene: Scene, finished: bool) -> None:
        for arrivals in self._arrivals(scene):
            if arrivals.tensor is not None and (finished or arrivals.tensor.is_cpu):
                arrivals.fill(arrivals.tensor.cpu().numpy())
        self._places, self._tracks = {}, {}

    def _arrivals(self, scene: Scene) -> list[Arrivals]:
        """What is waiting, on its way; once it is there, what follows from it is told."""
        known = [row for row in self._rows if row.track is not None and row.track.number >= 0]
        self._rows = []
        found = []
        for number, group in groupby(known, lambda row: -1 if row.track is None else row.track.number):
            if number in self._tallies or len(self._tallies) < _OPTIMIZERS:
                found.append(self._arriving(scene, number, list(group)))
        return found

    def _arriving(self, scene: Scene, number: int, rows: list[_Row]) -> Arrivals:
        tally = self._tallies.setdefault(number, Tally())
        newest, at = rows[-1].number, rows[-1].at
        sizes = [(row.number, part.true.numel()) for row in rows for part in row.parts]

        def made(values: np.ndarray) -> None:
            start = 0
            for row, size in sizes:
                true, predicted, loss = values[start : start + 3 * size].reshape(3, size)
                tally.add(row, true, predicted, loss)
                start += 3 * size
            order, counts = tally.order(newest, number), tally.counts(newest, number, at)
            for fact in (order if not at.dense else None, counts):
                if fact is not None:
                    scene.emit(fact)

        return Arrivals([tensor for row in rows for part in row.parts for tensor in part], made)
