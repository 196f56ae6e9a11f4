"""Trainers of libraries, as the recorder meets them: their calls are told by the user's own lines."""
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from gradscope.events import Event, Phase, Site
from gradscope.facts.trainers import TrainedBy
from gradscope.hooks.trainers import Fitting, fitting_here, loss_shares
from gradscope.recording.stage import Stage

_SETTINGS = {
    "lightning": ("gradient_clip_val", "accumulate_grad_batches"),
    "transformers": ("learning_rate", "weight_decay", "max_grad_norm", "gradient_accumulation_steps"),
}
_KEPT = 256  # lines from which backward was called


class Fittings:
    """Looks up the stack where an optimizer is made, and at the first call from each line: there alone it costs."""

    def __init__(self, stage: Stage, note: Callable[[str], None]) -> None:
        self._stage, self._note = stage, note
        self._known: dict[int, tuple[Site, Fitting | None]] = {}  # by id: SiteFinder gives the same Site again
        self._newest: Fitting | None = None

    def born(self) -> None:
        """An optimizer has been made: perhaps by a trainer, for a model that is not known yet."""
        self._known.clear()
        self._meet(fitting_here(sys._getframe(1)))

    def placed(self, event: Event) -> Event:
        """The event, at the user's own line for it."""
        known = self._known.get(id(event.site))
        if known is None or known[0] is not event.site:
            if event.phase is Phase.ZERO_GRAD:
                return event
            known = self._look(event.site)
        fitting = known[1]
        line = None if fitting is None else fitting.lines.get(event.phase)
        return event if line is None else event._replace(site=line)

    def shares(self) -> int:
        """Over how many backwards the trainer at work spreads the loss of a step; 0: not known."""
        return 0 if self._newest is None else loss_shares(self._newest)

    def _look(self, site: Site) -> tuple[Site, Fitting | None]:
        if len(self._known) >= _KEPT:
            self._known.clear()
        found = fitting_here(sys._getframe(1))
        self._meet(found)
        here = found is not None and (found.site.file, found.site.line) == (site.file, site.line)
        known = self._known[id(site)] = site, found if here else None
        return known

    def _meet(self, fitting: Fitting | None) -> None:
        """The trainer at hand, told of once."""
        before, self._newest = self._newest, fitting
        trainer = None if fitting is None else fitting.trainer()
        if fitting is None or before is not None and before.trainer() is trainer:
            return
        model = None if fitting.model is None else fitting.model()
        if model is not None:
            self._stage.names.add_root(model, None, given=True)
        manual = getattr(model, "automatic_optimization", True) is False
        settings, made = _settings(fitting.library, trainer), fitting.lines.get(Phase.STEP)
        self._stage.emit(TrainedBy(self._stage.row, fitting.library, manual, settings, fitting.site, made))
        done = getattr(getattr(trainer, "state", None), "global_step", None) or getattr(trainer, "global_step", 0)
        if isinstance(done, int) and done > 0:
            self._note(f"the trainer goes on at its step {done}: step {self._stage.row} of this report")


def _settings(library: str, trainer: Any) -> Mapping[str, Any]:
    holder = trainer if library == "lightning" else getattr(trainer, "args", None)
    values = {name: getattr(holder, name, None) for name in _SETTINGS[library]}
    return {name: value for name, value in values.items() if isinstance(value, (int, float))}
