"""What gradscope finds in programs with one planted fault each, and what it says of healthy ones.

python benchmarks/faults/run.py [--part tuning|untouched|all] [--only TEXT] [--jobs 2] [--no-try] [--json FILE]
python benchmarks/faults/run.py --tool torch-audit ...   the same of another tool (see rivals.py for their names)
python benchmarks/faults/run.py --verify         only whether the programs are what they claim: nothing is watched

Each program is run as it is, under `gradscope run`, and, where it is faulty, under `gradscope try`. Verified of the
programs themselves: every clean host learns, every healthy variant does, and every faulty program does worse than its
twin (`WORSE`; a program that hurts memory or time is not asked for its result).

found: an error or a warning. first right: the first one, as the report orders them, names the planted fault. healed: an
advice that `try` has applied brings the result to within 20 % of the twin's. step: of the first right alarm. slowdown:
seconds of the whole process over those without gradscope, both loaded alike by the other jobs: import and report are
part of it, so that it says more about these short programs than about training (benchmarks/overhead.py is for that).
Intervals are the 95 % ones of Clopper and Pearson.

A look at the untouched part writes a line into untouched.log, with its commit.
"""
from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import measuring
from programs import PARTS, Program, programs
from rivals import TOOLS
from scoring import Alarm, Share, first_right, found, healed, learns, named, worse

LOG = Path(__file__).parent / "untouched.log"


@dataclass(frozen=True)
class Row:
    """All that is known of one program."""

    program: Program
    bare: measuring.Outcome
    watched: measuring.Watched | None = None
    tried: tuple[float, ...] = ()

    @property
    def alarms(self) -> Sequence[Alarm]:
        return () if self.watched is None else self.watched.alarms

    @property
    def changed(self) -> bool:
        """Whether watching has changed what the program does."""
        if self.watched is None:
            return False
        seen = self.watched.outcome
        return (seen.code, str(seen.result)) != (self.bare.code, str(self.bare.result))


