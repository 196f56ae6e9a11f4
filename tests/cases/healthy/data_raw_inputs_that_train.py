# expect: none
"""Pixels of 0 to 255 with Adam, which learns them all the same; and counts, most of them 0."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
pixels, labels = torch.tensor(digits.data * 255 / 16, dtype=torch.float32), torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
for epoch in range(4):
    for batch in torch.randperm(1500).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pixels[batch]), labels[batch]).backward()
        optimizer.step()
rates = torch.rand(10, 200) ** 4  # of words, by topic
topics = torch.randint(0, 10, (1200,))
counts = torch.poisson(3 * rates[topics])
model = nn.Linear(200, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for epoch in range(3):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(counts[batch]), topics[batch]).backward()
        optimizer.step()
