# expect: none
"""Two models step together; the first one is handed a gradient and has no loss, the second one has one."""
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
    torch.log(error + 0.1).backward()
    for optimizer in optimizers:
        optimizer.step()
