"""The other tools, put into an unmodified script in the way that each one's own documentation asks for.

python benchmarks/faults/rivals.py TOOL ALARMS.json train.py        (run.py does that)

They need model, optimizer and loss by name, which the script keeps to itself: here the outermost module that is called
with gradients on, once an optimizer holds parameters of it, is the model, the argument of `backward` the loss; each
pair of model and optimizer gets an instance of the tool. What they ask for after backward and after a step is called
there. `SAYS` tells which rules of the catalogue an alarm of theirs amounts to, generously: all that a reader may take
it for. Not used: what would train by itself (torchdiag.verify_step); not counted: what torch-audit says of speed and of
weight decay on biases, which is about no fault here (gradscope's own GS305 is no alarm either).

Needs: pip install torch-audit==0.3.0 torchmortem==0.1.1 neuraldbg==1.3.2 torchdiag==0.1.0
"""
from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, ClassVar

NOT_FINITE = ("GS201", "GS401", "GS605")
NONE = ("GS102", "GS103", "GS104", "GS107")


class Rival:
    """One tool on one model and optimizer. `alarms`: (what it says, the step, the codes that amounts to)."""

    SAYS: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, model: Any, optimizer: Any) -> None:
        self.model, self.optimizer, self.step = model, optimizer, 0
        self.alarms: list[tuple[str, int | None, tuple[str, ...]]] = []

    def after_backward(self, loss: Any) -> None: ...

    def after_step(self) -> None:
        self.step += 1

    def finish(self) -> None: ...

    def say(self, what: str, step: int | None) -> None:
        """Each thing is said once."""
        if all(what != known for known, _, _ in self.alarms):
            codes = next((codes for start, codes in self.SAYS.items() if what.startswith(start)), ())
            self.alarms.append((what, step, codes))


class TorchAudit(Rival):
    """`autopatch`, at every step."""

    SAYS = {
        "TA100": NOT_FINITE,
        "TA102": ("GS402", "GS202"),
        "TA103": ("GS501", "GS404"),
        "TA104": NONE,
        "TA105": ("GS501", "GS502", "GS505"),
        "TA301": ("GS601",),
        "TA302": ("GS603",),
        "TA304": ("GS507",),
        "TA305": ("GS605",),
        "TA500": ("GS102", "GS103"),
    }

    def __init__(self, model: Any, optimizer: Any) -> None:
        super().__init__(model, optimizer)
        from torch_audit import autopatch

        options = {"every_n_steps": 1, "reporters": [], "run_static": True, "run_init": True}
        self.auditor = autopatch(model, optimizer=optimizer, **options)

    def finish(self) -> None:
        for finding in self.auditor.finish(report=False).findings:
            severity = str(getattr(finding.severity, "value", finding.severity)).upper()
            if severity not in ("INFO", "NOTE") and not finding.rule_id.startswith(("TA2", "TA40")):
                self.say(finding.rule_id, finding.step)
        self.auditor.unpatch()


class Torchmortem(Rival):
    """`Autopsy`, told every step's loss."""

    SAYS = {
        "Update ratio too low": ("GS302", "GS303"),
        "Update ratio too high": ("GS301",),
        "Activation saturation": ("GS502",),
        "Dead units": ("GS501",),
        "Vanishing gradients": ("GS403",),
        "Exploding gradients": ("GS402",),
        "Gradient stalling": ("GS404", "GS102"),
        "Stagnant weight norms": ("GS105", "GS106", "GS302"),
        "Inter-layer weight norm imbalance": ("GS505",),
        "Training divergence": ("GS201", "GS202", "GS203"),
        "Loss plateau": ("GS204",),
    }

    def __init__(self, model: Any, optimizer: Any) -> None:
        super().__init__(model, optimizer)
        from torchmortem import Autopsy

        self.autopsy, self.loss = Autopsy(model, optimizer=optimizer), 0.0
        self.autopsy.attach()

    def after_backward(self, loss: Any) -> None:
        self.loss = loss.item()

    def after_step(self) -> None:
        super().after_step()
        self.autopsy.step(loss=self.loss)

    def finish(self) -> None:
        self.autopsy.detach()
        report = self.autopsy.get_report()
        for finding in sorted(report.findings if report else (), key=lambda f: -f.severity):
            if finding.severity > 0:
                self.say(finding.title.partition(" in ")[0], finding.step_range[0])


class NeuralDbg(Rival):
    """Its context manager, told every loss; what it reports is each change to a state that is not healthy."""

    SAYS = {
        "vanishing": ("GS403", "GS404"),
        "exploding": ("GS402",),
        "dead": ("GS501",),
        "saturated": ("GS502",),
        "diverging": ("GS201", "GS202", "GS203"),
        "loss_spike": ("GS206", "GS202"),
        "loss_plateau": ("GS204",),
        "nan": NOT_FINITE,
        "inf": NOT_FINITE,
    }

    def __init__(self, model: Any, optimizer: Any) -> None:
        super().__init__(model, optimizer)
        from neuraldbg import NeuralDbg as Tool

        self.tool = Tool(model)
        self.tool.__enter__()

    def after_backward(self, loss: Any) -> None:
        self.tool.record_loss(loss.item())

    def after_step(self) -> None:
        super().after_step()
        self.tool.step_iteration()

    def finish(self) -> None:
        for event in self.tool.get_events():
            state = str(getattr(event.to_state, "value", event.to_state)).lower()
            if state not in ("healthy", "normal", "stable", "none"):
                self.say(state, event.step)
        self.tool.__exit__(None, None, None)


