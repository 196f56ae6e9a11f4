"""The report as JSON (schema 1)."""
from __future__ import annotations

import json
from typing import Any

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
            "optimizers": list(meta.optimizers),
            "torch": meta.torch,
            "overhead": round(meta.overhead, 4),
            "budget": meta.budget,
            "sampled": [list(change) for change in meta.strides],  # [from this step on, every k-th]; 0: none
        },
        "findings": [finding.to_json(report.base) for finding in report.findings],
        "skipped": dict(report.skipped),
    }


def render(report: Report) -> str:
    return json.dumps(to_dict(report), indent=1, allow_nan=False) + "\n"
