"""Promise 1: gradscope changes nothing. Each loop runs twice, without and with it, and comes out the same to the bit.

Compared are the losses, the weights, the optimizers' states, the state of every random number generator, and the bytes
of checkpoints that are saved while it watches. After close nothing of it is left, anywhere.
"""
from __future__ import annotations

import copy
import gc
import io
import pickle
import random
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import Optimizer
from torch.utils.checkpoint import checkpoint

import gradscope
from gradscope.facts.loop import SkippedStep
from tests.shell import plain, watched, write

STEPS = 40  # beyond the first rows, which are watched more closely
Trained = tuple[list[nn.Module], list[Optimizer], list[float]]


# -- the loops ---------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """Layers with what training changes besides the weights: batch statistics, dropout, in-place activations."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(16, 6), torch.randint(3, (16,))


def train(make: Callable[[Iterable[nn.Parameter]], Optimizer], set_to_none: bool = True) -> Trained:
    """The loop of the tutorials, with clipping and a scheduler."""
    model = Net()
    optimizer = make(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5)
    losses = []
    for _ in range(STEPS):
        x, y = batch()
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return [model], [optimizer], losses


def sgd() -> Trained:
    return train(lambda p: torch.optim.SGD(p, lr=0.1))


def momentum() -> Trained:
    return train(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4), set_to_none=False)


def adam() -> Trained:
    return train(lambda p: torch.optim.Adam(p, lr=0.01))


def validated() -> Trained:
    """Each epoch ends with a validation, which the learning rate follows; the best model is kept."""
    model, criterion = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    losses, kept = [], b""
    for _ in range(STEPS // 5):
        model.train()
        for _ in range(5):
            x, y = batch()
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            x, y = batch()
            losses += [criterion(model(x), y).item(), nn.functional.cross_entropy(model(x), y, reduction="sum").item()]
        scheduler.step(losses[-1])
        kept = saved(model)
    return [model.train(), pickle.loads(pickle.dumps(criterion)), torch.load(io.BytesIO(kept), weights_only=False)], [
        optimizer
    ], losses


def lbfgs() -> Trained:
    model = Net().eval()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3, line_search_fn="strong_wolfe")
    x, y = batch()
    losses = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(5):
        losses.append(optimizer.step(closure).item())
    return [model], [optimizer], losses


def gan() -> Trained:
    generator, judge = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6)), nn.Linear(6, 1)
    optimizers: list[Optimizer] = [
        torch.optim.Adam(generator.parameters(), lr=0.01),
        torch.optim.Adam(judge.parameters(), lr=0.01),
    ]
    losses = []
    for _ in range(STEPS):
        judge.zero_grad()
        real, fake = judge(torch.randn(16, 6)), judge(generator(torch.randn(16, 4)).detach())
        loss = nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()
        loss.backward()
        optimizers[1].step()
        losses.append(loss.item())
        generator.zero_grad()
        loss = nn.functional.softplus(-judge(generator(torch.randn(16, 4)))).mean()
        loss.backward()
        optimizers[0].step()
        losses.append(loss.item())
    return [generator, judge], optimizers, losses


