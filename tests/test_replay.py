"""`--replay`: the step that makes a NaN is run once more and the operation named; the training does not notice."""
from __future__ import annotations

import contextlib
import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradscope
from gradscope.config import read_config
from gradscope.errors import UsageError
from gradscope.facts.fact import newest_of
from gradscope.facts.not_finite import GradientOrigin, LossOrigin
from tests.forks import plain, watched
from tests.shell import write

pytestmark = [
    pytest.mark.filterwarnings("ignore::gradscope.GradscopeWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.cpu.amp.autocast.*:FutureWarning"),  # torch 2.4's checkpoint
]
LOG = logging.getLogger("a model's own")


class Net(nn.Module):
    """What a forward may change besides its result: random numbers, buffers, counters, lists; and it prints."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stem, self.norm, self.drop = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2)
        self.head, self.kind, self.calls, self.seen = nn.Linear(8, 2), kind, 0, []
        self.register_buffer("average", torch.zeros(8))

    def forward(self, x: torch.Tensor, *, sick: bool) -> torch.Tensor:
        self.calls += 1
        h = self.drop(self.norm(self.stem(x)).relu())
        self.average.mul_(0.9).add_(0.1 * h.detach().mean(0))
        self.seen.append(h.detach().sum().item())
        print(f"call {self.calls}")
        if sick:
            LOG.warning("here it comes")
            h = getattr(self, self.kind)(h)
        return self.head(h)

    def log(self, h: torch.Tensor) -> torch.Tensor:
        return (h * 0).log()  # <- log

    def checkpointed(self, h: torch.Tensor) -> torch.Tensor:
        return checkpoint(lambda t: (t - 100).sqrt(), h, use_reentrant=False)  # <- checkpointed

    def masked(self, h: torch.Tensor) -> torch.Tensor:
        weights = h.masked_fill(torch.ones_like(h, dtype=torch.bool), -float("inf"))
        return weights.softmax(1)  # <- masked

    def root(self, h: torch.Tensor) -> torch.Tensor:
        return h * (h * 0).pow(2).sum(1, keepdim=True).sqrt()  # <- root

    def hidden(self, h: torch.Tensor) -> torch.Tensor:
        return torch.where(h > 1e9, (h * 0).log(), h)  # <- hidden

    def chance(self, h: torch.Tensor) -> torch.Tensor:
        return h / MOMENT.pop() if MOMENT else h

    def raises(self, h: torch.Tensor) -> torch.Tensor:
        if not MOMENT:
            raise ValueError("only once")
        return h / MOMENT.pop()


MOMENT: list[float] = []


class Outcome:
    def __init__(self, kind: str, watching: bool, **settings: Any) -> None:
        torch.manual_seed(0)
        MOMENT[:] = [0.0]
        model = Net(kind)
        self.model = model
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        self.losses = []
        with gradscope.watch(**settings) if watching else contextlib.nullcontext() as self.scope:
            for step in range(14):
                optimizer.zero_grad()
                loss = model(torch.randn(5, 4), sick=step == 10).pow(2).mean()
                loss.backward()
                optimizer.step()
                self.losses.append(loss.item())
        self.random = torch.get_rng_state()

    def facts(self, kind: type) -> list[Any]:
        return [fact for fact in newest_of(self.scope.record.facts.of(kind)) if fact.replayed]


def line(mark: str) -> int:
    return next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith(f"# <- {mark}"))


@pytest.mark.parametrize(
    "kind, operation, what",
    [("log", "log", "log of 0 (40 of 40 values)"), ("checkpointed", "sqrt", "sqrt of a negative number (40 of 40"),
     ("masked", "softmax", "a row that is -inf throughout (5 of 5 rows)")],
)  # fmt: skip
def test_the_operation_and_its_line(kind: str, operation: str, what: str) -> None:
    """Of the forward: also inside of a checkpoint, which the graph alone does not tell."""
    (fact,) = Outcome(kind, True, replay=True).facts(LossOrigin)
    assert ("operation", 10, (operation,), "Net") == (fact.kind, fact.row, fact.operations, fact.module)
    assert what in fact.what
    assert fact.site is not None and line(kind) == fact.site.line


@pytest.mark.parametrize("kind, operation", [("root", "sqrt"), ("hidden", "log")])
def test_the_operation_whose_derivative_it_was(kind: str, operation: str) -> None:
    """The loss is finite, its gradients are not: forward and backward are run again."""
    outcome = Outcome(kind, True, replay=True)
    (fact,) = outcome.facts(GradientOrigin)
    assert (10, (operation,), 4, 6) == (fact.row, fact.operations, fact.count, fact.of)
    assert f"the derivative of {operation}" in fact.what
    assert line(kind) == fact.site.line
    assert "GS401" == outcome.scope.findings[0].code


@pytest.mark.parametrize("kind", ["log", "checkpointed", "masked", "root", "hidden"])
def test_training_and_output_are_the_same_to_the_bit(kind: str, capfd: Any, caplog: Any) -> None:
    """Losses, weights, buffers, random numbers, what modules hold, what is printed and logged."""
    alone = Outcome(kind, False)
    printed, logged = capfd.readouterr().out, len(caplog.records)
    caplog.clear()
    for settings in ({}, {"replay": True}):
        other = Outcome(kind, True, **settings)
        assert printed == capfd.readouterr().out
        assert logged == len(caplog.records)
        caplog.clear()
        assert str(alone.losses) == str(other.losses)
        assert torch.equal(alone.random, other.random)
        assert (alone.model.calls, str(alone.model.seen)) == (other.model.calls, str(other.model.seen))
        for mine, its in zip(alone.model.state_dict().values(), other.model.state_dict().values()):
            assert torch.equal(mine.nan_to_num(7), its.nan_to_num(7))
    call = nn.Module.__call__
    assert "calls" not in call.__code__.co_freevars and "__call__" != call.__name__, "the patch is gone"


def test_buffers_are_the_same_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds one goes on holding the model's."""
    outcome = Outcome("log", True, replay=True)
    average = outcome.model.average
    assert average is dict(outcome.model.named_buffers())["average"]
    assert copy.deepcopy(outcome.model).calls == outcome.model.calls


