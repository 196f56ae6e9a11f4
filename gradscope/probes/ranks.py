"""Ranks that train together: whether their parameters and gradients are the same where they must be.

At steps fixed beforehand each rank puts a check of its own into the key-value store of the process group, and rank 0
compares those of the others with its own once they are there: late by a few steps, and without waiting for anybody.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Sequence

import numpy as np
import torch

from gradscope.events import Site
from gradscope.facts.ranks import RanksCompared, RanksDiffer, ShardedNorms
from gradscope.hooks.collectives import address
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.processes import Place, exchange, place
from gradscope.hooks.replicas import Replica, find_replicas, shares_data_out
from gradscope.hooks.sites import UNKNOWN
from gradscope.probes.base import FAR, Probe, Scene
from gradscope.recording.checking import Measuring, columns_of
from gradscope.recording.comparing import Comparison, Difference, Own
from gradscope.recording.peers import SLOTS, Check, Flag, Floats, Peers, is_check, next_step
from gradscope.recording.shards import Gathered
from gradscope.recording.stats import on_host
from gradscope.recording.track import Track

MOST_OPTIMIZERS = 8
LATE = 8  # steps of another optimizer, and one that begins on the same parameters comes after it, not beside it
CURVES = 16  # ranks whose losses and gradient norms go into the record
NAMES = 20


@dataclass
class _Found:
    """Of one kind of difference: whom it is about, since when."""

    difference: Difference
    since: int
    ranks: set[int]


@dataclass
class _Followed:
    """One optimizer: what it has checked, and what the others have."""

    scope: str
    sticky: Flag = Flag(0)
    shared_out: bool = False  # the data, among the ranks; and nothing but parts of it is
    size: int = 2  # of the largest parameter, as of the newest check
    late: bool = False  # another optimizer has trained these before
    synced: bool = False  # the newest backward was one that DDP reduces after
    replicas: list[Replica] = field(default_factory=list)
    joining: list[object] = field(default_factory=list)  # of each replica, as of the first check
    addresses: set[int] = field(default_factory=set)  # of the parameters, as of the newest check
    making: list[Measuring] = field(default_factory=list)
    own: dict[int, Own] = field(default_factory=dict)  # by step, the newest
    names: dict[int, str] = field(default_factory=dict)  # of the columns
    unread: dict[int, list[int]] = field(default_factory=dict)  # by step, ranks
    comparisons: dict[int, Comparison] = field(default_factory=dict)
    found: dict[str, _Found] = field(default_factory=dict)
    gathered: Gathered = field(default_factory=Gathered)
    site: Site = UNKNOWN
    read: int = 0


class RanksProbe(Probe):
    """Does nothing in a run of one process."""

    cost = "two readings of all values in 14 of the first 66 steps and 2 of 100 then; 0.1 ms for the store"
    always = frozenset({"before_backward"})

    def __init__(self) -> None:
        self._of: dict[Track, _Followed] = {}
        self._place: Place | None = None
        self._pauses = 0

    # -- the moments ------------------------------------------------------------------------------------------------

    def next_step(self, track: Track) -> int:
        return next_step(track.steps) if self._place is not None else track.steps + FAR

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        if self._place is None:
            return
        handed = DISPATCHER.handed
        handed.backward()
        for track, mine in self._of.items():
            mine.synced = bool(mine.replicas) and not mine.late and all(r.reduces() for r in mine.replicas)
            if track.steps and not handed.spread.isdisjoint(mine.addresses):
                mine.sticky |= Flag.AVERAGED

    def before_step(self, scene: Scene, track: Track) -> None:
        if self._place is None:
            self._place = place() if exchange() is not None else None
        mine = self._follow(track)
        if mine is None:
            return
        first = not mine.own and not mine.making
        if first:  # a search through all objects there are
            mine.replicas = _covering(track, find_replicas())
            mine.late = self._late(track, mine)
            mine.synced = not mine.late and all(replica.reduces() for replica in mine.replicas)
            mine.shared_out = not mine.replicas and shares_data_out()
            mine.joining = [replica.joining() for replica in mine.replicas]
        if mine.replicas and not mine.synced:
            mine.sticky |= Flag.LOCAL
        if is_check(track.steps):
            mine.site = scene.site(scene.frame()) or mine.site
            self._measure(scene, track, mine)

    def _late(self, track: Track, mine: _Followed) -> bool:
        """Whether another optimizer has trained what the wrapper holds: each rank may now tune the module inside of it
        by itself.
        """
        wrappers = {replica.wrapper for replica in mine.replicas}
        others = (known for one, known in self._of.items() if one is not track and one.steps > LATE)
        return any(replica.wrapper in wrappers for known in others for replica in known.replicas)

    def _follow(self, track: Track) -> _Followed | None:
        """What is known of an optimizer; of those that are gone, only as long as there is room."""
        mine = self._of.get(track)
        if mine is None and self._place is not None:
            if len(self._of) >= MOST_OPTIMIZERS:
                self._of = {one: known for one, known in self._of.items() if one.alive}
            if len(self._of) < MOST_OPTIMIZERS:
                mine = self._of[track] = _Followed(f"{DISPATCHER.generation}.{track.number}")
        return mine

    def closure_returned(self, scene: Scene, track: Track) -> None:
        mine = self._of.get(track)
        if mine is not None and mine.making and mine.making[-1].step == track.steps:
            mine.making[-1].measure_gradients()

    def after_step(self, scene: Scene, track: Track) -> None:
        mine = self._of.get(track)
        if mine is None or self._place is None:
            return
        DISPATCHER.handed.step()
        if track.steps == 1:  # what was handed over before was the start
            DISPATCHER.handed.largest = 0
        if mine.making and mine.making[-1].step == track.steps - 1:
            if not _readable(mine.making[-1]):
                track.expect(mine.making[-1].cells)
        self._go_on(scene, track, mine)

    def rows_passed(self, scene: Scene, track: Track, count: int) -> None:
        mine = self._of.get(track)
        if mine is not None and mine.making:
            self._go_on(scene, track, mine)

    def resumed(self, scene: Scene) -> None:
        self._pauses += 1

    def processes_part(self, scene: Scene) -> None:
        for track, mine in list(self._of.items()):
            self._go_on(scene, track, mine)

    def ended(self, scene: Scene, finished: bool) -> None:
        self.processes_part(scene)
        for track, mine in self._of.items() if finished else ():
            self._tell_alone(scene, track, mine)
        if self._place is not None and self._place.rank == 0 and not any(m.read for m in self._of.values()):
            scene.unseen("ranks", "no other process has put anything to compare with")

    # -- this rank's checks -----------------------------------------------------------------------------------------

    def _measure(self, scene: Scene, track: Track, mine: _Followed) -> None:
        handed, held = DISPATCHER.handed, [r.held() for r in mine.replicas if r.among_all()]
        modules = [module for r in mine.replicas if (module := r.module()) is not None]
        modules += [module for root in scene.names.roots if (module := root.module()) is not None and not modules]
        columns = columns_of(track, held, modules)
        mine.addresses = {address(c.parameter) for c in columns}
        gradients = {address(g) for c in columns if (g := c.parameter.grad) is not None}
        if handed.exchanged or handed.large - mine.addresses - gradients:
            mine.sticky |= Flag.TALKS
        if track.steps and not handed.spread.isdisjoint(mine.addresses):
            mine.sticky |= Flag.AVERAGED
        if any(replica.by_hooks_of_its_own() for replica in mine.replicas):
            mine.sticky |= Flag.HOOKED
        if any(replica.joining() is not first for replica, first in zip(mine.replicas, mine.joining)):
            mine.sticky |= Flag.UNEVEN
        flags = mine.sticky | (Flag.SYNCED if held and mine.synced else Flag(0))
        sizes = [c.parameter.numel() for c in columns if c.parameter.grad is not None]
        if sizes and not held and not gradients & handed.reduced and not Counter(sizes) - Counter(handed.sizes):
            flags |= Flag.COPIES
        mine.size = max(sizes, default=mine.size)
        if self._by_itself(mine):
            flags |= Flag.ALONE
        mine.making.append(Measuring(scene.row, track.steps, flags, self._pauses, columns, set(handed.reduced), track))

    @staticmethod
    def _by_itself(mine: _Followed) -> bool:
        """Whether the rank trains on its part of the data, and nothing as large as a parameter has left it."""
        mine.shared_out = mine.shared_out and DISPATCHER.handed.largest < mine.size
        return mine.shared_out

    def _go_on(self, scene: Scene, track: Track, mine: _Followed) -> None:
        """Put what has been computed, and look at what others have put. The store may have gone with its process."""
        there, where = exchange(), self._place
        if there is None or where is None:
            return
        peers = Peers(there, where.rank, where.world, mine.scope)
        try:
            while mine.making and _readable(mine.making[0]):
                self._put(track, mine, mine.making.pop(0), peers)
            if where.rank == 0:
                self._read(scene, track, mine, peers)
        except (RuntimeError, OSError, ValueError) as error:
            self._place = None
            scene.unseen("ranks", f"the processes' store could not be reached at step {scene.row}: {_short(error)}")

    def _put(self, track: Track, mine: _Followed, made: Measuring, peers: Peers) -> None:
        row, loss = _newest_loss(track)
        own = made.done(row, loss, peers.world)
        peers.put(own.check)
        if peers.rank == 0:
            mine.own[made.step] = own
            mine.gathered.begin(own, peers.rank)
            mine.names |= dict(zip(own.check.names.tolist(), (c.name for c in made.columns)))
            mine.unread[made.step] = list(range(1, peers.world))
            for old in list(mine.own)[:-SLOTS]:
                del mine.own[old]
                mine.unread.pop(old, None)

    # -- rank 0: those of the others --------------------------------------------------------------------------------

    def _read(self, scene: Scene, track: Track, mine: _Followed, peers: Peers) -> None:
        totals = {step: own.check.total for step, own in mine.own.items()}
        missing: set[int] = set()
        for step, ranks in list(mine.unread.items()):
            checks = peers.read(step, [rank for rank in ranks if rank not in missing])
            missing.update(rank for rank in ranks if rank not in checks)
            mine.read += len(checks)
            own = mine.own[step]
            found: dict[str, list[tuple[int, Difference]]] = {}
            for rank, check in checks.items():
                comparison = mine.comparisons.setdefault(rank, Comparison())
                for difference in comparison.compare(own, check, totals):
                    found.setdefault(difference.what, []).append((rank, difference))
            self._draw(scene, track, own, checks)
            whole = mine.gathered.take(step, checks)
            if whole is not None and track.number >= 0:
                self._put_together(scene, track, own, whole)
            for what, differences in found.items():
                self._tell(scene, track, mine, own, checks, differences)
            mine.unread[step] = [rank for rank in ranks if rank not in checks]
            if not mine.unread[step]:
                del mine.unread[step]
        if mine.comparisons and track.number >= 0:
            judged = sum(one.judged for one in mine.comparisons.values())
            scene.emit(RanksCompared(scene.row, track.number, judged, len(mine.comparisons)))

    def _tell_alone(self, scene: Scene, track: Track, mine: _Followed) -> None:
        """That nobody has averaged anything, of a run that is over."""
        apart = {rank: one.alone for rank, one in mine.comparisons.items() if one.alone is not None}
        if not apart or len(apart) < len(mine.comparisons) or not self._by_itself(mine):
            return
        found, known = next(iter(apart.values())), mine.own[max(mine.own)].check.names.tolist()
        names, count = [mine.names.get(name, "") for name in known], len(known)
        scene.emit(
            RanksDiffer(
                scene.row, track.number, found.what, found.how, 0, tuple(sorted(apart)), len(apart) + 1, found.since,
                found.step, found.last_alike, tuple(names[:NAMES]), len(found.columns), count, mine.site,
            )
        )  # fmt: skip

    def _draw(self, scene: Scene, track: Track, own: Own, checks: dict[int, Check]) -> None:
        for rank, check in [(0, own.check), *sorted(checks.items())] if checks else ():
            if rank < CURVES and track.number >= 0:
                if check.row >= 0:
                    scene.curve(f"rank {rank}/loss{_suffix(track)}", check.loss, check.row, track.number)
                if not len(check.squares):
                    scene.curve(f"rank {rank}/grad_norm{_suffix(track)}", check.norm, own.row, track.number)

    @staticmethod
    def _put_together(scene: Scene, track: Track, own: Own, whole: Floats) -> None:
        """The norms of gradients that are sharded."""
        total = float(np.sqrt(np.nansum(whole**2)))
        scene.curve(f"all ranks/grad_norm{_suffix(track)}", total, own.row, track.number)
        norms = tuple(float(norm) for norm in whole)
        scene.emit(ShardedNorms(own.row, track.number, own.sharded, norms, total, len(own.sharing)))
        scene.unseen("norms of whole gradients", "each rank holds a part: norms by parameter are those of this rank's")

    def _tell(
        self,
        scene: Scene,
        track: Track,
        mine: _Followed,
        own: Own,
        checks: dict[int, Check],
        differences: list[tuple[int, Difference]],
    ) -> None:
        first = differences[0][1]
        apart, world = {rank for rank, _ in differences}, len(mine.comparisons) + 1
        bits = {rank: _bits(checks[rank], first, own.check) for rank in apart}
        [(common, times)] = Counter(bits.values()).most_common(1)
        base = 0
        if times > world - times:  # most of the others agree with each other: this rank is the odd one
            base = next(rank for rank, value in bits.items() if value == common)
            apart = {rank for rank, value in bits.items() if value != common} | {0}
        known = mine.found.get(first.what)
        if known is None:
            known = mine.found[first.what] = _Found(first, first.since, set())
            scene.trigger(f"ranks:{track.number}:{first.what}")
        known.ranks |= apart
        names = [mine.names.get(int(own.check.names[i]), "") for i in first.columns]
        scene.emit(
            RanksDiffer(
                scene.row, track.number, first.what, known.difference.how, base, tuple(sorted(known.ranks - {base})),
                world, known.since, first.step, known.difference.last_alike, tuple(names[:NAMES]), len(names),
                len(own.check.names), mine.site,
            )
        )  # fmt: skip


def _suffix(track: Track) -> str:
    return f" (optimizer {track.number})" if track.number else ""


def _covering(track: Track, replicas: Sequence[Replica]) -> list[Replica]:
    """Those that hold a parameter of the optimizer."""
    return [replica for replica in replicas if not track.parameter_ids.isdisjoint(replica.held())]


def _readable(made: Measuring) -> bool:
    for cell in made.cells:
        if cell.tensor is not None and on_host(cell.tensor):
            cell.fill(cell.tensor.numpy())
    return made.arrived()


def _newest_loss(track: Track) -> tuple[int, float]:
    """The newest row in the books, and its loss."""
    if track.table is None:
        return -1, float("nan")
    kept = track.table.scalars.kept()
    return int(kept["row"][-1]), float(kept["loss"][-1])


def _bits(check: Check, difference: Difference, own: Check) -> bytes:
    """What another rank has where it differs."""
    values = check.parameters if difference.what == "parameters" else check.gradients
    wanted = own.names[list(difference.columns)]
    return bytes(values[np.isin(check.names, wanted)].tobytes())


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
