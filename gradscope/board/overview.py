"""One run as a whole: its meta data, findings, streams and parameters."""
from __future__ import annotations

from typing import Any

from gradscope.board.encoding import number
from gradscope.board.source import Opened
from gradscope.board.together import ranks_of, revision
from gradscope.findings import Finding
from gradscope.record.record import Stream
from gradscope.record.search import written_at
from gradscope.reporters.report import Report


def overview(name: str, opened: Opened, together: Report | None = None) -> dict[str, Any]:
    """The document of one run. `together`: where it is one rank of many, what these say; it is what is told."""
    meta = opened.record.meta
    report, written = together or Report(meta, opened.findings, meta.skipped), written_at(opened.folder)
    return {
        "run": name,
        "meta": {
            "script": meta.script,
            "argv": list(meta.argv),
            "status": meta.status,
            "exit_code": meta.exit_code,
            "steps": meta.rows,
            "torch": meta.torch,
            "gradscope": meta.gradscope,
            "overhead": number(round(meta.overhead, 4)),
            "strides": [list(change) for change in meta.strides],
            "blind": dict(meta.blind),
            "notes": [*meta.notes, *opened.notes] if together is None else list(together.notes),
            "written": None if written is None else number(round(written, 3)),
        },
        **unchecked(report),
        "tally": report.tally(),
        "findings": [_finding(finding, report) for finding in report.findings],
        "streams": [_stream(stream, opened) for stream in opened.record.streams],
        "metrics": [{"number": m.number, "name": m.name, "source": m.source} for m in opened.record.metrics],
        "revision": opened.revision if together is None else f"{opened.revision}.{revision(together)}",
        **({} if together is None else {**ranks_of(together), "rank": int(opened.folder.name[len("rank") :])}),
    }


def unchecked(report: Report) -> dict[str, Any]:
    """What was not checked: by code, and in sentences."""
    return {"skipped": dict(report.skipped), "unchecked": report.unchecked()}


def _finding(finding: Finding, report: Report) -> dict[str, Any]:
    consequences = report.consequences(finding) if finding.caused_by is None else []
    return {
        **finding.to_json(),
        "label": finding.label,
        "source": [list(line) for line in finding.source],
        "whose": report.whose(finding),
        "then": [consequence.id for consequence in consequences],
    }


def title_of(variable: str, kind: str) -> str:
    """An optimizer as people call it: "sgd (SGD)"."""
    return f"{variable} ({kind})" if variable else kind


def _stream(stream: Stream, opened: Opened) -> dict[str, Any]:
    optimizers = stream.optimizers
    titles = list(dict.fromkeys(title_of(o.variable, o.kind) for o in optimizers))
    more = f" and {len(titles) - 3} more" if len(titles) > 3 else ""
    steps, measured = opened.steps(stream), opened.measured(stream)
    parameters = []
    for place in opened.order(stream):
        parameter = optimizers[place.optimizer].parameters[place.column]
        parameters.append(
            {
                "name": parameter.name,
                "shape": list(parameter.shape),
                "dtype": parameter.dtype,
                "optimizer": optimizers[place.optimizer].number,
                "group": parameter.group,
            }
        )
    return {
        "number": stream.number,
        "title": ", ".join(titles[:3]) + more,
        "optimizers": [
            {"number": o.number, "kind": o.kind, "variable": o.variable, "groups": int(o.lr.shape[1])}
            for o in optimizers
        ],
        "first": int(steps[0]) if len(steps) else 0,
        "last": int(steps[-1]) if len(steps) else 0,
        "rows": len(steps),
        "measured": len(measured),
        "parameters": parameters,
    }
