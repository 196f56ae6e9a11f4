"""Makes every function of gradscope raise, one after the other, while a loop trains: `python -m tests.injecting`.

What is called is counted first, by a profile function. Then, for each function and for two of its calls (the first one,
and one in the middle), a fork of this process trains once more, and the profile function raises when that call begins.
The training must come out the same to the bit, nothing may be raised into it, and what failed must be said, on stderr
or in `skipped`, unless all was found that is found without it (a rule that fails once is asked again).

Not made to raise: what torch or the loop call directly (the wrappers themselves; what is inside them is), and
`CONTAINMENT`, which is what catches the errors of all the others.
"""
from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import importlib
import io
import os
import pickle
import pkgutil
import sys
import tempfile
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradscope

OWN = os.path.dirname(os.path.abspath(gradscope.__file__)) + os.sep
PLANTED = "planted failure"
Training = Callable[[], list[str]]
CONTAINMENT = {
    "hooks/dispatcher.py": (
        "Dispatcher.listening", "Dispatcher.hears", "Dispatcher.begin", "Dispatcher.end", "Dispatcher.send",
        "Dispatcher.contain", "Dispatcher.deliver", "Dispatcher.spend", "Dispatcher.spent",
        "Dispatcher.enter_backward", "Dispatcher.leave_backward",
    ),
    "scope.py": ("Scope._end",),
    "hooks/loader.py": ("Feeds.attempt",),
    "hooks/clipping.py": ("_call",),  # calls torch's function, as a wrapper does
    "integrations/watched.py": ("Watched.__init__", "Watched.failed"),  # the first: before the training
}  # fmt: skip


