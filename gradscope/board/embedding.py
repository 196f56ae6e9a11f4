"""What the self-contained page holds of a run: the documents it will ask for, its arrays packed and told once each."""
from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.board.documents import WIDTH, Documents
from gradscope.board.encoding import decode
from gradscope.board.heatmap import STATISTICS
from gradscope.errors import GradscopeError
from gradscope.record.record import Array

MOST = 12_000_000  # characters of packed arrays
A_CELL = 45  # characters, of one cell in all four pictures: a first guess
NARROWEST = 40  # columns
MOST_LINES = 12_000  # parameters and modules
MOST_STREAMS = 16
MOST_MOMENTS = 40
FEW_PARAMETERS = 200  # here a timeline costs little: also of steps at which nothing was found
_KEPT_BITS = 16  # of a float's 23 after the point: five significant digits


@dataclass
class Embedded:
    """`document` is JSON; an array in it is {"type", "shape", "at"}: `blobs[at]` are its bytes, those of the same place
    in each number side by side, packed by zlib, in base64."""

    document: dict[str, Any]
    blobs: list[str]


@dataclass
class _Blobs:
    texts: list[str] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)

    def packed(self, value: Any) -> Any:
        """A document with its arrays packed; one that is there already is not told again."""
        if isinstance(value, dict):
            if set(value) == {"type", "shape", "data"}:
                return {"type": value["type"], "shape": value["shape"], "at": self._place(decode(value))}
            return {key: self.packed(inner) for key, inner in value.items()}
        return [self.packed(inner) for inner in value] if isinstance(value, list) else value

    def _place(self, array: Array) -> int:
        if array.dtype == np.float32:
            array = rounded(array)
        size = array.dtype.itemsize
        planes = np.frombuffer(array.tobytes(), np.uint8).reshape(-1, size).T
        packed = zlib.compress(planes.tobytes(), 6)
        if packed not in self.known:
            self.known[packed] = len(self.texts)
            self.texts.append(base64.b64encode(packed).decode("ascii"))
        return self.known[packed]


