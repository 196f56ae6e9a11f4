"""What rules say of ranks that differ where they should not."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradscope.events import Site
from gradscope.facts.fact import newest_of
from gradscope.facts.ranks import RanksDiffer
from gradscope.findings import MAX_NAMES
from gradscope.record.record import ONE_PROCESS, Record

_SHOWN = 8


@dataclass(frozen=True)
class Apart:
    """Ranks of one optimizer that differ, in words, and where in the record that is."""

    fact: RanksDiffer
    stream: int
    steps: tuple[int, int]
    who: str  # "rank 1 steps", "ranks 1, 2 step"
    which: str
    where: Site | None

    def evidence(self, **more: object) -> dict[str, object]:
        """What is told of every such difference, and `more`."""
        fact = self.fact
        told = {"who": self.who, "rank": fact.rank, "since": fact.since, "how": fact.how, "ranks": list(fact.ranks)}
        return {**told, "world": fact.world, "parameters": fact.count, "of": fact.of, **more}


def apart(record: Record, what: str, verbs: tuple[str, str]) -> Iterator[Apart]:
    """Where ranks differ in "parameters" or "gradients"; `verbs` for one of them, and for several."""
    for fact in newest_of(record.facts.of(RanksDiffer)):
        if fact.what != what or not any(o.number == fact.optimizer for o in record.optimizers):
            continue
        who = f"{_ranks(fact.ranks)} {verbs[len(fact.ranks) != 1]}"
        which = "all parameters" if fact.count == fact.of else _names(fact)
        where = fact.site if fact.site.line > 0 else None
        yield Apart(fact, record.stream_of(fact.optimizer), (fact.since, max(fact.since, fact.step)), who, which, where)


def alone(record: Record) -> str:
    """Why nothing was compared; "" where there were several processes."""
    return ONE_PROCESS if record.meta.world is None else ""


def _ranks(ranks: Sequence[int]) -> str:
    shown = ", ".join(str(rank) for rank in ranks[:_SHOWN])
    more = f" and {len(ranks) - _SHOWN} more" if len(ranks) > _SHOWN else ""
    return f"rank {shown}" if len(ranks) == 1 else f"ranks {shown}{more}"


def _names(fact: RanksDiffer) -> str:
    if fact.count <= 3:
        return ", ".join(fact.parameters)
    return f"{fact.count} of {fact.of} parameters ({', '.join(fact.parameters[: min(3, MAX_NAMES)])}...)"
