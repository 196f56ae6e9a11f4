"""The networks of problems.py: small ones of the kinds that people train."""
from __future__ import annotations

from typing import Callable

from torch import Tensor, nn
from torch.nn import functional as F


def tutorial() -> nn.Module:
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


def cnn(channels: int = 1, size: int = 8, width: int = 16) -> nn.Module:
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


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip(widths, widths[1:]):
        layers += [nn.Linear(before, after), act()]
    return nn.Sequential(*layers[:-1])


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def resnet(channels: int = 1, width: int = 12, blocks: int = 2) -> nn.Module:
    stem = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    body = [Residual(width) for _ in range(blocks)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))


class Transformer(nn.Module):
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


class Recurrent(nn.Module):
    """A recurrent layer and a head: at every place, or at the last one only."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int, width: int, out: int, words: bool, last: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(inputs, 16) if words else nn.Identity()
        self.rnn = kind(16 if words else inputs, width, batch_first=True)
        self.head, self.last = nn.Linear(width, out), last

    def forward(self, x: Tensor) -> Tensor:
        states = self.rnn(self.embed(x))[0]
        return self.head(states[:, -1] if self.last else states)


class Factors(nn.Module):
    """The next word from the one before: two tables of embeddings, multiplied."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.given, self.next = nn.Embedding(words, width), nn.Linear(width, words)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.next(self.given(tokens))
