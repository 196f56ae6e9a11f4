"""What the first steps tell of the initialisation: units that are all the same, and what becomes of the signal."""
from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.model import EqualUnits, Signal
from gradscope.hooks.graph import Survey
from gradscope.hooks.lineage import before, is_layer, layer_before, module_of, weight_of
from gradscope.hooks.saved import saved
from gradscope.probes.arrivals import Arrivals, by_unit, readable
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

LAYERS = 64  # followed from the loss towards the inputs
ROWS, COLUMNS = 64, 64  # of a weight, looked at
SAME = 1e-6  # of the largest entry
BLOCKS = (1, 3, 4)  # the gates of recurrent layers stand below each other in one weight
SAMPLES = 8  # at least
_FUNCTIONS = {
    "ReluBackward": "relu",
    "LeakyReluBackward": "leaky_relu",
    "TanhBackward": "tanh",
    "SigmoidBackward": "sigmoid",
    "GeluBackward": "relu",
    "SiluBackward": "relu",
    "EluBackward": "selu",
}


class InitializationProbe(Probe):
    """Follows the layers of the first graph; compares the rows of weights, and of the gradients of equal rows."""

    cost = "about 60 us for each layer in the first row; about 40 us for each weight of equal rows in others"

    def __init__(self) -> None:
        self._looking = False
        self._candidates: dict[int, tuple[weakref.ref[torch.Tensor], list[float]]] = {}  # whose rows are equal
        self._signal: tuple[list[torch.Tensor], list[Any], bool] | None = None

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        self._looking = survey is not None
        if survey is None or len(roots) != 1:
            return
        if survey.complete and any(track.steps == 0 for track in scene.tracks):
            with torch.no_grad():
                self._signal = _signal(survey, roots[0].grad_fn)

    def before_step(self, scene: Scene, track: Track) -> None:
        if not self._looking:
            return
        with torch.no_grad():
            if track.steps == 0:
                self._find_equal(track)
            else:
                self._look_at_equal(scene, track)

    def _find_equal(self, track: Track) -> None:
        weights = [p for p in track.parameters if p.dim() >= 2 and p.shape[0] > 1 and readable(p)]
        if not weights:
            return
        refs = [weakref.ref(w) for w in weights]
        numbers = [number for w in weights for number in (_apart(_corner(w)), _range(w))]

        def made(values: np.ndarray) -> None:
            for ref, (apart, constant) in zip(refs, values.reshape(-1, 2)):
                parameter = ref()
                if parameter is not None and apart <= SAME:
                    self._candidates[id(parameter)] = ref, [float(constant)]

        track.expect([Arrivals(numbers, made)])

    def _look_at_equal(self, scene: Scene, track: Track) -> None:
        for key, (ref, known) in list(self._candidates.items()):
            parameter = ref()
            if parameter is None:
                del self._candidates[key]
            elif key in track.parameter_ids and readable(parameter.grad):
                assert parameter.grad is not None
                weight, gradient = _corner(parameter), _corner(parameter.grad)
                blocks = [b for b in BLOCKS if len(gradient) % b == 0 and len(gradient) >= 4 * b or b == 1]
                numbers = [_apart(weight), gradient.abs().amax(), *(_apart(gradient, b) for b in blocks)]
                name = scene.names.name(parameter) or "a weight without a name"
                made = self._maker(scene, track.number, name, known[0], parameter[0].numel())
                track.expect([Arrivals(numbers, made)])

    @staticmethod
    def _maker(
        scene: Scene, number: int, name: str, value: float, fan_in: int
    ) -> Callable[[np.ndarray], None]:
        row = scene.row

        def made(values: np.ndarray) -> None:
            apart = float(values[2:].min())
            scene.emit(EqualUnits(row, number, name, float(values[0]), apart, bool(values[1] == 0), value, fan_in))

        return made

    def after_step(self, scene: Scene, track: Track) -> None:
        signal, self._signal = self._signal, None
        if signal is not None and track.steps <= 1:
            self._tell_signal(scene, track, *signal)

    @staticmethod
    def _tell_signal(
        scene: Scene, track: Track, numbers: list[torch.Tensor], layers: list[Any], normalised: bool
    ) -> None:
        refs, functions, fans = zip(*layers)
        parameters = [ref() for ref in refs]
        if any(p is None for p in parameters) or not any(id(p) in track.parameter_ids for p in parameters):
            return
        names = tuple(module_of(scene.names.name(p) or "") for p in parameters if p is not None)
        row, number = scene.row, track.number

        def made(values: np.ndarray) -> None:
            deviations, weights = np.sqrt(values.reshape(-1, 2)).T
            fact = Signal(
                row, number, names, tuple(map(float, deviations)), tuple(map(float, weights)), fans, functions,
                normalised,
            )  # fmt: skip
            scene.emit(fact)

        track.expect([Arrivals(numbers, made)])

    def ended(self, scene: Scene, finished: bool) -> None:
        self._candidates = {}


