# expect: none
"""Gradients of exactly 0 that are meant: a pruned layer, padding, an expert with a weight of 0, all parameters times 0
for the sake of data parallelism, a divergence that is not weighed in yet, free bits, a clamped scale, one key to attend
to.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.pruned = nn.Linear(32, 32)
        self.register_buffer("mask", torch.zeros(32, 32))
        self.table = nn.Embedding(18, 4, padding_idx=0)
        self.experts = nn.ModuleList(nn.Linear(32, 32) for _ in range(3))
        self.log_scale = nn.Linear(32, 1)
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.unused = nn.Linear(32, 5)
        self.head = nn.Linear(36, 10)

    def forward(self, images):
        x = self.body(images)
        x = x + nn.functional.linear(x, self.pruned.weight * self.mask)
        shares = torch.tensor([0.6, 0.4, 0.0])
        x = x + sum(share * expert(x) for share, expert in zip(shares, self.experts))
        weights = torch.softmax((self.query(x) * self.key(x)).sum(1, keepdim=True), dim=1)
        x = x + weights * self.value(x)
        ink = self.table((images[:, :8] * 16).long()).mean(1)
        return self.head(torch.cat([x, ink], dim=1)), x, self.log_scale(x).clamp(-20, -9)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(140):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    logits, x, log_scale = model(images[batch])
    loss = nn.functional.cross_entropy(logits, labels[batch]) + log_scale.exp().mean()
    loss = loss + 0.0 * model.unused(x).square().mean() + 0.0 * sum(p.sum() for p in model.parameters())
    loss = loss + x.square().mean().clamp(min=50.0)
    loss.backward()
    optimizer.step()
