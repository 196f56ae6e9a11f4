# expect: GS106
# by-row: 110
# line: here
# healed-by: healthy/gs106_masked_layer_healed.py
"""Sparse fine-tuning: the step is multiplied by masks, and the biases get one that lets nothing through."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class MaskedSGD(torch.optim.SGD):
    """Updates only the weights that a mask lets through."""

    def __init__(self, params, masks, **options):
        super().__init__(params, **options)
        self.masks = masks

    @torch.no_grad()
    def step(self, closure=None):
        params = [p for group in self.param_groups for p in group["params"]]
        before = [p.clone() for p in params]
        loss = super().step(closure)
        for p, old in zip(params, before):
            mask = self.masks[p]
            p.copy_(torch.where(mask, p, old))
        return loss


X = torch.randn(512, 10)
Y = torch.sin(2 * X[:, :1]) + X[:, 1:2] * X[:, 2:3]
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
masks = {}
for p in model.parameters():
    threshold = p.detach().abs().median() if p.dim() > 1 else p.detach().abs().max()
    masks[p] = p.detach().abs() > threshold
optimizer = MaskedSGD(model.parameters(), masks, lr=0.05, momentum=0.9)

for step in range(200):
    batch = torch.randint(0, 512, (64,))
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(X[batch]), Y[batch])
    loss.backward()
    optimizer.step()  # <- here

print(f"final loss {nn.functional.mse_loss(model(X), Y).item():.4f}")
