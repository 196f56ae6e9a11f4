"""What the optimizer's groups are set to."""
from __future__ import annotations

from typing import Any

from gradscope.facts.learning_rate import Hyperparameters
from gradscope.probes.base import Probe, Scene
from gradscope.recording.track import Track

_GROUPS = 32


class HyperparametersProbe(Probe):
    """Reads the groups at the optimizer's first step (its lr is in the record at every row)."""

    cost = "one reading per optimizer"

    def after_step(self, scene: Scene, track: Track) -> None:
        optimizer = track.optimizer()
        if track.steps != 1 or optimizer is None:
            return
        for number, group in enumerate(optimizer.param_groups[:_GROUPS]):
            values = {str(name): _plain(value) for name, value in group.items() if name not in ("params", "lr")}
            known = {name: value for name, value in values.items() if value is not None}
            scene.emit(Hyperparameters(scene.row, track.number, number, known))


def _plain(value: Any) -> Any:
    """Numbers, truth values and pairs of numbers; None for the rest."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and len(value) <= 4 and all(isinstance(v, (int, float)) for v in value):
        return list(value)
    return None
