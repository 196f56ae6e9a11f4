"""Replacing an attribute of torch, and putting it back."""
from __future__ import annotations

from typing import Any, Callable


class Patch:
    """One replaced attribute.

    `undo` restores the original where the wrapper still stands there. Where somebody else has wrapped ours meanwhile,
    nothing may be torn out from under them: the wrapper stays, and passes everything through (it asks the dispatcher,
    which then has no listener).
    """

    def __init__(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self.owner, self.name = owner, name
        self.original = getattr(owner, name)
        self.wrapper = make(self.original)
        setattr(owner, name, self.wrapper)

    def undo(self) -> None:
        if getattr(self.owner, self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)
