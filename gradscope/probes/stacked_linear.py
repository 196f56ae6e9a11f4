"""Linear layers with nothing between them, and models that are linear as a whole."""
from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Sequence

import torch

from gradscope.events import Site
from gradscope.facts.operations import StackedLinear
from gradscope.hooks.lineage import RESHAPING, leaf, operation, weight
from gradscope.hooks.saved import saved_as
from gradscope.probes.arrivals import readable
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

# operation -> where its input and its weight are among what it was given
_LAYERS = {"Addmm": (1, 2), "Linear": (0, 1), "Mm": (0, 1), "Convolution": (0, 1)}
_NORMS = ("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "BatchNormWithUpdate", "NativeBatchNormLegit")
_POOLS = ("AvgPool1D", "AvgPool2D", "AvgPool3D", "MkldnnAdaptiveAvgPool2D", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D")
_LINEAR = frozenset((*_NORMS, *_POOLS, "NativeDropout", "Add", "Sub", "Neg", "Mean", "Sum", "Cat", "ConstantPadNd"))
_DROPPED = 4096  # values of a mask, looked at
_SAME_AXES = frozenset(("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Clone", "ToCopy", "Alias"))


@dataclass(frozen=True)
class Pair:
    """Two layers, by their weights; what is between them; and whether it is narrower there than before and behind."""

    first: torch.Tensor
    second: torch.Tensor
    layer: str
    between: str
    narrow: bool
    whole: bool


class StackedLinearProbe(Probe):
    """Follows the graph from each layer to the one before."""

    cost = "a walk through the graphs of the first rows"

    def __init__(self) -> None:
        self._found: list[Pair] = []

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._found = list(pairs(survey.nodes)) if survey is not None and survey.complete else []

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        for pair in self._found:
            for track in reached:
                if id(pair.first) in track.parameter_ids and id(pair.second) in track.parameter_ids:
                    columns = {id(p): i for i, p in enumerate(track.parameters)}
                    first, second = columns[id(pair.first)], columns[id(pair.second)]
                    rest = (pair.layer, pair.between, pair.narrow, pair.whole)
                    scene.emit(StackedLinear(scene.row, track.number, first, second, *rest, site))
        self._found = []


def pairs(nodes: frozenset[Any]) -> Iterator[Pair]:
    """Each layer of a graph with these nodes that is given the output of another one, and nothing else."""
    layers = [node for node in nodes if _is_layer(node)]
    if len(layers) < 2:
        return
    whole = _all_linear(layers)
    users = Counter(following for node in nodes for following, _ in node.next_functions)
    for node in layers:
        at, _ = _LAYERS[operation(node)]
        path = list(_path(node.next_functions[at][0], whole))
        before = path[-1] if path else None
        if before is None or not _is_layer(before):
            continue
        first, second = _weight(before), _weight(node)
        if first is second:
            continue
        between = next((_named(one) for one in path[:-1] if operation(one) not in RESHAPING | {"Add"}), "")
        if not whole and any(users[one] > 1 for one in path):
            continue  # what comes out of the first layer is used by itself, too
        kinds = {"Conv" if operation(one) == "Convolution" else "Linear" for one in (before, node)}
        coming, middle = _sizes(before, first)
        handed, going = _sizes(node, second)
        collapses = len(kinds) == 1 and middle == handed and not _grouped(before) and not _grouped(node)
        if collapses or whole:
            narrow = middle < min(coming, going)
            yield Pair(first, second, kinds.pop() if len(kinds) == 1 else "Linear", between, narrow, whole)


def _is_layer(node: Any) -> bool:
    places = _LAYERS.get(operation(node))
    if places is None or getattr(node, "_saved_transposed", False):
        return False
    found = _weight(node)
    return isinstance(found, torch.Tensor) and found.dim() >= 2


def _weight(node: Any) -> Any:
    return weight(node, _LAYERS[operation(node)][1])


def _path(node: Any, whole: bool) -> Iterator[Any]:
    """What the values went through on the way from the layer before to the one that `node` is the input of."""
    while node is not None:
        yield node
        name = operation(node)
        bias = name == "Add" and len(node.next_functions) == 2 and leaf(node.next_functions[1][0]) is not None
        if not (name in _SAME_AXES or bias or whole and (name in RESHAPING or name in _LINEAR or is_dropout(node))):
            return
        node = node.next_functions[0][0] if node.next_functions else None


def _all_linear(layers: Iterable[Any]) -> bool:
    """Whether all that goes into any of the layers was made of the data by linear operations only."""
    queue = [node.next_functions[_LAYERS[operation(node)][0]][0] for node in layers]
    seen: set[Any] = set()
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = operation(node)
        if name in _LAYERS:
            if not _is_layer(node):
                return False  # a product of two things that are computed
            queue.append(node.next_functions[_LAYERS[name][0]][0])
        elif name in _NORMS:
            queue.append(node.next_functions[0][0])
        elif is_dropout(node):
            queue.append(node.next_functions[0][0])
        elif name in RESHAPING or name in _LINEAR:
            if name in ("Add", "Sub") and any(following is None for following, _ in node.next_functions):
                return False  # a constant may be made of the same values: straight-through estimators add one
            queue.extend(following for following, _ in node.next_functions)
        elif node.next_functions or leaf(node) is None:
            return False
    return True


def is_dropout(node: Any) -> bool:
    """Whether values are multiplied by a mask of dropout's, as torch makes it on the CPU: 0 or 1 / (1 - p), at random.

    A ReLU written by hand, x * (x > 0), has a mask too, of 0 and 1. On other devices dropout is an operation by itself.
    """
    if operation(node) != "Mul" or len(node.next_functions) != 2 or node.next_functions[1][0] is not None:
        return False
    mask = saved_as(node, "other")
    if mask is None or mask.dim() < 2 or mask.device.type != "cpu" or not readable(mask):
        return False
    some = mask.detach().reshape(-1)[:_DROPPED].float()
    kept = float(some.amax())
    if not 1 < kept < math.inf or not bool(((some == 0) | (some == kept)).all()):
        return False
    share = 1 - 1 / kept
    return abs(float((some == 0).float().mean()) - share) < 5 * math.sqrt(share * (1 - share) / len(some))


def _named(node: Any) -> str:
    name = operation(node)
    return "BatchNorm" if name in _NORMS else "Dropout" if name in ("NativeDropout", "Mul") else name


def _sizes(node: Any, found: torch.Tensor) -> tuple[int, int]:
    """How many features a layer takes and makes."""
    shape = found.shape
    if operation(node) == "Mm" and operation(node.next_functions[1][0]) == "":  # x @ weight
        return int(shape[0]), int(shape[1])
    if operation(node) == "Addmm" and leaf(node.next_functions[2][0]) is not None:
        return int(shape[0]), int(shape[1])
    return int(shape[1]), int(shape[0])


def _grouped(node: Any) -> bool:
    return int(getattr(node, "_saved_groups", 1)) > 1
