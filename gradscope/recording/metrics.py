"""Metrics on their way into the record: named, numbered, read out late where they lie on an accelerator."""
from __future__ import annotations

import threading
from collections import deque
from typing import Any, Hashable, Protocol

import numpy as np
import torch

from gradscope.record.metrics import Metric, MetricSums
from gradscope.recording.stats import Transfer, on_host

MOST = 64  # series; what is new beyond them is passed over


class MetricSink(Protocol):
    """Where the values go besides the record in memory."""

    def metric(self, metric: MetricSums, row: int, value: float) -> None: ...


class BadValue(Exception):
    """Not one number: `str(error)` says what it is."""


class _Waiting:
    """A value on its device: a Readable."""

    def __init__(self, tensor: torch.Tensor, sums: MetricSums, row: int) -> None:
        self.tensor: torch.Tensor | None = tensor
        self.sums, self.row, self.value = sums, row, float("nan")

    def fill(self, values: np.ndarray) -> None:
        self.value, self.tensor = float(values[0]), None


class Metrics:
    """All series of a run. May be called from any thread: evaluations have their own in some loops."""

    def __init__(self, sink: MetricSink) -> None:
        self._sink = sink
        self._series: dict[Hashable, MetricSums] = {}
        self._waiting: list[_Waiting] = []
        self._on_the_way: deque[tuple[Transfer | None, list[_Waiting]]] = deque()
        self._lock = threading.RLock()

    def take(
        self, name: str, value: Any, row: int, source: str, optimizers: tuple[int, ...], site: int, key: Hashable = None
    ) -> None:
        """Take in a value that came after `row` had stepped. BadValue where it is none.

        Series of the same name are told apart by their optimizers and by `key`.
        """
        number = value_of(value)
        with self._lock:
            sums = self._series.get((source, name, optimizers, key))
            if sums is None:
                if len(self._series) >= MOST:
                    return
                sums = MetricSums(len(self._series), name, source, optimizers, site)
                self._series[source, name, optimizers, key] = sums
            self.finish()
            if isinstance(number, float) and not self._on_the_way:
                self._enter(sums, row, number)
            elif isinstance(number, float):
                self._on_the_way.append((None, [_known(number, sums, row)]))  # not before those that came earlier
            else:
                self._waiting.append(_Waiting(number, sums, row))

    def finish(self, wait: bool = False) -> None:
        """Enter what has arrived; `wait` for what has not."""
        with self._lock:
            if self._waiting:
                waiting, self._waiting = self._waiting, []
                self._on_the_way.append((Transfer(waiting), waiting))
            while self._on_the_way:
                transfer, values = self._on_the_way[0]
                if transfer is not None:
                    if not wait and not transfer.arrived():
                        return
                    transfer.fill()
                self._on_the_way.popleft()
                for one in values:
                    self._enter(one.sums, one.row, one.value)

    def view(self) -> tuple[Metric, ...]:
        """The series so far, in the order of first sight: copies."""
        with self._lock:
            return tuple(sums.view() for sums in self._series.values())

    def _enter(self, sums: MetricSums, row: int, value: float) -> None:
        sums.append(row, value)
        self._sink.metric(sums, row, value)


def _known(value: float, sums: MetricSums, row: int) -> _Waiting:
    one = _Waiting(torch.empty(0), sums, row)
    one.value, one.tensor = value, None
    return one


def value_of(value: Any) -> float | torch.Tensor:
    """A number, or a tensor # (1,) on an accelerator that holds it: a copy. BadValue where it is neither."""
    kind = type(value)
    if issubclass(kind, torch.Tensor):
        if value.numel() != 1 or value.is_complex() or value.device.type == "meta":
            raise BadValue(f"a tensor of shape {tuple(value.shape)}" if value.numel() != 1 else f"a {value.dtype}")
        with torch.no_grad():
            return float(value.detach()) if on_host(value) else value.detach().clone().reshape(1)
    if not hasattr(kind, "__float__") and not hasattr(kind, "__index__"):
        raise BadValue(f"{kind.__name__}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadValue(f"{kind.__name__}") from None
