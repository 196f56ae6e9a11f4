"""GS602 unshuffled-data."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, NamedTuple

import numpy as np

from gradscope.facts.fact import newest_of
from gradscope.facts.labels import LabelCounts, LabelOrder
from gradscope.findings import Advice, Finding
from gradscope.record.record import Record, Stream
from gradscope.rules.base import Rule
from gradscope.rules.judged import judged
from gradscope.rules.standing import unseen


class Block(NamedTuple):
    """Rows of one class; it begins between the rows `since` and `first`."""

    label: int
    since: int
    first: int
    last: int


@dataclass(frozen=True)
class UnshuffledData(Rule):
    """Batches are sorted by class: one class after the other, as the data set lies on the disk.

    What it finds
        Class labels of a cross entropy that are far more alike within a row than among all rows (`within` of 1, and
        `sigmas` of what chance allows), and of which one row goes on where the one before has ended (`joined`). As a
        warning: where blocks of one class each come again in the same order and length, epoch after epoch (`repeats`
        blocks), and the model does not get over it: its loss leaps at each new class, or is still above `costs` of what
        it is worth to know nothing.
    Why it matters
        Each step is right for one class only, and undoes what others have taught. The model forgets all of them by
        turns, the loss saw-tooths, and batch normalisation learns the statistics of one class.
    Sick
        loader = DataLoader(ImageFolder("train"), batch_size=32)
    Healed
        loader = DataLoader(ImageFolder("train"), batch_size=32, shuffle=True)
    What to do
        `DataLoader(..., shuffle=True)`; without one, take `perm = torch.randperm(len(x))` anew for each epoch.
    Silent on
        Shuffled data, however rare a class is; tokens, time steps and pixels; samplers that choose a class for each
        batch at random; batches of few classes by design (episodes, pairs); adversarial losses. As info: sequences in
        order, whose labels last (blocks of other lengths each time); tasks one after the other; one epoch only.
    Known at
        Two epochs. Thresholds: {thresholds}.
    References
        Bengio, Practical recommendations for gradient-based training (2012), section 3.1: examples in an order that is
        not random may slow down convergence. On digits (MLP and CNN, SGD and Adam, batches of 8 to 128), sorting the
        data made the test error larger in all of 33 runs that learned anything: 1.1 to 52 times, in the median 2.7.
    """

    code = "GS602"
    name = "unshuffled-data"
    severity = "warning"
    message = "the batches are sorted by class: {blocks}"
    needs = ("LabelsProbe",)
    explains = ("GS202", "GS203", "GS204", "GS205", "GS206", "GS301", "GS302", "GS402", "GS501", "GS604")

    within: float = 0.5
    joined: float = 0.5
    sigmas: float = 8.0
    samples: int = 64
    pairs: int = 16
    repeats: int = 4  # blocks of a class seen before; 2, where there are only 2 classes
    apart: int = 2  # rows by which the lengths of a class's blocks may differ
    costs: float = 0.1
    leaps: float = 2.0
    leaps_to: float = 0.02  # of what it is worth to know nothing

    def check(self, record: Record) -> Iterator[Finding]:
        for fact in newest_of(record.facts.of(LabelOrder)):
            if not self._sorted(fact):
                continue
            stream = record.stream(record.stream_of(fact.optimizer))
            if stream is not None and len(stream.rows) and stream in judged(record):
                blocks = [Block(*b) for b in zip(fact.classes, fact.since, fact.firsts, fact.lasts)]
                sick = self._cycles(blocks) and self._hurts(record, stream, fact, blocks)
                yield self._finding(record, stream, fact, blocks, None if sick else "info")

    def not_judged(self, record: Record) -> str:
        return unseen(record)

    def over(self, finding: Finding, record: Record) -> bool:
        """It was so when it was looked at."""
        return False

    def _sorted(self, fact: LabelOrder) -> bool:
        return (
            fact.within >= self.within
            and fact.joined >= self.joined
            and fact.sigmas >= self.sigmas
            and fact.samples >= self.samples
            and fact.pairs >= self.pairs
            and len(fact.classes) >= 2
        )

    def _cycles(self, blocks: list[Block]) -> bool:
        """Whether each class has one block an epoch, of the same length each time."""
        known: list[Block] = []
        for block in blocks:
            if known and not _sharp([*known, block]):
                break
            known.append(block)
        whole = known[:-1]  # the newest goes on
        classes = {block.label for block in known}
        again = [at for at, block in enumerate(whole) if block.label in {b.label for b in whole[:at]}]
        if len(again) < min(len(classes), self.repeats):
            return False
        lengths: dict[int, list[tuple[int, int]]] = {}
        for at, block in enumerate(whole):
            before = [i for i in range(at) if whole[i].label == block.label]
            between = [b.label for b in whole[before[-1] + 1 : at]] if before else []
            if len(set(between)) < len(between):
                return False
            least, most = block.last - block.first + 1, known[at + 1].first - block.since
            lengths.setdefault(block.label, []).append((least, most))
        return all(
            max(least for least, _ in several) <= min(most for _, most in several) + self.apart
            for several in lengths.values()
        )

    def _hurts(self, record: Record, stream: Stream, fact: LabelOrder, blocks: list[Block]) -> bool:
        """Whether the loss is high still, or leaps where another class begins."""
        own = [c for c in newest_of(record.facts.of(LabelCounts)) if c.optimizer == fact.optimizer]
        if not own or not own[0].loss > 0:
            return False
        if own[0].loss >= self.costs * fact.entropy:
            return True
        rows, losses = stream.rows, stream.loss
        before, after = [], []
        for old, new in list(zip(blocks, blocks[1:]))[len(blocks) // 2 :]:
            ending = losses[(rows > old.last - 3) & (rows <= old.last)]
            beginning = losses[(rows > old.last) & (rows <= new.first + 1)]
            if len(ending) and len(beginning):
                before.append(float(np.median(ending)))
                after.append(float(beginning.max()))
        late = losses[rows >= own[0].since]
        late = late[np.isfinite(late)]
        if not after or not len(late) or not late.mean() > 0:
            return False
        leap, level = float(np.median(after)), float(late.mean()) / own[0].loss * fact.entropy
        return leap >= self.leaps * float(np.median(before)) and leap >= self.leaps_to * level

    def _finding(
        self, record: Record, stream: Stream, fact: LabelOrder, blocks: list[Block], severity: str | None
    ) -> Finding:
        optimizer = stream.optimizers[0]
        again = next((at for at, b in enumerate(blocks) if b.label in {c.label for c in blocks[:at]}), None)
        told = ", ".join(map(_told, blocks[: min(3, again or len(blocks))]))
        if again is not None:
            told += " ..." if again > 3 else ""
            told += f", and class {blocks[again].label} again from step {blocks[again].first}"
        return self.finding(
            (int(stream.rows[0]), int(stream.rows[-1])),
            severity=severity,
            evidence={
                "blocks": told,
                "within": fact.within,
                "sigmas": fact.sigmas,
                "joined": fact.joined,
                "looks": fact.looks,
                "classes": list(dict.fromkeys(fact.classes)),
            },
            stream=stream.number,
            optimizer=optimizer.number,
            where=record.site(int(optimizer.scalars["backward_site"][-1])),
            label="this loss is of one class at a time",
            advice=(Advice(_CURE, *(("shuffle-data", {"optimizer": optimizer.number}) if fact.in_order else ())),),
        )


_CURE = (
    "shuffle the training data: DataLoader(..., shuffle=True); without a DataLoader, take "
    "`perm = torch.randperm(len(x))` anew for each epoch, and batches of x[perm], y[perm]"
)


def _sharp(blocks: list[Block]) -> bool:
    """Whether the beginning of the newest block is known well enough, for blocks that long: none may hide there."""
    lengths = [new.first - old.first for old, new in zip(blocks, blocks[1:])]
    return blocks[-1].first - blocks[-1].since <= max(2.0, min(float(np.median(lengths)) / 2, min(lengths)))


def _told(block: Block) -> str:
    steps = f"steps {block.first}-{block.last} hold" if block.last > block.first else f"step {block.first} holds"
    return f"{steps} class {block.label}"
