"""One damaged input: the files of a sample with something else in them, and what they are read by."""
from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from gradscope.ranks.claim import SIGN
from gradscope.record.chunks import DATA, FINDINGS, INDEX, META
from tests.fuzzing import damage
from tests.fuzzing.damage import BYTES, DEEP, LONG, PLANTED, Change
from tests.fuzzing.samples import Files

CONFIG = {
    "setup.cfg": """\
[metadata]
name = x

[tool:pytest]
addopts = -q %d

[tool:gradscope]
select = GS1, GS2
ignore =
    GS102
    missing-zero-grad
budget = 2
memory = 64
disk = 512
replay = no
""",
    "pyproject.toml": """\
[build-system]
requires = ["setuptools"]

[tool.black]
line-length = 120

[tool.gradscope]
select = ["GS1", "GS2"]
ignore = "GS102"
budget = 2.0
memory = 64
disk = 512
replay = false
""",
}
SETTINGS = (
    "GS101", "GS999", "'GS1'", "[]", "{}", "['GS1', 3]", "[[[['GS1']]]]", "-1", "0", "1e308", "1e999", "nan", "inf",
    "-inf",
    "9" * 5000, "0x10", "true", "maybe", "1979-05-27", "''", '"""', "'''a\nb'''", "%(x)s", "${x}", "${env:HOME}",
    "[" * DEEP,
    "[" * DEEP + "]" * DEEP, "{a=" * 5000 + "1" + "}" * 5000, "x" * LONG, "GS1," * 50_000, "'GS1'" + ",'GS1'" * 100,
    "1_000",
    "+1", "2.5e-324", "[1, 2", "{a.b.c.d = 1}", "\u00b2", "\u0663", '"\\ud800"', '"\\U00110000"', "=", ":", *PLANTED,
)  # fmt: skip
NAMES = (
    "select", "ignore", "budget", "memory", "disk", "replay", "budget.x", "'budget'", "", "a." * 5000 + "b", "x" * 3000,
    "[tool]", "[tool.gradscope]", "[tool:gradscope]", "[[tool.gradscope]]", "[DEFAULT]", "[tool.gradscope.budget]",
    "__class__",
)  # fmt: skip
FOLDERS = (
    "rank0", "rank00", "rank7", "rank9999999", "rank10000000", "rank-1", "rank1 ", "rank1\n", "rank\u00b2",
    "rank1/rank0", "RANK1",
    "rank", "rank4096", f"rank3{'0' * 200}",
)  # fmt: skip
SIGNS = ("running", "closed", "left", "killed", "\u00b2", "", "9" * 500, "-1", "0", "1", os.uname().nodename, "x" * 300)
VARIABLES = (
    "", "0", "-1", "2", "1e3", "9" * 18, "9" * 5000, "\u00b2", "\u0663", " 1 ", "1_0", "x" * 100_000, "nan", "\udcff",
    "/no/such",
    "/dev/null", *(text for text in PLANTED if "\0" not in text and "\ud800" not in text),
)  # fmt: skip
COMMENTS = ("loss.backward()  # gradscope: ignore[GS101, missing-zero-grad]", "x = 1  # gradscope: ignore")
ENVIRONMENT = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "here", "MASTER_PORT": "29500", "SLURM_JOB_ID": "7",
               "TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_RESTART_COUNT": "0", "GRADSCOPE_TRY": "1", "LINES": "40",
               "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1", "FORCE_COLOR": "", "HOME": "/root", "LOCAL_RANK": "1",
               "TMPDIR": "/tmp"}  # fmt: skip
OUTCOME = json.dumps({"stopped": True, "applied": [3, 1], "failure": ""}).encode()
NOTE = json.dumps({"folder": "watch-20260101-000000", "at": 1.7e9, "parent": "here/1/1", "joined": 1}).encode()


@dataclass
class Input:
    """`kind`: which file it is of. `files`: by their paths below `logs`, of the run folder, or below `work`."""

    kind: str
    files: Files
    specials: list[Callable[[Path], None]] = field(default_factory=list)  # done to the folder when it is written
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, place: Path) -> None:
        (place / "work").mkdir(parents=True)
        for name, data in self.files.items():
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        for special in self.specials:
            special(place)


