"""Metric learning on digits: a siamese net with the contrastive loss of pairs, judged on held-out pairs; RMSprop."""
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset

MARGIN = 1.0
BATCH = 32
EPOCHS = 8
LR = 1e-3
random.seed(6)
torch.manual_seed(6)
torch.set_num_threads(1)


class Pairs(Dataset):
    """Pairs of the same digit (1) and of two different ones (0), as often."""

    def __init__(self, images, labels, count, same_share=0.5):
        self.images, self.labels = images, labels
        groups = [torch.nonzero(labels == c).flatten().tolist() for c in range(10)]
        self.pairs = []
        for _ in range(count):
            if random.random() < same_share:
                i, j = random.choices(random.choice(groups), k=2)
            else:
                first, second = random.sample(groups, 2)
                i, j = random.choice(first), random.choice(second)
            self.pairs.append((i, j))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        i, j = self.pairs[index]
        return self.images[i], self.images[j], (self.labels[i] == self.labels[j]).float()


class Embedder(nn.Module):
    def __init__(self, size=16):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.hidden = nn.Linear(12 * 16, 64)
        self.embed = nn.Linear(64, size)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2).flatten(1)
        x = F.relu(self.hidden(x))
        return F.normalize(self.embed(x), dim=1)


def contrastive(a, b, same):
    distance = (a - b).square().sum(1).add(1e-8).sqrt()
    return (same * distance.square() + (1 - same) * F.relu(MARGIN - distance).square()).mean()


def evaluate(net):
    net.eval()
    with torch.no_grad():
        first, second, same = next(iter(DataLoader(test_pairs, batch_size=len(test_pairs))))
        distance = (net(first) - net(second)).square().sum(1).sqrt()
        return (same * distance.square() + (1 - same) * F.relu(1.0 - distance).square()).mean().item()


digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0 - 0.5
labels = torch.tensor(digits.target)
train_pairs = Pairs(images[:1200], labels[:1200], 3200)
test_pairs = Pairs(images[1200:], labels[1200:], 1000)
loader = DataLoader(train_pairs, batch_size=BATCH, shuffle=True)
net = Embedder()
optimizer = torch.optim.RMSprop(net.parameters(), lr=LR)
print(f"start: {evaluate(net):.5f}")
for epoch in range(EPOCHS):
    net.train()
    total = 0.0
    for first, second, same in loader:
        optimizer.zero_grad()
        loss = contrastive(net(first), net(second), same)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: train {total / len(loader):.4f}, held out {evaluate(net):.4f}")
print(f"result: {evaluate(net):.5f}")
