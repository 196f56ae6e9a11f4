"""Small training problems, each to be trained with a whole grid of learning rates: `PROBLEMS`, by name.

Data: scikit-learn's digits and diabetes, the Zen of Python, and made images, tables and sequences. The initial weights
and the batches follow from the seed alone, whatever the learning rate. A third of the problems, by the hash of their
names, is the untouched part: no threshold is ever chosen by looking at it.
"""
from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Callable, Iterable, Sequence

import torch
from networks import Factors, Recurrent, Transformer, cnn, mlp, resnet, tutorial
from samples import Batch, batches, characters, diabetes, digits, houses, marked_sums, pictures, zen
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """A model with the batches it is trained on: `batch(i)` is the i-th. `held` are samples to evaluate it on."""

    model: nn.Module
    batch: Callable[[int], Batch]
    loss: Loss  # of outputs and targets
    held: Batch


@dataclass(frozen=True)
class Problem:
    """One problem. `evaluate`: judged by the loss on held samples, where that of the batches is too noisy.

    `scales`: what the learning rate of each parameter group is multiplied by. `schedule(optimizer, lr, steps)`: its
    peak is `lr`. `accumulate`: batches a step. `clip`: the largest norm of the gradient.
    """

    name: str
    adaptive: bool
    steps: int
    grid: tuple[float, ...]
    build: Callable[[int], Task]
    optimizer: Callable[[nn.Module, float], Optimizer]
    schedule: Callable[[Optimizer, float, int], LRScheduler] | None = None
    accumulate: int = 1
    clip: float | None = None
    scales: tuple[float, ...] = (1.0,)
    evaluate: bool = False

    @property
    def untouched(self) -> bool:
        return is_untouched(self.name)


