# expect: none
"""The style of the old tutorials: gradients are cleared with p.grad.data.zero_(), here after each window of an
accumulation.
"""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def clear(parameters):
    for p in parameters:
        if p.grad is not None:
            p.grad.data.zero_()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.rand(480, 3)
    y = (x[:, :1] - x[:, 1:2]) * x[:, 2:]
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    model = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for epoch in range(4):
        total = 0.0
        for i, (inputs, targets) in enumerate(loader, start=1):
            loss = nn.functional.mse_loss(model(inputs), targets)
            total += loss.item()
            loss.backward()
            if i % 2 == 0:
                optimizer.step()
                clear(model.parameters())
    print(f"final loss {total / len(loader):.4f}")


if __name__ == "__main__":
    main()
