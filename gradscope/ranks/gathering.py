"""What the parts of a run say together: each finding once, with the ranks that have it, and how each rank ended."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradscope.errors import GradscopeError, UsageError
from gradscope.findings import SEVERITIES, Finding, from_line
from gradscope.ranks.claim import State, state_of
from gradscope.record.reader import read_findings, read_record
from gradscope.record.record import Meta
from gradscope.record.run_file import read_meta
from gradscope.record.search import is_run, part_of, parts_of, written_at
from gradscope.reporters.report import RankEnd, Report, how_it_ended, ranks_told

UNWATCHED = "unwatched"  # a file in the run folder, where there were workers that could have no part of it
MOST_RANKS = 1 << 17  # told of one by one: a number beyond that is a damaged one
OF_ALL = "GS8"  # rules of this family judge all ranks together
Fold = Callable[[Sequence[Finding]], Sequence[Finding]]  # into order, causes first


@dataclass(frozen=True)
class Told:
    """What one process's record says."""

    meta: Meta
    findings: tuple[Finding, ...]
    skipped: Mapping[str, str]
    notes: tuple[str, ...] = ()
    suppressed: int = 0


def read(folder: Path) -> Told:
    """The stored findings of a part, and what is known of it. GradscopeError where it cannot be read."""
    meta = read_meta(folder)
    findings, damaged = stored(read_findings(folder))
    notes = [f"{damaged} damaged finding{'s were' if damaged > 1 else ' was'} left out"] if damaged else []
    return Told(meta, tuple(findings), meta.skipped, tuple(notes))


def stored(lines: Iterable[Mapping[str, Any]]) -> tuple[list[Finding], int]:
    """Findings as they were stored, and how many of them are damaged."""
    findings, damaged = [], 0
    for line in lines:
        try:
            findings.append(from_line(line))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError):
            damaged += 1
    return findings, damaged


def read_report(folder: Path, rank: int | None, fold: Fold, base: Path | None) -> Report:
    """The stored report of a run folder, of all its ranks or of one of them. DamagedRecord where there is none."""
    parts = parts_of(folder)
    if parts and rank is None:
        return gather(folder, fold, base)
    part = chosen(folder, rank)
    told, written = read(part), written_at(part)
    ended = how_it_ended(told.meta, None if written is None else time.time() - written)
    notes = ([ended] if ended else []) + list(told.notes)
    return Report(told.meta, tuple(fold(told.findings)), told.skipped, part, base, notes=tuple(notes))


def chosen(folder: Path, rank: int | None) -> Path:
    """Of a run folder the part of one rank (None: the first); itself where it has none. UsageError."""
    parts = parts_of(folder)
    if not parts and rank is not None:
        raise UsageError(f"{folder} is of one process only: it has no ranks to choose from")
    if rank is not None and rank not in parts:
        raise UsageError(f"there is no rank {rank} in {folder}, but {ranks_told(list(parts))}")
    return parts[min(parts) if rank is None else rank] if parts else folder


def gather(
    folder: Path,
    fold: Fold,
    base: Path | None,
    own: Mapping[int, Report] | None = None,
    starter: Report | None = None,
) -> Report:
    """One report of all parts of a run folder. `own`: of the ranks that this process knows by itself. `starter`: of the
    process that has started the ranks; its record lies in the folder itself."""
    told = {rank: _of(report) for rank, report in (own or {}).items()}
    broken: dict[int, str] = {}
    for rank, part in parts_of(folder).items():
        if rank not in told:
            try:
                told[rank] = read(part)
            except GradscopeError as error:
                broken[rank] = str(error)
    told = dict(sorted(told.items()))
    if not told:
        raise GradscopeError(f"{folder} holds no part that can be read")
    first = _of(starter) if starter is not None else read(folder) if is_run(folder) else None
    world = max((t.meta.world or 0 for t in told.values()), default=0) or max(told) + 1
    ends = tuple(_end(rank, told.get(rank), folder, rank in (own or {})) for rank in _all(world, told, broken))
    findings = merged({r: t.findings for r, t in told.items()}, fold, () if first is None else first.findings)
    notes = [*_endings(ends, folder), *_shared({r: [*t.meta.notes, *t.notes] for r, t in told.items()})]
    notes += [f"rank {rank}: {why}" for rank, why in broken.items()]
    meta = _meta(list(told.values()), ends, world)
    if first is not None:
        meta.status, meta.exit_code = first.meta.status, first.meta.exit_code
        notes += [*first.meta.notes, *first.notes]
        if (folder / UNWATCHED).exists():
            notes.append("some workers were not watched: others had had their ranks before, or watching failed")
    suppressed = max(t.suppressed for t in told.values())
    return Report(meta, findings, _skipped(told), folder, base, suppressed, tuple(notes), ends)


