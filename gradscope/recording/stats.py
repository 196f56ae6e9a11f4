"""L2 norms of many tensors at once, to be read out together in one transfer."""
from __future__ import annotations

import math
import warnings
from typing import Protocol, Sequence

import numpy as np
import torch


class Readable(Protocol):
    """Numbers on a device: `tensor` # (n,) is fetched, `fill` takes the values and forgets the tensor."""

    tensor: torch.Tensor | None

    def fill(self, values: np.ndarray) -> None: ...


class Scale:
    """What GradScaler has multiplied a loss by: a power of two in practice.

    1 where it cannot be told (a loss of 0, or not finite).
    """

    __slots__ = ("tensor", "value")

    def __init__(self, tensor: torch.Tensor | None = None) -> None:
        self.tensor = tensor  # (1,) until it has arrived
        self.value = 1.0

    def fill(self, values: np.ndarray) -> None:
        scale, self.tensor = float(values[0]), None
        if 0 < scale < float("inf"):
            self.value = 2.0 ** round(math.log2(scale)) if scale > 2 else scale


UNSCALED = Scale()


class Norms:
    """The L2 norms of a list of tensors, some of which may be None; computed at once, read later.

    Squares are summed in float32 (fp16 norms overflow) or in float64 for float64 tensors.
    """

    __slots__ = ("where", "tensor", "values", "scale", "_size")

    def __init__(self, where: list[int] | None, tensor: torch.Tensor, size: int) -> None:
        self.where = where  # positions of the measured tensors; None: all of them
        self.tensor: torch.Tensor | None = tensor  # (measured,) float32 or float64, on their device
        self.values: np.ndarray | None = None
        self.scale = UNSCALED  # arrives no later than the norms
        self._size = size

    @classmethod
    def of(cls, tensors: Sequence[torch.Tensor | None]) -> Norms | None:
        """Measure what is there; None where nothing is."""
        where = None
        if any(t is None for t in tensors):
            where = [i for i, t in enumerate(tensors) if t is not None]
        present = [t for t in tensors if t is not None]
        if not present:
            return None
        return cls(where, measure(present), len(tensors))

    def fill(self, values: np.ndarray) -> None:
        """Take the numbers that have arrived: `values` # (measured,)."""
        if self.where is None:
            self.values = values.astype(np.float32)
        else:
            self.values = np.full(self._size, np.nan, np.float32)
            self.values[self.where] = values
        self.tensor = None

    def padded(self, more: int) -> Norms:
        """The same, read out already, with `more` tensors that were not there behind them."""
        norms = Norms(self.where, torch.empty(0), self._size + more)
        norms.tensor, norms.values = None, np.pad(self.read(), (0, more), constant_values=np.nan)
        return norms  # its scale is taken out already

    def read(self) -> np.ndarray:
        """# (tensors,) float32; NaN where there was no tensor. The numbers must have been filled in."""
        if self.values is None:
            raise RuntimeError("norms are read before their transfer")
        if self.scale is not UNSCALED:
            self.values, self.scale = self.values / np.float32(self.scale.value), UNSCALED
        return self.values


def measure(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The L2 norm of each tensor, stacked, without synchronising # (tensors,)."""
    if any(hasattr(kind, "to_local") for kind in {type(t) for t in tensors}):  # DTensor: this rank's part of those that
        tensors = [t.to_local() if hasattr(t, "to_local") else t for t in tensors]  # are shared out; no collective
    with torch.no_grad():
        try:
            norms = torch._foreach_norm(tensors, 2, dtype=torch.float32)
        except (RuntimeError, NotImplementedError):
            norms = [_norm(t) for t in tensors]
        try:
            return torch.stack(norms)
        except RuntimeError:  # several devices or kinds
            return torch.stack([n.to("cpu", torch.float64) for n in norms])


def _norm(tensor: torch.Tensor) -> torch.Tensor:
    """One tensor's norm, whatever its kind: float64, complex, sparse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = tensor.detach()
        if tensor.layout != torch.strided:
            tensor = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.to_dense()
        if tensor.numel() == 0:
            return torch.zeros((), dtype=torch.float64, device=tensor.device)
        return torch.linalg.vector_norm(tensor.reshape(-1)).abs().to(torch.float64)


class Transfer:
    """Numbers on their way from their devices, joined: one copy for each device and dtype.

    From an accelerator they are copied into pinned memory while the loop goes on.
    """

    def __init__(self, pending: Sequence[Readable]) -> None:
        groups: dict[tuple[torch.device, torch.dtype], list[tuple[Readable, torch.Tensor]]] = {}
        seen: set[int] = set()
        for numbers in pending:
            tensor = numbers.tensor
            if tensor is not None and id(numbers) not in seen:
                seen.add(id(numbers))
                groups.setdefault((tensor.device, tensor.dtype), []).append((numbers, tensor))
        self._parts: list[tuple[torch.Tensor, Arrival | None, list[tuple[Readable, int]]]] = []
        for group in groups.values():
            host, arrived = to_host(torch.cat([tensor for _, tensor in group]))
            self._parts.append((host, arrived, [(numbers, tensor.numel()) for numbers, tensor in group]))

    def arrived(self) -> bool:
        """Whether `fill` would not have to wait."""
        return all(arrived is None or arrived.query() for _, arrived, _ in self._parts)

    def fill(self) -> None:
        """Hand the numbers to those who wait for them."""
        for host, arrived, numbers in self._parts:
            if arrived is not None:
                arrived.synchronize()
            values = (host.float() if host.dtype == torch.bfloat16 else host).numpy()
            start = 0
            for one, size in numbers:
                one.fill(values[start : start + size])
                start += size


def on_host(tensor: torch.Tensor) -> bool:
    """Whether its values can be read without waiting for an accelerator."""
    return bool(tensor.is_cpu)


class Arrival(Protocol):
    """Of a copy: whether it has arrived, and waiting for it. `torch.cuda.Event` is one."""

    def query(self) -> bool: ...
    def synchronize(self) -> None: ...


def to_host(tensor: torch.Tensor) -> tuple[torch.Tensor, Arrival | None]:
    """Its values in the CPU's memory, and what tells whether they have arrived (None: they have)."""
    if not tensor.is_cuda:
        return tensor.cpu(), None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(tensor.device))
    return host, event