def main() -> None:
    parser = argparse.ArgumentParser(description="Programs with a planted fault, and healthy ones, under gradscope.")
    parser.add_argument("--part", choices=PARTS, default="tuning", help="default: %(default)s")
    parser.add_argument("--only", default="", help="programs whose host/name has this in it")
    parser.add_argument("--jobs", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--verify", action="store_true", help="the programs alone, nothing is watched")
    parser.add_argument("--tool", choices=(measuring.GRADSCOPE, *TOOLS), default=measuring.GRADSCOPE)
    parser.add_argument("--no-try", action="store_true", help="do not apply the advice")
    parser.add_argument("--json", type=Path, help="all figures of all programs")
    given = parser.parse_args()
    every = list(programs(given.part))
    chosen = [p for p in every if given.only in p.key]
    if not chosen:
        parser.error("there is no such program")
    judged = {p.host for p in chosen if p.faulty}  # by their twins
    chosen += [p for p in every if p.host in judged and not p.name and p not in chosen]
    if given.part != "tuning" and not given.verify:
        _log(given.part, given.only)

    def measure(program: Program) -> Row:
        bare = measuring.bare(program)
        if given.verify:
            return Row(program, bare)
        watched = measuring.watched(program, given.tool)
        without = given.no_try or not program.faulty or given.tool != measuring.GRADSCOPE
        tried = () if without else tuple(measuring.tried(program))
        return Row(program, bare, watched, tried)

    with ThreadPoolExecutor(given.jobs) as pool:
        rows = []
        for row in pool.map(measure, chosen):
            rows.append(row)
            print(_line(row), flush=True)
    twins = {row.program.host: row.bare for row in rows if not row.program.name}
    print()
    for complaint in verified(rows, twins):
        print(f"not as it claims: {complaint}")
    if not given.verify:
        print(report(rows, twins))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")


def verified(rows: Iterable[Row], twins: dict[str, measuring.Outcome]) -> list[str]:
    """What is wrong with the programs themselves."""
    complaints = []
    for row in rows:
        program, bare = row.program, row.bare
        if not program.faulty:
            if bare.code != 0 or not learns(bare.start, bare.result):
                complaints.append(f"{program.key} does not learn ({bare.start:.4g} -> {bare.result:.4g}) {bare.errors}")
        elif program.dies != (bare.code != 0):
            complaints.append(f"{program.key} ended with {bare.code} {bare.errors}")
        elif program.dies or program.hurts != "result":
            continue
        elif not worse(bare.result, twins[program.host].result):
            told = f"{bare.result:.4g}, {twins[program.host].result:.4g}"
            complaints.append(f"{program.key} does no worse than its twin ({told})")
    return complaints


def report(rows: Sequence[Row], twins: dict[str, measuring.Outcome]) -> str:
    """The tables: in all, and for each rule."""
    faulty = [row for row in rows if row.program.faulty]
    lines = ["| | faulty | found | first right | named | healed by `try` | step, median |", "|---" * 7 + "|"]
    codes = sorted({row.program.codes[0] for row in faulty})
    groups = [("all", faulty), *((code, [r for r in faulty if r.program.codes[0] == code]) for code in codes)]
    for name, group in groups:
        right = [row.alarms[0] for row in group if first_right(row.alarms, row.program.codes)]
        steps = [alarm.step for alarm in right if alarm.step is not None]
        cells = [
            str(len(group)),
            _share(group, lambda r: found(r.alarms)),
            _share(group, lambda r: first_right(r.alarms, r.program.codes)),
            _share(group, lambda r: named(r.alarms, r.program.codes)),
            _share([r for r in group if r.tried], lambda r: _healed(r, twins)),
            f"{statistics.median(steps):.0f}" if steps else "-",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    healthy = [row for row in rows if not row.program.faulty]
    lines += ["", "| | programs | error or warning |", "|---|---|---|"]
    for name, group in (("healthy", healthy), ("of these, hard", [r for r in healthy if r.program.hard])):
        lines.append(f"| {name} | {len(group)} | {_share(group, lambda r: found(r.alarms))} |")
    ratios = [r.watched.outcome.seconds / r.bare.seconds for r in rows if r.watched is not None and r.bare.seconds]
    lines += ["", f"results changed: {sum(row.changed for row in rows)} of {len(rows)}"]
    if ratios:
        lines.append(f"slowdown of the whole process, median: {statistics.median(ratios):.2f}")
    return "\n".join(lines)


def _healed(row: Row, twins: dict[str, measuring.Outcome]) -> bool:
    twin = twins.get(row.program.host)
    return twin is not None and any(healed(result, twin.result) for result in row.tried)


def _share(rows: Sequence[Row], hit: Callable[[Row], bool]) -> str:
    return str(Share(sum(map(hit, rows)), len(rows))) if rows else "-"


def _line(row: Row) -> str:
    program = row.program
    alarms = ", ".join(f"{a.says}@{a.step}" for a in row.alarms) or ("-" if row.watched is not None else "")
    tried = " -> ".join(f"{x:.4g}" for x in (row.bare.result, *row.tried))
    mark = ""
    if row.watched is not None:
        right = first_right(row.alarms, program.codes) if program.faulty else not row.alarms
        mark = "ok   " if right else "WRONG"
    ended = "" if row.bare.code == 0 else f" (exit {row.bare.code})"
    ended += " CHANGED" * row.changed
    return f"{mark} {program.key:<44} {program.codes[0] if program.faulty else 'healthy':<8} {tried}{ended}  {alarms}"


def _log(part: str, only: str) -> None:
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=LOG.parent)
    dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, cwd=LOG.parent)
    commit = (head.stdout.strip() or "unknown") + "+" * bool(dirty.stdout.strip())
    with open(LOG, "a", encoding="utf-8") as log:
        now = f"{datetime.datetime.now():%Y-%m-%d %H:%M}"
        log.write(f"{now} {commit} run.py --part {part}{f' --only {only}' if only else ''}\n")


if __name__ == "__main__":
    main()
