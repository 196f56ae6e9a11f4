# expect: none
"""SELU, SiLU, ReLU6, Hardswish, GELU, ELU, Softplus and leaky ReLU, one after the other."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
functions = [nn.SELU(), nn.SiLU(), nn.ReLU6(), nn.Hardswish(), nn.GELU(), nn.ELU(), nn.Softplus(), nn.LeakyReLU()]
layers = [layer for function in functions for layer in (nn.Linear(64, 64), function)]
for layer in layers[::2]:
    nn.init.kaiming_normal_(layer.weight)
model = nn.Sequential(*layers, nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(5):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
model.eval()
print(f"test loss: {nn.functional.cross_entropy(model(images[1200:]), labels[1200:]).item():.3f}")