def test_a_replay_that_disagrees_says_so() -> None:
    """What made the NaN was not in the model, its inputs and the random numbers."""
    outcome = Outcome("chance", True, replay=True)
    assert [] == outcome.facts(LossOrigin)
    assert "run again, step 10 was finite" in outcome.scope.diagnose().skipped["replay"]
    assert "GS201" == outcome.scope.findings[0].code


def test_a_replay_that_raises_is_contained() -> None:
    """It is said, and everything else goes on."""
    outcome = Outcome("raises", True, replay=True)
    assert "ValueError: only once" in outcome.scope.diagnose().skipped["replay"]
    assert 14 == len(outcome.losses) and "GS201" == outcome.scope.findings[0].code


def test_without_replay_nothing_is_kept() -> None:
    """No patch, no calls."""
    call = nn.Module.__call__
    with gradscope.watch():
        assert call is nn.Module.__call__
    with gradscope.watch(replay=True):
        assert call is not nn.Module.__call__
    assert call is nn.Module.__call__


def test_the_loss_of_the_loop_is_no_modules_doing() -> None:
    """The model's results were finite: the graph tells the rest."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradscope.watch(replay=True) as scope:
        for step in range(6):
            optimizer.zero_grad()
            y = model(torch.ones(4, 3))
            ((y * 0).log() if step == 3 else y).pow(2).mean().backward()
            optimizer.step()
    assert "not a module's doing" in scope.diagnose().skipped["replay"]
    assert "log of 0" in scope.findings[0].text


SCRIPT = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(12):
    optimizer.zero_grad()
    loss = (model(torch.randn(6, 4)) - (1e30 if step == 9 else 0)).pow(2).mean()
    loss.backward()
    optimizer.step()
    print(loss.item(), torch.rand(()).item())
print(sum(p.double().sum() for p in model.parameters()))
"""


def test_the_command_line(tmp_path: Path) -> None:
    """`gradscope run --replay` prints, to the byte, what the script prints."""
    write(tmp_path, SCRIPT)
    alone, kept = plain(tmp_path, "train.py"), watched(tmp_path, "train.py", options=("--replay",))
    assert alone.code == 0 == kept.code, kept.stderr
    assert alone.stdout == kept.stdout == watched(tmp_path, "train.py").stdout


def test_the_setting(tmp_path: Path) -> None:
    """In setup.cfg and pyproject.toml, too; anything but true and false is refused."""
    (tmp_path / "setup.cfg").write_text("[tool:gradscope]\nreplay = yes\n")
    assert read_config(tmp_path).limits(None, None, None, None).replay
    assert not read_config(tmp_path).limits(None, None, None, None, False).replay
    (tmp_path / "setup.cfg").write_text("[tool:gradscope]\nreplay = perhaps\n")
    with pytest.raises(UsageError, match="replay must be true or false"):
        read_config(tmp_path)
