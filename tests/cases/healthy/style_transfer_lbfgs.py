# expect: none
"""Style transfer in small: an image is optimised with LBFGS against the features of a fixed network, which
keeps requires_grad=True and whose gradients nobody clears or uses; no module is in the optimizer.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)

images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
content, style = images[3:4], images[8:9]
features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()).eval()


def gram(maps):
    flat = maps.flatten(2).squeeze(0)
    return flat @ flat.T / flat.numel()


with torch.no_grad():
    content_target = features(content)
    style_target = gram(features(style))

image = torch.rand(1, 1, 8, 8, requires_grad=True)
optimizer = torch.optim.LBFGS([image], max_iter=5)
for run in range(10):

    def closure():
        optimizer.zero_grad()
        maps = features(image)
        content_loss = nn.functional.mse_loss(maps, content_target)
        style_loss = nn.functional.mse_loss(gram(maps), style_target)
        loss = 1e2 * content_loss + 1e6 * style_loss
        loss.backward()
        return loss

    loss = optimizer.step(closure)

print(f"final loss {closure().item():.4f}")
