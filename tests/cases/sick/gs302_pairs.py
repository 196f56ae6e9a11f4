# expect: GS302
# line: here
# healed-by: healthy/gs302_pairs_healed.py
"""Pairs of digits, evaluated after each epoch, with an lr that moves nothing."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8))
optimizer = torch.optim.RMSprop(encoder.parameters(), lr=1e-8)


def contrastive(first, second):
    distance = (encoder(images[first]) - encoder(images[second])).square().sum(1).add(1e-8).sqrt()
    same = (labels[first] == labels[second]).float()
    return (same * distance.square() + (1 - same) * (1 - distance).clamp_min(0).square()).mean()


for epoch in range(6):
    encoder.train()
    for step in range(40):
        first = torch.randint(1400, (64,))
        second = torch.where(torch.rand(64) < 0.5, torch.randint(1400, (64,)), first.roll(1))
        optimizer.zero_grad()
        loss = contrastive(first, second)
        loss.backward()
        optimizer.step()  # <- here
    encoder.eval()
    with torch.no_grad():
        held_out = contrastive(torch.arange(1400, 1590), torch.arange(1600, 1790))
print(f"test loss: {held_out:.5f}")
