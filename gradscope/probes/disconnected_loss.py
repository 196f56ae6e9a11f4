"""Losses whose backward reaches nothing that is trained, or that torch refuses to go backward from."""
from __future__ import annotations

import weakref
from typing import Sequence

import torch

from gradscope.events import Site
from gradscope.facts.loop import BackwardFailed, DisconnectedLoss
from gradscope.hooks.cuts import Cut, cut_of_loss
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

NO_GRAPH = "does not require grad"
FREED_GRAPH = "backward through the graph a second time"


class DisconnectedLossProbe(Probe):
    """Keeps the roots of the backward at hand, to say where the graph was cut if it comes to nothing."""

    cost = "two attribute reads per backward; a walk of the module calls where a backward reaches nothing"

    def __init__(self) -> None:
        self._cut: Cut | None = None
        self._others = False  # the backward at hand reaches parameters that no optimizer owns
        self._newest: weakref.ref[torch.Tensor] | None = None  # the loss of the backward before
        self._again = False  # the backward at hand starts where an earlier one did

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        node = roots[0].grad_fn if len(roots) == 1 else None
        self._again = self._newest is not None and len(roots) == 1 and self._newest() is roots[0]
        self._newest = weakref.ref(roots[0]) if len(roots) == 1 else None
        self._cut, self._others = None, False
        survey = scene.survey()
        if survey is not None:
            owned = scene.owned()
            self._others = any(isinstance(p, torch.nn.Parameter) and id(p) not in owned for p in survey.leaves)
            if not any(id(leaf) in owned for leaf in survey.leaves):
                self._cut = self._find(scene, roots)
        elif len(roots) == 1 and node is None:
            self._cut = self._find(scene, roots)

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        if not reached and self._cut is not None and scene.tracks:
            after, before = _names(scene, self._cut)
            scene.emit(DisconnectedLoss(scene.row, self._cut.cause, after, before, self._others, site))
        self._cut = None

    def backward_failed(self, scene: Scene, error: BaseException, site: Site) -> None:
        message = str(error)
        if NO_GRAPH in message:
            cut = self._cut or Cut("unknown")
            self._cut = None
            scene.emit(BackwardFailed(scene.row, "no-graph", cut.cause, *_names(scene, cut), site, scene.backwards))
        elif FREED_GRAPH in message:
            cause = "same-loss" if self._again else "earlier-step" if scene.row > 0 else "unknown"
            scene.emit(BackwardFailed(scene.row, "freed-graph", cause, "", "", site, scene.backwards))

    def _find(self, scene: Scene, roots: Sequence[torch.Tensor]) -> Cut:
        parameters = [p for track in scene.tracks for p in track.parameters]
        trainable = any(p.requires_grad for p in parameters) or not parameters
        cut = cut_of_loss(scene.trace.calls, trainable)
        made_by_hand = len(roots) == 1 and roots[0].is_leaf and roots[0].requires_grad
        if made_by_hand and cut.cause in ("detached", "unknown"):
            return Cut("made-by-hand", cut.after)
        return cut


def _names(scene: Scene, cut: Cut) -> tuple[str, str]:
    names = {}
    for root in scene.names.roots:
        module = root.module()
        if module is not None:
            names.update({id(part): name or type(part).__name__ for name, part in module.named_modules()})
    after = "" if cut.after is None else names.get(id(cut.after), type(cut.after).__name__)
    before = "" if cut.before is None else names.get(id(cut.before), type(cut.before).__name__)
    return after, before
