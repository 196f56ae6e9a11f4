# expect: none
"""The same loop with optimizer.zero_grad()."""
import argparse

import torch
from torch import nn


def parse_args():
    parser = argparse.ArgumentParser(description="regression on made data")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    features = torch.randn(300, 8)
    targets = features @ torch.randn(8, 1) + 0.3 * (features[:, :1] * features[:, 1:2])
    model = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
    criterion = nn.MSELoss()
    for _ in range(args.epochs):
        optimizer.zero_grad()
        loss = criterion(model(features), targets)
        loss.backward()
        optimizer.step()
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
