"""Parameters that a loss reaches and that no optimizer owns."""
from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Sequence

import torch

from gradscope.events import Site
from gradscope.facts.loop import UnownedParameter
from gradscope.hooks.sharding import is_part
from gradscope.probes.base import Probe, Scene, sample
from gradscope.recording.naming import Named
from gradscope.recording.track import Track

_MAX_FOUND = 2_000


@dataclass
class _Sighting:
    parameter: weakref.ref[torch.Tensor]
    fact: UnownedParameter
    sample: torch.Tensor


class UnownedParametersProbe(Probe):
    """Looks at the leaves of the graph, and again at those it found, on the rows that are looked at closely."""

    cost = "a walk of the graph in the first rows, and in the row after other parameters than before lack a gradient"

    def __init__(self) -> None:
        self._seen: dict[int, _Sighting] = {}

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        if survey is None or not scene.tracks:
            return
        if any(map(is_part, scene.tracks[0].parameters)):
            scene.unseen("UnownedParametersProbe", "the graph holds parameters put together from those of all ranks")
            return
        self._look_again(scene)
        owned = scene.owned()
        unowned = [p for p in survey.leaves if isinstance(p, torch.nn.Parameter) and id(p) not in owned]
        if unowned:
            scene.names.refresh()
            places = {id(p): scene.names.place(p) for p in unowned}
            unowned.sort(key=lambda p: (1, 0, 0) if (at := places[id(p)]) is None else (0, at.root, at.order))
        for leaf in unowned[:_MAX_FOUND]:
            self._sight(scene, leaf)

    def before_step(self, scene: Scene, track: Track) -> None:
        if self._seen and track.steps == 0:
            self._look_again(scene)

    def ended(self, scene: Scene, finished: bool) -> None:
        self._look_again(scene)

    def _sight(self, scene: Scene, leaf: torch.Tensor) -> None:
        known = self._seen.get(id(leaf))
        if known is not None and known.parameter() is leaf:
            if scene.row > known.fact.row:
                known.fact = _again(known.fact, row=scene.row)
                scene.emit(known.fact)
            return
        named = scene.names.place(leaf)
        if named is None and any(root.given for root in scene.names.roots):
            return  # a parameter of some other model than the one to be watched
        place, upstream = _place(scene, named)
        fact = UnownedParameter(
            scene.row,
            scene.names.name(leaf) or f"a parameter of shape {tuple(leaf.shape)}",
            tuple(leaf.shape),
            place,
            upstream,
            leaf._version == 1,
            _aside(scene, named),
        )
        self._seen[id(leaf)] = _Sighting(weakref.ref(leaf), fact, sample(leaf))
        scene.emit(fact)

    def _look_again(self, scene: Scene) -> None:
        """Has an optimizer taken it in since? Does somebody change its values by hand?"""
        owners = scene.owned() if self._seen else set()
        for sighting in self._seen.values():
            parameter, fact = sighting.parameter(), sighting.fact
            if parameter is None or fact.owned_since >= 0:
                continue
            owned = id(parameter) in owners
            moved = not owned and not torch.equal(sample(parameter), sighting.sample)
            if owned or (moved and not fact.moved):
                sighting.fact = _again(fact, row=scene.row, moved=moved, owned_since=scene.row if owned else -1)
                scene.emit(sighting.fact)


def _again(fact: UnownedParameter, **changes: Any) -> UnownedParameter:
    return UnownedParameter(**{**vars(fact), **changes})


def _place(scene: Scene, named: Named | None) -> tuple[str, bool]:
    """Where it stands, and whether that is before every parameter of its model that an optimizer owns."""
    if named is None:
        return "elsewhere", False
    if named.hidden:
        return "hidden", False
    owners = scene.owned()
    owned = [i for i, p in enumerate(scene.names.parameters_of(named.root)) if id(p) in owners]
    return ("registered", named.order < min(owned)) if owned else ("apart", False)


def _aside(scene: Scene, named: Named | None) -> bool:
    """Whether it serves the training without being its object: its model evaluates, or no model is trained at all."""
    if named is not None and named.evaluating:
        return True
    root = None if named is None else scene.names.roots[named.root].module()
    if root is not None and not root.training:
        return True
    return not any(isinstance(p, torch.nn.Parameter) for track in scene.tracks for p in track.parameters)
