"""Operations without a slope that stand on every way from a loss to some parameter."""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.operations import BlockedGradient
from gradscope.hooks.lineage import leaf, nearest_leaf, operation, shape_made
from gradscope.hooks.saved import saved
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_STEPS = {"Round": "round", "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Trunc": "trunc"}
_CLAMPS = ("Clamp", "ClampMin", "ClampMax")
_MOST = 8  # clamps that are looked into


class Verdict:
    """Whether clamps have cut everything off: on its way from the device."""

    __slots__ = ("tensor", "_scene", "_fact")

    def __init__(self, tensor: torch.Tensor, scene: Scene, fact: BlockedGradient) -> None:
        self.tensor: torch.Tensor | None = tensor
        self._scene, self._fact = scene, fact

    def fill(self, values: np.ndarray) -> None:
        self.tensor = None
        if float(values[0]) == 1:
            self._scene.emit(self._fact)


class BlockedGradientProbe(Probe):
    """Walks the graph of the loss without passing such operations: what is not reached gets a gradient of exactly 0."""

    cost = "a glance at each node of the graphs of the first rows; where there is such an operation, two walks"

    def __init__(self) -> None:
        self._found: list[tuple[str, torch.Tensor, torch.Tensor | None]] = []

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._found = []
        if survey is not None and survey.complete:
            starts = [root.grad_fn for root in roots if root.grad_fn is not None]
            self._found = blocked(starts, survey.nodes, survey.leaves)

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        for name, parameter, proof in self._found:
            for track in reached:
                if id(parameter) in track.parameter_ids:
                    column = next(i for i, p in enumerate(track.parameters) if p is parameter)
                    fact = BlockedGradient(scene.row, track.number, name, column, site)
                    if proof is None:
                        scene.emit(fact)
                    else:
                        track.expect([Verdict(proof.reshape(1), scene, fact)])
        self._found = []


def blocked(
    starts: Sequence[Any], nodes: frozenset[Any], leaves: Sequence[torch.Tensor]
) -> list[tuple[str, torch.Tensor, torch.Tensor | None]]:
    """The operations that hold back all of the gradient of some parameter: name, the nearest such one, and a proof.

    The proof # () is 1 where it holds; None: it needs none.
    """
    flat = {node: name for node in nodes if (name := _flat(node))}
    clamps = {node: "clamp" for node in nodes if operation(node) in _CLAMPS}
    found: list[tuple[str, torch.Tensor, torch.Tensor | None]] = []
    if flat:
        open_ones = _reached(starts, flat)
        found += [(name, parameter, None) for name, parameter in _behind(flat, open_ones)]
    if 0 < len(clamps) <= _MOST:
        open_ones = _reached(starts, {**flat, **clamps})
        behind = _behind(clamps, open_ones)
        cut = [_cut_off(node) for node in clamps] if behind else []
        if behind and all(one is not None for one in cut):
            proof = torch.stack([one.to(cut[0].device) for one in cut if one is not None and cut[0] is not None]).amin()
            found += [(name, parameter, proof) for name, parameter in behind]
    return found


def _flat(node: Any) -> str:
    """What an operation without any slope is called; "" for others."""
    name = operation(node)
    if name in _STEPS:
        return _STEPS[name]
    if name == "Div":
        return "floor-division" if getattr(node, "_saved_rounding_mode", None) else ""
    shape = shape_made(node) if name in ("Softmax", "LogSoftmax") else None
    if shape:
        dim = int(getattr(node, "_saved_dim", -1))
        dim = dim - 2**64 if dim >= 2**63 else dim
        return "softmax-of-one" if shape[dim] == 1 else ""
    if name == "NativeLayerNorm" and all(size == 1 for size in getattr(node, "_saved_normalized_shape", (2,))):
        return "normalised-one"
    return ""


def _reached(starts: Sequence[Any], closed: dict[Any, str]) -> set[int]:
    """The ids of the leaves that a gradient other than 0 can come to."""
    queue, seen, found = list(starts), set(), set()
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        tensor = leaf(node)
        if tensor is not None:
            found.add(id(tensor))
        following = [one for one, _ in node.next_functions]
        if node in closed:
            following = following[2:] if closed[node] == "normalised-one" else []  # its bias
        queue.extend(following)
    return found


def _behind(closed: dict[Any, str], open_ones: set[int]) -> list[tuple[str, torch.Tensor]]:
    """With each such operation the nearest parameter behind it, where no other way leads there."""
    found = {}
    for node, name in closed.items():
        tensor = nearest_leaf(node.next_functions[0][0]) if node.next_functions else None
        if tensor is not None and id(tensor) not in open_ones:
            found[name, id(tensor)] = (name, tensor)
    return list(found.values())


def _cut_off(node: Any) -> torch.Tensor | None:
    """Whether every element lies outside of the bounds # (): 1 or 0; None: not known."""
    value = next((one.tensor for one in saved(node) if one.name == "self"), None)
    if value is None:
        return None
    with torch.no_grad():
        inside = torch.ones_like(value, dtype=torch.bool)
        low, high = getattr(node, "_saved_min", None), getattr(node, "_saved_max", None)
        if low is not None:
            inside &= value >= low
        if high is not None:
            inside &= value <= high
        return (~inside).all().float()