class Torchdiag(Rival):
    """`check_gradients` after every backward."""

    SAYS = {"NO_GRAD": NONE, "EXPLODE": ("GS402",), "VANISH": ("GS403", "GS404")}

    def after_backward(self, loss: Any) -> None:
        import torchdiag

        with contextlib.redirect_stdout(io.StringIO()):
            found = torchdiag.check_gradients(self.model)
        for state in found.values():
            if state["status"].upper() != "OK":
                self.say(state["status"].upper(), self.step)


TOOLS: dict[str, type[Rival] | None] = {
    "torch-audit": TorchAudit,
    "torchmortem": Torchmortem,
    "neuraldbg": NeuralDbg,
    "torchdiag": Torchdiag,
    "warnings": None,
    "detect_anomaly": None,
}
# PyTorch's own words, and what they amount to.
WARNINGS = {
    "Detected call of `lr_scheduler.step()` before": ("GS108",),
    "Using a target size": ("GS504",),
    "Implicit dimension choice for": (),
    "None of the inputs have requires_grad": ("GS107", "GS102"),
    "Using a non-full backward hook": (),
}
RAISED = {
    "does not require grad": ("GS107",),
    "a second time": ("GS107",),
    "returned nan values": NOT_FINITE,
}


class Harness:
    """Finds models, optimizers and losses in a script that runs, and calls the tool at its moments."""

    def __init__(self, rival: type[Rival]) -> None:
        import torch

        self._rival, self._torch = rival, torch
        self.rivals: dict[tuple[int, int], Rival] = {}
        self.broken: list[str] = []
        self._optimizers: list[Any] = []
        self._inside = 0

    def install(self) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        torch, harness = self._torch, self
        made, call, backward = torch.optim.Optimizer.__init__, torch.nn.Module.__call__, torch.autograd.backward

        def init(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            made(optimizer, *args, **kwargs)
            harness._optimizers.append(optimizer)

        def called(module: Any, *args: Any, **kwargs: Any) -> Any:
            if harness._inside == 0 and torch.is_grad_enabled():
                harness._model(module)
            harness._inside += 1
            try:
                return call(module, *args, **kwargs)
            finally:
                harness._inside -= 1

        def backwards(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            result = backward(tensors, *args, **kwargs)
            loss = tensors[0] if isinstance(tensors, (list, tuple)) else tensors
            for rival in list(harness.rivals.values()):
                if loss.numel() == 1 and any(p.grad is not None for p in rival.model.parameters()):
                    harness._contained(rival.after_backward, loss)
            return result

        def stepped(optimizer: Any, *_: Any) -> None:
            for rival in list(harness.rivals.values()):
                if rival.optimizer is optimizer:
                    harness._contained(rival.after_step)

        torch.optim.Optimizer.__init__ = init
        torch.nn.Module.__call__ = called
        torch.autograd.backward = backwards
        register_optimizer_step_post_hook(stepped)

    def _model(self, module: Any) -> None:
        mine = {id(p) for p in module.parameters()}
        for optimizer in self._optimizers:
            held = (id(p) for group in optimizer.param_groups for p in group["params"])
            if (id(module), id(optimizer)) not in self.rivals and any(one in mine for one in held):
                self._contained(self._attach, module, optimizer)

    def _attach(self, module: Any, optimizer: Any) -> None:
        self.rivals[id(module), id(optimizer)] = self._rival(module, optimizer)

    def _contained(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:
            self.broken.append(f"{type(error).__name__}: {error}")

    def alarms(self) -> list[Any]:
        found = []
        for rival in self.rivals.values():
            self._contained(rival.finish)
            found += [alarm for alarm in rival.alarms if all(alarm[0] != known[0] for known in found)]
        return found


def main() -> None:
    tool, told, script = sys.argv[1:4]
    rival = TOOLS[tool]
    harness, alarms = None if rival is None else Harness(rival), []
    if harness is not None:
        harness.install()
    elif tool == "detect_anomaly":
        import torch

        torch.autograd.set_detect_anomaly(True)
    sys.argv, sys.path[0] = [script], str(Path(script).resolve().parent)
    code = 0
    with warnings.catch_warnings(record=True) as caught:
        if tool == "warnings":
            warnings.simplefilter("always")
        try:
            runpy.run_path(script, run_name="__main__")
        except Exception as error:
            code = 1
            traceback.print_exc()
            if harness is None:
                alarms += [("raised", None, codes) for words, codes in RAISED.items() if words in str(error)]
    if tool == "warnings":
        said = {str(warning.message) for warning in caught}
        alarms += [(words, None, codes) for words, codes in WARNINGS.items() if any(words in one for one in said)]
    if harness is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            alarms += harness.alarms()
        for complaint in harness.broken[:3]:
            print(f"{tool} failed: {complaint}", file=sys.stderr)
    Path(told).write_text(json.dumps(alarms), encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    main()
