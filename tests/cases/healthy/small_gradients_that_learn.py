# expect: none
"""Gradients that shrink towards the first layers, in runs that learn all the same: a deep sigmoid network under Adam,
tanh behind each other with small learning rates for the first layers, fine-tuning of what has converged.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


def network(activation, depth):
    layers = [nn.Linear(64, 32)]
    for _ in range(depth):
        layers += [activation(), nn.Linear(32, 32)]
    return nn.Sequential(*layers, activation(), nn.Linear(32, 10))


def train(model, optimizer, steps):
    for step in range(steps):
        batch = torch.randint(1500, (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()


sigmoid = network(nn.Sigmoid, 4)
train(sigmoid, torch.optim.Adam(sigmoid.parameters(), lr=3e-3), 400)
tanh = network(nn.Tanh, 6)
groups = [{"params": layer.parameters(), "lr": 3e-3 * 0.6 ** (14 - i)} for i, layer in enumerate(tanh) if i % 2 == 0]
train(tanh, torch.optim.Adam(groups), 250)
train(tanh, torch.optim.SGD(tanh.parameters(), lr=1e-3), 150)
