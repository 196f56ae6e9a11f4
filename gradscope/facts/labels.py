"""What probes find out of the class labels that losses are given."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class LabelOrder(Fact):
    """In which order an optimizer is given the class labels of its loss, of the `looks` rows looked at so far.

    `entropy` is that of the labels, in nats. `within` is how much more alike two labels of one row are than two of all:
    0 where rows are drawn at random, 1 where each holds one class and there are several; `sigmas` is how far from 0 it
    is, of random rows. `joined` compares in the same way the last label of a row with the first of the next, over so
    many `pairs`. `classes`, `firsts` and `lasts` # (blocks,) are rows looked at, one after the other, most of whose
    labels are of one class; the block before has ended, and this one begun, no sooner than `since`.
    `in_order`: a DataLoader gives its samples in order, in training.
    """

    optimizer: int
    looks: int
    samples: int
    entropy: float
    within: float
    sigmas: float
    joined: float
    pairs: int
    classes: tuple[int, ...]
    since: tuple[int, ...]
    firsts: tuple[int, ...]
    lasts: tuple[int, ...]
    in_order: bool = False

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)


@dataclass(frozen=True)
class LabelCounts(Fact):
    """How often an optimizer was given each class label, and what its model made of it.

    `function` is that of `LossFunction`; `of` the number of classes of its output. `counts` # (labels,) are those of
    the most frequent `labels` among `samples` of them, of the `looks` rows looked at so far. Of the `late` ones, since
    row `since`: how often each was `given`, `predicted`, and `hit`; the mean `loss`, without weights, and the `entropy`
    of those given, which is the least that a model can cost that knows nothing but their shares. `weighted`: the loss
    has weights. `dense`: several labels of one sample (tokens, pixels). `ids`: the model looks up vectors by number
    (words, users, goods).
    """

    optimizer: int
    function: str
    of: int
    looks: int
    samples: int
    labels: tuple[int, ...]
    counts: tuple[int, ...]
    since: int
    late: int
    given: tuple[int, ...]
    predicted: tuple[int, ...]
    hit: tuple[int, ...]
    loss: float
    entropy: float
    weighted: bool
    dense: bool
    ids: bool

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)


@dataclass(frozen=True)
class LabelFit(Fact):
    """How much better the class labels of a loss fit their own samples than others of the same batch.

    Of `samples` that were new to the model (a first pass over a DataLoader), in `looks` rows: `blind` is what a label
    costs in the mean if it is that of any sample of its batch, `gain` how much less it costs with its own, `error` the
    standard error of that if labels have nothing to do with inputs. `late_gain` and `late_blind` are those of the
    newest quarter of the run, from row `since` on, of samples new or not; all with the weights of the loss.
    """

    optimizer: int
    looks: int
    samples: int
    gain: float
    error: float
    blind: float
    since: int
    late_gain: float
    late_blind: float

    def key(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.optimizer)
