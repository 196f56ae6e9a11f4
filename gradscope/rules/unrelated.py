"""Whether the class labels of a run have anything to do with its inputs, as far as the model has found out."""
from __future__ import annotations

import math
from dataclasses import dataclass

from gradscope.facts.fact import newest_of
from gradscope.facts.labels import LabelFit
from gradscope.record.record import Record, Stream


@dataclass(frozen=True)
class Unrelated:
    """Labels that were new fitted their samples no better than others of the batch, and hardly do so later.

    An untrained model has no preference; one that begins to learn has it long before its loss tells. On the data of
    this project's cases and programs, 1000 to 4000 new samples came to 5-30 standard errors where there was something
    to learn (labels of which some were wrong, one class in 25, label smoothing), and to -1.5 to 1.5 where labels had
    been shuffled. From the second pass on a model learns shuffled labels by heart: then the newest fit is that.
    """

    looks: int = 24  # rows of new samples,
    samples: int = 500  # and so many
    errors: float = 2.0  # standard errors: above, there is something
    error: float = 0.03  # of what a label costs: with a larger one, nothing is known
    varies: float = 0.02  # of that, of one label: a model whose outputs hardly differ has not been asked
    sure: float = 3.0  # errors: above, the labels do fit,
    still: float = 0.005  # and do so now, of what a label costs
    learned: float = 0.1  # of what it costs, by the newest

    def find(self, record: Record, stream: Stream) -> LabelFit | None:
        """The evidence; None where the labels fit, or nothing is known."""
        numbers = {optimizer.number for optimizer in stream.optimizers}
        facts = [fact for fact in newest_of(record.facts.of(LabelFit)) if fact.optimizer in numbers]
        return facts[0] if len(facts) == 1 and self._holds(facts[0]) else None

    def fits(self, record: Record, stream: Stream) -> bool:
        """Whether new labels were told from their inputs, and still are, however little: a loss near a guess is no
        failure where there is not more to be told."""
        numbers = {optimizer.number for optimizer in stream.optimizers}
        facts = [fact for fact in newest_of(record.facts.of(LabelFit)) if fact.optimizer in numbers]
        return any(f.gain > self.sure * f.error and f.late_gain > self.still * f.late_blind for f in facts)

    def _holds(self, fact: LabelFit) -> bool:
        if fact.looks < self.looks or fact.samples < self.samples or not fact.blind > 0 or not fact.late_blind > 0:
            return False
        if fact.error * math.sqrt(fact.samples) < self.varies * fact.blind:
            return False
        if fact.error > self.error * fact.blind or fact.gain > self.errors * fact.error:
            return False
        return fact.late_gain <= self.learned * fact.late_blind
