"""Why a trainable parameter of an optimizer got no gradient."""
from __future__ import annotations

from typing import Sequence

import torch
from torch import nn

from gradscope.events import Site
from gradscope.facts.loop import NoGradientReason
from gradscope.hooks.cuts import Cut, cut_below
from gradscope.hooks.forward import Call
from gradscope.probes.base import Probe, Scene, sample
from gradscope.recording.track import Track

_MAX_CALLS = 20_000  # in one row


class NoGradientProbe(Probe):
    """Compares the module calls and the graph of a row with the parameters that were left without a gradient.

    Of the graph only what was reached is kept, as truth values in the calls: no node outlives its backward.
    """

    cost = "a walk of the graph in the first rows, and in the row after other parameters than before lack a gradient"

    def __init__(self) -> None:
        self._row = -1
        self._calls: list[Call] = []
        self._reached: set[int] = set()
        self._samples: dict[tuple[int, int], torch.Tensor] = {}  # of what lacks a gradient: does it move all the same?
        self._moved: set[tuple[int, int]] = set()

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        if survey is None or not survey.complete:
            return
        if scene.row != self._row:
            self._drop()
            self._row = scene.row
        if len(self._calls) < _MAX_CALLS:
            for call in scene.trace.calls:
                for output in call.outputs:
                    output.reached, output.node = output.node in survey.nodes, None
                for given in call.inputs:
                    given.node = None
            self._calls.extend(scene.trace.calls)
        self._reached |= {id(leaf) for leaf in survey.leaves}

    def before_step(self, scene: Scene, track: Track) -> None:
        if track.seen == 0 and any(call.grad_enabled and call.has_parameters for call in scene.trace.calls):
            scene.emit(NoGradientReason(scene.row, track.number, -1, "no-backward"))

    def after_step(self, scene: Scene, track: Track) -> None:
        if self._samples and track.steps & (track.steps - 1) == 0:
            self._compare(track)
            self._say_what_moved(scene)
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
            self._samples.setdefault((track.number, index), sample(parameter))
            holder = modules.get(id(parameter))
            cut = Cut("not-used") if holder is None else cut_below(self._calls, holder)
            scene.emit(
                NoGradientReason(
                    scene.row,
                    track.number,
                    index,
                    cut.cause,
                    "" if cut.before is None else names.get(id(cut.before), type(cut.before).__name__),
                    "" if cut.after is None else names.get(id(cut.after), type(cut.after).__name__),
                    cut.cause == "not-used" and holder is not None and self._is_alternative(holder, scene),
                    (track.number, index) in self._moved,
                )
            )

    def rows_passed(self, scene: Scene, track: Track, count: int) -> None:
        if self._samples and (track.steps - count).bit_length() < track.steps.bit_length():
            self._compare(track)
            self._say_what_moved(scene)

    def _compare(self, track: Track) -> None:
        """Does something else move what lacks a gradient: a target network's copy, a moving average?"""
        for (number, index), before in self._samples.items():
            if number == track.number and index < len(track.parameters):
                now = sample(track.parameters[index])
                if now.shape != before.shape or not torch.equal(now, before):
                    self._moved.add((number, index))

    def ended(self, scene: Scene, finished: bool) -> None:
        for track in scene.tracks:
            self._compare(track)
        self._say_what_moved(scene)
        self._drop()

    def _say_what_moved(self, scene: Scene) -> None:
        for number, index in sorted(self._moved):
            scene.emit(NoGradientReason(scene.row, number, index, "not-used", moved=True))

    def _drop(self) -> None:
        self._calls, self._reached, self._row = [], set(), -1

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
