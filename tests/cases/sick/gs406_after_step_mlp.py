# expect: GS406
# by-row: 8
# line: here
# advised: move it between backward() (line
# worse: test loss
# healed-by: healthy/gs406_after_step_mlp_healed.py
"""The clip comes after the step: pixels from 0 to 16 make for gradients that the network does not stand."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(8):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)  # <- here
model.eval()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1500:]), labels[1500:]):.4f}")
