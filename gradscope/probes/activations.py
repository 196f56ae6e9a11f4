"""Units that never fire, and units pinned to their asymptotes: read from what the live graph has saved."""
from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.model import WINDOWS, Firing, GraphUnseen, Saturation
from gradscope.hooks.lineage import bias_of, layer_before, module_of, neighbour, order, unit_dimension, weight_of
from gradscope.hooks.saved import saved
from gradscope.probes.arrivals import Arrivals, by_unit, readable
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

SITES = 32  # activations looked at in a graph, spread over its depth
VALUES, UNITS = 1 << 16, 2048  # at most, of one activation
STEEP = {"Sigmoid": 0.495, "Tanh": 0.99}  # from the middle: beyond, the slope is below 2 % of the steepest
PINNED = 0.95  # of a unit's samples
_UNSEEN = {"CompiledFunctionBackward": "torch.compile", "CheckpointFunctionBackward": "activation checkpointing"}


@dataclass
class Place:
    """An activation function after a module, followed over the rows that are looked at."""

    function: str
    parameter: weakref.ref[torch.Tensor]
    counts: list[torch.Tensor] = field(default_factory=list)  # (units,) samples that fire, or are flat, in this row
    samples: int = 0  # in the row at hand
    layer: torch.Tensor | None = None  # in the row at hand: see `_about`; or the mean bias
    fan_in: int = 0
    first: bool = False
    gate: bool = False  # at least once: in the first step of a recurrent layer there may be nothing to let through
    idle: np.ndarray | None = None  # (units,) rows looked at since each unit fired
    looks: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=WINDOWS[-1]))  # (row, samples)

    def clear(self) -> None:
        self.counts, self.samples, self.layer = [], 0, None


