"""gradscope in a Hugging Face Trainer: `Trainer(..., callbacks=[GradscopeCallback()])`. transformers 4.46 or newer."""
from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from gradscope.hooks.sites import variables
from gradscope.integrations.watched import Watching, contained

if TYPE_CHECKING:
    TrainerCallback = object
else:
    from transformers import TrainerCallback

_NO_METRICS = ("_runtime", "_per_second", "_time", "epoch")  # how the names of other things end


class GradscopeCallback(Watching, TrainerCallback):
    """Watches `train`, from its first step to its last, and says what is wrong: as warnings while it goes on, and in a
    report on stderr at its end.

    Findings are logged by the trainer, too (`gradscope/GS301`: the step since which), and the curves with the findings
    go into the writer of its TensorBoardCallback. What `evaluate` measures during training (`eval_loss`) is taken
    over: GS901. The training stays as it is, to the bit.

    `log`: whether to log by the trainer. `report`: whether to print the report. All else is as for `gradscope.watch`:
    with `log_dir` there is a run folder that `gradscope report` reads.
    """

    _trainer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_trainer": None}

    # -- the Trainer's hooks ----------------------------------------------------------------------------------------

    @contained
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        handler, self._trainer = _callers(sys._getframe(1))
        writer = _writer(handler) if self._log and state.is_world_process_zero else None
        self._watched.begin(kwargs.get("model"), [kwargs.get("optimizer")], writer)

    @contained
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if control.should_log and self._log:
            self._watched.tell(self._tell)
        self.on_epoch_end(args, state, control)

    @contained
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if control.should_training_stop:  # the TensorBoardCallback closes its writer before our turn comes
            self._watched.release_writer()

    @contained
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self._watched.metrics({name: v for name, v in (metrics or {}).items() if not name.endswith(_NO_METRICS)})

    @contained
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._watched.end(log=self._tell if self._log else None)
        self._trainer = None

    def _tell(self, metrics: Mapping[str, float]) -> None:
        if self._trainer is not None:
            self._trainer.log(dict(metrics))


def _callers(frame: FrameType | None) -> tuple[Any, Any]:
    """The CallbackHandler and the Trainer that have called: a callback is not handed either."""
    handler = None
    for _ in range(16):
        if frame is None:
            break
        caller = next((value for name, value in variables(frame) if name == "self"), None)
        if hasattr(caller, "callbacks") and hasattr(caller, "call_event"):
            handler = caller
        elif hasattr(caller, "callback_handler"):
            return handler, caller
        frame = frame.f_back
    return handler, None


def _writer(handler: Any) -> Any:
    """The SummaryWriter of the TensorBoardCallback, if there is one."""
    writers = (getattr(callback, "tb_writer", None) for callback in getattr(handler, "callbacks", ()))
    return next((_WhileOpen(writer) for writer in writers if callable(getattr(writer, "add_text", None))), None)


class _WhileOpen:
    """A SummaryWriter that takes nothing any more once it is closed (early stopping), without a word."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def _call(self, name: str, *arguments: Any, **named: Any) -> None:
        if getattr(self._writer, "all_writers", ()) is not None:
            getattr(self._writer, name)(*arguments, **named)

    def add_scalar(self, *arguments: Any, **named: Any) -> None:
        self._call("add_scalar", *arguments, **named)

    def add_text(self, *arguments: Any, **named: Any) -> None:
        self._call("add_text", *arguments, **named)

    def flush(self) -> None:
        self._call("flush")
