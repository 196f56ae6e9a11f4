"""What probes find out of the batches that a model is given."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.events import Site
from gradscope.facts.fact import Fact

SPELLED_OUT = 32  # features at most, whose means and deviations are kept one by one
WORST = 6


@dataclass(frozen=True)
class InputScale(Fact):
    """What goes into a first layer, over all samples looked at so far.

    `layer` is what takes it (convolution, matrix, recurrent), `features` how many channels or columns there are.
    `mean`, `deviation` and `rms` are of all values together; `rms_of_features` those of the single features: smallest,
    median and largest, those that are always the same left out (`constant` of them). `means` and `deviations` are each
    feature's, where there are at most `SPELLED_OUT`; `worst` the numbers of those with the largest rms,
    `worst_means` and `worst_deviations` theirs. `whole`: every value is a whole number. `normalised`: what the layer
    makes is normalised at once.
    """

    optimizer: int
    place: str
    layer: str
    features: int
    samples: int
    mean: float
    deviation: float
    rms: float
    low: float
    high: float
    whole: bool
    constant: int
    rms_of_features: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    worst: tuple[int, ...]
    worst_means: tuple[float, ...]
    worst_deviations: tuple[float, ...]
    normalised: bool

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.place)


@dataclass(frozen=True)
class InputCode(Fact):
    """One value of a column, again and again, far from all others of it: a code for what is not known, most likely.

    Of `samples` rows of what goes into a first layer of matrices, `times` have `value` in `column`, all others of it
    lie between `least` and `most`. `size` is the rms of all that is no such value, of all `features`.
    """

    optimizer: int
    place: str
    features: int
    samples: int
    column: int
    value: float
    times: int
    least: float
    most: float
    size: float

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer, self.place)


@dataclass(frozen=True)
class BatchLooks(Fact):
    """The batches that an optimizer's steps were made on, in `looks` rows: whether they were all the same (`equal`).

    `steps` were made so far, on `samples` samples each. `complete`: inputs and targets were seen, and the loss is made
    of nothing else. The rest is about the DataLoader that gives a batch for each step (`advances`), or that gave but
    one: how many iterators were `begun` over it and came to their end (`ended`), how many batches it has `given`, at
    `most` in one go, and has in all (`batches`; 0: not known); whether those it gave were all `alike` (None: not
    known), where it is iterated over, and whether by a library's code. `begun` is 0 where there is no such loader: then
    torch.manual_seed may have been called `seeded` times with the same seed, the last time at `site`, and in each row
    looked at random numbers were drawn between that and the model's call. Or the batch, taken anew each time, is part
    of the `rows` of an array `pool` of the loop, and `size` is what the loop calls the number of its samples; "": no.
    """

    optimizer: int
    looks: int
    equal: bool
    steps: int
    samples: int
    complete: bool
    advances: bool = False
    begun: int = 0
    ended: int = 0
    given: int = 0
    most: int = 0
    batches: int = 0
    alike: bool | None = None
    library: bool = False
    site: Site | None = None
    seeded: int = 0
    pool: str = ""
    rows: int = 0
    size: str = ""

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)
