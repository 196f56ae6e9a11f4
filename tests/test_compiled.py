"""Under torch.compile: the same graphs, the same numbers, the same wiring faults found; what is not seen is said."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import gradscope
from tests.shell import watched as run_watched
from tests.shell import write

dynamo = pytest.importorskip("torch._dynamo")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch.compile's own
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
ROWS = 12
KINDS = ("model", "in place", "layer", "loss", "forward", "step", "optimizer", "autograd")

Body = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing compiled is left from another test, or for one."""
    dynamo.reset()
    dynamo.utils.counters.clear()
    yield
    dynamo.reset()


@dataclass
class Trained:
    """What a run leaves behind."""

    numbers: list[torch.Tensor]  # losses, weights, random state
    graphs: list[int]  # compiled by the end of each row
    scope: Any = None

    @property
    def codes(self) -> list[str]:
        return [f.code for f in self.scope.findings if f.severity != "info" and f.caused_by is None]


class Net(nn.Module):
    """With dropout; with a layer in a plain list, or one that is cut off, where that is asked for."""

    def __init__(self, sick: str) -> None:
        super().__init__()
        self.first, self.last, self.drop = nn.Linear(8, 16), nn.Linear(16, 4), nn.Dropout(0.1)
        self.hidden = [nn.Linear(16, 16)] if sick == "GS103" else []
        self.cut = sick == "GS102"

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found = torch.relu(self.first(inputs))
        for layer in self.hidden:
            found = torch.relu(layer(found))
        return self.last(self.drop(found.detach() if self.cut else found))  # type: ignore[no-any-return]


def train(kind: str, watched: bool, sick: str = "", backend: str = "eager", rows: int = ROWS) -> Trained:
    """Train with one part of the loop compiled."""
    dynamo.reset()
    dynamo.utils.counters.clear()
    torch.manual_seed(0)
    inputs, labels = torch.randn(rows, 16, 8), torch.randint(4, (rows, 16))
    inputs = inputs + labels[..., None] / 2
    net = Net(sick)
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)

    def compiled(what: Any, at: str) -> Any:
        return torch.compile(what, backend=backend) if kind == at else what

    def forward(batch: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = criterion(model(batch), target)
        return found

    def body(batch: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if sick not in ("GS101", "GS104"):
            optimizer.zero_grad()
        loss = whole(batch, target)
        loss = loss.detach().requires_grad_() if sick == "GS107" else loss
        loss.backward()
        if sick == "GS104":
            optimizer.zero_grad()
        if sick != "GS105":
            advance()
        return loss.detach()

    model, criterion = compiled(net, "model"), compiled(nn.CrossEntropyLoss(), "loss")
    whole, advance = compiled(forward, "forward"), compiled(optimizer.step, "optimizer")
    step: Body = torch.compile(body, backend=backend) if kind in ("step", "autograd") else body
    if kind in ("in place", "layer"):
        (net if kind == "in place" else net.first).compile(backend=backend)
    losses, graphs = [], []
    with dynamo.config.patch(compiled_autograd=kind == "autograd"):
        with gradscope.watch(net, optimizer, every=1) if watched else nullcontext() as scope:
            for batch, target in zip(inputs, labels):
                losses.append(step(batch, target))
                graphs.append(dynamo.utils.counters["stats"]["unique_graphs"])
    return Trained([*losses, *net.state_dict().values(), torch.get_rng_state()], graphs, scope)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_compiled_again_and_nothing_changes(kind: str) -> None:
    """Row by row as many graphs as without, the same bits; every step is seen, and module calls said to be unseen."""
    bare, watched = train(kind, False), train(kind, True)
    assert bare.graphs == watched.graphs
    assert all(torch.equal(one, other) for one, other in zip(bare.numbers, watched.numbers))
    record = watched.scope.record
    assert ROWS == record.meta.rows == record.meta.backwards == len(record.optimizers[0].measured)
    assert [] == watched.codes
    if kind != "optimizer":  # which calls no module
        assert "torch.compile" in watched.scope.diagnose().skipped["module calls"]


@pytest.mark.parametrize("kind", ["model", "step", "optimizer"])
@pytest.mark.parametrize("sick", ["GS101", "GS102", "GS103", "GS104", "GS105", "GS107"])
def test_wiring_faults_are_found(kind: str, sick: str) -> None:
    """Whichever part is compiled, at the line of the user's function and not of what torch.compile made of it."""
    watched = train(kind, True, sick, rows=24)
    assert sick == watched.codes[0]
    where = watched.scope.findings[0].where
    assert where is None or (where.file == __file__ and where.function in ("body", "train"))


class Descent(torch.optim.Optimizer):
    """One whose step torch can compile as one graph: torch's own leave the graph in it."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(parameter.grad * group["lr"])


def test_a_step_of_one_graph_stays_one_and_it_is_said() -> None:
    """`fullgraph=True` forbids what it would take to look inside: no error, no finding, and it is said."""
    net = nn.Linear(4, 3)
    optimizer = Descent(net.parameters())
    step = torch.compile(optimizer.step, backend="eager", fullgraph=True)
    before = net.weight.clone()
    with gradscope.watch(net, optimizer) as scope:
        for _ in range(8):
            optimizer.zero_grad()
            net(torch.randn(5, 4)).square().mean().backward()
            step()
    assert not torch.equal(before, net.weight)
    assert () == scope.findings
    assert "one graph" in scope.diagnose().skipped["steps"]
    optimizer.step()  # the hooks are gone
    assert 1 == dynamo.utils.counters["stats"]["unique_graphs"]


def test_an_evaluation_shares_its_loss_with_the_training() -> None:
    """Torch's loss functions are watched while a model is in eval mode; a compiled one is not compiled for that."""

    def run(watched: bool) -> tuple[int, Any]:
        dynamo.reset()
        dynamo.utils.counters.clear()
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        criterion = torch.compile(lambda found, target: nn.functional.cross_entropy(found, target), backend="eager")
        inputs, labels = torch.randn(16, 4), torch.randint(3, (16,))
        with gradscope.watch(net, optimizer) if watched else nullcontext() as scope:
            for _ in range(3):
                net.train()
                optimizer.zero_grad()
                criterion(net(inputs), labels).backward()
                optimizer.step()
                net.eval()
                with torch.no_grad():
                    criterion(net(inputs), labels)
                    nn.functional.cross_entropy(net(inputs), labels)
        return dynamo.utils.counters["stats"]["unique_graphs"], scope

    (bare, _), (watched, scope) = run(False), run(True)
    assert bare == watched
    assert 3 == max(len(metric) for metric in scope.record.metrics)  # the one that is not compiled


SCRIPT = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
model = torch.compile(net, backend="eager")
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(8):
    inputs = torch.randn(8, 4)
    nn.functional.cross_entropy(model(inputs), inputs[:, :3].argmax(1)).backward()
    optimizer.step()
print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


def test_a_script(tmp_path: Any) -> None:
    """Compiled before its first optimizer is made: one graph, the fault found, parameters by their names."""
    ran = run_watched(tmp_path, write(tmp_path, SCRIPT))
    assert "1" == ran.stdout.strip()
    assert "GS101" == ran.codes[0]
    assert ran.report is not None and "torch.compile" in ran.report["skipped"]["module calls"]
    assert ["0.weight", "0.bias", "2.weight", "2.bias"] == ran.report["findings"][0]["parameters"]
