"""Reading what was written for TensorBoard, with tensorboard's own reader."""
from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def curve(folder: Path, tag: str) -> dict[int, float]:
    """A curve's values by step."""
    return {event.step: event.value for event in read(folder).Scalars(tag)}


def scalar_tags(folder: Path) -> list[str]:
    return sorted(read(folder).Tags()["scalars"])


def texts(folder: Path, tag: str = "gradscope/findings") -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in read(folder).Tensors(tag)]


def only_run(folder: Path) -> Path:
    [run] = folder.iterdir()
    return run
