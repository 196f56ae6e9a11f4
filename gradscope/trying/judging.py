"""What came of a treatment: the run without it and the run with it, and the verdict."""
from __future__ import annotations

import math

from gradscope.record.record import Record, Stream
from gradscope.reporters.report import plural
from gradscope.trying import children
from gradscope.trying.comparison import Comparison, compare, course_of, fall, level, main_course, window_of
from gradscope.trying.receipt import Trial
from gradscope.trying.treatments import Treatment

_CLOSURES = ("LBFGS",)  # their first row holds several losses, of which only the first is that of the start


def judge(treatment: Treatment, baseline: children.Ran, ran: children.Ran) -> Trial:
    """The verdict on one treatment."""
    told = ran.told
    if told is not None and told.failure:
        return Trial(treatment, ran, "failed", f"applying it failed: {told.failure}")
    if ran.record is None or not ran.steps:
        return Trial(treatment, ran, "failed", f"the script ended with exit code {ran.exit_code} before its first step")
    if told is not None and not sum(told.applied):
        return Trial(treatment, ran, "failed", "there was nothing that it could act on")
    if treatment.action == "insert-step" and not _stepped(baseline.record, treatment):
        return _without_steps(treatment, ran)
    one, other = _stream(baseline.record, treatment), _stream(ran.record, treatment)
    if baseline.record is None or one is None or other is None:
        return Trial(treatment, ran, "failed", "the optimizer that it is about was not seen")
    course = main_course(baseline.record, one)
    courses = course_of(one, course), course_of(other, course)
    compared = compare(*courses)
    if ran.status in ("crashed", "interrupted") and ran.steps < baseline.steps:
        why = f"the script ended with exit code {ran.exit_code} after {ran.steps:,} of {plural(baseline.steps, 'step')}"
        return Trial(treatment, ran, "failed", why, compared, courses)
    notes = _notes(baseline, ran, one, compared)
    return Trial(treatment, ran, compared.verdict, compared.why, compared, courses, notes)


def _stepped(record: Record | None, treatment: Treatment) -> bool:
    number = treatment.finding.optimizer
    return record is not None and any(len(o.rows) for o in record.optimizers if o.number == number)


def _without_steps(treatment: Treatment, ran: children.Ran) -> Trial:
    """As it is the optimizer makes no step: the course with it is compared with its own beginning."""
    record, number = ran.record, treatment.finding.optimizer
    stream = None if record is None or number is None else record.stream(record.stream_of(number))
    if record is None or stream is None or not len(stream.rows):
        return Trial(treatment, ran, "failed", "the optimizer that it is about was not seen")
    compared = fall(course_of(stream, main_course(record, stream)))
    why = compared.why or "as it is, no step is made, and nothing is learned"
    note = f"mean losses of the first and the last {plural(compared.window, 'step')} with it"
    return Trial(treatment, ran, compared.verdict, why, compared, notes=(note,))


def _notes(baseline: children.Ran, ran: children.Ran, stream: Stream, compared: Comparison) -> tuple[str, ...]:
    notes = []
    if compared.window:
        notes.append(f"mean losses of the last {plural(compared.window, 'step')} that both have")
    if "stopped" in (baseline.status, ran.status):
        notes.append("the runs were ended early: the verdict is about their beginning only")
    if ran.steps != baseline.steps:
        notes.append(f"with it the script made {plural(ran.steps, 'step')}, as it is {baseline.steps:,}")
    if not compared.alike and stream.optimizers[0].kind not in _CLOSURES:
        notes.append(
            "the two runs did not start with the same loss: something in the script is random beyond its seeds, so "
            "part of the difference is chance"
        )
    return tuple(notes)


def _stream(record: Record | None, treatment: Treatment) -> Stream | None:
    number = treatment.finding.stream
    return record.stream(number) if record is not None else None


def loss_at_end(record: Record | None) -> float:
    """Of the stream with the most steps."""
    if record is None or not record.streams:
        return math.nan
    stream = max(record.streams, key=lambda s: len(s.rows))
    losses = course_of(stream, main_course(record, stream)).losses
    return level(losses[-window_of(len(losses)) :]) if len(losses) else math.nan
