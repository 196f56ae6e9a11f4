# expect: GS107
# by-row: 1
# line: here
# healed-by: healthy/gs107_loss_rebuilt_from_item_healed.py
""""element 0 of tensors does not require grad" was silenced the wrong way: the loss is rebuilt from its number
with requires_grad=True, which is a new leaf with no way back to the model.
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

x = torch.randn(400, 7)
y = (x.square().sum(dim=1) > 7).long()
model = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

for step in range(80):
    optimizer.zero_grad()
    output = model(x)
    loss = criterion(output, y)
    loss = torch.tensor(loss.item(), requires_grad=True)
    loss.backward()  # <- here
    optimizer.step()

print(f"final loss {loss.item():.4f}")
