# expect: none
"""The optimizer step is fused into the backward to save memory: one optimizer per parameter, stepped and
cleared in a post-accumulate-grad hook.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
optimizers = {p: torch.optim.AdamW([p], lr=3e-3) for p in model.parameters()}


def step_in_backward(parameter):
    optimizers[parameter].step()
    optimizers[parameter].zero_grad()


for p in model.parameters():
    p.register_post_accumulate_grad_hook(step_in_backward)

x = torch.randn(600, 8)
y = x[:, :3].argmax(dim=1)
for step in range(100):
    rows = torch.randint(0, 600, (64,))
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    loss.backward()

print(f"final loss {loss.item():.4f}")
