"""Small training problems, each to be trained with a whole grid of learning rates: `PROBLEMS`, by name.

Data: scikit-learn's digits and diabetes, the Zen of Python, and made images, tables and sequences. The initial weights
and the batches follow from the seed alone, whatever the learning rate. A third of the problems, by the hash of their
names, is the untouched part: no threshold is ever chosen by looking at it.
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
from dataclasses import dataclass
from typing import Callable, Iterable, Sequence

import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

Batch = tuple[Tensor, Tensor]
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


# -- data --------------------------------------------------------------------------------------------------------------


def _batches(data: Batch, size: int, seed: int) -> Callable[[int], Batch]:
    """Batches of so many samples, shuffled anew in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    order: list[Tensor] = []

    def batch(number: int) -> Batch:
        while number >= len(order):
            shuffled = torch.randperm(len(data[0]), generator=generator).split(size)
            order.extend(part for part in shuffled if len(part) == size)
        return data[0][order[number]], data[1][order[number]]

    return batch


def _task(model: nn.Module, data: Batch, size: int, seed: int, loss: Loss = F.cross_entropy, held: int = 256) -> Task:
    """Trained on all samples but the last `held`."""
    train, rest = (data[0][:-held], data[1][:-held]), (data[0][-held:], data[1][-held:])
    return Task(model, _batches(train, size, seed), loss, rest)


@functools.cache
def _digits(size: int = 8, channels: int = 1) -> Batch:
    """Handwritten digits # (1797, channels, size, size), and what they are."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    if size != 8:
        images = F.interpolate(images, size=size)
    return images.repeat(1, channels, 1, 1), torch.tensor(digits.target)


@functools.cache
def _pictures(size: int = 16, samples: int = 1200, noise: float = 1.0) -> Batch:
    """Made pictures # (samples, 3, size, size) of ten classes: each a smooth pattern, shifted, and noise on top."""
    generator = torch.Generator().manual_seed(1234)
    patterns = torch.randn(10, 3, 4, 4, generator=generator)
    patterns = F.interpolate(patterns, size=size, mode="bilinear")
    classes = torch.randint(10, (samples,), generator=generator)
    shifts = torch.randint(-3, 4, (samples, 2), generator=generator).tolist()
    moved = [torch.roll(patterns[c], shift, (1, 2)) for c, shift in zip(classes.tolist(), shifts)]
    return torch.stack(moved) + noise * torch.randn(samples, 3, size, size, generator=generator), classes


@functools.cache
def _diabetes() -> Batch:
    """442 patients: ten measurements as they were taken (ages, pressures: up to 400), the illness a year later."""
    features, target = load_diabetes(return_X_y=True, scaled=False)
    return torch.tensor(features, dtype=torch.float32), torch.tensor(target, dtype=torch.float32).unsqueeze(1)


@functools.cache
def _houses() -> Batch:
    """1,000 made districts: income, age, rooms, people, distances, not scaled; prices, scaled # (1000, 1)."""
    generator = torch.Generator().manual_seed(4321)
    z = torch.randn(1000, 6, generator=generator)
    income, age, people = torch.exp(1.3 + 0.4 * z[:, 0]), 28 + 12 * z[:, 1], 3 * torch.exp(0.5 * z[:, 3])
    rooms, south, west = 5 + income / 4 + z[:, 2], 2 * z[:, 4], 2 * z[:, 5]
    price = 0.45 * income + 0.01 * age - 0.4 * south + torch.sin(west) + 0.2 * rooms
    price = (price - price.mean()) / price.std()
    return torch.stack([income, age, rooms, people, south, west], 1), price.unsqueeze(1)


@functools.cache
def _zen() -> tuple[Tensor, int]:
    """The Zen of Python as numbers of characters # (856,), and how many different ones there are."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    text = "".join(this.d.get(letter, letter) for letter in this.s)  # type: ignore[attr-defined]
    known = sorted(set(text))
    return torch.tensor([known.index(letter) for letter in text]), len(known)


def _characters(length: int) -> Batch:
    """Every stretch of the text # (stretches, length), and the characters that follow each."""
    stretches = _zen()[0].unfold(0, length + 1, 1)
    return stretches[:, :-1], stretches[:, 1:]


@functools.cache
def _sums() -> Batch:
    """Sequences # (1200, 5, 2) of numbers, two of them marked; the sum of the marked ones # (1200, 1)."""
    generator = torch.Generator().manual_seed(99)
    numbers = 2 * torch.rand(1200, 5, generator=generator) - 1
    marks = torch.zeros(1200, 5)
    marks.scatter_(1, torch.rand(1200, 5, generator=generator).argsort(1)[:, :2], 1.0)
    return torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True)