def train() -> list[str]:
    """Four short epochs with faults in them; every number whose last bit could tell that something was changed."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 4))
    model = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    data = TensorDataset(torch.randn(32, 1, 6, 6) * 9, torch.randint(4, (32,)))
    told = []
    for epoch in range(4):
        model.train()
        for x, y in DataLoader(data, batch_size=8, shuffle=epoch % 2 == 0):
            if epoch != 2:
                optimizer.zero_grad()
            if epoch == 3:
                x = x / 0
            loss = nn.functional.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            told.append(loss.item())
        model.eval()
        with torch.no_grad():
            told.append(nn.functional.cross_entropy(model(data.tensors[0]), data.tensors[1]).item())
    values = [value for p in model.parameters() for value in p.flatten().tolist()]
    return [*map(repr, values + told + torch.rand(2).tolist())]


def several() -> list[str]:
    """Optimizers that take turns, a group more on the way, a closure, and several backwards for one step."""
    torch.manual_seed(0)
    generator, critic = nn.Linear(4, 4), nn.Linear(4, 1)
    one = torch.optim.Adam(generator.parameters(), lr=0.1)
    other = torch.optim.SGD(critic.parameters(), lr=0.1)
    told = []
    for step in range(12):
        for optimizer in (one, other):
            optimizer.zero_grad()
            loss = critic(generator(torch.randn(8, 4))).square().mean()
            loss.backward()
            optimizer.step()
            told.append(loss.item())
        if step == 5:
            other.add_param_group({"params": [nn.Parameter(torch.ones(3))], "lr": 0.01})
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    searching, x = torch.optim.LBFGS(model.parameters(), max_iter=3), torch.randn(16, 4)

    def closure() -> torch.Tensor:
        searching.zero_grad()
        loss = (model(x) - 1).square().mean()
        loss.backward()
        return loss

    told += [float(searching.step(closure)) for _ in range(4)]
    last = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(6):
        for _ in range(3):
            (model(torch.randn(8, 4)).square().mean() / 3).backward()
        last.step()
        last.zero_grad()
    weights = [p for part in (generator, critic, model) for p in part.parameters()]
    values = [value for p in weights for value in p.flatten().tolist()]
    return [*map(repr, values + told + torch.rand(2).tolist())]


def lightning() -> list[str]:
    """A Trainer with our callback; without it where nothing is watched."""
    import lightning.pytorch as pl

    from gradscope.integrations.lightning import GradscopeCallback

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            return self.layer(batch[0]).square().mean()

        def validation_step(self, batch: Any, number: int) -> None:
            self.log("val_loss", self.layer(batch[0]).square().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def optimizer_zero_grad(self, *given: Any) -> None:
            """A fault."""

    torch.manual_seed(0)
    loader, module = DataLoader(TensorDataset(torch.randn(24, 4)), batch_size=4), Module()
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet: dict[str, Any] = dict.fromkeys(names, False)
    callbacks = [] if sys.getprofile() is None else [GradscopeCallback()]
    trainer = pl.Trainer(accelerator="cpu", max_epochs=2, callbacks=callbacks, **quiet)
    trainer.fit(module, loader, loader)
    values = [value for p in module.parameters() for value in p.flatten().tolist()]
    return [*map(repr, values + torch.rand(2).tolist())]


TRAININGS = {"one": train, "several": several, "lightning": lightning}


@dataclass(frozen=True)
class Trained:
    """The training under watch: its numbers, what was found, and whether gradscope said that it had failed itself."""

    numbers: list[str]
    found: list[str]
    said: bool
    stderr: str = ""


def watched(training: Training, profile: Callable[[FrameType, str, Any], None]) -> Trained:
    """Train under `watch`, with a run folder, while `profile` sees all calls."""
    stderr = io.StringIO()
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stderr(stderr):
        sys.setprofile(profile)
        try:
            scope = gradscope.watch(log_dir=Path(place))
            try:
                numbers = training()
            finally:
                scope.close()
        finally:
            sys.setprofile(None)
        said = PLANTED in stderr.getvalue() or PLANTED in str(scope.diagnose().skipped)
        found = [f"{finding.code} {finding.steps}" for finding in scope.findings]
        return Trained(numbers, found, said, stderr.getvalue())


def name_of(code: CodeType) -> str:
    qualified = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    return f"{code.co_filename[len(OWN):]}:{code.co_firstlineno} {qualified}"


def _ours(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(OWN)


def count_calls(training: Training) -> tuple[dict[str, int], Trained]:
    """Function -> how often another function of ours calls it; and the training, nothing failing."""
    counts: collections.Counter[str] = collections.Counter()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and _ours(frame) and _ours(frame.f_back):
            counts[name_of(frame.f_code)] += 1

    trained = watched(training, profile)
    return {name: count for name, count in counts.items() if not _contains(name)}, trained


def _contains(name: str) -> bool:
    place, qualified = name.split(" ", 1)
    return qualified in CONTAINMENT.get(place.rpartition(":")[0].replace(os.sep, "/"), ())


def failing(training: Training, name: str, call: int) -> Trained:
    """Train while that call of the function raises."""
    seen, short = 0, name.rpartition(".")[2].rpartition(" ")[2]

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal seen
        if event == "call" and frame.f_code.co_name == short and _ours(frame) and _ours(frame.f_back):
            if name_of(frame.f_code) == name:
                seen += 1
                if seen == call:
                    raise ArithmeticError(PLANTED)

    return watched(training, profile)


def in_a_fork(work: Callable[[], Any]) -> Any:
    """What `work` gives in a fork of this process; the text of what it raises."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            try:
                result = work()
            except BaseException:
                result = traceback.format_exc()
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(result, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        given = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(given) if given else "the process died"


def complaints(training: Training, expected: Trained, name: str, call: int) -> Iterator[str]:
    """What is wrong when that call fails."""
    trained = in_a_fork(lambda: failing(training, name, call))
    if not isinstance(trained, Trained):
        yield f"{name}, call {call}: {trained}"
    elif trained.numbers != expected.numbers:
        yield f"{name}, call {call}: the training came out differently"
    elif not trained.said and trained.found != expected.found:
        yield f"{name}, call {call}: nobody was told {trained.stderr}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Each function of gradscope raises in turn.")
    parser.add_argument("--share", type=int, default=1, help="one in so many functions, chosen by their names")
    parser.add_argument("--only", default="", help="functions whose file or name has this in it")
    parser.add_argument("--loop", choices=TRAININGS, default="one", help="which training (default: one)")
    given = parser.parse_args()
    training = TRAININGS[given.loop]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(gradscope.__path__, "gradscope."):
        if not module.name.endswith(("__main__", "demo.tutorial")):
            with contextlib.suppress(ImportError):  # of an optional package
                importlib.import_module(module.name)
    importlib.import_module("torch.utils.tensorboard")  # or each fork would
    importlib.import_module("torch._dynamo")
    gc.collect()
    gc.freeze()  # or each fork would write into, and so copy, all of it
    alone, counted = in_a_fork(training), in_a_fork(lambda: count_calls(training))
    if isinstance(counted, str) or alone != counted[1].numbers:
        print(f"the training comes out differently, with nothing failing: {counted}")
        return 1
    counts, expected = counted
    tried = wrong = 0
    for name, count in sorted(counts.items()):
        if given.only not in name or zlib.crc32(name.partition(" ")[2].encode()) % given.share:
            continue
        for call in sorted({1, (count + 1) // 2}):
            tried += 1
            for complaint in complaints(training, expected, name, call):
                wrong += 1
                print(complaint, flush=True)
    print(f"{tried} failures in {len(counts)} functions, {wrong} of them not contained")
    return int(wrong > 0 or tried == 0)


if __name__ == "__main__":
    sys.exit(main())
