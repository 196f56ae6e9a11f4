"""What a backward contributes to its row: its loss, the line it was called from, the scale of its gradients."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from gradscope.events import Event
from gradscope.record.record import Meta
from gradscope.recording.alarm import LossAlarm
from gradscope.recording.books import Books
from gradscope.recording.divisions import Divisions, divided
from gradscope.recording.fittings import Fittings
from gradscope.recording.ledger import Contribution
from gradscope.recording.losses import ScaledLosses
from gradscope.recording.stage import Stage
from gradscope.recording.stats import UNSCALED, Readable, Scale, on_host
from gradscope.recording.track import LossCell


class Contributions:
    """Counts backwards in `meta`. `suspect` is called where a loss stands out: its row is to be measured."""

    def __init__(
        self, stage: Stage, books: Books, meta: Meta, fittings: Fittings, suspect: Callable[[], None]
    ) -> None:
        self._stage, self._books, self._meta, self._fittings, self._suspect = stage, books, meta, fittings, suspect
        self._scaled, self._divisions, self._alarm = ScaledLosses(), Divisions(), LossAlarm()

    def loss_scaled(self, scaled: Any, loss: Any) -> None:
        """GradScaler has made `scaled` of `loss`."""
        self._scaled.scaled(scaled, loss)

    def of(self, event: Event) -> tuple[Contribution, Sequence[Readable], Scale]:
        """The backward at hand; what of it is still on its way; the scale of the gradients to come."""
        number = self._meta.backwards = self._stage.backwards
        roots, site = event.subject, self._books.site(event.site)
        node, by = (None, 1) if not roots or roots[0].grad_fn is None else divided(self._scaled.node(roots[0]))
        course = self._books.course(site, "" if node is None else node.name())
        root = roots[0] if len(roots) == 1 and event.plain else None
        if root is None or root.numel() != 1 or root.is_complex():
            return Contribution(number, site, False, course), (), UNSCALED
        shares = self._fittings.shares()
        division = self._divisions.of(course, max(shares, by) if shares else by, shares > 0)
        contribution = Contribution(number, site, True, course, division=division)
        loss, scale = self._scaled.unscaled(root)
        if on_host(loss):
            contribution.loss = loss.item()
            if self._alarm.stands_out(course, contribution.loss):
                self._suspect()
            if not isfinite(contribution.loss):
                self._stage.tell("loss_not_finite", roots, event.site)
            return contribution, (), scale
        return contribution, (scale, LossCell(loss, contribution)), scale