# -- models ------------------------------------------------------------------------------------------------------------


def _tutorial() -> nn.Module:
    """The tutorial's network, for 16x16 pictures."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 64),
        nn.Linear(64, 10),
    )


def _cnn(channels: int = 1, size: int = 8, width: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (size // 4) ** 2, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def _mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip(widths, widths[1:]):
        layers += [nn.Linear(before, after), act()]
    return nn.Sequential(*layers[:-1])


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def _resnet(channels: int = 1, width: int = 12, blocks: int = 2) -> nn.Module:
    stem = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    body = [_Residual(width) for _ in range(blocks)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))


class _Transformer(nn.Module):
    """Predicts the next character; layers normalised first."""

    def __init__(self, words: int, length: int, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        one = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(one, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places.weight
        return self.head(self.norm(self.layers(x, mask=self.mask, is_causal=True)))


class _Recurrent(nn.Module):
    """A recurrent layer and a head: at every place, or at the last one only."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int, width: int, out: int, words: bool, last: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(inputs, 16) if words else nn.Identity()
        self.rnn = kind(16 if words else inputs, width, batch_first=True)
        self.head, self.last = nn.Linear(width, out), last

    def forward(self, x: Tensor) -> Tensor:
        states = self.rnn(self.embed(x))[0]
        return self.head(states[:, -1] if self.last else states)


