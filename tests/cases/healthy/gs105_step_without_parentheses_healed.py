# expect: none
"""optimizer.step() with its parentheses."""
import torch
import torch.nn as nn


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.linspace(0, 6, 300).unsqueeze(1)
    y = torch.cos(x)
    net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    mse = nn.MSELoss()
    for epoch in range(80):
        optimizer.zero_grad()
        loss = mse(net(x), y)
        loss.backward()
        optimizer.step()
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
