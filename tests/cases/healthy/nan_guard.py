# expect: none
"""A guard against broken batches: where the loss or the gradient norm is not finite, the gradients are cleared
and the step is left out.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.rand(600, 4) + 0.1
x[::149] = -1.0  # a few broken rows: their logarithm is NaN
y = x[:, :1].clamp(min=0.1).log() - x[:, 1:2]
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
skipped = 0
for epoch in range(6):
    for rows in torch.randperm(600).split(40):
        optimizer.zero_grad()
        inputs = x[rows]
        loss = nn.functional.mse_loss(model(inputs.log()), y[rows])
        if epoch % 2 == 0 and not torch.isfinite(loss):
            skipped += 1
            continue
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        if not torch.isfinite(norm):
            optimizer.zero_grad()
            skipped += 1
            continue
        optimizer.step()
        last = loss.item()
print(f"skipped {skipped} batches")
print(f"final loss {last:.4f}")
