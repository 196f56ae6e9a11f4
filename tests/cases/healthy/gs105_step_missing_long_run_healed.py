# expect: none
"""The longer run with its step() before the scheduler's."""
import torch
from torch import nn


def evaluate(model, x, y):
    model.eval()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(x), y).item()
    model.train()
    return loss


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.randn(1000, 12)
    y = (x[:, :4].sum(dim=1) > x[:, 4:8].sum(dim=1)).long()
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    for epoch in range(7):
        for rows in torch.randperm(1000).split(32):
            model.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        scheduler.step()
    print(f"final loss {evaluate(model, x, y):.4f}")


if __name__ == "__main__":
    main()
