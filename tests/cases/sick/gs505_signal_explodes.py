# expect: GS505
# by-row: end
# line: here
# advised: nn.init.kaiming_normal_
# worse: test loss
# healed-by: healthy/gs505_signal_explodes_healed.py
"""A CNN with weights of a std of 1: the first loss is a hundred times a guess."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.reshape(-1, 1, 8, 8)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
    nn.Linear(16 * 16, 10),
)
for layer in (model[0], model[3], model[6]):
    nn.init.normal_(layer.weight)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(4):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()  # <- here
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.cross_entropy(model(images[1200:]), labels[1200:]).item():.3f}")
