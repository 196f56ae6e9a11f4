"""The end of a process that is one of several: whether it is the one that reports.

The lowest rank that is still there waits a while for the others, so that one report tells of all. Where these take
longer it leaves, and the last one to leave reports. Whoever was killed has left.
"""
from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from gradscope.ranks.claim import REPORTED, State, first_to_make, state_of
from gradscope.ranks.joining import Part
from gradscope.record.search import part_of

WAIT, WAIT_AFTER_A_CRASH = 10.0, 1.0  # seconds
WAIT_FOR_WORKERS = 2.0  # which hear a Ctrl-C when their parent does
STARTING = 20.0  # seconds since this process began, in which others may still begin
_NAPS = (0.02, 0.3)  # seconds between two looks: at first, and in the end


def leave(part: Part, age: float, patience: float) -> bool:
    """Whether this process, the record of which is whole, is to report. It waits for `patience` seconds at most.

    `age`: for how many seconds it has been running.
    """
    part.claim.say(State.CLOSED)
    began, nap = time.monotonic(), _NAPS[0]
    others = Others(part)
    while not others.lower_stays():
        waited = time.monotonic() - began
        if others.all_ended(starting=age + waited < STARTING):
            return first_to_make(part.folder / REPORTED)
        if waited >= patience or others.somebody_left:
            part.claim.say(State.LEFT)
            ended = Others(part).all_ended(starting=False)  # the last one may have closed meanwhile
            return ended and first_to_make(part.folder / REPORTED)
        time.sleep(nap)
        nap = min(_NAPS[1], 1.3 * nap)
    part.claim.say(State.LEFT)
    return False


def wait_for(parts: Iterable[Path], patience: float) -> None:
    """Until nobody writes there any more, for `patience` seconds at most."""
    began, waiting = time.monotonic(), list(parts)
    while time.monotonic() - began < patience:
        waiting = [part for part in waiting if state_of(part) is State.RUNNING]
        if not waiting:
            return
        time.sleep(_NAPS[0])


class Others:
    """The other processes of the launch; who has ended is not looked at again."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._waiting = [rank for rank in range(part.world) if rank != part.rank]
        self.somebody_left = False  # with a lower rank than this one, having waited in vain

    def lower_stays(self) -> bool:
        """Whether one with a lower rank is still there, so that it is for that one to report."""
        self.somebody_left = False
        for rank in range(self._part.rank):
            state = state_of(part_of(self._part.folder, rank))
            if state in (State.RUNNING, State.CLOSED):
                return True
            self.somebody_left = self.somebody_left or state is State.LEFT
        return False

    def all_ended(self, starting: bool) -> bool:
        """Whether the records of all others are whole, or never will be. `starting`: some may not have begun yet."""
        while self._waiting:
            state = state_of(part_of(self._part.folder, self._waiting[-1]))
            if state is State.RUNNING or state is State.ABSENT and starting:
                return False
            self._waiting.pop()
        return True
