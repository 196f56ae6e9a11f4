"""Elementwise losses that compare each prediction with each target, because (N, 1) was given beside (N,)."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Sequence

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.operations import LossBroadcast
from gradscope.hooks.lineage import given, leaf, nearest_leaf, operation, shape_made
from gradscope.hooks.saved import saved
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_LOSSES = {"MseLoss": "mse", "SmoothL1Loss": "smooth-l1", "HuberLoss": "huber"}
_WRITTEN_OUT = ("Pow", "Abs", "Mul")  # what is made of a difference: a square, an absolute value, a product
_AS_IT_IS = frozenset(("ToCopy", "Clone", "Alias"))
_CLOSE = 1e-4
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Crossing:
    """A loss over all pairs: the shapes, the operation that made the prediction, and what is left to be proved.

    `proof` # (1,): how far the differences are from being those of all pairs, against their size; None: it is clear.
    """

    loss: str
    prediction: Shape
    target: Shape
    result: Shape
    source: Any
    proof: torch.Tensor | None = None


class Verdict:
    """A proof on its way from the device; the fact is told where it holds."""

    __slots__ = ("tensor", "_scene", "_fact")

    def __init__(self, tensor: torch.Tensor, scene: Scene, fact: LossBroadcast) -> None:
        self.tensor: torch.Tensor | None = tensor
        self._scene, self._fact = scene, fact

    def fill(self, values: np.ndarray) -> None:
        self.tensor = None
        if float(values[0]) < _CLOSE:
            self._scene.emit(self._fact)


class LossBroadcastProbe(Probe):
    """Reads the shapes that torch keeps with the operations of a loss.

    Both sides must have been stretched, along the first and the second dimension, to the same number: (N, 1) and (N,)
    make (N, N). Where the loop put the dimension there itself (`x[:, None]`), all pairs are meant.
    """

    cost = "a glance at each node of the graphs of the first rows"

    def __init__(self) -> None:
        self._found: list[tuple[Crossing, torch.Tensor]] = []

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._found = []
        if survey is None:
            return
        for crossing in crossings(survey.nodes):
            owner = nearest_leaf(crossing.source)
            if owner is not None:
                self._found.append((replace(crossing, source=None), owner))

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        for crossing, parameter in self._found:
            for track in reached:
                if id(parameter) in track.parameter_ids:
                    prediction, target, result = map(str, (crossing.prediction, crossing.target, crossing.result))
                    fact = LossBroadcast(scene.row, track.number, crossing.loss, prediction, target, result, site)
                    if crossing.proof is None:
                        scene.emit(fact)
                    else:
                        track.expect([Verdict(crossing.proof.reshape(1), scene, fact)])
        self._found = []


def crossings(nodes: frozenset[Any]) -> list[Crossing]:
    """The losses over all pairs in a graph with these nodes."""
    reduced = {
        given(node, 0, _AS_IT_IS | {"Neg"})
        for node in nodes
        if operation(node) in ("Mean", "Sum") and not hasattr(node, "_saved_dim")  # over all dimensions at once
    }
    found = []
    for node in nodes:
        crossing, name = None, operation(node)
        if name in _LOSSES and (getattr(node, "_saved_reduction", None) != 0 or node in reduced):
            crossing = _of_torch(node)
        elif name in _WRITTEN_OUT and node in reduced:
            crossing = _by_hand(node) or _product(node)
        if crossing is not None:
            found.append(crossing)
    return found


def _of_torch(node: Any) -> Crossing | None:
    """A loss function of torch's, which stretches both sides before it begins."""
    kept = {one.name: one.tensor for one in saved(node) if one.tensor is not None}
    if "self" not in kept or "target" not in kept:
        return None
    result = tuple(kept["self"].shape)
    for side, other in (("self", "target"), ("target", "self")):
        at = 0 if side == "self" else 1
        source = node.next_functions[at][0] if at < len(node.next_functions) else None
        if source is None:
            continue
        shape = _unstretched(source, node.next_functions[at][1])
        across = _across(shape, result)
        if across is None or not _stretched(kept[other], across):
            continue
        behind = given(node, at, _AS_IT_IS | {"Expand"})
        if operation(behind) == "Unsqueeze" or not _plain_other(node, 1 - at):
            return None
        assert shape is not None
        return Crossing(_LOSSES[operation(node)], shape, _other(result, across), result, behind)
    return None