class _Factors(nn.Module):
    """The next word from the one before: two tables of embeddings, multiplied."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.given, self.next = nn.Embedding(words, width), nn.Linear(width, words)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.next(self.given(tokens))


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
    return lambda seed: _task(_tutorial(), _digits(16, 3), batch, seed)


def _digits_mlp(
    *hidden: int, batch: int = 64, act: Callable[[], nn.Module] = nn.ReLU, loss: Loss = F.cross_entropy
) -> Callable[[int], Task]:
    return lambda seed: _task(_mlp(64, *hidden, 10, act=act), _digits(), batch, seed, loss)


def _text(make: Callable[[int], nn.Module], length: int = 24, batch: int = 16) -> Callable[[int], Task]:
    return lambda seed: _task(make(_zen()[1]), _characters(length), batch, seed, _each_place, held=64)


def _raw_logistic(seed: int) -> Task:
    """Pixels from 0 to 16, as they come."""
    images, labels = _digits()
    return _task(_mlp(64, 10), (16 * images, labels), 128, seed)


def _houses_mlp(seed: int) -> Task:
    return _task(_mlp(6, 32, 32, 1), _houses(), 32, seed, F.mse_loss)


def _autoencoder(seed: int) -> Task:
    images = _digits()[0].flatten(1)
    images = images - images.mean(0)
    return _task(_mlp(64, 32, 8, 32, 64), (images, images), 64, seed, F.mse_loss)


def _digit_rows(kind: type[nn.RNNBase]) -> Callable[[int], Task]:
    """Digits, read row by row."""
    images, labels = _digits()
    data = (images.squeeze(1), labels)
    return lambda seed: _task(_Recurrent(kind, 8, 32, 10, words=False, last=True), data, 32, seed)


def _new_head(seed: int) -> Task:
    """A network that knows the digits below five, with a new last layer, of zeros, for the others."""
    images, labels = _digits()
    model, known = _cnn(), labels < 5
    batch, adam = _batches((images[known], labels[known]), 64, seed), torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(60):
        adam.zero_grad()
        F.cross_entropy(model(batch(step)[0]), batch(step)[1]).backward()
        adam.step()
    model[-1] = nn.Linear(32, 5)  # type: ignore[operator]
    nn.init.zeros_(model[-1].weight)  # type: ignore[index]
    model.zero_grad()
    return _task(model, (images[~known], labels[~known] - 5), 32, seed)


PROBLEMS: Sequence[Problem] = (
    Problem("tutorial-cnn-batch64-sgd", False, 200, half_decades(1e-4, 3), _tutorial_at(64), _sgd()),
    Problem("tutorial-cnn-batch8-sgd", False, 400, half_decades(1e-4, 3), _tutorial_at(8), _sgd()),
    Problem("tutorial-cnn-batch1-sgd", False, 600, half_decades(1e-5, 0.3), _tutorial_at(1), _sgd(), evaluate=True),
    Problem("tutorial-cnn-batch32-adam", True, 150, half_decades(1e-5, 0.1), _tutorial_at(32), _adam),
    Problem(
        "relu-cnn-digits-sgd-momentum", False, 400, half_decades(1e-4, 3),
        lambda seed: _task(_cnn(), _digits(), 32, seed), _sgd(0.9),
    ),
    Problem(
        "relu-cnn-pictures-sgd-momentum", False, 250, half_decades(1e-4, 1),
        lambda seed: _task(_cnn(3, 16), _pictures(), 32, seed), _sgd(0.9),
    ),
    Problem(
        "relu-cnn-pictures-onecycle-sgd", False, 200, half_decades(1e-4, 1),
        lambda seed: _task(_cnn(3, 16), _pictures(), 32, seed), _sgd(0.9), _one_cycle,
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
    Problem("logistic-regression-digits-sgd", False, 400, half_decades(1e-4, 10), _raw_logistic, _sgd()),
    Problem(
        "linear-regression-raw-diabetes-sgd", False, 400, half_decades(1e-9, 1e-4),
        lambda seed: _task(nn.Linear(10, 1), _diabetes(), 64, seed, F.mse_loss, 122), _sgd(),
    ),
    Problem(
        "linear-regression-raw-diabetes-adam", True, 400, half_decades(1e-4, 1000),
        lambda seed: _task(nn.Linear(10, 1), _diabetes(), 64, seed, F.mse_loss, 122), _adam,
    ),
    Problem("mlp-regression-raw-houses-sgd", False, 400, half_decades(1e-6, 0.1), _houses_mlp, _sgd()),
    Problem("mlp-regression-raw-houses-sgd-momentum", False, 400, half_decades(1e-6, 0.1), _houses_mlp, _sgd(0.9)),
    Problem("mlp-regression-raw-houses-adam", True, 400, half_decades(1e-5, 1), _houses_mlp, _adam),
    Problem("char-transformer-adamw", True, 200, half_decades(1e-5, 0.3), _text(lambda n: _Transformer(n, 24)), _adamw),
    Problem(
        "char-transformer-warmup-cosine-adamw", True, 200, half_decades(1e-5, 0.3),
        _text(lambda n: _Transformer(n, 24)), _adamw, _warm_cosine,
    ),
    Problem(
        "char-transformer-sgd-momentum", False, 250, half_decades(1e-4, 3),
        _text(lambda n: _Transformer(n, 24)), _sgd(0.9),
    ),
    Problem(
        "char-lstm-clipped-sgd", False, 250, half_decades(1e-3, 100),
        _text(lambda n: _Recurrent(nn.LSTM, n, 32, n, words=True, last=False)), _sgd(0.9), clip=0.5,
    ),
    Problem(
        "char-gru-adam", True, 250, half_decades(1e-5, 1),
        _text(lambda n: _Recurrent(nn.GRU, n, 32, n, words=True, last=False)), _adam,
    ),
    Problem(
        "char-bigram-embedding-adamw", True, 300, half_decades(1e-4, 3),
        _text(lambda n: _Factors(n, 16), length=4, batch=64), _adamw,
    ),
    Problem("digit-rows-lstm-rmsprop", True, 250, half_decades(1e-5, 1), _digit_rows(nn.LSTM), _rmsprop),
    Problem("digit-rows-gru-sgd-momentum", False, 300, half_decades(1e-4, 10), _digit_rows(nn.GRU), _sgd(0.9)),
    Problem(
        "marked-sums-rnn-adam", True, 400, half_decades(1e-5, 1),
        lambda seed: _task(_Recurrent(nn.RNN, 2, 32, 1, words=False, last=True), _sums(), 32, seed, F.mse_loss), _adam,
    ),
    Problem(
        "resnet-batchnorm-digits-sgd-momentum-decay", False, 150, half_decades(1e-4, 10),
        lambda seed: _task(_resnet(), _digits(), 32, seed), _sgd(0.9, decay=5e-4),
    ),
    Problem(
        "resnet-batchnorm-pictures-adam", True, 150, half_decades(1e-5, 1),
        lambda seed: _task(_resnet(3, 8, 1), _pictures(), 32, seed), _adam,
    ),
    Problem("autoencoder-digits-adam", True, 400, half_decades(1e-5, 1), _autoencoder, _adam),
    Problem("autoencoder-digits-sgd-momentum", False, 400, half_decades(1e-3, 30), _autoencoder, _sgd(0.9)),
    Problem(
        "two-groups-cnn-sgd-momentum", False, 400, half_decades(1e-4, 3),
        lambda seed: _task(_cnn(), _digits(), 32, seed), _head_and_body(torch.optim.SGD, momentum=0.9),
        scales=(1.0, 0.1),
    ),
    Problem(
        "two-groups-mlp-adamw", True, 400, half_decades(1e-5, 1),
        _digits_mlp(64, 64), _head_and_body(torch.optim.AdamW), scales=(1.0, 0.1),
    ),
    Problem("new-head-cnn-adam", True, 200, half_decades(1e-5, 1), _new_head, _adam),
)  # fmt: skip