def accumulation() -> Trained:
    """Three backwards a step, gradients cleared and clipped by hand."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for step in range(STEPS):
        x, y = batch()
        loss = nn.functional.cross_entropy(model(x), y) / 3
        loss.backward()
        losses.append(loss.item())
        if step % 3 == 2:
            for p in model.parameters():
                p.grad.data.clamp_(-1, 1)
            optimizer.step()
            for p in model.parameters():
                p.grad = None
    return [model], [optimizer], losses


def checkpointing(reentrant: bool) -> Trained:
    """Activations are recomputed inside backward, dropout with the random numbers of the first time."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(STEPS):
        x, y = batch()
        optimizer.zero_grad()
        hidden = checkpoint(model.body, x.requires_grad_(), use_reentrant=reentrant)
        loss = nn.functional.cross_entropy(model.head(hidden), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [model], [optimizer], losses


def checkpointing_reentrant() -> Trained:
    return checkpointing(True)


def checkpointing_non_reentrant() -> Trained:
    return checkpointing(False)


def grad_scaler() -> Trained:
    """Half precision with scaled losses; the first steps are skipped, the scale being too high."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=5)
    losses = []
    for _ in range(STEPS):
        x, y = batch()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x).float(), y) * 16
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses += [loss.item(), scaler.get_scale()]
    return [model], [optimizer], losses


def gradient_penalty() -> Trained:
    """Backward through gradients: autograd.grad, and backward with create_graph."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 1))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.001)
    losses = []
    for _ in range(STEPS):
        x = torch.randn(16, 6, requires_grad=True)
        optimizer.zero_grad()
        score = model(x).mean()
        (slope,) = torch.autograd.grad(score, x, create_graph=True)
        (score + slope.square().sum()).backward(create_graph=True)
        sum(p.grad.square().sum() for p in model.parameters()).backward()
        optimizer.step()
        losses.append(score.item())
    for p in model.parameters():
        p.grad = None
    return [model], [optimizer], losses


def sparse_and_frozen() -> Trained:
    """Sparse gradients beside dense ones, in two optimizers that step together; frozen and unused layers."""
    table, head, unused = nn.Embedding(20, 6, sparse=True), Net(), nn.Linear(2, 2)
    head.body[0].weight.requires_grad_(False)
    optimizers: list[Optimizer] = [
        torch.optim.SparseAdam(table.parameters(), lr=0.01),
        torch.optim.AdamW([*head.parameters(), *unused.parameters()], lr=0.01),
    ]
    losses = []
    for _ in range(STEPS):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(table(torch.randint(20, (16,)))), torch.randint(3, (16,)))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    return [table, head, unused], optimizers, losses


def step_inside_backward() -> Trained:
    """Each parameter has its optimizer, which steps as soon as the gradient is there."""
    model = Net()
    optimizers: dict[nn.Parameter, Optimizer] = {p: torch.optim.SGD([p], lr=0.05) for p in model.parameters()}

    def step(p: nn.Parameter) -> None:
        optimizers[p].step()
        optimizers[p].zero_grad()

    handles = [p.register_post_accumulate_grad_hook(step) for p in model.parameters()]
    losses = []
    for _ in range(STEPS):
        x, y = batch()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        losses.append(loss.item())
    for handle in handles:
        handle.remove()
    return [model], list(optimizers.values()), losses


LOOPS = [
    sgd,
    momentum,
    adam,
    validated,
    lbfgs,
    gan,
    accumulation,
    checkpointing_reentrant,
    checkpointing_non_reentrant,
    grad_scaler,
    gradient_penalty,
    sparse_and_frozen,
    step_inside_backward,
]


# -- what is compared --------------------------------------------------------------------------------------------------


def saved(thing: Any) -> bytes:
    """The file that torch.save writes."""
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


