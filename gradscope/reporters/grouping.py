"""Many parameters in few lines: by module, at the level that fits."""
from __future__ import annotations

import math
from typing import Mapping, Sequence

Path = tuple[str, ...]  # a name at its dots


def group(names: Sequence[str], most: int | None) -> list[tuple[str, list[int]]]:
    """Lines for these parameters, each a label and which parameters it stands for.

    Each its own where there are at most `most` (or None is given), else by module, at the deepest level of which there
    are at most `most`. Where that leaves only a few lines (one list of 500 layers), neighbours at the level below
    share a line instead.
    """
    if most is None or len(names) <= most:
        return [(name, [i]) for i, name in enumerate(names)]
    paths = [tuple(name.split("=")[0].split(".")) for name in names]
    deepest = max(map(len, paths))
    levels = [_level(paths, depth) for depth in range(deepest)] + [_members(paths)]
    depth = max(d for d, level in enumerate(levels) if len(level) <= most)
    lines = [[key] for key in levels[depth]]
    if len(lines) < most // 4 and depth < deepest:
        depth += 1
        size = math.ceil(len(levels[depth]) / (most - len(lines)))
        children: dict[Path, list[Path]] = {}
        for key, members in levels[depth].items():
            children.setdefault(_module(paths[members[0]], depth - 1), []).append(key)
        lines = [keys[i : i + size] for keys in children.values() for i in range(0, len(keys), size)]
    return [_labelled(keys, levels[depth], names) for keys in lines]


def _level(paths: Sequence[Path], depth: int) -> dict[Path, list[int]]:
    return _members([_module(path, depth) for path in paths])


def _module(path: Path, depth: int) -> Path:
    """The outer `depth` modules that a parameter is in; itself where it is in none."""
    return path[:-1][:depth] or path[: 1 if depth else 0]


def _members(keys: Sequence[Path]) -> dict[Path, list[int]]:
    members: dict[Path, list[int]] = {}
    for i, key in enumerate(keys):
        members.setdefault(key, []).append(i)
    return members


def _labelled(keys: Sequence[Path], level: Mapping[Path, list[int]], names: Sequence[str]) -> tuple[str, list[int]]:
    first, last = keys[0], keys[-1]
    members = [i for key in keys for i in level[key]]
    if len(members) == 1:
        return names[members[0]], members
    end = last[-1] if first[:-1] == last[:-1] else ".".join(last)
    return ".".join(first) if len(keys) == 1 else f"{'.'.join(first)} … {end}", members
