"""From how many values batch normalisation takes its statistics."""
from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from gradscope.events import Site
from gradscope.facts.model import BatchStatistics
from gradscope.hooks.lineage import BATCH_NORM, module_of, neighbour, order
from gradscope.hooks.saved import saved
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

LAYERS = 32  # looked at in a graph: those with the fewest values
LOOKS = 64


class BatchStatisticsProbe(Probe):
    """Reads the shape of what each batch normalisation in train mode has saved; no values."""

    cost = "about 10 us for each batch normalisation, in the rows that are looked at closely"

    def __init__(self) -> None:
        self._seen: dict[int, tuple[weakref.ref[torch.Tensor], int, int, int]] = {}  # in the row at hand
        self._known: dict[int, list[int]] = {}

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        survey = scene.survey()
        if survey is None:
            return
        found = []
        for node in survey.nodes:
            if node.name().startswith(BATCH_NORM) and getattr(node, "_saved_training", True):
                given = next((one.tensor for one in saved(node) if one.name == "input"), None)
                if given is not None and given.dim() > 1 and given.shape[1] > 0:
                    shape, values = given.shape, given.numel() // given.shape[1]
                    found.append((values, order(node), shape, node))
        for values, _, shape, node in sorted(found, key=lambda one: one[:2])[:LAYERS]:
            parameter = neighbour(node).parameter
            if parameter is None:
                continue
            before = self._seen.get(id(parameter))
            if before is None or before[3] > values:
                self._seen[id(parameter)] = weakref.ref(parameter), shape[1], shape[0], values

    def after_step(self, scene: Scene, track: Track) -> None:
        for key, (ref, channels, batch, values) in list(self._seen.items()):
            parameter = ref()
            if parameter is None or key in track.parameter_ids:
                del self._seen[key]
            if parameter is None or key not in track.parameter_ids:
                continue
            known = self._known.setdefault(key, [])
            known.append(values)
            del known[:-LOOKS]
            usual = sorted(known)[len(known) // 2]
            place = module_of(scene.names.name(parameter) or "") or "a layer without a name"
            fact = BatchStatistics(
                scene.row, track.number, place, channels, batch, values, min(known), usual, len(known)
            )
            scene.emit(fact)
