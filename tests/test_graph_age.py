"""Which variable keeps old graphs alive, and which line makes it grow: every way in which people write it."""
from __future__ import annotations

import collections
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import torch
from torch import nn

import gradscope
from gradscope.findings import Finding
from gradscope.hooks.growth import find_growth, pattern_of

X = torch.linspace(-1, 1, 12).reshape(4, 3)
LINES = Path(__file__).read_text(encoding="utf-8").splitlines()


def make() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.01)


def steps(rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A healthy loop that hands out the loss and the output of each step."""
    model, optimizer = make()
    for _ in range(rows):
        optimizer.zero_grad()
        output = model(X)
        loss = output.square().mean()
        loss.backward()
        optimizer.step()
        yield loss, output


def found(loop: Callable[[], Any]) -> list[Finding]:
    with gradscope.watch() as scope:
        loop()
    assert "GS109" not in scope.diagnose().skipped
    return [f for f in scope.findings if f.code == "GS109"]


# -- chains ------------------------------------------------------------------------------------------------------------


def summed_in_place() -> None:
    total = 0.0
    for loss, _ in steps(30):
        total += loss  # <- write total += loss.item()


def summed() -> None:
    total = torch.zeros(())
    for loss, _ in steps(30):
        total = total + loss * 4 / 7  # <- write total = total + (loss * 4 / 7).item()


def moving_average() -> None:
    average = None
    for loss, _ in steps(30):
        average = loss if average is None else 0.9 * average + 0.1 * loss  # <- keep numbers in average


def summed_by_key() -> None:
    totals = {"train": 0.0, "val": 0.0}
    for loss, _ in steps(30):
        totals["train"] += loss  # <- write totals['train'] += loss.item()


def running_sums() -> None:
    sums = [torch.zeros(())]
    for loss, _ in steps(30):
        sums.append(sums[-1] + loss)  # <- write sums.append((sums[-1] + loss).item())


class Meter:
    def __init__(self) -> None:
        self.sum: Any = 0.0
        self.count = 0

    def update(self, value: Any, count: int = 1) -> None:
        self.sum += value * count  # <- write self.sum += (value * count).item()
        self.count += count


def in_a_meter() -> None:
    meter = Meter()
    for loss, _ in steps(30):
        meter.update(loss)


def in_a_dict_of_meters() -> None:
    meters = {"loss": Meter(), "accuracy": Meter()}
    for loss, _ in steps(30):
        meters["loss"].update(loss)


class Trainer:
    def __init__(self) -> None:
        self.model, self.optimizer = make()
        self.total: Any = 0

    def train_step(self) -> None:
        self.optimizer.zero_grad()
        loss = self.model(X).mean()
        loss.backward()
        self.optimizer.step()
        self.total += loss  # <- write self.total += loss.item()

    def fit(self) -> None:
        for _ in range(30):
            self.train_step()


def in_a_trainer() -> None:
    Trainer().fit()


def one_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    loss = model(X).mean()
    loss.backward()
    optimizer.step()
    return loss


def in_the_caller() -> None:
    model, optimizer = make()
    running = 0
    for _ in range(30):
        running += one_step(model, optimizer)  # <- write running += one_step(model, optimizer).item()


def average_of_outputs() -> None:
    shadow = torch.zeros(4, 1)
    for _, output in steps(30):
        shadow = 0.9 * shadow + output  # <- write shadow = 0.9 * shadow + output.detach()


# -- lists -------------------------------------------------------------------------------------------------------------


def losses_in_a_list() -> None:
    losses = []
    for loss, _ in steps(300):
        losses.append(loss)  # <- write losses.append(loss.item())


def outputs_in_a_list() -> None:
    outputs: list[torch.Tensor] = []
    for _, output in steps(300):
        outputs += [output]  # <- write outputs += [output.detach()]


def history_of_lists() -> None:
    history: dict[str, list[torch.Tensor]] = {"loss": [], "val": []}
    for loss, _ in steps(300):
        history["loss"].append(loss)  # <- write history['loss'].append(loss.item())


def by_step() -> None:
    kept = {}
    for step, (_, output) in enumerate(steps(300)):
        kept[step] = output  # <- write kept[step] = output.detach()


CHAINS = [
    summed_in_place, summed, moving_average, summed_by_key, running_sums, in_a_meter, in_a_dict_of_meters, in_a_trainer,
    in_the_caller, average_of_outputs,
]  # fmt: skip
LISTS = [losses_in_a_list, outputs_in_a_list, history_of_lists, by_step]


@pytest.mark.parametrize("loop", [*CHAINS, *LISTS], ids=lambda loop: loop.__name__)
def test_the_line_that_keeps_the_graphs_is_named_with_its_cure(loop: Callable[[], None]) -> None:
    """Module level, functions, methods, meters; the advice is the user's own statement, made harmless."""
    (finding,) = found(loop)
    assert finding.where is not None and finding.where.file == __file__
    line, _, marked = LINES[finding.where.line - 1].partition("  # <- ")
    assert marked, f"{line} is not the line"
    assert finding.advice[0].text.startswith(marked)
    assert finding.severity == "warning"


# -- silent ------------------------------------------------------------------------------------------------------------


def numbers_and_detached_tensors() -> None:
    total, losses, outputs = 0.0, [], []
    for loss, output in steps(300):
        total += loss.item()
        losses.append(loss.detach())
        outputs.append(output.detach().clone())


def reset_in_time() -> None:
    total: Any = 0.0
    for step, (loss, _) in enumerate(steps(120)):
        total = total + loss if step % 15 else loss


def bounded_buffers() -> None:
    recent: collections.deque[torch.Tensor] = collections.deque(maxlen=100)
    window: list[torch.Tensor] = []
    for loss, _ in steps(400):
        recent.append(loss)
        window = [*window, loss][-200:]


def the_best_so_far() -> None:
    best, first, recent = None, None, collections.deque(maxlen=100)
    for loss, _ in steps(100):
        recent.append(loss)
        first = loss if first is None else first
        if best is None or loss < best:
            best = loss


def summed_for_one_backward() -> None:
    model, optimizer = make()
    for _ in range(10):
        optimizer.zero_grad()
        total: Any = 0.0
        for _ in range(50):
            total = total + model(X).mean()
        total.backward()
        optimizer.step()


def history_that_backward_goes_through() -> None:
    cell = nn.RNNCell(3, 4)
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.0)
    state = torch.zeros(4, 4)
    for _ in range(45):
        optimizer.zero_grad()
        state = cell(X, state)
        state.square().mean().backward(retain_graph=True)


