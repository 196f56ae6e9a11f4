# expect: GS103
# by-row: 20
# line: here
# healed-by: healthy/gs103_model_recreated_healed.py
"""A notebook-like script: the optimizer was built, then the cell with the model was run again. The optimizer
holds a model that nobody uses any more.
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_num_threads(1)

# cell 1
x = torch.linspace(-1, 1, 256).unsqueeze(1)
y = x.pow(3) + 0.1 * torch.randn(x.size())


def build_model(hidden):
    return nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, 1))


# cell 2
model = build_model(10)

# cell 3
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

# cell 2 again: more hidden units
model = build_model(32)

# cell 4
for t in range(100):
    prediction = model(x)
    loss = (prediction - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()  # <- here

print(f"final loss {loss.item():.4f}")
