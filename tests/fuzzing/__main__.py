"""`python -m tests.fuzzing`: so many damaged inputs, and what became of them."""
from __future__ import annotations

import argparse
import collections
import gc
import importlib
import itertools
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

from tests.fuzzing.guarded import Reader, Seen, watched
from tests.fuzzing.inputs import Inputs
from tests.fuzzing.readers import PAGE, readers_of
from tests.fuzzing.samples import record

A_PAGE = 20  # one input in so many is made a page of, which takes longest; the other readers take every second one


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description="Damaged inputs, read.")
    parser.add_argument("--inputs", type=int, default=1000, metavar="N", help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="others (default: 0)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with this one")
    parser.add_argument("--only", type=int, metavar="N", help="this one only; it is kept, and its folder is named")
    given = parser.parse_args()
    for room in ("board", "reporters", "record", "rules", "ranks"):
        for module in pkgutil.iter_modules(importlib.import_module(f"gradscope.{room}").__path__, f"gradscope.{room}."):
            if module.name != "gradscope.ranks.telling":  # it asks torch for the others; no reader does
                importlib.import_module(module.name)
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as name:
        return _fuzz(given, Path(name))


def _fuzz(given: argparse.Namespace, scratch: Path) -> int:
    inputs = Inputs(*record(scratch), given.seed)
    _whole(inputs, scratch)
    numbers = range(given.first, given.first + given.inputs) if given.only is None else [given.only]
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    readings: collections.Counter[str] = collections.Counter()
    wrong = 0
    done = 0
    for number in numbers if given.only is not None else _until_ended(numbers):
        place = scratch / "input" if given.only is None else Path(tempfile.mkdtemp(prefix="fuzzed-"))
        made = inputs.make(number)
        made.write(place)
        readers = [*readers_of(made, place)]
        seen = watched(readers if given.only is not None else _some(readers, Random(f"{given.seed}/{number}")), place)
        counts[made.kind, _worst(seen)] += 1
        readings.update(one.reader for one in seen)
        for one in seen:
            if one.wrong:
                print(f"input {number}, {made.kind}, {one.reader}: {one.outcome}: {one.wrong}", flush=True)
            elif given.only is not None:
                print(f"{made.kind}, {one.reader}: {one.outcome}")
        wrong += any(one.wrong for one in seen)
        done += 1
        if given.only is None:
            shutil.rmtree(place)
        else:
            print(f"it is kept in {place}")
    _table(counts, readings)
    told = f"{done} inputs (seed {given.seed}), {sum(readings.values())} readings"
    print(f"{told}, {wrong} inputs with something wrong")
    return int(wrong > 0 or done < len(numbers))


def _some(readers: Sequence[tuple[str, Reader]], die: Random) -> list[tuple[str, Reader]]:
    """The first one, and some of the others."""
    wanted = [die.random() < (1 / A_PAGE if name == PAGE else 1 / 2) for name, _ in readers[1:]]
    return [readers[0], *itertools.compress(readers[1:], wanted)]


def _until_ended(numbers: Iterable[int]) -> Iterator[int]:
    """Until somebody sends a SIGTERM: what was counted by then is told."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    return itertools.takewhile(lambda _: not ended, numbers)


def _whole(inputs: Inputs, scratch: Path) -> None:
    """What is not damaged is read: in this process, so that the forks have imported all that they need."""
    home = Path.cwd()
    for number, made in enumerate(inputs.whole()):
        place = scratch / f"whole{number}"
        made.write(place)
        os.chdir(place / "work")
        for name, reader in readers_of(made, place):
            outcome, wrong = reader()
            if wrong or outcome not in ("read", "suppressed") and name != "settings of run":
                raise SystemExit(f"what is not damaged, {name}: {outcome} {wrong}")
        os.chdir(home)
    gc.freeze()  # or each fork would copy what it looks through


def _worst(seen: list[Seen]) -> str:
    """What became of an input, in a word: of all its readers."""
    if any(one.wrong for one in seen):
        return "WRONG"
    outcomes = [one.outcome for one in seen]
    return next((o for o in ("refused", "read, damage told") if o in outcomes), "read")


def _table(counts: collections.Counter[tuple[str, str]], readings: collections.Counter[str]) -> None:
    outcomes = ("read", "read, damage told", "refused", "WRONG")
    kinds = sorted({kind for kind, _ in counts})
    width = max((len(kind) for kind in kinds), default=0)
    print(" " * width, *(f"{outcome:>17}" for outcome in outcomes))
    for kind in kinds:
        print(f"{kind:<{width}}", *(f"{counts[kind, outcome]:>17}" for outcome in outcomes))
    print("read by: " + ", ".join(f"{name} {count}" for name, count in readings.most_common()))


if __name__ == "__main__":
    sys.exit(main())
