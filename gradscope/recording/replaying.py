"""A recorder that runs the step once more where it makes the first NaN, before the optimizer uses it (`--replay`)."""
from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import torch

from gradscope.events import Event, Phase
from gradscope.facts.not_finite import GradientOrigin, LossOrigin
from gradscope.hooks.calls import Calls, Kept
from gradscope.hooks.dispatcher import DISPATCHER
from gradscope.hooks.forward import tensors_in
from gradscope.hooks.operations import SINGULAR
from gradscope.hooks.replay import Found, run_again
from gradscope.hooks.values import condition
from gradscope.recording.recorder import Recorder
from gradscope.recording.stats import measure, on_host

WHAT = "replay"
COMPILED = "the model is compiled by torch.compile, whose calls cannot be run again"


class ReplayingRecorder(Recorder):
    """Looks at every loss and, before every step, at the gradients: on an accelerator that means to wait for it.

    At most once a run the calls of the newest backward are run again. What fails in that is said, and ends it.
    """

    calls: Calls | None = None
    _of_bad_loss: list[Kept] | None = None
    _bad_row = -1

    def start(self) -> None:
        """After the dispatcher has been attached."""
        self.calls = Calls(DISPATCHER)

    def stop(self) -> None:
        if self.calls is not None:
            self.calls.stop()
            self.calls = None

    def curtain(self, hide: bool) -> None:
        """Dynamo compiles otherwise where module calls are patched."""
        if hide and self.calls is not None:
            self._over(COMPILED)

    def begin(self, event: Event) -> bool:
        done = super().begin(event)
        if self.calls is not None:
            try:
                self._replay(event)
            except Exception as error:
                self._over(f"it failed at step {self.row}: {type(error).__name__}: {error}")
        return done

    def _replay(self, event: Event) -> None:
        assert self.calls is not None
        if event.phase is Phase.BACKWARD:
            self.calls.take()
            if self.calls.compiled:
                self._over(COMPILED)
            elif self._of_bad_loss is None and _is_bad(event.subject):
                self._of_bad_loss, self._bad_row = self.calls.newest, self.row
                if not all(on_host(root) for root in event.subject):
                    self.stage.tell("loss_not_finite", event.subject, event.site)
        elif event.phase is Phase.ZERO_GRAD:
            self._of_bad_loss = None
        elif event.phase is Phase.STEP and _is_broken(event.subject):
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                self._over("processes that talk to each other cannot be run again one by one")
            elif self._of_bad_loss is not None:
                self._find_in_forward(self._of_bad_loss)
            else:
                self._find_in_backward(event.subject)

    def _over(self, why: str) -> None:
        self.stop()
        self._of_bad_loss = None
        self.meta.blind[WHAT] = why

    def _find_in_forward(self, several: list[Kept]) -> None:
        assert self.calls is not None
        said = "the loss of step {row} is not a module's doing: their results were finite"
        for kept in several:
            if _all_finite(kept.outputs):
                continue
            if not _all_finite([*tensors_in((kept.args, kept.kwargs)), *kept.module.parameters()]):
                self.stop()  # it began before the forward, as the graph tells
                return
            said = ""
            found, bad = (None, False) if not kept.unchanged() else run_again(self.calls, kept, backward=False)
            if found is not None:
                self.stage.emit(
                    LossOrigin(
                        self._bad_row, "operation", found.what, (found.operation,), module=found.module,
                        site=found.site, replayed=True, optimizers=self._numbers(kept),
                    )  # fmt: skip
                )
                self.stop()
                return
            said = _why_not(kept, bad)
        self._over(said.format(row=self._bad_row))

    def _find_in_backward(self, optimizer: torch.optim.Optimizer) -> None:
        assert self.calls is not None
        said = "the gradients of step {row} came of no call of a module"
        for kept in reversed(self.calls.newest):
            given = list(kept.gradients.values())
            if not given:
                continue
            if not _all_finite(given):
                name = type(kept.module).__name__
                said = f"the gradients of step {{row}} were lost between the loss and the result of {name}"
                break
            found, bad = (None, False) if not kept.unchanged() else run_again(self.calls, kept, backward=True)
            if found is not None:
                self._emit_gradient(optimizer, kept, found)
                self.stop()
                return
            said = _why_not(kept, bad)
        self._over(said.format(row=self.row))

    def _emit_gradient(self, optimizer: torch.optim.Optimizer, kept: Kept, found: Found) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        broken = [p for p in parameters if condition(p.grad)[0] is not None]
        names = tuple(name for p in broken[:20] if (name := self.stage.names.name(p)))
        before, after = (self.stage.names.name(p) if p is not None else "" for p in (found.before, found.after))
        self.stage.emit(
            GradientOrigin(
                self.row, self._numbers(kept), names, len(broken), len(parameters), (found.operation,),
                before=before or "", after=after or "", what=found.what, site=found.site, replayed=True,
                masked=found.operation not in SINGULAR,
            )  # fmt: skip
        )

    def _numbers(self, kept: Kept) -> tuple[int, ...]:
        mine = {id(parameter) for parameter in kept.module.parameters()}
        return tuple(t.number for t in self.tracks if t.number >= 0 and not mine.isdisjoint(t.parameter_ids))


def _why_not(kept: Kept, bad: bool) -> str:
    if not kept.unchanged():
        return "the inputs of step {row} were changed in place before it could be run again"
    if bad:
        return "run again, step {row} gave no finite result, but no operation of finite inputs made it so"
    return "run again, step {row} was finite: what made it NaN is not in the model's inputs, weights and random numbers"


def _all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    return all(condition(tensor.detach())[0] is None for tensor in tensors)


def _is_bad(roots: Any) -> bool:
    return any(root.numel() == 1 and not isfinite(abs(root.item())) for root in roots)


def _is_broken(optimizer: torch.optim.Optimizer) -> bool:
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return bool(gradients) and not isfinite(float(measure(gradients).sum()))