class Pickler(pickle.Pickler):
    """Pickles a tensor as its values: torch's own way writes the address of its memory down."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, torch.Tensor):
            return bytes, (thing.detach().numpy().tobytes(),)
        return NotImplemented


def pickled(thing: Any) -> bytes:
    file = io.BytesIO()
    Pickler(file).dump(thing)
    return file.getvalue()


def random_states() -> list[Any]:
    return [torch.get_rng_state().numpy().tobytes(), repr(random.getstate()), repr(np.random.get_state())]


def attributes(modules: list[nn.Module], optimizers: list[Optimizer]) -> list[Any]:
    """The names of all attributes of all modules, parameters and optimizers, and the numbers of their hooks."""
    found: list[Any] = []
    for module in (part for model in modules for part in model.modules()):
        found.append([(name, len(value) if "hooks" in name else None) for name, value in vars(module).items()])
        for p in module.parameters(recurse=False):
            hooks = (p._backward_hooks, p._post_accumulate_grad_hooks)
            found.append((sorted(vars(p)), [len(h) if h else 0 for h in hooks], p._version, p.grad is None))
    for optimizer in optimizers:
        found.append([(name, len(value) if "hooks" in name else None) for name, value in vars(optimizer).items()])
    return found


def outcome(loop: Callable[[], Trained]) -> dict[str, Any]:
    """Everything about a run of `loop` that could differ, taken before gradscope (if it is there) is closed."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")
        models, optimizers, losses = loop()
    return {
        "losses": [loss.hex() for loss in losses],
        "random states": random_states(),
        "attributes": attributes(models, optimizers),
        "weights": [p.detach().numpy().tobytes() for model in models for p in model.state_dict().values()],
        "model files": [saved(model) for model in models],
        "weight files": [saved(model.state_dict()) for model in models],
        "optimizer files": [saved(optimizer.state_dict()) for optimizer in optimizers],
        "model pickles": [pickled(model) for model in models],
        "optimizer pickles": [pickled(optimizer) for optimizer in optimizers],
        "models out of a pickle": [saved(pickle.loads(pickle.dumps(model))) for model in models],
        "model copies": [saved(copy.deepcopy(model)) for model in models],
    }


def patched() -> list[Any]:
    """What gradscope replaces while it watches."""
    return [
        torch.autograd.backward,
        torch.optim.Optimizer.zero_grad,
        torch.optim.Optimizer.__init__,
        torch.optim.Optimizer.step,
        nn.Module.zero_grad,
        nn.Module.__call__,
        nn.Module.__init__,
        torch.Tensor.backward,
        torch.optim.lr_scheduler._enable_get_lr_call,
        torch.optim.lr_scheduler.LRScheduler.step,
        torch.amp.GradScaler.scale,
        torch.amp.GradScaler.step,
        torch.amp.GradScaler.update,
        torch.amp.GradScaler.unscale_,
        nn.Module.eval,
        nn.Module.train,
        *vars(torch.optim.lr_scheduler.ReduceLROnPlateau).values(),
        *(value for value in vars(nn.functional).values() if callable(value)),
    ]


def global_hooks() -> dict[str, int]:
    """How many hooks stand in torch's global tables."""
    places = (sys.modules[nn.Module.__module__], sys.modules[Optimizer.__module__])
    tables = {name: table for place in places for name, table in vars(place).items() if name.startswith("_global_")}
    return {name: len(table) for name, table in tables.items() if hasattr(table, "__len__")}


def differences(expected: dict[str, Any], got: dict[str, Any]) -> list[str]:
    assert expected.keys() == got.keys()
    return [what for what in expected if expected[what] != got[what]]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Random numbers are put back; one thread, as many tests at a time share few cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


# -- the tests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"every": 3}], ids=["every row", "some rows"])
@pytest.mark.parametrize("loop", LOOPS)
def test_training_comes_out_the_same_to_the_bit(loop: Callable[[], Trained], options: dict[str, int]) -> None:
    """Losses, weights, random numbers, checkpoints and attributes are those of a run that nobody watched."""
    expected = outcome(loop)
    with gradscope.watch(**options) as scope:
        got = outcome(loop)
        assert scope.record.meta.rows > 0
    assert [] == differences(expected, got)
    assert not [note for note in scope.record.meta.notes if "stopped" in note]
    assert {} == scope.record.meta.blind


