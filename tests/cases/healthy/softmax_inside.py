# expect: none
"""Softmax and sigmoid where they belong: attention written out, a soft mixture of experts, a gate, a temperature, label
smoothing, soft targets.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)


class Net(nn.Module):
    def __init__(self, size=16, experts=3):
        super().__init__()
        self.embed = nn.Linear(8, size)
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.gate = nn.Linear(8 * size, experts)
        self.experts = nn.ModuleList(nn.Linear(8 * size, 32) for _ in range(experts))
        self.valve = nn.Linear(32, 32)
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.head = nn.Linear(32, 10)

    def forward(self, rows):
        x = self.embed(rows)
        weights = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2) / 4, dim=-1)
        x = (x + weights @ self.value(x)).flatten(1)
        shares = torch.softmax(self.gate(x), dim=1)
        x = sum(shares[:, i : i + 1] * torch.relu(expert(x)) for i, expert in enumerate(self.experts))
        x = x * torch.sigmoid(self.valve(x))
        return self.head(x) / self.temperature


model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
for step in range(120):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    logits = model(images[batch])
    soft = torch.softmax(3 * nn.functional.one_hot(labels[batch], 10).float(), dim=1)
    (smooth(logits, labels[batch]) + nn.functional.cross_entropy(logits, soft)).backward()
    optimizer.step()
