"""The report as JSON (schema 1)."""
from __future__ import annotations

import json
import math
from typing import Any

from gradscope.plain import encodable
from gradscope.reporters.report import Report

SCHEMA = 1


def to_dict(report: Report) -> dict[str, Any]:
    """The report as plain JSON values; non-finite numbers are the strings "nan", "inf", "-inf"."""
    meta = report.meta
    return {
        "schema": SCHEMA,
        "gradscope": meta.gradscope,
        "run": {
            "script": meta.script,
            "argv": list(meta.argv),
            "status": meta.status,
            "exit_code": meta.exit_code,
            "steps": meta.rows,
            **_ranks(report),
            "optimizers": list(meta.optimizers),
            "torch": meta.torch,
            "overhead": _number(round(meta.overhead, 4)),
            "budget": _number(meta.budget),
            "sampled": [list(change) for change in meta.strides],  # [from this step on, every k-th]; 0: none
        },
        "findings": [finding.to_json(report.base) for finding in report.findings],
        "skipped": dict(report.skipped),
    }


def _ranks(report: Report) -> dict[str, Any]:
    """Which of many processes it is of, or all of them; nothing where there was one."""
    if report.meta.world is None:
        return {}
    place = {"rank": report.meta.rank, "world": report.meta.world}
    return {**place, "ranks": [vars(end) for end in report.ranks]} if report.ranks else place


def render(report: Report) -> str:
    return json.dumps(sound(to_dict(report)), indent=1, allow_nan=False) + "\n"


def sound(value: Any) -> Any:
    """The same value for any reader of JSON: without lone surrogates."""
    if isinstance(value, dict):
        return {encodable(key): sound(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [sound(inner) for inner in value]
    return encodable(value) if isinstance(value, str) else value


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
