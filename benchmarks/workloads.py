"""The training loops that are measured: `find(name)` knows them, their `make` returns a function that trains one step.

Besides those of `WORKLOADS`: "params:1e6" (so many values in 20 tensors) and "tensors:400" (so many tiny tensors).
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[], None]


@dataclass(frozen=True)
class Workload:
    """One loop: what it is, for people, and how to get it."""

    text: str
    make: Callable[[], Step]
    one_side_at_a_time: bool = False  # too large for all sides to be in memory together


def _loop(net: nn.Module, optimizer: torch.optim.Optimizer, batches: list[tuple[Tensor, Tensor]]) -> Step:
    """A plain loop over `batches`, again and again; outputs # (..., classes), targets # (...)."""
    at = 0

    def step() -> None:
        nonlocal at
        inputs, targets = batches[at]
        at = (at + 1) % len(batches)
        outputs = net(inputs)
        loss = F.cross_entropy(outputs.flatten(0, -2), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _images(batch: int, number: int) -> list[tuple[Tensor, Tensor]]:
    """Made images # (batch, 3, 32, 32) whose mean colour says a little about their class."""
    targets = torch.randint(10, (number, batch))
    inputs = torch.randn(number, batch, 3, 32, 32) + 0.1 * targets[..., None, None, None]
    return list(zip(inputs, targets))


def tutorial(batch: int) -> Step:
    """The tutorial's CNN: 10 tensors, 146 thousand values."""
    net = nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.Linear(64, 10),
    )
    return _loop(net, torch.optim.SGD(net.parameters(), lr=0.001), _images(batch, 64 if batch == 1 else 4))


class _Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


def resnet18() -> Step:
    """ResNet-18 with its usual stem: 62 tensors, 11.2 million values."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = ((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2))
    blocks = [_Block(*shape) for shape in (*widths, (512, 512, 1))]
    net = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    return _loop(net, torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9), _images(16, 8))


class _Layer(nn.Module):
    """A transformer's layer, normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        split = (*x.shape[:2], self.heads, -1)
        q, k, v = (part.reshape(split).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class _Gpt(nn.Module):
    def __init__(self, words: int, length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.layers = nn.Sequential(*(_Layer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        return self.norm(self.layers(x)) @ self.words.weight.T


def gpt() -> Step:
    """A small GPT with tied words: 76 tensors, 6.9 million values."""
    net = _Gpt(8192, 128, 256, 6, 4)
    text = torch.randint(8192, (8, 4, 129))
    return _loop(net, torch.optim.AdamW(net.parameters(), lr=3e-4), [(t[:, :-1], t[:, 1:]) for t in text])


def gpt2() -> Step:
    """The shape of GPT-2 small, words tied: 148 tensors, 124.4 million values; one text of 64 words a step."""
    net = _Gpt(50257, 1024, 768, 12, 12)
    text = torch.randint(50257, (8, 1, 65))
    return _loop(net, torch.optim.AdamW(net.parameters(), lr=3e-4), [(t[:, :-1], t[:, 1:]) for t in text])


class _Deep(nn.Module):
    """So many square layers in a row, each adding a little."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.share = min(0.5, 10 / layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + self.share * torch.tanh(layer(x))
        return x


def _points(batch: int, width: int) -> list[tuple[Tensor, Tensor]]:
    """Noise # (batch, width) and classes, as many as the noise is wide."""
    return [(torch.randn(batch, width), torch.randint(width, (batch,))) for _ in range(8)]


def deep_mlp() -> Step:
    """200 tiny layers with Adam: 400 tensors, so that what is paid by tensor shows."""
    net = _Deep(16, 200)
    return _loop(net, torch.optim.Adam(net.parameters(), lr=1e-3), _points(16, 16))


def square_mlp(width: int, layers: int, batch: int) -> Step:
    """`layers` square layers with SGD and momentum: two tensors each."""
    net = _Deep(width, layers)
    return _loop(net, torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9), _points(batch, width))


WORKLOADS = {
    "W1b1": Workload("tutorial CNN, batch 1", lambda: tutorial(1)),
    "W1b64": Workload("tutorial CNN, batch 64", lambda: tutorial(64)),
    "W2": Workload("ResNet-18, 32x32, batch 16", resnet18),
    "W3": Workload("small GPT", gpt),
    "W4": Workload("200-layer MLP, Adam", deep_mlp),
    "W5": Workload("500-layer MLP, 1,000 tensors, 2.1M values", lambda: square_mlp(64, 500, 64)),
    "W6": Workload("GPT-2 small, 124M values, 1 x 64 words", gpt2, one_side_at_a_time=True),
}


def find(name: str) -> Workload:
    """The workload of that name; ValueError, in one sentence, where there is none."""
    if name in WORKLOADS:
        return WORKLOADS[name]
    kind, _, text = name.partition(":")
    try:
        size = int(float(text))
    except (ValueError, OverflowError):
        size = 0
    if kind == "params" and size >= 100:
        width = round((size / 10 + 0.25) ** 0.5 - 0.5)
        return Workload(f"{size:,} values in 20 tensors", lambda: square_mlp(width, 10, 16), size >= 50_000_000)
    if kind == "tensors" and size >= 2 and size % 2 == 0:
        return Workload(f"{size:,} tiny tensors", lambda: square_mlp(8, size // 2, 8))
    raise ValueError(
        f"no such workload: {name} (there are {', '.join(WORKLOADS)}; params:N, N of 100 or more; tensors:N, N even)"
    )


def make(name: str) -> Step:
    """A new loop of that name: call what comes back to train one step. ValueError where there is none."""
    return find(name).make()
