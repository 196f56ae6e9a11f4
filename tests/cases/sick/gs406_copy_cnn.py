# expect: GS406
# by-row: 8
# line: here
# advised: give it the parameters of the model that is trained
# worse: test loss
# healed-by: healthy/gs406_copy_cnn_healed.py
"""The list of parameters to clip is that of the model before it was copied."""
import copy

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
images = images.reshape(-1, 1, 8, 8)
model = nn.Sequential(
    nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.ReLU(),
    nn.Flatten(), nn.Linear(24 * 16, 10),
)
parameters = list(model.parameters())
model = copy.deepcopy(model)  # the one to train; the first stays as it was
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
for epoch in range(4):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 0.5)  # <- here
        optimizer.step()
model.eval()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1500:]), labels[1500:]):.4f}")
