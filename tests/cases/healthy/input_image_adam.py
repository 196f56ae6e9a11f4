# expect: none
"""Feature visualisation: Adam moves an input image so that a frozen, trained classifier takes it for a three.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn


def train_classifier(x, y):
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        rows = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    model = train_classifier(x, y)
    picture = torch.full((1, 64), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([picture], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(picture), torch.tensor([3])) + 0.01 * picture.square().sum()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            picture.clamp_(0, 1)
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
