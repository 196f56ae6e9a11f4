# expect: none
"""A pre-norm transformer of six layers under bfloat16 autocast, and forty layers with BatchNorm, at the first steps."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)


class Transformer(nn.Module):
    def __init__(self, size=16):
        super().__init__()
        self.embed, self.place = nn.Linear(8, size), nn.Parameter(0.1 * torch.randn(8, size))
        layer = nn.TransformerEncoderLayer(size, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(size, 10)

    def forward(self, rows):
        return self.head(self.blocks(self.embed(rows) + self.place).mean(1))


layers = [nn.Flatten(), nn.Linear(64, 24)]
for _ in range(40):
    layers += [nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 24)]
for model, lr in ((Transformer(), 3e-3), (nn.Sequential(*layers, nn.BatchNorm1d(24), nn.Linear(24, 10)), 1e-3)):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for step in range(70):
        batch = torch.randint(1500, (32,))
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=isinstance(model, Transformer)):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
