"""The mistakes, each as a change of one or two lines of the healthy script."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """`lines`: those of the healthy script, and what stands there instead ("" for nothing); `code`: who finds it."""

    name: str
    title: str
    code: str
    lines: tuple[tuple[str, str], ...]

    def make(self, script: str) -> str:
        """The script with the mistake in it. ValueError where the healthy script has no such line."""
        for right, wrong in self.lines:
            if script.count(right + "\n") != 1:
                raise ValueError(f"{self.name}: {right!r} does not stand there once")
            script = script.replace(right + "\n", wrong + "\n" if wrong else "")
        return script

    def difference(self) -> list[str]:
        """The changed lines as a diff shows them: "-" is gone, "+" is new, " " has stayed."""
        told = []
        for right, wrong in self.lines:
            now = wrong.splitlines()
            told += [] if right in now else [f"-{right}"]
            told += [f" {line}" if line == right else f"+{line}" for line in now]
        return told


ZERO_GRAD, BACKWARD = "        optimizer.zero_grad()", "        loss.backward()"
OPTIMIZER = "optimizer = torch.optim.SGD(net.parameters(), lr=0.1)"

MISTAKES = (
    Mistake("no_zero_grad", "zero_grad() is forgotten", "GS101", ((ZERO_GRAD, ""),)),
    Mistake(
        "zero_grad_too_late",
        "zero_grad() stands between backward() and step()",
        "GS104",
        ((ZERO_GRAD, ""), (BACKWARD, f"{BACKWARD}\n{ZERO_GRAD}")),
    ),
    Mistake(
        "step_without_parentheses",
        "step is named, not called",
        "GS105",
        (("        optimizer.step()", "        optimizer.step"),),
    ),
    Mistake(
        "other_parameters",
        "the optimizer holds the parameters of another network",
        "GS103",
        ((OPTIMIZER, OPTIMIZER.replace("net.", "Net().")),),
    ),
    Mistake(
        "loss_kept_as_tensor",
        "the losses are summed up with their graphs",
        "GS109",
        (("        running_loss += loss.item()", "        running_loss += loss"),),
    ),
    Mistake(
        "lr_too_high",
        "the learning rate is a hundred times too high",
        "GS301",
        ((OPTIMIZER, OPTIMIZER.replace("0.1", "10.0")),),
    ),
)
