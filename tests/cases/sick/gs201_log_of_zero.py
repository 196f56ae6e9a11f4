# expect: GS201
# by-row: 80
# line: here
# healed-by: healthy/gs201_log_of_zero_healed.py
"""A hand-written cross entropy: softmax, then log. As the net grows sure, a probability underflows to 0 and its log is
-inf.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for epoch in range(4):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        probabilities = model(images[batch]).softmax(dim=1)
        loss = -probabilities.log()[range(len(batch)), labels[batch]].mean()
        loss.backward()  # <- here
        optimizer.step()
right = (model(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean()
print(f"test accuracy {right:.3f}")
