"""What gradscope and others find in programs with one planted fault each, and what they say of healthy ones.

python benchmarks/faults/run.py [--part tuning|untouched|all] [--only TEXT] [--jobs 2] [--no-try] [--json FILE]
python benchmarks/faults/run.py --tools gradscope,torch-audit ...   others beside it ("all": each of rivals.py)
python benchmarks/faults/run.py --verify         only whether the programs are what they claim: nothing is watched

Each program is run as it is, under each tool (`gradscope run`), and, where it is faulty, under `gradscope try`.
Verified of the programs themselves: every clean host learns, every healthy variant does, and every faulty program does
worse than its twin (`WORSE`; a program that hurts memory or time is not asked for its result).

found: an error or a warning. first right: the first one, as the report orders them, names the planted fault. healed: an
advice that `try` has applied brings the result to within 20 % of the twin's. step: of the first right alarm. slowdown:
seconds of the whole process over those without a tool, both loaded alike by the other jobs: import and report are part
of it, so that it says more about these short programs than about training (benchmarks/overhead.py is for that). broken:
the program ended otherwise, or with another result. Intervals are the 95 % ones of Clopper and Pearson.

A look at the untouched part with gradscope writes a line into untouched.log, with its commit.
"""
from __future__ import annotations

import argparse
import datetime
import json
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import measuring
from measuring import GRADSCOPE
from programs import PARTS, Program, programs
from rivals import TOOLS
from scoring import learns, worse
from tables import Row, by_rule, by_tool

LOG = Path(__file__).parent / "untouched.log"


def main() -> None:
    parser = argparse.ArgumentParser(description="Programs with a planted fault, and healthy ones, under gradscope.")
    parser.add_argument("--part", choices=PARTS, default="tuning", help="default: %(default)s")
    parser.add_argument("--only", default="", help="programs whose host/name has this in it")
    parser.add_argument("--jobs", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--verify", action="store_true", help="the programs alone, nothing is watched")
    parser.add_argument("--tools", type=_tools, default=(GRADSCOPE,), help="with commas between them, or: all")
    parser.add_argument("--no-try", action="store_true", help="do not apply the advice")
    parser.add_argument("--json", type=Path, help="all figures of all programs")
    given = parser.parse_args()
    every = list(programs(given.part))
    chosen = [p for p in every if given.only in p.key]
    if not chosen:
        parser.error("there is no such program")
    judged = {p.host for p in chosen if p.faulty}  # by their twins
    chosen += [p for p in every if p.host in judged and not p.name and p not in chosen]
    if given.part != "tuning" and not given.verify and GRADSCOPE in given.tools:
        _log(given.part, given.only)

    def measure(program: Program) -> Row:
        bare = measuring.bare(program)
        if given.verify:
            return Row(program, bare)
        watched = {tool: measuring.watched(program, tool) for tool in given.tools}
        without = given.no_try or not program.faulty or GRADSCOPE not in given.tools
        return Row(program, bare, watched, () if without else tuple(measuring.tried(program)))

    with ThreadPoolExecutor(given.jobs) as pool:
        rows = []
        for row in pool.map(measure, chosen):
            rows.append(row)
            for line in _lines(row):
                print(line, flush=True)
    twins = {row.program.host: row.bare for row in rows if not row.program.name}
    print()
    for complaint in verified(rows, twins):
        print(f"not as it claims: {complaint}")
    if GRADSCOPE in given.tools and not given.verify:
        print(by_rule(rows, twins) + "\n")
    if not given.verify:
        print(by_tool(rows, given.tools))
    if given.json is not None:
        given.json.write_text(json.dumps([_plain(row) for row in rows], indent=1), encoding="utf-8")


def _tools(text: str) -> tuple[str, ...]:
    known = (GRADSCOPE, *TOOLS)
    named = known if text == "all" else tuple(text.split(","))
    if not set(named) <= set(known):
        raise argparse.ArgumentTypeError(f"not one of {', '.join(known)}: {text}")
    return named


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


def _lines(row: Row) -> Iterable[str]:
    """One for each tool, or the program's own."""
    program = row.program
    tried = " -> ".join(f"{x:.4g}" for x in (row.bare.result, *row.tried))
    ended = "" if row.bare.code == 0 else f" (exit {row.bare.code})"
    about = f"{program.key:<44} {program.codes[0] if program.faulty else 'healthy':<8} {tried}{ended}"
    if not row.watched:
        yield about
    for tool in row.watched:
        alarms = ", ".join(f"{a.says}@{a.step}" for a in row.alarms(tool)) or "-"
        mark = "ok   " if row.right(tool) else "WRONG"
        which = f"{tool:<14} " if len(row.watched) > 1 else ""
        yield f"{mark} {which}{about}{' CHANGED' * row.changed(tool)}  {alarms}"


def _plain(row: Row) -> dict[str, object]:
    program, bare = row.program, row.bare
    tools = {
        tool: {
            "alarms": [[a.says, a.step, list(a.codes)] for a in seen.alarms],
            "code": seen.outcome.code,
            "result": str(seen.outcome.result),
            "seconds": round(seen.outcome.seconds, 2),
        }
        for tool, seen in row.watched.items()
    }
    about = {"program": program.key, "codes": list(program.codes), "hard": program.hard, "code": bare.code}
    numbers = {"result": str(bare.result), "seconds": round(bare.seconds, 2), "tried": [str(x) for x in row.tried]}
    return {**about, **numbers, "tools": tools}


def _log(part: str, only: str) -> None:
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=LOG.parent)
    dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, cwd=LOG.parent)
    commit = (head.stdout.strip() or "unknown") + "+" * bool(dirty.stdout.strip())
    with open(LOG, "a", encoding="utf-8") as log:
        now = f"{datetime.datetime.now():%Y-%m-%d %H:%M}"
        log.write(f"{now} {commit} run.py --part {part}{f' --only {only}' if only else ''}\n")


if __name__ == "__main__":
    main()