def _by_hand(node: Any) -> Crossing | None:
    """A square, an absolute value or a product of a difference."""
    difference = given(node, 0, _AS_IT_IS)
    if operation(difference) not in ("Sub", "Rsub"):
        return None
    if operation(node) == "Mul" and given(node, 1, _AS_IT_IS) is not difference:
        return None
    result = shape_made(difference)
    value = next((s.tensor for s in saved(node) if s.tensor is not None and tuple(s.tensor.shape) == result), None)
    if result is None or value is None:
        return None
    for at, (source, index) in enumerate(difference.next_functions):
        shape = None if source is None else _unstretched(source, index)
        across = _across(shape, result)
        if across is None:
            continue
        behind = given(difference, at, _AS_IT_IS | {"Expand"})
        if operation(behind) == "Unsqueeze" or leaf(behind) is not None or not _plain_other(difference, 1 - at):
            return None
        assert shape is not None
        return Crossing("by-hand", shape, _other(result, across), result, behind, _deviation(value))
    return None


def _product(node: Any) -> Crossing | None:
    """A product, such as that of log-probabilities and advantages: torch keeps what each is multiplied by."""
    result = shape_made(node)
    if operation(node) != "Mul" or result is None:
        return None
    kept = {one.name: one.tensor for one in saved(node) if one.tensor is not None}
    for at, other in enumerate(("other", "self")):
        source, index = node.next_functions[at]
        shape = None if source is None else _unstretched(source, index)
        across = _across(shape, result)
        if across is None or other not in kept or tuple(kept[other].shape) != _other(result, across):
            continue
        behind = given(node, at, _AS_IT_IS)
        if operation(behind) != "Unsqueeze" and leaf(behind) is None and _plain_other(node, 1 - at):
            assert shape is not None
            return Crossing("product", shape, _other(result, across), result, behind)
    return None


def _unstretched(source: Any, index: int) -> Shape | None:
    """The shape of an operand before it was stretched."""
    if operation(source) == "Expand":
        return tuple(int(size) for size in source._saved_self_sym_sizes)
    return shape_made(source, index)


def _across(shape: Shape | None, result: Shape) -> int | None:
    """The dimension along which the other side must have been stretched to make `result` (N, N, ...) of `shape`.

    0 for (N, 1, ...), 1 for (N, ...); None where it is no such crossing.
    """
    if shape is None or len(result) < 2 or result[0] != result[1] or result[0] < 2:
        return None
    number, rest = result[0], result[2:]
    if shape == (number, 1, *rest):
        return 0
    return 1 if shape == (number, *rest) and shape != result else None


def _other(result: Shape, across: int) -> Shape:
    return (result[0], *result[2:]) if across == 0 else (result[0], 1, *result[2:])


def _stretched(tensor: torch.Tensor, across: int) -> bool:
    """Whether a tensor is one row, or one column, over and over."""
    strides = tensor.stride()
    return bool(strides[across] == 0 and strides[1 - across] != 0)


def _plain_other(node: Any, at: int) -> bool:
    """Whether the other side, where it has a graph, is of the shape that makes it a mistake (a constant may be)."""
    if at >= len(node.next_functions) or node.next_functions[at][0] is None:
        return True
    source, index = node.next_functions[at]
    shape = _unstretched(source, index)
    if shape is None or operation(given(node, at, _AS_IT_IS | {"Expand"})) == "Unsqueeze":
        return False
    return len(shape) < 2 or shape[0] != 1


def _deviation(difference: torch.Tensor) -> torch.Tensor:
    """How far a matrix is from a_i - b_j # () against its size; 1 where it has no size."""
    with torch.no_grad():
        values = difference.detach().float()
        crossed = values - values[:1] - values[:, :1] + values[:1, :1]
        return crossed.abs().amax() / values.abs().amax().clamp_min(1e-30) + (values.abs().amax() == 0)
