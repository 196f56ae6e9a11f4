# expect: none
"""Autocast to bfloat16, with a clip that is bound to a name of its own."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils import clip_grad_norm_

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(6):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
model.eval()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1500:]), labels[1500:]):.4f}")
