"""Rows as nearly all rows of a run are, watched by what could make them different, and entered together.

In the steady state of a loop every gradient is None before backward, backward makes those that it always makes, and the
step uses them. Few readings tell whether a row was such a one: no gradient before its first backward, the usual number
of backwards, the usual gradients at its step, models in the usual mode. What happens otherwise ends the steady state
before it is over, so that the recorder sees it in full; so does each row to be measured, and one in `LIMIT` at least.
"""
from __future__ import annotations

import weakref
from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import Any

import torch
from torch import nn

from gradscope.recording.finishing import PlainRow, PlainRows, StepNotes
from gradscope.recording.ledger import Bools, Contribution
from gradscope.recording.look import ID_OF_NONE, Look, release
from gradscope.recording.stats import UNSCALED, Scale
from gradscope.recording.track import Track

LIMIT = 64  # rows; a parameter that is unfrozen, and that no backward reaches, shows only in a row seen in full
ENTERED = 256  # rows entered together

_GRAD = attrgetter("grad")


class Steady:
    """The steady state of one optimizer's rows; `track` is None where there is none."""

    def __init__(self) -> None:
        self.track: Track | None = None
        self.until = 0  # the first row that is to be seen in full
        self.over = False  # the row at hand has stepped
        self.rows: list[PlainRow] = []  # not handed over yet
        self.made: list[Contribution] = []  # by the backwards of the row at hand
        self.newest: weakref.ref[torch.Tensor] | None = None  # the loss of the newest of them
        self.zero_grad_site = self.backward_site = self.step_site = -1
        self.usual_zero_grad_site = -1
        self._scale = UNSCALED
        self._backwards = 1  # a row
        self._usual: itemgetter[Any] | None = None  # what has a gradient at the step; None: every parameter
        self._absent = 0
        self._missing: Bools | None = None
        self._trainable: Sequence[bool] | None = None
        self._ids: list[int] = []
        self._modes: list[tuple[weakref.ref[nn.Module], bool]] = []

    # -- beginning --------------------------------------------------------------------------------------------------

    def begin(
        self, track: Track, at_step: Look, notes: StepNotes, modules: Sequence[weakref.ref[nn.Module]], until: int
    ) -> None:
        """The row just finished was as rows should be; the next ones are expected to be like it, `modules` in the
        modes that they are in now."""
        self.track, self._backwards, self.until = track, notes.reached, until
        self._ids, self.usual_zero_grad_site = at_step.ids, notes.sites[0]
        self._usual, self._absent, self._missing, self._trainable = None, 0, None, None
        if not at_step.full:
            present = [i for i, gradient in enumerate(at_step.ids) if gradient]
            self._usual, self._absent = itemgetter(*present, present[0]), len(at_step.ids) - len(present)
            self._missing, self._trainable = ~at_step.present, notes.trainable
        self._modes = [(ref, module.training) for ref in modules if (module := ref()) is not None]
        self._start_row()

    def _start_row(self) -> None:
        self.made, self.newest, self._scale = [], None, UNSCALED
        self.zero_grad_site = self.backward_site = self.step_site = -1

    # -- what is expected -------------------------------------------------------------------------------------------

    def expects_backward(self, roots: Sequence[torch.Tensor]) -> bool:
        """One of the usual number, from a loss with a graph; no gradient is there before the first one."""
        if len(roots) != 1 or roots[0].grad_fn is None:
            return False
        if self.made:
            return len(self.made) < self._backwards
        assert self.track is not None
        parameters = self.track.parameters
        return list(map(id, map(_GRAD, parameters))).count(ID_OF_NONE) == len(parameters)

    def expects_step(self) -> bool:
        """After the usual backwards, with the usual gradients, of the same parameters."""
        track = self.track
        assert track is not None
        if len(self.made) != self._backwards or not track.unchanged():
            return False
        ids = list(map(id, map(_GRAD, track.parameters)))
        if self._usual is None:
            if ID_OF_NONE in ids:
                return False
        elif ids.count(ID_OF_NONE) != self._absent or ID_OF_NONE in self._usual(ids):
            return False
        for ref, training in self._modes:
            module = ref()
            if module is None or module.training is not training:
                return False
        self._ids = ids
        return True

    # -- what happens -----------------------------------------------------------------------------------------------

    def backward(self, contribution: Contribution, scale: Scale, root: torch.Tensor) -> None:
        """An expected backward begins."""
        self.made.append(contribution)
        self.newest = weakref.ref(root)
        self.backward_site, self._scale = contribution.site, scale

    def stepped(self, row: int, lr: list[float]) -> None:
        """The expected step begins, and with it the row is over."""
        sites = (self.zero_grad_site, self.backward_site, self.step_site)
        self.rows.append(PlainRow(row, tuple(self.made), lr, self._scale, sites))
        self.over = True
        self._start_row()

    # -- ending -----------------------------------------------------------------------------------------------------

    def hand_over(self) -> int:
        """Let the track have the rows that went by; how many."""
        count, track = len(self.rows), self.track
        if track is not None and count:
            ids = [0 if i == ID_OF_NONE else i for i in self._ids] if self._absent else self._ids
            at_step = Look(ids, [0] * len(ids), False, not self._absent, False)
            rows = PlainRows(self.rows, track.columns, self._missing, self._trainable)
            track.later("plain_rows", rows, at_step)
            self.rows = []
        return count

    def end(self) -> Track:
        """Something else is about to happen. The track is left as if all had been seen in full."""
        track = self.track
        assert track is not None
        self.hand_over()
        self.track = None
        track.zero_grad_site, track.step_site = self.zero_grad_site, self.step_site
        track.maybe_used, track.seen = True, len(self.made)
        if self.made:
            track.maybe_used = False
            track.began_empty = True
            after = release(track.look(False))
            before = Look.nothing(len(after.ids))
            if not after.empty:
                track.backward_site, track.loss_scale, track.reached = self.backward_site, self._scale, len(self.made)
                track.left_by_backward = after.absent
                for contribution in self.made:
                    track.later("backward", before, after, contribution)
                    before = after.earlier()
        return track
