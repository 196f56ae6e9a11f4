"""Errors that users meet: one clear sentence and an exit code each."""
from __future__ import annotations


class GradscopeError(Exception):
    """Something the user asked for cannot be done. `str(error)` is one sentence; `exit_code` is for the shell."""

    exit_code = 1


class UsageError(GradscopeError, ValueError):
    """The call itself is off: an unknown code, a missing script, an argument of the wrong kind."""

    exit_code = 2


class DamagedRecord(GradscopeError):
    """A run folder that holds no readable gradscope record."""