class ActivationsProbe(Probe):
    """Counts, for each unit, the samples it fires for (ReLU and its like) or is flat for (sigmoid, tanh)."""

    cost = "about 60 us for each of at most 32 activations of a graph, in the rows that are looked at closely"

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], Place] = {}
        self._unseen = ""

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._unseen = ""
        if survey is None:
            return
        found = []
        for node in survey.nodes:
            name = node.name()
            function = _functions(node, name)
            if function:
                found.append((function, node))
            elif name.startswith(tuple(_UNSEEN)):
                self._unseen = next(why for start, why in _UNSEEN.items() if name.startswith(start))
        gates = _gates(survey.nodes) if any(function in STEEP for function, _ in found) else set()
        found.sort(key=lambda pair: order(pair[1]), reverse=True)  # a recurrent layer begins with a state of zeros
        with torch.no_grad():
            for function, node in found[:: -(len(found) // SITES + 1)]:
                self._look(function, node, node in gates)

    def _look(self, function: str, node: Any, gate: bool) -> None:
        read = next((one for one in saved(node) if one.name in ("self", "result")), None)
        if read is None or not readable(read.tensor):
            if read is not None and read.why == "hooks":
                self._unseen = "activation checkpointing, or other hooks on saved tensors"
            return
        assert read.tensor is not None
        near = neighbour(node)
        if near.parameter is None:
            return
        place = self._places.get((function, id(near.parameter)))
        if place is None or place.parameter() is not near.parameter:
            place = Place(function, weakref.ref(near.parameter))
            self._places[function, id(near.parameter)] = place
        place.gate = place.gate or gate
        if place.gate:
            return
        values = read.tensor
        if not values.dim():
            return
        dimension = unit_dimension(node, near.layer, values.dim())
        units = values.shape[dimension]
        if units > UNITS:
            values = values.movedim(dimension, -1)[..., :: -(-units // UNITS)]
            dimension = values.dim() - 1
        sampled = by_unit(values, dimension, VALUES)
        if place.counts and place.counts[0].shape != sampled.shape[1:]:
            return
        if function in STEEP:
            hit = (sampled - 0.5 if function == "Sigmoid" else sampled).abs() > STEEP[function]
            if place.layer is None:
                self._about(place, near.layer)
        else:
            hit = sampled > _threshold(node, function)
            bias = None if near.layer is None else bias_of(near.layer)
            if place.layer is None and bias is not None and readable(bias):
                place.layer = bias.detach().float().mean()
        place.counts.append(hit.sum(0, dtype=torch.float32))
        place.samples += len(sampled)

    @staticmethod
    def _about(place: Place, layer: Any) -> None:
        """What goes into the layer before: mean squares of its input and of its weights # (2,)."""
        weight = None if layer is None else weight_of(layer)
        if weight is None or not readable(weight):
            return
        given = next((one.tensor for one in saved(layer) if one.name in ("input", "mat1", "self")), None)
        if given is None or not readable(given):
            return
        squares = [by_unit(t, t.dim() - 1, 1 << 14).float().square().mean() for t in (given, weight)]
        place.layer = torch.stack(squares)
        place.fan_in = weight[0].numel()
        place.first = layer_before(layer) is None

    def after_backward(self, scene: Scene, reached: Sequence[Track], site: Site) -> None:
        if self._unseen:
            for track in reached:
                if track.number >= 0:
                    scene.emit(GraphUnseen(scene.row, track.number, self._unseen))
            self._unseen = ""

    def after_step(self, scene: Scene, track: Track) -> None:
        numbers: list[torch.Tensor] = []
        made: list[Callable[[np.ndarray], None]] = []
        sizes: list[int] = []
        for key, place in list(self._places.items()):
            parameter = place.parameter()
            if parameter is None:
                del self._places[key]
            elif place.gate:
                place.clear()
            elif place.counts and id(parameter) in track.parameter_ids:
                name = scene.names.name(parameter) or ""
                parts = [torch.stack(place.counts).sum(0)] + ([] if place.layer is None else [place.layer])
                module = module_of(name) or "a layer without a name"
                made.append(self._maker(scene, track.number, place, module, len(parts[0])))
                numbers += parts
                sizes.append(sum(part.numel() for part in parts))
                place.clear()
        if numbers:
            ends = np.cumsum(sizes)

            def all_made(values: np.ndarray) -> None:
                for make, size, end in zip(made, sizes, ends):
                    make(values[end - size : end])

            track.expect([Arrivals(numbers, all_made)])

    @staticmethod
    def _maker(scene: Scene, number: int, place: Place, name: str, units: int) -> Callable[[np.ndarray], None]:
        row, samples = scene.row, place.samples

        def make(values: np.ndarray) -> None:
            counts, about = values[:units], values[units:]
            if place.function in STEEP:
                shares = counts / samples
                rms = np.sqrt(about) if len(about) == 2 else np.full(2, np.nan)
                scene.emit(
                    Saturation(
                        row, number, name, place.function, units, int((shares >= PINNED).sum()), float(shares.mean()),
                        float(rms[0]), float(rms[1]), place.fan_in, place.first,
                    )
                )  # fmt: skip
                return
            idle = place.idle if place.idle is not None and len(place.idle) == units else np.zeros(units)
            place.idle = np.where(counts > 0, 0, idle + 1)
            place.looks.append((row, samples))
            looks = list(place.looks)
            windows = [min(w, len(looks)) for w in WINDOWS]
            scene.emit(
                Firing(
                    row, number, name, place.function, units,
                    tuple(int((place.idle >= w).sum()) for w in windows),
                    tuple(sum(n for _, n in looks[-w:]) for w in windows),
                    tuple(looks[-w][0] for w in windows),
                    float(counts.sum() / (samples * units)), float(about[0]) if len(about) == 1 else float("nan"),
                )
            )  # fmt: skip

        return make


def _gates(nodes: Iterable[Any]) -> set[Any]:
    """What is multiplied by something else that has a gradient: a gate is open or closed, and may well be."""
    return {
        following
        for node in nodes
        if node.name().startswith("MulBackward") and all(n is not None for n, _ in node.next_functions)
        for following, _ in node.next_functions
    }


def _functions(node: Any, name: str) -> str:
    """The activation function that a node belongs to, as far as it can die or saturate; else ""."""
    found = _BY_NAME.get(name)
    if found is None:
        found = next((f for start, f in _STARTS.items() if name.startswith(start)), "")
        _BY_NAME[name] = found
    if found == "ReLU6":  # Hardtanh, unless it begins at 0
        return found if getattr(node, "_saved_min_val", None) == 0 else ""
    if found == "clamp":
        return found if getattr(node, "_saved_min", None) == 0 else ""
    return found


_STARTS = {
    "ReluBackward": "ReLU",
    "ThresholdBackward": "ReLU",
    "ClampMinBackward": "clamp",
    "ClampBackward1": "clamp",
    "HardtanhBackward": "ReLU6",
    "HardswishBackward": "Hardswish",
    "GeluBackward": "GELU",
    "SigmoidBackward": "Sigmoid",
    "TanhBackward": "Tanh",
}
_BY_NAME: dict[str, str] = {}
_DEAD_BELOW = {"Hardswish": -3.0, "GELU": -4.0}  # there and further down, next to no gradient passes


def _threshold(node: Any, function: str) -> float:
    if function == "ReLU":
        return float(getattr(node, "_saved_threshold", 0.0))
    return _DEAD_BELOW.get(function, 0.0)
