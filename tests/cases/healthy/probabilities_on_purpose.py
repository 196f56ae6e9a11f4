# expect: none
"""Losses of probabilities, scaled or mixed before the loss: a sigmoid times a learned scale, thirty times a softmax,
BCELoss of a sigmoid, noisy labels corrected by a transition matrix, a focal loss by hand.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
even = (labels % 2 == 0).float()
noise = 0.8 * torch.eye(10) + 0.02
scale = nn.Parameter(torch.tensor([4.0, -2.0]))
body = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
heads = nn.ModuleList(nn.Linear(48, size) for size in (1, 1, 10, 10, 10))
optimizer = torch.optim.Adam([*body.parameters(), *heads.parameters(), scale], lr=3e-3)
for step in range(150):
    batch = torch.randint(1500, (64,))
    x, y = body(images[batch]), labels[batch]
    first, second, third, fourth, fifth = (head(x) for head in heads)
    p = torch.sigmoid(first)[:, 0]
    loss = nn.functional.binary_cross_entropy_with_logits(scale[0] * p + scale[1], even[batch])
    loss = loss + nn.functional.binary_cross_entropy(torch.sigmoid(second)[:, 0], even[batch])
    loss = loss + nn.functional.cross_entropy(30 * torch.softmax(third, dim=1), y)
    loss = loss + nn.functional.nll_loss(torch.log(torch.softmax(fourth, dim=1) @ noise), y)
    log_p = torch.log_softmax(fifth, dim=1).gather(1, y[:, None])[:, 0]
    loss = loss - ((1 - log_p.exp()) ** 2 * log_p).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