class Inputs:
    """Makes them: the same number and seed, the same input."""

    def __init__(self, one: Files, ranks: Files, seed: int) -> None:
        self._one, self._ranks, self._seed = one, ranks, seed
        self._kinds: dict[str, tuple[int, Callable[[Random], Input]]] = {
            **{name: (10, self._of_record(name)) for name in (META, FINDINGS, DATA)},
            INDEX: (20, self._of_record(INDEX)),
            f"{DATA}, with its checksums": (12, self._checked),
            "two files of a record": (4, self._two),
            "no plain files": (3, self._not_plain),
            "the ranks' parts": (12, self._part),
            "the ranks' folders": (3, self._folders),
            "a rank's sign": (3, self._sign),
            **{name: (6, self._config(name)) for name in CONFIG},
            "the environment": (3, self._environment),
            "a comment": (2, self._comment),
            "a launch's note": (2, self._note),
            "a child's outcome": (1, self._outcome),
        }

    def whole(self) -> list[Input]:
        """Nothing damaged."""
        config = {f"work/{name}": text.encode() for name, text in CONFIG.items()}
        rest = {"work/train.py": f"\n{COMMENTS[0]}\n".encode()}, {"work/outcome.json": OUTCOME}
        return [*(Input("", files) for files in (_placed(self._one), _placed(self._ranks), config, *rest))]

    def make(self, number: int) -> Input:
        die = Random(f"{self._seed}/{number}")
        weights = [weight for weight, _ in self._kinds.values()]
        [kind] = die.choices(list(self._kinds), weights)
        made = self._kinds[kind][1](die)
        made.kind = kind
        return made

    # -- records ----------------------------------------------------------------------------------------------------

    def _of_record(self, name: str) -> Callable[[Random], Input]:
        return lambda die: Input(name, _placed({**self._one, name: _damaged(name, self._one[name], die)}))

    def _two(self, die: Random) -> Input:
        files = dict(self._one)
        for name in die.sample((META, INDEX, DATA, FINDINGS), 2):
            files[name] = _damaged(name, die.choice((files[name], *self._one.values())), die)
        return Input("", _placed(files))

    def _checked(self, die: Random) -> Input:
        return Input("", _placed(_with_checksums(dict(self._one), die)))

    def _not_plain(self, die: Random) -> Input:
        files = dict(die.choice((self._one, self._ranks)))
        name = die.choice(sorted(files))
        return Input("", _placed(files), [lambda place: _special(place / "logs" / "run" / name, die)])

    def _part(self, die: Random) -> Input:
        files = dict(self._ranks)
        for _ in range(die.choice((1, 1, 2, 3))):
            name = die.choice([name for name in files if not name.endswith(SIGN)])
            files[name] = _damaged(Path(name).name, files[name], die)
        return Input("", _placed(files))

    def _folders(self, die: Random) -> Input:
        moved = {rank: die.choice(FOLDERS) for rank in ("rank0", "rank1", "rank2") if die.random() < 0.6}
        files = {}
        for name, data in self._ranks.items():
            rank, _, file = name.partition("/")
            files[f"{moved.get(rank, rank)}/{file}"] = data
        return Input("", _placed(files))

    def _sign(self, die: Random) -> Input:
        files = dict(self._ranks)
        name = f"rank{die.randrange(3)}/{SIGN}"
        text = "\n".join(die.choice(SIGNS) for _ in range(3)).encode()
        files[name] = die.choice((text, _bytes(files[name], die)))
        specials = [lambda place: _special(place / "logs" / "run" / name, die)] if die.random() < 0.3 else []
        return Input("", _placed(files), specials)

    # -- the rest ---------------------------------------------------------------------------------------------------

    def _config(self, name: str) -> Callable[[Random], Input]:
        def make(die: Random) -> Input:
            text = CONFIG[name].encode()
            for _ in range(die.choice((1, 1, 2))):
                text = die.choice((_setting, _setting, _bytes, damage.lines))(text, die)
            return Input("", {f"work/{name}": text})

        return make

    def _environment(self, die: Random) -> Input:
        changed = {name: die.choice(VARIABLES) for name in die.sample(sorted(ENVIRONMENT), die.choice((1, 2, 5)))}
        return Input("", _placed(self._ranks), environment={**ENVIRONMENT, **changed})

    def _comment(self, die: Random) -> Input:
        line = die.choice(COMMENTS).encode()
        for _ in range(die.choice((1, 2))):
            line = _bytes(line, die)
        return Input("", {"work/train.py": b"import torch\n" + line + b"\n"})

    def _note(self, die: Random) -> Input:
        note = die.choice((damage.values, damage.values, _bytes))(NOTE, die)
        return Input("", {"work/note.json": note}, environment=dict(ENVIRONMENT))

    def _outcome(self, die: Random) -> Input:
        return Input("", {"work/outcome.json": die.choice((damage.values, _bytes))(OUTCOME, die)})


