"""How large the features are that a model is given: their means and deviations, read from the live graph."""
from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.inputs import SPELLED_OUT, WORST, InputScale
from gradscope.hooks.batch import inputs
from gradscope.hooks.lineage import CONVOLUTION, MATRIX, given, module_of, neighbour, operation, weight_of
from gradscope.probes.arrivals import Arrivals, by_unit, readable
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

PLACES, PARTS = 8, 32  # first layers, and inputs of theirs, that are looked at in a row
VALUES, FEATURES = 1 << 16, 4096  # at most, of one input
_RECURRENT = ("MkldnnRnnLayer", "CudnnRnn", "MiopenRnn")
_NORMALISATIONS = (
    "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeLayerNorm", "NativeGroupNorm", "FusedRmsNorm",
)  # fmt: skip


@dataclass
class Place:
    """A first layer: what it was given in the row at hand, and what all of it together was like."""

    parameter: weakref.ref[torch.Tensor]
    layer: str
    normalised: bool
    name: str = ""
    row: list[torch.Tensor] = field(default_factory=list)  # (2 * features + 3,) of each input in the row at hand
    counts: list[int] = field(default_factory=list)  # samples of each
    samples: int = 0
    mean: np.ndarray | None = None  # (features,)
    squares: np.ndarray | None = None  # (features,) sums of squared distances from the mean
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True

    def add(self, values: np.ndarray, count: int) -> None:
        """Take in the numbers of one input: see `_numbers`."""
        half = (len(values) - 3) // 2
        mean, squares = values[:half].astype(np.float64), values[half : 2 * half].astype(np.float64) * count
        if not np.isfinite(values).all():
            return
        if self.mean is None or self.squares is None or len(self.mean) != half:
            self.mean, self.squares, self.samples = mean, squares, count
        else:
            apart, together = mean - self.mean, self.samples + count
            self.squares = self.squares + squares + apart**2 * self.samples * count / together
            self.mean = self.mean + apart * count / together
            self.samples = together
        self.low, self.high = min(self.low, float(values[-3])), max(self.high, float(values[-2]))
        self.whole = self.whole and bool(values[-1])


class InputScaleProbe(Probe):
    """Pools, for each first layer, the means and variances of its features over the rows looked at closely."""

    cost = "about 150 us for each input, in the rows that are looked at closely"

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        if survey is None:
            return
        parts = [part for part in inputs(survey.nodes) if operation(part.node) not in _NORMALISATIONS]
        parts = [part for part in parts if readable(part.tensor)][:PARTS]
        if not parts:
            return
        followed = {given(node) for node in survey.nodes if operation(node) in _NORMALISATIONS}
        with torch.no_grad():
            for part in parts:
                self._look(part.tensor, part.node, part.node in followed)

    def _look(self, tensor: torch.Tensor, node: Any, normalised: bool) -> None:
        parameter = weight_of(node)
        parameter = neighbour(node).parameter if parameter is None else parameter
        if parameter is None or tensor.dim() < 2:
            return
        place = self._places.get(id(parameter))
        if place is None or place.parameter() is not parameter:
            if len(self._places) >= PLACES:
                return
            place = self._places[id(parameter)] = Place(weakref.ref(parameter), _layer(node), normalised)
        dimension = 1 if place.layer == "convolution" else tensor.dim() - 1
        features = tensor.shape[dimension]
        if features > FEATURES:
            tensor = tensor.movedim(dimension, -1)[..., :: -(-features // FEATURES)]
            dimension = tensor.dim() - 1
        sampled = by_unit(tensor, dimension, VALUES).float()
        place.row.append(_numbers(sampled))
        place.counts.append(len(sampled))

    def after_step(self, scene: Scene, track: Track) -> None:
        for key, place in list(self._places.items()):
            parameter = place.parameter()
            if parameter is None:
                del self._places[key]
            elif place.row and id(parameter) in track.parameter_ids:
                if not place.name:
                    name = scene.names.name(parameter) or ""
                    place.name = module_of(name) if "." in name else "the model"
                track.expect([Arrivals(place.row, _maker(scene, track.number, place, place.name))])
                place.row, place.counts = [], []


def _numbers(sampled: torch.Tensor) -> torch.Tensor:
    """# (2 * features + 3,) Means, variances; lowest and highest value, and whether all are whole; of (n, features)."""
    variance, mean = torch.var_mean(sampled, dim=0, correction=0)
    whole = (sampled == sampled.round()).all().float()
    return torch.cat([mean, variance, torch.stack([sampled.min(), sampled.max(), whole])])


def _layer(node: Any) -> str:
    if node.name().startswith(CONVOLUTION):
        return "convolution"
    return "matrix" if node.name().startswith(MATRIX) else "recurrent"


def _maker(scene: Scene, number: int, place: Place, name: str) -> Callable[[np.ndarray], None]:
    row, counts = scene.row, place.counts

    def made(values: np.ndarray) -> None:
        for part, count in zip(np.split(values, len(counts)), counts):
            place.add(part, count)
        fact = _fact(row, number, name, place)
        if fact is not None:
            scene.emit(fact)

    return made


def _fact(row: int, number: int, name: str, place: Place) -> InputScale | None:
    if place.mean is None or place.squares is None or place.low == place.high:
        return None
    variance = place.squares / place.samples
    rms = np.sqrt(variance + place.mean**2)
    varies = variance > 1e-12 * rms**2
    several = rms[varies] if varies.any() else rms
    worst = tuple(map(int, np.argsort(-rms, kind="stable")[:WORST]))
    few = len(rms) <= SPELLED_OUT
    deviations = np.sqrt(variance)
    return InputScale(
        row, number, name, place.layer, len(rms), place.samples,
        float(place.mean.mean()), float(np.sqrt(variance.mean() + place.mean.var())), float(np.sqrt((rms**2).mean())),
        place.low, place.high, place.whole, int((~varies).sum()),
        tuple(map(float, (several.min(), np.median(several), several.max()))),
        _rounded(place.mean) if few else (), _rounded(deviations) if few else (),
        worst, _rounded(place.mean[list(worst)]), _rounded(deviations[list(worst)]), place.normalised,
    )  # fmt: skip


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values)