def _corner(tensor: torch.Tensor) -> torch.Tensor:
    """# (rows, columns) Some rows, and some entries of each; whole blocks of gates."""
    rows = tensor.detach().reshape(len(tensor), -1)
    rows = rows[:, :: max(1, rows.shape[1] // COLUMNS)]
    return rows[:: max(1, len(rows) // ROWS)] if len(rows) > 4 * ROWS else rows


def _apart(rows: torch.Tensor, blocks: int = 1) -> torch.Tensor:
    """How far rows are from the first of their block, against the largest entry; 0 where all are 0 # ()."""
    each = rows.reshape(blocks, -1, rows.shape[1])
    return (each - each[:, :1]).abs().amax() / rows.abs().amax().clamp(min=1e-30)


def _range(weight: torch.Tensor) -> torch.Tensor:
    """The value that all entries have, else NaN # ()."""
    some = _corner(weight).reshape(-1)
    return torch.where((some == some[0]).all(), some[0], torch.full_like(some[0], np.nan))


def _signal(survey: Survey, root: Any) -> tuple[list[torch.Tensor], list[Any], bool] | None:
    """The mean variance over samples of each layer's input, and the mean square of its weights, in forward order."""
    names = [node.name() for node in survey.nodes]
    normalised = any("Norm" in name or name.startswith("RsqrtBackward") for name in names)
    numbers: list[torch.Tensor] = []
    layers: list[tuple[weakref.ref[torch.Tensor], str, int]] = []
    seen: set[int] = set()
    after, layer = root, None if root is None else layer_before(root)
    while layer is not None and len(layers) < LAYERS:
        weight = weight_of(layer)
        if id(weight) in seen:  # recurrent: its depth is time
            return None
        seen.add(id(weight))
        given = next((one.tensor for one in saved(layer) if one.name in ("input", "mat1", "self")), None)
        if weight is None or not readable(weight) or given is None or not readable(given):
            return None
        dimension = 1 if "Convolution" in layer.name() else given.dim() - 1
        samples = by_unit(given, dimension, 1 << 15).float()
        if len(samples) < SAMPLES:
            return None
        mean_square = by_unit(weight, weight.dim() - 1, 1 << 14).float().square().mean()
        numbers[:0] = [torch.stack([samples.var(0).mean(), mean_square])]
        layers.insert(0, (weakref.ref(weight), _function_between(after, layer), weight[0].numel()))
        after, layer = layer, layer_before(layer)
    return (numbers, layers, normalised) if len(layers) > 1 else None


def _function_between(after: Any, layer: Any) -> str:
    """The activation function between two layers, by the name that torch.nn.init has for its gain."""
    for node in before(after):
        if node is layer:
            return ""
        found = next((f for start, f in _FUNCTIONS.items() if node.name().startswith(start)), "")
        if found:
            return found
        if is_layer(node):
            return ""
    return ""