def merged(
    findings: Mapping[int, Sequence[Finding]], fold: Fold, more: Sequence[Finding] = ()
) -> tuple[Finding, ...]:
    """Each finding once, as the one tells it that takes it most seriously, and longest, and with all that have it."""
    same: dict[str, dict[int, Finding]] = {}
    for rank, mine in findings.items():
        for finding in mine:
            same.setdefault(finding.id, {})[rank] = finding
    together = []
    for by_rank in same.values():
        first = min(by_rank.values(), key=lambda f: (SEVERITIES.index(f.severity), -f.steps[1]))
        steps = min(f.steps[0] for f in by_rank.values()), max(f.steps[1] for f in by_rank.values())
        named = first.evidence.get("ranks") if first.code.startswith(OF_ALL) else None
        ranks = tuple(map(int, named)) if isinstance(named, (list, tuple)) else tuple(sorted(by_rank))
        step = min(f.step for f in by_rank.values())
        together.append(replace(first, steps=steps, step=step, ranks=ranks))
    return tuple(fold([*together, *(f for f in more if f.id not in same)]))


def _of(report: Report) -> Told:
    return Told(report.meta, report.findings, report.skipped, report.notes, report.suppressed)


def _all(world: int, *known: Iterable[int]) -> list[int]:
    """The ranks that are told of: all, or, where they are many and some are elsewhere, those that are here."""
    here = sorted({rank for ranks in known for rank in ranks})
    return list(range(max(world, here[-1] + 1))) if here[0] == 0 and max(world, here[-1]) < MOST_RANKS else here


def _end(rank: int, told: Told | None, folder: Path, own: bool) -> RankEnd:
    if told is None:
        return RankEnd(rank, "unknown", None, 0)
    meta = told.meta
    state = State.CLOSED if own or meta.ended else state_of(part_of(folder, rank))
    status = meta.status if meta.ended else "running" if state is State.RUNNING else "killed"
    steps = _written(part_of(folder, rank), meta.rows) if status in ("killed", "running") else meta.rows
    return RankEnd(rank, status, meta.exit_code, steps)


def _written(part: Path, known: int) -> int:
    """How many steps a record that was not ended tells of: its meta data lag behind."""
    try:
        return max([known, *(int(o.rows[-1]) + 1 for o in read_record(part).optimizers if len(o.rows))])
    except GradscopeError:
        return known


def _endings(ends: Sequence[RankEnd], folder: Path) -> list[str]:
    """How ranks ended that did not come to their end."""
    told: dict[str, list[int]] = {}
    for end in ends:
        at = f"at step {end.steps - 1:,}" if end.steps else "before its first step"
        code = f" (exit code {end.exit_code})" if end.exit_code else ""
        if end.status == "killed":
            written = written_at(part_of(folder, end.rank))
            ago = "" if written is None else f", {max(0.0, time.time() - written):.0f} s before this report"
            how = f"killed; it was last written {at}{ago}"
        else:
            how = {
                "running": f"still running, {at}",
                "unknown": "left no record here",
                "crashed": f"crashed {at}{code}",
                "interrupted": f"interrupted {at}{code}",
            }.get(end.status, "")
        if how:
            told.setdefault(how, []).append(end.rank)
    return [f"{ranks_told(ranks)}: {how}" for how, ranks in told.items()]


def _shared(lines: Mapping[int, Sequence[str]]) -> list[str]:
    """Lines of several ranks, each once: those that not all of them say with the ranks that do."""
    said: dict[str, list[int]] = {}
    for rank, mine in lines.items():
        for line in dict.fromkeys(mine):
            said.setdefault(line, []).append(rank)
    return [line if len(ranks) == len(lines) else f"{ranks_told(ranks)}: {line}" for line, ranks in said.items()]


def _skipped(told: Mapping[int, Told]) -> dict[str, str]:
    """By rule why it was not checked, and where only some ranks could not, on which."""
    stepped = {rank: t.skipped for rank, t in told.items() if t.meta.rows} or {r: t.skipped for r, t in told.items()}
    codes = dict.fromkeys(code for skipped in stepped.values() for code in skipped)
    reasons = {c: {r: [s[c]] if c in s else [] for r, s in stepped.items()} for c in codes}
    return {code: "; ".join(_shared(by_rank)) for code, by_rank in reasons.items()}


def _meta(told: Sequence[Told], ends: Sequence[RankEnd], world: int) -> Meta:
    """The first rank's, with what is worst of all."""
    first = next((t.meta for t in told if t.meta.rows), told[0].meta)
    statuses = {end.status for end in ends}
    worst = next((s for s in ("crashed", "running", "interrupted") if s in statuses), "finished")
    if worst == "finished" and "killed" in statuses:
        worst = "interrupted"
    codes = [end.exit_code for end in ends if end.exit_code]
    return replace(
        first,
        status=worst,
        exit_code=codes[0] if codes else first.exit_code,
        rank=None,
        world=world,
        rows=max(end.steps for end in ends),
        backwards=max(t.meta.backwards for t in told),
        overhead=max(t.meta.overhead for t in told),
        seconds=max(t.meta.seconds for t in told),
        notes=[],
    )
