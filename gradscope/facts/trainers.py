"""What is known of the trainer that runs the loop."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from gradscope.events import Site
from gradscope.facts.fact import Fact


@dataclass(frozen=True)
class TrainedBy(Fact):
    """A trainer of a library calls backward and step.

    `library`: lightning or transformers. `manual`: the user's own code does so inside of it (Lightning's manual
    optimization). `settings`: the trainer's own arguments that advices are about: learning_rate, weight_decay,
    max_grad_norm (transformers), gradient_clip_val, accumulate_grad_batches (lightning). `site`: the user's call of the
    trainer. `made`: the line at which the learning rate is set.
    """

    library: str
    manual: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    site: Site | None = None
    made: Site | None = None

    def key(self) -> tuple[Any, ...]:
        settings = tuple(sorted(map(str, self.settings.items())))
        return (type(self).__name__, self.library, self.manual, settings, self.site, self.made)
