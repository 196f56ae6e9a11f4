# expect: none
"""Rare classes that are no mistake: easy to tell, weighted, drawn more often, focal loss, rates of clicks, many labels,
a background of pixels, a bag of tokens.
"""
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
fails = torch.rand(6000) < 0.03
readings = torch.randn(6000, 12) + 2.5 * fails[:, None] * (torch.arange(12) < 4)
labels = fails.long()


def train(model, loss_of, lr=3e-3, rows=280):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(rows):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
    print(f"{loss.item():.4f}")


def mlp(outputs, inputs=12):
    return nn.Sequential(nn.Linear(inputs, 24), nn.ReLU(), nn.Linear(24, outputs))


def batch(many=64):
    return torch.randint(0, len(labels), (many,))


def easy(model):
    i = batch()
    return F.cross_entropy(model(readings[i]), labels[i])


def weighted(model):
    i = batch()
    return F.cross_entropy(model(readings[i]), labels[i], weight=torch.tensor([0.5, 16.0]))


def pos_weight(model):
    i = batch()
    return F.binary_cross_entropy_with_logits(model(readings[i])[:, 0], fails[i].float(), pos_weight=torch.tensor(32.0))


def drawn_more_often(model):
    i = torch.multinomial(torch.where(fails, 32.0, 1.0), 64, replacement=True)
    return F.cross_entropy(model(readings[i]), labels[i])


def focal(model):
    i = batch()
    each = F.cross_entropy(model(readings[i]), labels[i], reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def many_labels(model):
    i = batch()
    return F.binary_cross_entropy_with_logits(model(readings[i]), (torch.rand(64, 20) < 0.02).float())


class Clicks(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.goods, self.head = nn.Embedding(50, 8), nn.Embedding(50, 8), nn.Linear(16, 1)

    def forward(self, users, goods):
        return self.head(torch.cat([self.users(users), self.goods(goods)], 1))[:, 0]


def clicks(model):
    users, goods = torch.randint(0, 50, (2, 128))
    rate = torch.where((users + goods) % 5 == 0, 0.06, 0.01)
    return F.binary_cross_entropy_with_logits(model(users, goods), (torch.rand(128) < rate).float())


def background(model):
    images, masks = torch.randn(4, 1, 12, 12), torch.zeros(4, 12, 12, dtype=torch.long)
    masks[:, 4:7, 4:7] = 1
    return F.cross_entropy(model(images + 2.0 * masks[:, None]), masks)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 12), nn.Linear(12, 20)

    def forward(self, tokens):
        return self.head(self.embedding(tokens))


def tokens(model):
    text = torch.where(torch.rand(8, 17) < 0.94, 0, torch.randint(1, 20, (8, 17)))
    return F.cross_entropy(model(text[:, :-1]).reshape(-1, 20), text[:, 1:].reshape(-1))


train(mlp(2), easy, lr=1e-2)
train(mlp(2), weighted)
train(mlp(1), pos_weight)
train(mlp(2), drawn_more_often)
train(mlp(2), focal)
train(mlp(20), many_labels)
train(Clicks(), clicks)
train(nn.Conv2d(1, 2, 3, padding=1), background, lr=3e-2)
train(Tokens(), tokens)