def episodes() -> None:
    model, optimizer = make()
    for _ in range(30):
        log_probs = [model(X).mean() for _ in range(40)]
        optimizer.zero_grad()
        torch.stack(log_probs).sum().backward()
        optimizer.step()


class Knot:
    def __init__(self, loss: torch.Tensor) -> None:
        self.loss, self.own = loss, self


def garbage_in_cycles() -> None:
    for loss, _ in steps(400):
        Knot(loss)


@pytest.mark.parametrize(
    "loop",
    [
        numbers_and_detached_tensors, reset_in_time, bounded_buffers, the_best_so_far, summed_for_one_backward,
        history_that_backward_goes_through, episodes, garbage_in_cycles,
    ],
    ids=lambda loop: loop.__name__,
)  # fmt: skip
def test_it_is_silent_where_nothing_is_kept_for_long(loop: Callable[[], None]) -> None:
    """Numbers, resets, bounded buffers, one backward for many losses, graphs that backward needs, late garbage."""
    assert found(loop) == []


def test_looking_keeps_no_graph_alive() -> None:
    """The walk through the loop's variables lets go of what it has seen."""
    model, optimizer = make()
    total: Any = 0.0
    with gradscope.watch() as scope:
        for _ in range(25):
            total = total + one_step(model, optimizer)
        sentinels = [p for p in scope._session.recorder.stage._probes if type(p).__name__ == "GraphAgeProbe"][0]._alive
        assert len(sentinels) == 25
        del total
        assert len(sentinels) == 0


# -- the source --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, pattern", [("a", "a"), ("self.a.b", "self.a.b"), ("d['k'][0].x", "d[][].x")], ids=lambda v: v
)
def test_subscripts_stay_open(path: str, pattern: str) -> None:
    """d['k'] and d[key] are the same place."""
    assert pattern_of(path) == pattern


def test_the_nearest_statement_in_the_nearest_scope_wins(tmp_path: Path) -> None:
    """The same name in other functions: the one around the line counts; broken or missing files are survived."""
    file = tmp_path / "train.py"
    file.write_text(
        "total = 0\n"
        "def evaluate():\n    total += a\n"
        "def train():\n    for x in y:\n        step()\n        if x:\n            total += loss\n    total += late\n"
    )
    growth = find_growth(str(file), 6, "total")
    assert growth is not None
    assert (growth.line, growth.healed) == (8, "total += loss.{cut}()")
    assert find_growth(str(file), 6, "other") is None
    broken = tmp_path / "broken.py"
    broken.write_text("total += (\n")
    assert find_growth(str(broken), 1, "total") is None
    assert find_growth(str(tmp_path / "missing.py"), 1, "total") is None
