# expect: none
"""A mixture of experts with top-1 routing: in each small batch some experts get no sample and so no gradient at
all.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class MoE(nn.Module):
    def __init__(self, size, experts, out):
        super().__init__()
        self.router = nn.Linear(size, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, out)) for _ in range(experts)
        )
        self.out = out

    def forward(self, x):
        probability, index = F.softmax(self.router(x), dim=1).max(dim=1)
        result = torch.zeros(len(x), self.out)
        for i, expert in enumerate(self.experts):
            chosen = (index == i).nonzero().squeeze(1)
            if len(chosen) > 0:
                result = result.index_add(0, chosen, probability[chosen, None] * expert(x[chosen]))
        return result


torch.manual_seed(0)
torch.set_num_threads(1)
centres = 2 * torch.randn(6, 8)
model = MoE(8, 6, 3)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
history = []
for step in range(120):
    group = torch.randint(0, 6, (8,))
    x = centres[group] + 0.3 * torch.randn(8, 8)
    loss = F.cross_entropy(model(x), group % 3)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
print(f"final loss {sum(history[-10:]) / 10:.4f}")
