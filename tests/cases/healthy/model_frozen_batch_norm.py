# expect: none
"""Fine-tuning with one image a step: batch normalisation keeps to its running statistics."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
images = images.reshape(-1, 1, 8, 8)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 32, 1), nn.BatchNorm2d(32),
    nn.ReLU(), nn.Flatten(), nn.Linear(32, 10),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for phase in ("train", "tune"):
    model.train()
    if phase == "tune":
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    for batch in torch.randperm(1200)[: 1200 if phase == "train" else 150].split(32 if phase == "train" else 1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
print(f"loss {loss.item():.3f}")
