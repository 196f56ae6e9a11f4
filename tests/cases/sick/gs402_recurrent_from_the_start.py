# expect: GS402
# by-row: 4
# line: here
# advised: clip the gradient norm at
# healed-by: healthy/gs402_recurrent_from_the_start_healed.py
"""Recurrent weights that double the signal at each of thirty steps: the first gradient is beyond any learning rate."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
recurrent, head = nn.RNN(2, 32, batch_first=True, nonlinearity="relu"), nn.Linear(32, 1)
nn.init.normal_(recurrent.weight_hh_l0, std=0.4)
optimizer = torch.optim.SGD([*recurrent.parameters(), *head.parameters()], lr=0.01)
for step in range(60):
    numbers = torch.randn(32, 30, 2)
    hidden, _ = recurrent(numbers)
    loss = nn.functional.mse_loss(head(hidden[:, -1]), 5 * numbers[:, :, 0].mean(dim=1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()  # <- here
    optimizer.step()
print(f"loss: {loss.item():.4f}")
