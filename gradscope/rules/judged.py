"""Which losses can be judged by their course: not all of them are meant to fall."""
from __future__ import annotations

from gradscope.facts.fact import newest_of
from gradscope.facts.loss import LossKind, SharedLoss
from gradscope.record.record import Record, Stream

_BELOW_ZERO = "its loss goes below zero (a likelihood, an adversarial or a reinforcement-learning loss may rise)"
_BECAUSE = {
    "moving-target": "another network without gradient takes part in each step (a target network, or a policy that "
    "acts): such a loss may rise",
    "episodes": "each backward is about another number of calls of the model, and of no loss of torch's (episodes): "
    "such a loss may rise",
    "policy": "it clips ratios of probabilities (PPO): such a loss may rise",
    "changing-weights": "the weight of a term in it changes (annealing, a penalty): such a loss may rise",
    "environment": "a library of reinforcement-learning environments is loaded: such a loss may rise",
}


def not_judged(record: Record, stream: Stream) -> str:
    """Why the course of this stream's loss says nothing about its health; "" where it does."""
    if any(blocks["low"].min(initial=0.0) < 0 for blocks in stream.courses.values()):
        return _BELOW_ZERO
    mine = {o.number for o in stream.optimizers}
    for fact in newest_of(record.facts.of(SharedLoss)):
        if (fact.optimizer in mine) != (fact.other in mine):
            return "its loss goes through parameters of an optimizer that steps by itself (adversarial losses may rise)"
    for fact in newest_of(record.facts.of(LossKind)):
        if fact.optimizer in mine:
            return _BECAUSE.get(str(fact.kind), "its loss may rise")
    return ""


def judged(record: Record) -> list[Stream]:
    """The streams whose loss is meant to fall. What acts in turns with one that is not, is not judged either."""
    return [stream for stream in record.streams if not _why(record, stream)]


def annealed(record: Record) -> list[Stream]:
    """The streams of which nothing else speaks against it than that the weight of a term changes."""
    return [stream for stream in record.streams if _why(record, stream) == _BECAUSE["changing-weights"]]


def below_zero(record: Record) -> list[Stream]:
    """The streams whose loss goes below zero, which is asked first: what else may be said of them is not known."""
    return [stream for stream in record.streams if not_judged(record, stream) == _BELOW_ZERO]


def skipped(record: Record) -> str:
    """What `judged` leaves out, and why, for the report; "" where it leaves out nothing."""
    reasons: dict[str, list[Stream]] = {}
    for stream in record.streams:
        reason = _why(record, stream)
        if reason:
            reasons.setdefault(reason, []).append(stream)
    if len(record.streams) == 1:
        return "".join(reasons)
    return "; ".join(f"{_names(streams)}: {reason}" for reason, streams in reasons.items())


def _why(record: Record, stream: Stream) -> str:
    return record.once(("not judged", stream.number), lambda: _reason(record, stream))


def _reason(record: Record, stream: Stream) -> str:
    own = not_judged(record, stream)
    if own:
        return own
    for other in record.streams:
        if other is not stream and _take_turns(stream, other) and not_judged(record, other):
            return "it takes turns with one whose loss may rise"
    return ""


def _take_turns(stream: Stream, other: Stream) -> bool:
    """Whether they step in the same part of the run, about as often."""
    if not len(stream.rows) or not len(other.rows):
        return False
    apart = stream.rows[0] > other.rows[-1] or other.rows[0] > stream.rows[-1]
    mine, its = (sum(b["rows"].sum() for b in one.courses.values()) for one in (stream, other))
    return bool(not apart and max(mine, its) <= 20 * min(mine, its))


def _names(streams: list[Stream]) -> str:
    return ", ".join(f"{s.optimizers[0].kind} #{s.number}" for s in streams[:4]) + (" ..." if len(streams) > 4 else "")