def rounded(array: Array) -> Array:
    """float32 with five significant digits: the rest is noise that cannot be packed."""
    drop = 23 - _KEPT_BITS
    bits = array.view(np.uint32)
    short = ((bits + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view(np.float32)
    return np.asarray(np.where(np.isfinite(array) & np.isfinite(short), short, array), np.float32)


def embed(documents: Documents, run: str) -> Embedded:
    """All that the page of this run holds; its pictures have fewer columns where it has many parameters."""
    whole = documents.get("run", {"run": run})
    streams = whole["streams"][:MOST_STREAMS]
    notes = list(whole["meta"]["notes"])
    if len(whole["streams"]) > len(streams):
        notes.append(f"this page holds the first {len(streams)} of {len(whole['streams'])} streams")
    nodes = {s["number"]: nodes_of([p["name"] for p in s["parameters"]]) for s in streams}
    lines = max(1, sum(map(len, nodes.values())))
    alone = sum(first == last for some in nodes.values() for first, last in some)
    if left := sum(len(s["parameters"]) for s in streams) - alone:
        notes.append(f"{left:,} parameters have no line of their own in the heatmaps of this page: their modules have")
    width = _width(MOST / (A_CELL * lines))
    for attempt in range(4):
        blobs = _Blobs()
        heatmaps = {
            stream: {stat: _heatmap(documents, run, stream, stat, width, some, blobs) for stat in STATISTICS}
            for stream, some in nodes.items()
            if some
        }
        size = sum(map(len, blobs.texts))
        fits = size <= MOST and (attempt or width == WIDTH or size > MOST / 2)
        if fits or (size > MOST and width == NARROWEST):
            break
        width = _width(0.9 * width * MOST / max(1, size))
    most = max((s["measured"] for s in streams), default=0)
    if most > width:
        notes.append(f"the heatmaps of this page have at most {width} columns, for {most:,} measured steps")
    wanted = {n: {"run": run, "stream": str(n), "width": str(WIDTH)} for n in nodes}
    document = {
        "run": {**whole, "streams": streams, "meta": {**whole["meta"], "notes": notes}},
        "listed": next((r for r in documents.get("runs", {})["runs"] if r["run"] == run), None),
        "curves": {n: blobs.packed(documents.get("curves", asked)) for n, asked in wanted.items()},
        "nodes": nodes,
        "heatmaps": heatmaps,
        "moments": _moments(documents, run, streams, whole["findings"]),
        "rules": _rules(documents, whole["findings"]),
    }
    return Embedded(document, blobs.texts)


def _width(columns: float) -> int:
    return int(min(WIDTH, max(NARROWEST, columns)))


def nodes_of(names: Sequence[str]) -> list[list[int]]:
    """The lines of the tree, [first, last] each: every parameter, and every module that is more than one of them.

    Where there are too many, the outer ones.
    """
    found: dict[tuple[int, int], int] = {}  # with the depth of each
    opened: list[tuple[str, int]] = []
    if len(names) > 1:
        found[0, len(names) - 1] = 0
    for i, name in enumerate([*names, ""]):
        parts = name.split("=")[0].split(".")[:-1] if i < len(names) else []
        same = 0
        while same < min(len(opened), len(parts)) and opened[same][0] == parts[same]:
            same += 1
        for depth, (_, first) in enumerate(opened[same:], same + 1):
            if first < i - 1:
                found.setdefault((first, i - 1), depth)
        opened = opened[:same] + [(part, i) for part in parts[same:]]
        if i < len(names):
            found[i, i] = len(parts) + 1
    deepest = max(found.values(), default=0)
    while len(found) > MOST_LINES and deepest > 0:
        found = {node: depth for node, depth in found.items() if depth < deepest}
        deepest -= 1
    return [list(node) for node in sorted(found)][:MOST_LINES]


def _heatmap(
    documents: Documents, run: str, stream: int, stat: str, width: int, nodes: Sequence[Sequence[int]], blobs: _Blobs
) -> dict[str, Any]:
    lines = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in nodes)
    asked = {"run": run, "stream": str(stream), "stat": stat, "width": str(width), "lines": lines}
    packed: dict[str, Any] = blobs.packed(documents.get("heatmap", asked))
    return packed


def _moments(
    documents: Documents, run: str, streams: Sequence[Any], findings: Sequence[Any]
) -> dict[int, list[dict[str, Any]]]:
    """By stream: the first, the newest, those at which something was found, began or ended; some between them."""
    held: dict[int, dict[int, dict[str, Any]]] = {s["number"]: {} for s in streams}
    room = MOST_MOMENTS + 2 * len(streams)
    for stream, step in _steps(streams, findings):
        if room and (step is None or step not in held[stream]):
            room -= 1
            asked = {"run": run, "stream": str(stream), **({} if step is None else {"step": str(step)})}
            try:
                moment = documents.get("moment", asked)
            except GradscopeError:
                continue
            held[stream][moment["step"]] = {**moment, "asked": None}
    return {stream: [moments[step] for step in sorted(moments)] for stream, moments in held.items()}


def _steps(streams: Sequence[Any], findings: Sequence[Any]) -> Iterator[tuple[int, int | None]]:
    for stream in streams:
        yield stream["number"], stream["first"]
        yield stream["number"], None
    known = {stream["number"] for stream in streams}
    for finding in findings:
        if finding["stream"] in known:
            for step in (finding["step"], *finding["steps"]):
                if step >= 0:
                    yield finding["stream"], step
    for stream in streams:
        if len(stream["parameters"]) <= FEW_PARAMETERS:
            for step in np.linspace(stream["first"], stream["last"], MOST_MOMENTS).astype(int).tolist():
                yield stream["number"], step


def _rules(documents: Documents, findings: Sequence[Any]) -> dict[str, Any]:
    pages = {}
    for code in dict.fromkeys(finding["code"] for finding in findings):
        try:
            pages[code] = documents.get("rule", {"code": code})
        except GradscopeError:
            continue
    return pages
