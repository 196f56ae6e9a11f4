"""What a probe is, and what it may look at."""
from __future__ import annotations

from types import FrameType
from typing import Protocol, Sequence

import torch
from torch.amp.grad_scaler import GradScaler

from gradscope.events import Site
from gradscope.facts.fact import Fact
from gradscope.hooks.clipping import ClipCall
from gradscope.hooks.forward import ForwardTrace
from gradscope.hooks.graph import Survey
from gradscope.hooks.sharding import in_memory
from gradscope.recording.naming import Names
from gradscope.recording.track import Track


class Scene(Protocol):
    """The recorder as probes see it."""

    row: int
    backwards: int  # seen in the run so far
    trace: ForwardTrace
    names: Names

    @property
    def tracks(self) -> Sequence[Track]:
        """The optimizers watched."""

    def owned(self) -> set[int]:
        """The ids of all parameters that some optimizer, watched or not, holds."""

    def survey(self) -> Survey | None:
        """The graph of the backward at hand, on rows that are looked at closely; else None."""

    def frame(self) -> FrameType | None:
        """The user's frame that made the call at hand."""

    def site(self, frame: FrameType | None) -> Site | None:
        """The user's line that `frame`, or the nearest caller of it that is theirs, is at."""

    def emit(self, fact: Fact) -> None:
        """Put a fact into the record."""

    def unseen(self, what: str, why: str) -> None:
        """Say in the report what could not be seen."""

    def curve(self, name: str, value: float, row: int, optimizer: int) -> None:
        """Put a value of a metric, seen on another rank or on this one, into the record."""

    def trigger(self, why: str) -> None:
        """Ask for the rules to run when this row is finished."""


FAR = 1 << 30  # steps: never
_SAMPLE = 64  # values compared to see whether a parameter moves


def sample(parameter: torch.Tensor) -> torch.Tensor:
    """A copy of a few values, spread over the parameter; of what lies here, where ranks hold parts of it."""
    with torch.no_grad():
        here = getattr(parameter, "_local_tensor", parameter).detach()
        flat = here.reshape(-1) if in_memory(here) else torch.empty(0)
        return flat[:: max(1, flat.numel() // _SAMPLE)][:_SAMPLE].clone()


class Probe:
    """Does nothing at any moment; a probe overrides the moments it needs.

    `cost` says in words what it costs, and when. Of rows as nearly all are (`recording/steady.py`) it is told by
    `rows_passed`, and of some of them at the moments named in `always`.
    """

    cost = ""
    always: frozenset[str] = frozenset()

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        """The graph of `roots` is alive."""

    def loss_not_finite(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        """backward is about to run on a loss that is NaN or infinite (on the CPU; in every row). The graph is alive."""

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        """`reached` are the watched optimizers with a parameter that this backward reached."""

    def backward_failed(self, scene: Scene, error: BaseException, site: Site) -> None:
        """backward raised."""

    def before_step(self, scene: Scene, track: Track) -> None:
        """An optimizer is about to step; `track.before_step` is the look at its gradients."""

    def closure_returned(self, scene: Scene, track: Track) -> None:
        """The closure that a step was called with has returned, with the gradients that the step will use."""

    def after_step(self, scene: Scene, track: Track) -> None:
        """An optimizer has stepped."""

    def scaler_created(self, scene: Scene, scaler: GradScaler) -> None:
        """A GradScaler has been made, and is enabled."""

    def skipped_step(self, scene: Scene, track: Track, scaler: GradScaler) -> None:
        """GradScaler did not run this optimizer's step."""

    def evaluating(self, scene: Scene, module: torch.nn.Module) -> None:
        """`eval()` was called on a module."""

    def scheduler_stepped(self, scene: Scene, track: Track, scheduler: object) -> None:
        """A learning-rate scheduler of this optimizer is about to change its lr."""

    def clipped(self, scene: Scene, call: ClipCall) -> None:
        """Gradients have been clipped by torch's functions; told in every row. Keep none of the parameters."""

    def zero_grad(self, scene: Scene, track: Track) -> None:
        """zero_grad was called on the optimizer, or on a module."""

    def rows_passed(self, scene: Scene, track: Track, count: int) -> None:
        """So many rows of an optimizer were as rows should be, up to its newest step; nothing else was told of them."""

    def next_step(self, track: Track) -> int:
        """The first step of the optimizer, counted from 0, of which the probe must be told even if it is as most are.

        Asked when the steps so far are over.
        """
        return track.steps + FAR

    def resumed(self, scene: Scene) -> None:
        """Watching goes on after a pause."""

    def processes_part(self, scene: Scene) -> None:
        """The processes that train together are about to lose their connection."""

    def ended(self, scene: Scene, finished: bool) -> None:
        """The run is over; `finished` is False where it crashed or was interrupted."""
