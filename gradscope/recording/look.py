"""One look at the gradients of an optimizer's parameters: fingerprints, and norms where they are asked for."""
from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Sequence

import numpy as np
import numpy.typing as npt
import torch

from gradscope.recording.stats import Norms

_GRAD = attrgetter("grad")
_VERSION = attrgetter("_version")
ID_OF_NONE = id(None)


@dataclass(slots=True)
class Look:
    """What was there at one moment.

    `ids` and `versions` are the gradients' identities and version counters, one per parameter; a missing gradient has
    id 0. They are comparable only across ONE bracketed call: ids are reused, `.data` edits bump no version. While the
    call runs, `held` keeps the gradients, so that no new one can take an old one's id; then it is let go.
    `norms` are None where nobody asked for numbers (or there is nothing to measure).
    """

    ids: list[int]
    versions: list[int]
    empty: bool  # no parameter has a gradient
    full: bool  # every parameter has one
    drawn: bool  # its row is measured: states and norms are kept, not only what follows from them
    norms: Norms | None = None
    held: Sequence[torch.Tensor | None] = ()

    @classmethod
    def nothing(cls, parameters: int) -> Look:
        """No parameter has a gradient."""
        zeros = [0] * parameters
        return cls(zeros, zeros, True, not zeros, False)

    def earlier(self) -> Look:
        """The same gradients before something was added to each of them."""
        return replace(self, versions=[v - 1 for v in self.versions], norms=None, held=())

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """# (params,) bool: which gradients are not None."""
        return np.not_equal(self.ids, 0)

    def padded(self, more: int) -> Look:
        """The same with `more` parameters without a gradient behind the others."""
        zeros, norms = [0] * more, None if self.norms is None else self.norms.padded(more)
        return Look(self.ids + zeros, self.versions + zeros, self.empty, False, self.drawn, norms)

    def same_as(self, other: Look) -> bool:
        return self.ids == other.ids and self.versions == other.versions


def look(parameters: Sequence[torch.Tensor], drawn: bool, measure: bool) -> Look:
    """Read the fingerprints (5 us for 62 tensors, no synchronisation) and, on request, the L2 norms."""
    grads = list(map(_GRAD, parameters))
    ids = list(map(id, grads))
    missing = ids.count(ID_OF_NONE)
    if missing == 0:
        versions = list(map(_VERSION, grads))
    elif missing == len(ids):
        nothing = Look.nothing(missing)
        nothing.drawn = drawn
        return nothing
    else:
        versions = [0 if g is None else g._version for g in grads]
        ids = [0 if g is None else i for g, i in zip(grads, ids)]
    return Look(ids, versions, False, missing == 0, drawn, Norms.of(grads) if measure else None, grads)


def release(taken: Look) -> Look:
    """The bracketed call is over: let go of the gradients."""
    taken.held = ()
    return taken