def is_untouched(name: str) -> bool:
    """Whether the problem of that name is kept from all tuning: a third of them, by a hash that nobody chose."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 3 == 0


def half_decades(low: float, high: float) -> tuple[float, ...]:
    """..., 0.001, 0.003, 0.01, ... from `low` to `high`."""
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    values = [float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 3)]
    return tuple(value for value in values if low * 0.999 < value < high * 1.001)


def _task(model: nn.Module, data: Batch, size: int, seed: int, loss: Loss = F.cross_entropy, held: int = 256) -> Task:
    """Trained on all samples but the last `held`."""
    train, rest = (data[0][:-held], data[1][:-held]), (data[0][-held:], data[1][-held:])
    return Task(model, batches(train, size, seed), loss, rest)


# -- losses, optimizers, schedules -------------------------------------------------------------------------------------


def _each_place(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of outputs # (batch, length, classes)."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="sum")


def _sgd(momentum: float = 0.0, nesterov: bool = False, decay: float = 0.0) -> Callable[[nn.Module, float], Optimizer]:
    def make(model: nn.Module, lr: float) -> Optimizer:
        return torch.optim.SGD(model.parameters(), lr, momentum, weight_decay=decay, nesterov=nesterov)

    return make


def _adam(model: nn.Module, lr: float) -> Optimizer:
    return torch.optim.Adam(model.parameters(), lr)


def _adamw(model: nn.Module, lr: float) -> Optimizer:
    return torch.optim.AdamW(model.parameters(), lr)


def _rmsprop(model: nn.Module, lr: float) -> Optimizer:
    return torch.optim.RMSprop(model.parameters(), lr)


def _head_and_body(kind: Callable[..., Optimizer], **options: float) -> Callable[[nn.Module, float], Optimizer]:
    """The last layer at `lr`, all before it at a tenth of that."""

    def make(model: nn.Module, lr: float) -> Optimizer:
        *body, head = (child for child in model.children() if any(True for _ in child.parameters()))
        rest: Iterable[Tensor] = [parameter for child in body for parameter in child.parameters()]
        return kind([{"params": list(head.parameters())}, {"params": rest, "lr": 0.1 * lr}], lr=lr, **options)

    return make


def _warm_cosine(optimizer: Optimizer, lr: float, steps: int) -> LRScheduler:
    """Ten percent of warm-up, then a cosine down to nothing."""
    warm = max(1, steps // 10)
    return LambdaLR(
        optimizer,
        lambda step: (step + 1) / warm
        if step < warm
        else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm)),
    )


def _one_cycle(optimizer: Optimizer, lr: float, steps: int) -> LRScheduler:
    return OneCycleLR(optimizer, lr, total_steps=steps + 1)


# -- the problems ------------------------------------------------------------------------------------------------------


def _tutorial_at(batch: int) -> Callable[[int], Task]:
    return lambda seed: _task(tutorial(), digits(16, 3), batch, seed)


def _digits_mlp(
    *hidden: int, batch: int = 64, act: Callable[[], nn.Module] = nn.ReLU, loss: Loss = F.cross_entropy
) -> Callable[[int], Task]:
    return lambda seed: _task(mlp(64, *hidden, 10, act=act), digits(), batch, seed, loss)


def _text(make: Callable[[int], nn.Module], length: int = 24, batch: int = 16) -> Callable[[int], Task]:
    return lambda seed: _task(make(zen()[1]), characters(length), batch, seed, _each_place, held=64)


def _raw_logistic(seed: int) -> Task:
    """Pixels from 0 to 16, as they come."""
    images, labels = digits()
    return _task(mlp(64, 10), (16 * images, labels), 128, seed)


def _houses_mlp(seed: int) -> Task:
    return _task(mlp(6, 32, 32, 1), houses(), 32, seed, F.mse_loss)


def _autoencoder(seed: int) -> Task:
    images = digits()[0].flatten(1)
    images = images - images.mean(0)
    return _task(mlp(64, 32, 8, 32, 64), (images, images), 64, seed, F.mse_loss)


def _digit_rows(kind: type[nn.RNNBase]) -> Callable[[int], Task]:
    """Digits, read row by row."""
    images, labels = digits()
    data = (images.squeeze(1), labels)
    return lambda seed: _task(Recurrent(kind, 8, 32, 10, words=False, last=True), data, 32, seed)


def _new_head(seed: int) -> Task:
    """A network that knows the digits below five, with a new last layer, of zeros, for the others."""
    images, labels = digits()
    model, known = cnn(), labels < 5
    batch, adam = batches((images[known], labels[known]), 64, seed), torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(60):
        adam.zero_grad()
        F.cross_entropy(model(batch(step)[0]), batch(step)[1]).backward()
        adam.step()
    model[-1] = nn.Linear(32, 5)
    nn.init.zeros_(model[-1].weight)
    model.zero_grad()
    return _task(model, (images[~known], labels[~known] - 5), 32, seed)


PROBLEMS: Sequence[Problem] = (
    Problem("tutorial-cnn-batch64-sgd", False, 200, half_decades(1e-4, 3), _tutorial_at(64), _sgd()),
    Problem("tutorial-cnn-batch8-sgd", False, 400, half_decades(1e-4, 3), _tutorial_at(8), _sgd()),
    Problem("tutorial-cnn-batch1-sgd", False, 600, half_decades(1e-5, 0.3), _tutorial_at(1), _sgd(), evaluate=True),
    Problem("tutorial-cnn-batch32-adam", True, 150, half_decades(1e-5, 0.1), _tutorial_at(32), _adam),
    Problem(
        "relu-cnn-digits-sgd-momentum", False, 400, half_decades(1e-4, 3),
        lambda seed: _task(cnn(), digits(), 32, seed), _sgd(0.9),
    ),
    Problem(
        "relu-cnn-pictures-sgd-momentum", False, 250, half_decades(1e-4, 1),
        lambda seed: _task(cnn(3, 16), pictures(), 32, seed), _sgd(0.9),
    ),
    Problem(
        "relu-cnn-pictures-onecycle-sgd", False, 200, half_decades(1e-4, 1),
        lambda seed: _task(cnn(3, 16), pictures(), 32, seed), _sgd(0.9), _one_cycle,
    ),
    Problem("mlp-digits-sgd", False, 400, half_decades(1e-3, 10), _digits_mlp(64), _sgd()),
    Problem("mlp-digits-adam", True, 400, half_decades(1e-5, 1), _digits_mlp(64, 64), _adam),
    Problem("mlp-digits-adamw-tanh", True, 400, half_decades(1e-5, 1), _digits_mlp(128, act=nn.Tanh), _adamw),
    Problem("mlp-digits-rmsprop", True, 400, half_decades(1e-5, 1), _digits_mlp(64, 32), _rmsprop),
    Problem("mlp-digits-nesterov", False, 400, half_decades(1e-4, 3), _digits_mlp(64, 32), _sgd(0.9, nesterov=True)),
    Problem(
        "mlp-digits-sum-reduced-sgd", False, 400, half_decades(3e-5, 1),
        _digits_mlp(64, batch=32, loss=_summed), _sgd(),
    ),
    Problem(
        "mlp-digits-accumulated-sgd", False, 300, half_decades(1e-3, 10), _digits_mlp(48, batch=16), _sgd(0.5),
        accumulate=4,
    ),
    Problem(
        "mlp-digits-clipped-sgd", False, 400, half_decades(1e-3, 10), _digits_mlp(64, 64, batch=32), _sgd(0.9), clip=1.0
    ),
    Problem("logistic-regression-digits-sgd", False, 400, half_decades(1e-4, 100), _raw_logistic, _sgd()),
    Problem(
        "linear-regression-raw-diabetes-sgd", False, 400, half_decades(1e-9, 1e-4),
        lambda seed: _task(nn.Linear(10, 1), diabetes(), 64, seed, F.mse_loss, 122), _sgd(),
    ),
    Problem(
        "linear-regression-raw-diabetes-adam", True, 400, half_decades(3e-4, 3000),
        lambda seed: _task(nn.Linear(10, 1), diabetes(), 64, seed, F.mse_loss, 122), _adam,
    ),
    Problem("mlp-regression-raw-houses-sgd", False, 400, half_decades(1e-6, 0.1), _houses_mlp, _sgd()),
    Problem("mlp-regression-raw-houses-sgd-momentum", False, 400, half_decades(1e-6, 0.1), _houses_mlp, _sgd(0.9)),
    Problem("mlp-regression-raw-houses-adam", True, 400, half_decades(3e-5, 10), _houses_mlp, _adam),
    Problem("char-transformer-adamw", True, 200, half_decades(1e-5, 0.3), _text(lambda n: Transformer(n, 24)), _adamw),
    Problem(
        "char-transformer-warmup-cosine-adamw", True, 200, half_decades(1e-5, 0.3),
        _text(lambda n: Transformer(n, 24)), _adamw, _warm_cosine,
    ),
    Problem(
        "char-transformer-sgd-momentum", False, 250, half_decades(1e-4, 3),
        _text(lambda n: Transformer(n, 24)), _sgd(0.9),
    ),
    Problem(
        "char-lstm-clipped-sgd", False, 250, half_decades(1e-3, 100),
        _text(lambda n: Recurrent(nn.LSTM, n, 32, n, words=True, last=False)), _sgd(0.9), clip=0.5,
    ),
    Problem(
        "char-gru-adam", True, 250, half_decades(1e-5, 1),
        _text(lambda n: Recurrent(nn.GRU, n, 32, n, words=True, last=False)), _adam,
    ),
    Problem(
        "char-bigram-embedding-adamw", True, 300, half_decades(1e-4, 3),
        _text(lambda n: Factors(n, 16), length=4, batch=64), _adamw,
    ),
    Problem("digit-rows-lstm-rmsprop", True, 250, half_decades(1e-5, 1), _digit_rows(nn.LSTM), _rmsprop),
    Problem("digit-rows-gru-sgd-momentum", False, 300, half_decades(1e-4, 10), _digit_rows(nn.GRU), _sgd(0.9)),
    Problem(
        "marked-sums-rnn-adam", True, 400, half_decades(1e-5, 1),
        lambda seed: _task(Recurrent(nn.RNN, 2, 32, 1, words=False, last=True), marked_sums(), 32, seed, F.mse_loss),
        _adam,
    ),
    Problem(
        "resnet-batchnorm-digits-sgd-momentum-decay", False, 150, half_decades(1e-4, 10),
        lambda seed: _task(resnet(), digits(), 32, seed), _sgd(0.9, decay=5e-4),
    ),
    Problem(
        "resnet-batchnorm-pictures-adam", True, 150, half_decades(1e-5, 1),
        lambda seed: _task(resnet(3, 8, 1), pictures(), 32, seed), _adam,
    ),
    Problem("autoencoder-digits-adam", True, 400, half_decades(1e-5, 1), _autoencoder, _adam),
    Problem("autoencoder-digits-sgd-momentum", False, 400, half_decades(1e-3, 30), _autoencoder, _sgd(0.9)),
    Problem(
        "two-groups-cnn-sgd-momentum", False, 400, half_decades(1e-4, 3),
        lambda seed: _task(cnn(), digits(), 32, seed), _head_and_body(torch.optim.SGD, momentum=0.9),
        scales=(1.0, 0.1),
    ),
    Problem(
        "two-groups-mlp-adamw", True, 400, half_decades(1e-5, 1),
        _digits_mlp(64, 64), _head_and_body(torch.optim.AdamW), scales=(1.0, 0.1),
    ),
    Problem("new-head-cnn-adam", True, 200, half_decades(1e-5, 1), _new_head, _adam),
)  # fmt: skip
