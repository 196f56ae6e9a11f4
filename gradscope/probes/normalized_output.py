"""Losses that are given what they make themselves (softmax before cross entropy), or what they do not take."""
from __future__ import annotations

from typing import Any, Sequence

import torch

from gradscope.events import Site
from gradscope.facts.operations import NormalizedOutput
from gradscope.hooks.lineage import given, leaf, nearest_leaf, operation, shape_made
from gradscope.hooks.saved import saved
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_SQUASHED = {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log-softmax"}
_NLL = ("NllLoss", "NllLoss2D")
_LAYERS = ("Addmm", "Linear", "Convolution", "Mm", "Relu", "NativeBatchNorm")
_SHARE = 1e-2  # how far from 1 the probabilities of a row may sum up to


class NormalizedOutputProbe(Probe):
    """Looks at what log-softmax, binary cross entropy and NLLLoss were given, reshaped or not.

    Only what they are given as it is counts: a scale, a temperature, a mixture or a mask in between is meant.
    """

    cost = "a glance at each node of the graphs of the first rows; where NLLLoss is given a layer's output, one pass"

    def __init__(self) -> None:
        self._found: list[tuple[str, str, torch.Tensor]] = []

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._found = []
        for node in () if survey is None else survey.nodes:
            found = misfit(node)
            if found is not None:
                owner = nearest_leaf(found[2])
                if owner is not None:
                    self._found.append((found[0], found[1], owner))

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        for output, loss, parameter in self._found:
            for track in reached:
                if id(parameter) in track.parameter_ids:
                    column = next(i for i, p in enumerate(track.parameters) if p is parameter)
                    scene.emit(NormalizedOutput(scene.row, track.number, output, loss, column, site))
        self._found = []


def misfit(node: Any) -> tuple[str, str, Any] | None:
    """What the loss operation `node` was given and should not be, the loss, and the operation that made it."""
    name = operation(node)
    if name == "LogSoftmax":
        source = given(node)
        made = operation(source)
        if made == "Log" and operation(given(source)) == "Softmax":
            return "log-softmax", "cross-entropy", source
        if made == "Softmax" and not _same_way(node, source):
            return None
        return (_SQUASHED[made], "cross-entropy", source) if made in _SQUASHED else None
    if name == "BinaryCrossEntropyWithLogits":
        source = given(node)
        made = operation(source)
        return (_SQUASHED[made], "bce-with-logits", source) if made in _SQUASHED else None
    if name in _NLL:
        source = given(node)
        if operation(source) in ("Softmax", "Sigmoid"):
            return _SQUASHED[operation(source)], "nll", source
        if _layer(source) and not _log_probabilities(node):
            return "logits", "nll", source
    return None


def _same_way(log_softmax: Any, softmax: Any) -> bool:
    """Whether both go over the same dimension, as far as that shows: over others is a matching of two sides."""
    whole, part = shape_made(log_softmax), shape_made(softmax)
    if whole is None or part is None:
        return True
    one, other = _dim(log_softmax, whole), _dim(softmax, part)
    if given(log_softmax, through=frozenset()) is softmax:
        return one == other
    return whole[one] == part[other]


def _dim(node: Any, shape: tuple[int, ...]) -> int:
    dim = int(getattr(node, "_saved_dim", -1))
    dim = dim - 2**64 if dim >= 2**63 else dim  # torch hands out negative dimensions as unsigned numbers
    return dim % max(1, len(shape))


def _layer(node: Any) -> bool:
    """A layer made it: nothing makes that sum up to anything."""
    if operation(node) in _LAYERS:
        return True
    if operation(node) != "Add" or len(node.next_functions) != 2:
        return False
    first, second = given(node, 0), given(node, 1)
    return operation(first) in ("Mm", "Bmm", "UnsafeView") and leaf(second) is not None


def _log_probabilities(node: Any) -> bool:
    """Whether what NLLLoss was given might be log-probabilities. On accelerators only its making tells."""
    for one in saved(node):
        if one.name == "self" and one.tensor is not None and one.tensor.device.type == "cpu":
            values = one.tensor.detach()
            dim = 1 if values.dim() > 1 else 0
            sums = values.double().logsumexp(dim)
            return bool((sums.abs() < _SHARE).all())
    return False
