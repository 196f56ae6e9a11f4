"""Where TensorBoard's values go: an event file of our own, or the user's SummaryWriter. Both raise what goes wrong."""
from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
import random
import warnings
from pathlib import Path
from typing import Any, Mapping, Protocol

EVENTS = "events.out.tfevents.gradscope"


class Writer(Protocol):
    """Takes values; `flush` brings them where they belong, `close` ends what is ours."""

    def scalars(self, step: int, wall: float, values: Mapping[str, float]) -> None: ...
    def text(self, step: int, wall: float, tag: str, markdown: str) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class EventFile:
    """An event file, written by tensorboard's own parts, without its thread: all at once with each `flush`.

    What torch's SummaryWriter would write as an event a value is one event a row here. Each flush is whole records, so
    the file is readable after kill -9.
    """

    def __init__(self, folder: Path) -> None:
        events, summaries, records = _tensorboard()
        self._event, self._summary = events.Event, summaries.Summary
        self._metadata = summaries.SummaryMetadata(plugin_data={"plugin_name": "text"})
        self._pending = io.BytesIO()
        self._records = records.RecordWriter(self._pending)
        self._file = open(folder / EVENTS, "ab")
        try:
            self._write(self._event(file_version="brain.Event:2"))
            self.flush()
        except OSError:
            self.close()
            raise

    def scalars(self, step: int, wall: float, values: Mapping[str, float]) -> None:
        value = self._summary.Value
        summary = self._summary(value=[value(tag=tag, simple_value=number) for tag, number in values.items()])
        self._write(self._event(wall_time=wall, step=step, summary=summary))

    def text(self, step: int, wall: float, tag: str, markdown: str) -> None:
        tensor = {"dtype": "DT_STRING", "string_val": [markdown.encode()], "tensor_shape": {"dim": [{"size": 1}]}}
        value = self._summary.Value(tag=tag, metadata=self._metadata, tensor=tensor)
        self._write(self._event(wall_time=wall, step=step, summary=self._summary(value=[value])))

    def flush(self) -> None:
        waiting = self._pending.getvalue()
        self._pending.seek(0)
        self._pending.truncate()
        self._file.write(waiting)
        self._file.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())


class UserWriter:
    """The user's own SummaryWriter, or anything with its `add_scalar`, `add_text` and `flush`. Never closed here."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self._timed = _takes(writer.add_scalar, "walltime") and _takes(writer.add_text, "walltime")

    def scalars(self, step: int, wall: float, values: Mapping[str, float]) -> None:
        self._check()
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step, **self._time(wall))

    def text(self, step: int, wall: float, tag: str, markdown: str) -> None:
        self._check()
        self.writer.add_text(tag, markdown, step, **self._time(wall))

    def flush(self) -> None:
        """Nothing: the writer has a rhythm of its own, and waiting for its thread takes time."""

    def close(self) -> None:
        self._check()
        self.writer.flush()

    def _time(self, wall: float) -> dict[str, float]:
        return {"walltime": wall} if self._timed else {}

    def _check(self) -> None:
        """A closed SummaryWriter would open a new file."""
        if getattr(self.writer, "file_writer", self.writer) is None:
            raise ValueError("the SummaryWriter has been closed")


def _takes(method: Any, name: str) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def _tensorboard() -> tuple[Any, Any, Any]:
    """tensorboard's event and summary messages and its record writer. Their import leaves no trace in the process."""
    state = random.getstate()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_installed()
            events = importlib.import_module("tensorboard.compat.proto.event_pb2")
            summaries = importlib.import_module("tensorboard.compat.proto.summary_pb2")
            return events, summaries, importlib.import_module("tensorboard.summary.writer.record_writer")
    finally:
        random.setstate(state)


def _check_installed() -> None:
    """Raise ImportError where `tensorboard` is not the package: a file of that name beside the script is not ours to
    run."""
    spec = importlib.util.find_spec("tensorboard")
    places = [] if spec is None else spec.submodule_search_locations or []
    if not any((Path(place) / "compat" / "proto").is_dir() for place in places):
        raise ImportError("tensorboard is not installed" if spec is None else f"{spec.origin} is not tensorboard")
