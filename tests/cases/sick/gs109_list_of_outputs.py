# expect: GS109
# by-row: 400
# line: here
# healed-by: healthy/gs109_list_of_outputs_healed.py
"""The outputs of all batches are collected for a metric, with their graphs, over the whole run."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
loader = DataLoader(TensorDataset(torch.tensor(x).float() / 16, torch.tensor(y)), batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
all_outputs, all_targets = [], []

for epoch in range(2):
    for images, targets in loader:
        optimizer.zero_grad()
        outputs = model(images)
        loss = nn.functional.cross_entropy(outputs, targets)
        loss.backward()
        optimizer.step()
        all_outputs.append(outputs)  # <- here
        all_targets.append(targets)

accuracy = (torch.cat(all_outputs).argmax(1) == torch.cat(all_targets)).float().mean()
print(f"accuracy while training {accuracy.item():.4f}")
