"""Why a trainable parameter of an optimizer got no gradient."""
from __future__ import annotations

from typing import Any, Sequence

import torch
from torch import nn

from gradscope.events import Site
from gradscope.facts import NoGradientReason
from gradscope.hooks.cuts import Cut, cut_below
from gradscope.hooks.forward import Call
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track


class NoGradientProbe(Probe):
    """Compares the module calls and the graph of a row with the parameters that were left without a gradient."""

    cost = "a walk of the graph in the first rows, and in the row after other parameters than before lack a gradient"

    def __init__(self) -> None:
        self._row = -1
        self._calls: list[Call] = []
        self._nodes: set[Any] = set()
        self._reached: set[int] = set()

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        if survey is None or not survey.complete:
            return
        if scene.row != self._row:
            self._drop()
            self._row = scene.row
        self._calls.extend(scene.trace.calls)
        self._nodes |= survey.nodes
        self._reached |= {id(leaf) for leaf in survey.leaves}

    def after_step(self, scene: Scene, track: Track) -> None:
        if scene.row != self._row or not self._calls:
            self._drop()
            return
        missing = [i for i, p in enumerate(track.parameters) if p.requires_grad and p.grad is None]
        if not missing:
            return
        modules, names = _holders(self._calls, scene), _module_names(scene)
        for index in missing:
            parameter = track.parameters[index]
            if id(parameter) in self._reached:
                continue
            holder = modules.get(id(parameter))
            cut = Cut("not-used") if holder is None else cut_below(self._calls, holder, self._nodes.__contains__)
            if cut.cause == "not-used" and holder is not None and self._called_by_parent_only(holder):
                cut = Cut("not-used", before=holder)
            scene.emit(
                NoGradientReason(
                    scene.row,
                    track.number,
                    index,
                    cut.cause,
                    "" if cut.before is None else names.get(id(cut.before), type(cut.before).__name__),
                    "" if cut.after is None else names.get(id(cut.after), type(cut.after).__name__),
                    cut.cause == "not-used" and holder is not None and self._is_alternative(holder, scene),
                )
            )

    def ended(self, scene: Scene, finished: bool) -> None:
        self._drop()

    def _drop(self) -> None:
        self._calls, self._nodes, self._reached, self._row = [], set(), set(), -1

    def _called_by_parent_only(self, holder: nn.Module) -> bool:
        return not any(call.module is holder for call in self._calls)

    def _is_alternative(self, holder: nn.Module, scene: Scene) -> bool:
        """One of several like modules in a ModuleList or ModuleDict, of which others were called: an expert."""
        called = {id(call.module) for call in self._calls}
        for root in scene.names.roots:
            module = root.module()
            for parent in module.modules() if module is not None else ():
                if not isinstance(parent, (nn.ModuleList, nn.ModuleDict)):
                    continue
                children = list(parent.children())
                own = [c for c in children if any(m is holder for m in c.modules())]
                if own and any(type(c) is type(own[0]) and id(c) in called for c in children if c is not own[0]):
                    return True
        return False


def _holders(calls: Sequence[Call], scene: Scene) -> dict[int, nn.Module]:
    """By a parameter's id: the module that holds it directly. Called modules win over those only registered."""
    holders: dict[int, nn.Module] = {}
    modules = [call.module for call in calls]
    for root in scene.names.roots:
        module = root.module()
        if module is not None:
            modules.extend(module.modules())
    for module in modules:
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), module)
    return holders


def _module_names(scene: Scene) -> dict[int, str]:
    names: dict[int, str] = {}
    for root in scene.names.roots:
        module = root.module()
        if module is not None:
            for name, part in module.named_modules():
                names.setdefault(id(part), name or type(part).__name__)
    return names
