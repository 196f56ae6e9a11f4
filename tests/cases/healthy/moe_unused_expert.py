# expect: none
"""A mixture of experts routed by a given domain; no sample of this data set belongs to the last domain, so its
expert is never used.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class DomainExperts(nn.Module):
    def __init__(self, domains):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(5, 16), nn.Tanh())
        self.experts = nn.ModuleList([nn.Linear(16, 1) for _ in range(domains)])

    def forward(self, x, domain):
        h = self.shared(x)
        out = torch.zeros(len(x), 1)
        for d in domain.unique().tolist():
            mask = domain == d
            out[mask] = self.experts[d](h[mask])
        return out


model = DomainExperts(domains=4)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x = torch.randn(400, 5)
domain = torch.randint(0, 3, (400,))  # domain 3 will come with the next delivery of data
y = x[:, :1] * (domain[:, None].float() - 1) + 0.5 * x[:, 1:2]
for step in range(100):
    rows = torch.randint(0, 400, (4 if step % 3 else 64,))
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x[rows], domain[rows]), y[rows])
    loss.backward()
    optimizer.step()
with torch.no_grad():
    print(f"final loss {nn.functional.mse_loss(model(x, domain), y).item():.4f}")