def test_looking_at_the_record_changes_nothing(tmp_path: Path) -> None:
    """Reading findings, record and report in the middle of the loop, with a run folder, is as harmless as watching."""
    expected = outcome(adam)
    with gradscope.watch(every=1, log_dir=tmp_path) as scope:

        def loop() -> Trained:
            def make(parameters: Iterable[nn.Parameter]) -> Optimizer:
                optimizer = torch.optim.Adam(parameters, lr=0.01)
                optimizer.register_step_post_hook(lambda *_: (scope.record, scope.diagnose(), scope.report()))
                return optimizer

            models, optimizers, losses = train(make)
            optimizers[0]._optimizer_step_post_hooks.clear()
            return models, optimizers, losses

        got = outcome(loop)
    assert [] == differences(expected, got)


@pytest.mark.parametrize("loop", [sgd, gan, lbfgs, grad_scaler, validated])
def test_nothing_is_left_after_close(loop: Callable[[], Trained]) -> None:
    """Every patched attribute is the very object it was, torch's global tables of hooks are empty, nobody listens."""
    originals, hooks = patched(), global_hooks()
    with gradscope.watch() as scope:
        assert any(a is not b for a, b in zip(originals, patched()))
        loop()
    assert all(a is b for a, b in zip(originals, patched()))
    assert hooks == global_hooks()
    assert not any(hooks.values())
    rows = scope.record.meta.rows
    loop()
    assert rows == scope.record.meta.rows


