# expect: GS201
# by-row: 45
# line: here
# healed-by: healthy/gs201_loss_of_the_second_optimizer_healed.py
"""Two models step together; the first one is handed a gradient and has no loss, that of the second one is no number."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
first, second = nn.Linear(4, 2), nn.Linear(4, 1)
optimizers = [torch.optim.SGD(model.parameters(), lr=0.01) for model in (first, second)]
for step in range(60):
    x = torch.randn(32, 4)
    for optimizer in optimizers:
        optimizer.zero_grad()
    out = first(x)
    out.backward(0.01 * (out.detach() - x[:, :2]))
    error = (second(x) - x[:, :1]).square().mean()
    torch.log(error - (10.0 if step >= 30 else 0.0)).backward()  # <- here
    for optimizer in optimizers:
        optimizer.step()
