# expect: none
"""Grad-CAM pictures every 20 steps in the middle of a training: extra backwards through the model, in eval
mode, whose gradients are cleared before the training goes on.
"""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.classifier = nn.Linear(8 * 64, 10)

    def forward(self, x):
        maps = self.features(x)
        return self.classifier(maps.flatten(1)), maps


def grad_cam(model, image, label):
    """A coarse map of where the model looks for this class."""
    model.eval()
    model.zero_grad()
    scores, maps = model(image)
    maps.retain_grad()
    scores[0, label].backward()
    weights = maps.grad.mean(dim=(2, 3), keepdim=True)
    cam = torch.relu((weights * maps).sum(dim=1)).detach()
    model.zero_grad()
    model.train()
    return cam / (cam.max() + 1e-8)


torch.manual_seed(0)
torch.set_num_threads(1)
data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(data.target)
model = ConvNet()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
pictures = []
for step in range(60):
    if step % 20 == 0:
        pictures.append(grad_cam(model, images[:1], labels[0]))
    rows = torch.randint(0, len(images), (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[rows])[0], labels[rows])
    loss.backward()
    optimizer.step()
print(f"{len(pictures)} pictures, mean {torch.stack(pictures).mean().item():.3f}")
print(f"final loss {loss.item():.4f}")