def _placed(files: Files) -> Files:
    return {f"logs/run/{name}": data for name, data in files.items()}


def _bytes(data: bytes, die: Random) -> bytes:
    return die.choice(BYTES)(data, die)


def _damaged(name: str, data: bytes, die: Random) -> bytes:
    if name == DATA:
        return _bytes(data, die)
    kinds: tuple[Change, ...] = (damage.values, damage.values, damage.values, damage.lines, _bytes)
    for _ in range(die.choice((1, 1, 1, 2))):
        data = die.choice(kinds)(data, die)
    return data


def _with_checksums(files: Files, die: Random) -> Files:
    """Other numbers in some columns: they are what was written, for all that the reader can know."""
    data, lines = bytearray(files[DATA]), [json.loads(line) for line in files[INDEX].splitlines()]
    for _ in range(die.choice((1, 1, 2, 5, 20))):
        line = die.choice([line for line in lines if "chunk" in line])
        at, which = line["at"], die.randrange(len(line["columns"]))
        for name, kind, shape in line["columns"][:which]:
            at += np.dtype(kind).itemsize * math.prod(shape)
        _, kind, shape = line["columns"][which]
        count = math.prod(shape)
        if count:
            column = np.frombuffer(data, kind, count, at)
            some = die.choice((slice(None), die.randrange(count), slice(None, None, -1), slice(count // 2, None)))
            column[some] = _numbers(np.dtype(kind), die)
        line["crc"] = zlib.crc32(data[line["at"] : line["at"] + line["bytes"]])
    index = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return {**files, DATA: bytes(data), INDEX: index}


def _numbers(kind: np.dtype[Any], die: Random) -> Any:
    if kind.kind == "f":
        most = float(np.finfo(kind).max)
        return die.choice((math.nan, math.inf, -math.inf, most, -most, 0.0, -0.0, -1.0, 1e-45, 1e30, 1e-310, 2.0**62))
    limits = np.iinfo(kind)
    return die.choice((0, 1, limits.max, limits.min, limits.max - 1, 7, limits.max // 2, die.randrange(limits.max)))


def _setting(text: bytes, die: Random) -> bytes:
    """A value of a setting is another one."""
    lines = text.decode("utf-8", "replace").split("\n")
    told = [i for i, line in enumerate(lines) if "=" in line] or [0]
    at = die.choice(told)
    name = lines[at].partition("=")[0] if die.random() < 0.8 else die.choice(NAMES)
    lines[at] = f"{name}= {die.choice(SETTINGS)}"
    if die.random() < 0.2:
        lines.insert(die.randrange(len(lines)), die.choice(NAMES))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _special(file: Path, die: Random) -> None:
    """Something that is no plain file, or one that is too large, in its place."""
    file.unlink()
    kind = die.randrange(9)
    if kind == 0:
        os.mkfifo(file)
    elif kind == 1:
        file.mkdir()
    elif kind < 7:
        file.symlink_to(("/dev/zero", file, "/etc/hostname", "../nowhere", "/dev/stdin")[kind - 2])
    else:
        with open(file, "wb") as out:
            out.truncate(die.choice((1 << 31, 1 << 40)))