def test_no_module_hooks_stand_in_a_long_loop() -> None:
    """Torch calls modules the slow way while there is any global hook; after the first rows there is none."""

    class Counting(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            standing.append({name: n for name, n in global_hooks().items() if n and "optimizer" not in name})
            return super().forward(x)

    standing: list[dict[str, int]] = []
    model = Counting()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with gradscope.watch():
        for _ in range(20):
            optimizer.zero_grad()
            model(torch.randn(8, 6)).square().mean().backward()
            optimizer.step()
    assert standing[0]
    assert [{}] * 10 == standing[10:]


def test_nothing_is_left_after_a_crash() -> None:
    """Exceptions in forward, caught and uncaught: they come out as they are, and everything is put back."""
    originals, hooks = patched(), global_hooks()
    error = KeyError("the loop's own")
    with pytest.raises(KeyError) as caught, gradscope.watch() as scope:
        try:
            Net()(torch.randn(1, 1))  # raises in the middle of forward
        except RuntimeError:
            sgd()
        raise error
    assert error is caught.value
    assert {} == scope.record.meta.blind
    assert all(a is b for a, b in zip(originals, patched()))
    assert hooks == global_hooks()


@pytest.mark.parametrize("loop", [sgd, gan, lbfgs])
def test_models_and_optimizers_are_not_kept_alive(loop: Callable[[], Trained]) -> None:
    """Neither while watching nor by what remains of a closed scope: the memory of a dropped model is free again."""
    with gradscope.watch() as scope:
        trained = loop()
        things = [weakref.ref(thing) for part in trained[:2] for thing in part]
        things += [weakref.ref(p) for model in trained[0] for p in model.parameters()]
        del trained
        gc.collect()
        assert [None] * len(things) == [ref() for ref in things]
    assert scope.record.meta.rows > 0


# -- others who patch, too ---------------------------------------------------------------------------------------------


class Stacked:
    """Another tool, which wraps what it finds and counts the calls."""

    TARGETS = [
        (torch.autograd, "backward"),
        (torch.optim.Optimizer, "zero_grad"),
        (nn.Module, "zero_grad"),
        (torch.optim.Optimizer, "__init__"),
        (torch.amp.GradScaler, "scale"),
        (torch.amp.GradScaler, "step"),
    ]

    def __init__(self) -> None:
        self.calls: dict[tuple[Any, str], int] = {}
        self.found = [(owner, name, getattr(owner, name)) for owner, name in self.TARGETS]
        self.wrappers = [self._wrap(owner, name, original) for owner, name, original in self.found]

    def _wrap(self, owner: Any, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.calls[owner, name] = self.calls.get((owner, name), 0) + 1
            return original(*args, **kwargs)

        setattr(owner, name, wrapper)
        return wrapper

    def in_place(self) -> bool:
        return all(getattr(owner, name) is w for (owner, name), w in zip(self.TARGETS, self.wrappers))

    def undo(self) -> None:
        for owner, name, original in self.found:
            setattr(owner, name, original)


@pytest.fixture
def clean_torch() -> Iterator[None]:
    """Put torch's attributes back whatever happens."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in Stacked.TARGETS]
    yield
    gradscope.unwatch()
    for owner, name, original in originals:
        setattr(owner, name, original)


@pytest.mark.usefixtures("clean_torch")
def test_another_patcher_on_top_keeps_working() -> None:
    """Closing tears nothing out from under it; what stays of ours passes everything on and records nothing."""
    expected = outcome(grad_scaler)
    scope = gradscope.watch()
    other = Stacked()
    assert [] == differences(expected, outcome(grad_scaler))
    calls = dict(other.calls)
    scope.close()
    rows = scope.record.meta.rows
    assert other.in_place()
    assert [] == differences(expected, outcome(grad_scaler))
    assert {key: 2 * count for key, count in calls.items()} == other.calls
    assert rows == scope.record.meta.rows
    assert not any(global_hooks().values())


@pytest.mark.usefixtures("clean_torch")
def test_watching_again_through_an_old_wrapper_counts_once() -> None:
    """A patcher that was on top goes and restores our old wrapper: it stays inert, also for the next scope."""
    with gradscope.watch(every=1) as scope:
        grad_scaler_once = outcome(grad_scaler)
    with gradscope.watch():
        other = Stacked()
    other.undo()  # our wrappers of the closed scope stand there again
    with gradscope.watch(every=1) as again:
        assert [] == differences(grad_scaler_once, outcome(grad_scaler))
    assert scope.record.meta.backwards == again.record.meta.backwards
    assert scope.record.meta.rows == again.record.meta.rows
    first, second = (
        sum(entry.count for entry in s.record.facts.entries.values() if isinstance(entry.newest, SkippedStep))
        for s in (scope, again)
    )
    assert 0 < first == second
    for expected, got in zip(scope.record.optimizers, again.record.optimizers):
        np.testing.assert_array_equal(expected.scalars["loss"], got.scalars["loss"])


# -- scripts -----------------------------------------------------------------------------------------------------------

SCRIPT = '''\
import hashlib
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Noise(Dataset):
    """Each item is drawn in a worker, from its own random numbers."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.randn(6) + index, torch.tensor(index % 3)


def main():
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for method in ("fork", "spawn"):
        for x, y in DataLoader(Noise(), batch_size=6, shuffle=True, num_workers=2, multiprocessing_context=method):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            print(loss.item().hex())
    torch.save(model, "model.pt")
    torch.save(optimizer.state_dict(), "optimizer.pt")
    digest = hashlib.sha256()
    for p in model.state_dict().values():
        digest.update(p.numpy().tobytes())
    digest.update(torch.get_rng_state().numpy().tobytes() + repr(random.getstate()).encode())
    digest.update(repr(np.random.get_state()).encode())
    print(digest.hexdigest())


if __name__ == "__main__":
    main()
'''


def test_a_script_with_workers_comes_out_the_same(tmp_path: Path) -> None:
    """Under `gradscope run`, with DataLoader workers, forked and spawned: the same losses, weights, random numbers and
    files; one report and one run folder are made."""
    folders = tmp_path / "plain", tmp_path / "watched"
    for folder in folders:
        write(folder, SCRIPT)
    expected, got = plain(folders[0], "train.py"), watched(folders[1], "train.py")
    assert 0 == expected.code == got.code, expected.stderr + got.stderr
    assert 9 == len(expected.stdout.splitlines())
    assert expected.stdout == got.stdout
    assert 8 == got.report["run"]["steps"]
    assert 1 == got.reports == len(list((folders[1] / "runs").iterdir()))
    for name in ("model.pt", "optimizer.pt"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
