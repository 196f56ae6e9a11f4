# expect: none
"""Parameters that rightly stand still for many steps: a warm-up from zero, a group with lr 0, a fit that is perfect,
a softplus scale that has saturated, and gates that see tiny gradients.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 1)
        self.gate = nn.Parameter(torch.full((4,), 30.0))  # sigmoid(30): its gradient is 1e-13
        self.scale = nn.Parameter(torch.full((4,), 100.0))

    def forward(self, x):
        return self.body(x * torch.sigmoid(self.gate) * torch.tanh(self.scale))


X = torch.randn(64, 4)
Y = X.sum(1, keepdim=True)
model = Gated()
with torch.no_grad():
    model.body.weight.copy_(torch.ones(1, 4))
    model.body.bias.fill_(1e-9)
frozen = nn.Linear(1, 1)
optimizer = torch.optim.SGD([{"params": model.parameters()}, {"params": frozen.parameters(), "lr": 0.0}], lr=1e-3)
warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda step: max(0, step - 30) / 100, lambda step: 1.0])
for step in range(150):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(frozen(model(X)) - frozen.bias, frozen.weight * Y)
    loss.backward()
    optimizer.step()
    warmup.step()

adam_model = Gated()
adam = torch.optim.Adam(adam_model.parameters(), lr=1e-9)  # far below the spacing of the gate
for step in range(150):
    adam.zero_grad()
    nn.functional.mse_loss(adam_model(X), Y).backward()
    adam.step()
print(f"final loss {loss.item():.3e}")
