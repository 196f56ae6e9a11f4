"""Who is watched: the optimizers of the run in the order of first sight, each with its Track."""
from __future__ import annotations

import weakref
from typing import Sequence

from torch.optim import Optimizer

from gradscope.recording.track import Track


class Roster:
    """Optimizers known, and tracks of those that are watched.

    `only` restricts watching (`watch(model, optimizer)`); the others are still known, as owners of parameters.
    An optimizer whose parameters were exchanged gets a new track, as a new optimizer would.
    """

    def __init__(self) -> None:
        self.only: list[weakref.ref[Optimizer]] | None = None
        self.tracks: list[Track] = []  # dead ones too, until their rows are finished
        self._living: list[Track] | None = None  # None: to be made anew
        self.kinds: list[str] = []  # of the optimizers seen in the loop so far, by number
        self._by_id: dict[int, Track] = {}
        self._known: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._newborn: list[weakref.ref[Optimizer]] = []

    def restrict(self, optimizers: Sequence[Optimizer]) -> None:
        """Watch only these (none given: all)."""
        self.only = [weakref.ref(o) for o in optimizers] or None
        for optimizer in optimizers:
            self.take(optimizer)

    def widen(self, optimizers: Sequence[Optimizer]) -> None:
        """Watch these too (none given: all from now on)."""
        if self.only is not None:
            self.only = [*self.only, *map(weakref.ref, optimizers)] if optimizers else None

    def born(self, optimizer: Optimizer) -> None:
        """An optimizer's base constructor has run; a subclass's may still be at work, so it is adopted later."""
        self._newborn.append(weakref.ref(optimizer))

    def adopt(self) -> None:
        """Take in what was born since the last call."""
        if self._newborn:
            newborn, self._newborn = self._newborn, []
            for ref in newborn:
                optimizer = ref()
                if optimizer is not None:
                    self.take(optimizer)

    def take(self, optimizer: Optimizer) -> Track | None:
        """The optimizer's track, made now if it is new; None where it is not watched."""
        track = self._by_id.get(id(optimizer))
        if track is not None and track.optimizer() is optimizer:
            if track.read_parameters() != "replaced":
                return track
            track.retire()
        self._known.add(optimizer)
        only = self.only
        if only is not None and not any(ref() is optimizer for ref in only):
            return None
        track = Track(optimizer, self._changed)
        self._by_id[id(optimizer)] = track
        self.tracks.append(track)
        self._changed()
        return track

    def _changed(self) -> None:
        self._living = None

    def activate(self, track: Track) -> None:
        """Give the optimizer its number, in the order of first sight in the loop. Idle ones never get any."""
        if track.number < 0:
            track.number = len(self.kinds)
            self.kinds.append(track.kind)

    def get(self, subject: object) -> Track | None:
        """The track of an optimizer that has one."""
        track = self._by_id.get(id(subject))
        return track if track is not None and track.optimizer() is subject else None

    def living(self) -> list[Track]:
        """The tracks of optimizers that are still there, in order."""
        if self._living is None:
            self._living = [track for track in self.tracks if track.alive]
        return self._living

    def bury(self) -> None:
        """Let go of the tracks of optimizers that are gone."""
        if len(self.living()) != len(self.tracks):
            self.tracks = [track for track in self.tracks if track.alive or not track.settled]
            self._by_id = {key: track for key, track in self._by_id.items() if track.alive}

    def owned(self) -> set[int]:
        """The ids of all parameters that an optimizer known, watched or not, holds."""
        self.adopt()
        groups = (group for o in list(self._known) for group in getattr(o, "param_groups", ()))
        return {id(p) for group in groups for p in group["params"]}
