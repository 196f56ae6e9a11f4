"""A finding as a Python warning, at the user's own line."""
from __future__ import annotations

import warnings

from gradscope.errors import FAMILIES, GradscopeWarning
from gradscope.findings import Finding
from gradscope.plain import printable


def warn(finding: Finding) -> None:
    """Issue the warning. Each finding is told only once as it is: with no registry no filter takes it for a repetition.

    Raises the warning itself where the user's filter turns it into an error.
    """
    category = FAMILIES.get(finding.code[:3], GradscopeWarning)
    file, line = ("<unknown>", 0) if finding.where is None else (printable(finding.where.file), finding.where.line)
    warnings.warn_explicit(finding.line, category, file, line, registry={})
