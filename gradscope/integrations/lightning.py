"""gradscope in a Lightning Trainer: `Trainer(callbacks=[GradscopeCallback()])`.

For `lightning` as well as for `pytorch_lightning`, 2.2 or newer.
"""
from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gradscope.integrations.watched import Watching, contained

if TYPE_CHECKING:
    Callback = object
elif "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    from pytorch_lightning import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ImportError:
        from pytorch_lightning import Callback

_VALIDATION = ("val", "valid", "validation", "dev", "eval")  # how the names of validation metrics begin


class GradscopeCallback(Watching, Callback):
    """Watches `fit`, from its first step to its last, and says what is wrong: as warnings while it goes on, and in a
    report on stderr at its end.

    Findings go to the trainer's loggers, too (`gradscope/GS301`: the step since which), and the curves with the
    findings into a TensorBoardLogger's writer. Validation metrics (`self.log("val_loss", ...)`) are taken over: GS901.
    The training stays as it is, to the bit, and nothing is put into checkpoints.

    `log`: whether to write to the trainer's loggers. `report`: whether to print the report. All else is as for
    `gradscope.watch`: with `log_dir` there is a run folder that `gradscope report` reads.
    """

    # -- Lightning's hooks ------------------------------------------------------------------------------------------

    @contained
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._watched.begin(pl_module, trainer.optimizers, self._writer(trainer))

    @contained
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._log and (batch_idx + 1) % max(1, trainer.log_every_n_steps) == 0:
            self._watched.tell(lambda metrics: _log(trainer, metrics))

    @contained
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking and self._watched.scope is not None:
            metrics = trainer.callback_metrics
            self._watched.metrics({name: metrics[name] for name in metrics if name.lower().startswith(_VALIDATION)})

    @contained
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._watched.end(log=(lambda metrics: _log(trainer, metrics)) if self._log else None)

    @contained
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._watched.end(exception)

    @contained
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            self._watched.end()

    def _writer(self, trainer: Any) -> Any:
        """The SummaryWriter of a TensorBoardLogger, if there is one."""
        if not self._log or not trainer.is_global_zero:
            return None
        for logger in trainer.loggers:
            if type(logger).__name__ == "TensorBoardLogger":
                writer = logger.experiment
                return writer if callable(getattr(writer, "add_text", None)) else None
        return None


def _log(trainer: Any, metrics: Mapping[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)
