# expect: none
"""The first backward (create_graph=True) leaves gradients that are part of a graph; the squared norm of these
gradients is sent backward too, so each step sees two backwards without a clear in between.
"""
import warnings

import torch
from torch import nn

warnings.filterwarnings("ignore", message="Using backward")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.rand(300, 2) * 2 - 1
    y = (x.norm(dim=1) < 0.7).long()
    model = nn.Sequential(nn.Linear(2, 24), nn.Softplus(), nn.Linear(24, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for step in range(80):
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward(create_graph=True)
        flatness = sum(p.grad.square().sum() for p in model.parameters())
        (0.01 * flatness).backward()
        optimizer.step()
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
