"""Validation, as the recorder is told of it: numbers that the loop logs, what it gives to others, what it evaluates."""
from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from types import FrameType
from typing import Any

from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.record.metrics import Metric, names_validation_loss
from gradscope.recording.books import Books, Sink
from gradscope.recording.evaluations import Evaluations
from gradscope.recording.metrics import BadValue, Metrics
from gradscope.recording.roster import Roster


class Validation:
    """All ways by which a metric comes into the record. `newest` is the row that has stepped last."""

    def __init__(
        self, sink: Sink, books: Books, roster: Roster, newest: Callable[[], int], blind: dict[str, str]
    ) -> None:
        self._books, self._roster, self._newest, self._blind = books, roster, newest, blind
        self._metrics = Metrics(sink)
        self._evaluations = Evaluations(
            self._metrics,
            books.site,
            DISPATCHER.sites.find,
            lambda: DISPATCHER.listening(DISPATCHER.generation, aside=True),
            self._failed,
            DISPATCHER.spend,
        )
        self._named = functools.lru_cache(1024)(names_validation_loss)

    @property
    def evaluates(self) -> bool:
        """A model was put into eval mode, and no backward has begun since."""
        return self._evaluations.open

    def begins(self, module: Any) -> None:
        """A model is put into eval mode."""
        self._evaluations.begins(module, self._roster.living(), self._newest())

    def ends(self) -> None:
        """Training goes on, or is over."""
        self._evaluations.end(self._newest())

    def stop(self) -> None:
        """Look at no evaluation any more."""
        self._evaluations.stop()

    def drawn(self, name: str, value: float, row: int, optimizer: int) -> None:
        """A value of a rank's: of no validation, kept beside those that are."""
        self._metrics.take(name, value, row, "ranks", (optimizer,), -1)

    def curtain(self, hide: bool) -> None:
        """Keep what looks at losses out of the sight of torch.compile, or let it look again."""
        self._evaluations.curtain(hide)

    def given(self, source: str, name: Any, value: Any, scheduler: Any, frame: FrameType) -> None:
        """The loop has given a number to somebody else; those of ours go by "gradscope..."."""
        if source == "tensorboard":
            if not isinstance(name, str) or name.startswith("gradscope") or not self._named(name):
                return
            optimizers: tuple[int, ...] = ()
        else:
            track = self._roster.get(getattr(scheduler, "optimizer", None))
            if track is None or track.number < 0:
                return
            optimizers = (track.number,)
        with contextlib.suppress(BadValue):
            self._take(name, value, source, optimizers, frame)

    def logged(self, name: str, value: Any, optimizers: tuple[int, ...], frame: FrameType) -> None:
        """The loop has handed in a number, of a model that these optimizers train. BadValue where it is none."""
        self._take(name, value, "log", optimizers, frame)

    def finish(self, wait: bool) -> None:
        """Enter what has arrived from accelerators; `wait` for what has not."""
        self._metrics.finish(wait)

    def view(self) -> tuple[Metric, ...]:
        """The series so far: copies."""
        return self._metrics.view()

    def _take(self, name: str, value: Any, source: str, optimizers: tuple[int, ...], frame: FrameType) -> None:
        site = self._books.site(DISPATCHER.sites.find(frame))
        self._metrics.take(name, value, self._newest(), source, optimizers, site)

    def _failed(self, error: BaseException) -> None:
        self._evaluations.stop()
        self._blind["evaluations"] = f"it failed at step {self._newest()}: {type(error).__name__}: {error}"
