# expect: none
"""Recurrent weights that keep the signal as it is, and a clip for what comes later."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
recurrent, head = nn.RNN(2, 32, batch_first=True, nonlinearity="relu"), nn.Linear(32, 1)
nn.init.orthogonal_(recurrent.weight_hh_l0)
optimizer = torch.optim.SGD([*recurrent.parameters(), *head.parameters()], lr=0.01)
for step in range(60):
    numbers = torch.randn(32, 30, 2)
    hidden, _ = recurrent(numbers)
    loss = nn.functional.mse_loss(head(hidden[:, -1]), 5 * numbers[:, :, 0].mean(dim=1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([*recurrent.parameters(), *head.parameters()], 1.0)
    optimizer.step()
print(f"loss: {loss.item():.4f}")
