"""Which loss function of torch's a loss is: what it is worth to know nothing (ln C) follows from it."""
from __future__ import annotations

from typing import Any, Iterable, Sequence

import torch

from gradscope.events import Site
from gradscope.facts.loss import LossFunction
from gradscope.hooks.evaluation import NODES
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_BINARY = ("BinaryCrossEntropyBackward", "BinaryCrossEntropyWithLogitsBackward")


class LossFunctionProbe(Probe):
    """Reads the nodes of the loss's graph, and the number of classes off the tensor that cross entropy has saved."""

    cost = "a glance at each node of the graphs of the first rows"

    def __init__(self) -> None:
        self._found: tuple[str, int, str] | None = None
        self._by_track: dict[int, tuple[str, int, str]] = {}

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._found = None
        if survey is not None and survey.complete:
            self._found = (*loss_function(survey.nodes), alone(roots))

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        if self._found is not None:
            for track in reached:
                before = self._by_track.get(id(track), self._found)
                same = self._found[:2] if self._found[:2] == before[:2] else ("other", 0)
                self._by_track[id(track)] = (*same, self._found[2] if self._found == before else "")
            self._found = None

    def after_step(self, scene: Scene, track: Track) -> None:
        found = self._by_track.pop(id(track), None)
        if found is not None:
            scene.emit(LossFunction(scene.row, track.number, *found))


def loss_function(nodes: Iterable[Any]) -> tuple[str, int]:
    """The kind of a loss with these nodes in its graph, and its number of classes (0: none, or not known)."""
    found: set[tuple[str, int]] = set()
    soft: set[tuple[str, int]] = set()
    for node in nodes:
        name = node.name().rstrip("0123456789")
        if name in ("NllLossBackward", "NllLoss2DBackward", "NllLoss2dBackward"):
            found.add(("cross-entropy", 0 if _is_sum(node) else _classes(node, "_saved_self", 1)))
        elif name == "LogSoftmaxBackward":
            soft.add(("cross-entropy", _classes(node, "_saved_result", getattr(node, "_saved_dim", -1))))
        elif name in _BINARY:
            found.add(("binary-cross-entropy", 0 if _is_sum(node) else 2))
        elif "Loss" in name:
            found.add(("other", 0))
    found = found or soft  # log-softmax alone: soft targets, or a loss written out
    if len(found) > 1:
        return "other", 0
    return next(iter(found), ("none", 0))


def alone(roots: Sequence[torch.Tensor]) -> str:
    """Which of torch's loss functions the one root is, multiplied or divided at most; "" where it is more than that."""
    node = roots[0].grad_fn if len(roots) == 1 else None
    for _ in range(4):
        if node is None:
            break
        name = node.name().rstrip("0123456789")
        if name in NODES:
            return NODES[name]
        inputs = [following for following, _ in node.next_functions if following is not None]
        if not name.startswith(("Mul", "Div")) or len(inputs) != 1:
            break
        node = inputs[0]
    return ""


def _is_sum(node: Any) -> bool:
    """Whether it adds up what all samples cost: what guessing costs then, depends on their number."""
    return getattr(node, "_saved_reduction", None) == 2


def _classes(node: Any, name: str, dim: int) -> int:
    try:
        shape = getattr(node, name).shape
    except (AttributeError, RuntimeError):  # not saved, or packed by hooks that cannot unpack it
        return 0
    dim = dim - 2**64 if dim >= 2**63 else dim  # torch hands out negative dimensions as unsigned numbers
    return int(shape[dim if len(shape) > 1 and -len(shape) <= dim < len(shape) else -1])
