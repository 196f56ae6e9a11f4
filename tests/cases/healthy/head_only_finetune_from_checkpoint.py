# expect: none
"""Head-only fine-tuning of a model whose weights come from a checkpoint (load_state_dict with the old head left
out); the backbone was not frozen, but only the head is given to the optimizer.
"""
import io

import torch
from sklearn.datasets import load_digits
from torch import nn


def build(classes):
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, classes))


def pretrained_weights(x, y):
    """What would be a download in real life: a checkpoint file of a model trained on other digits."""
    model = build(5)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        rows = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    return buffer


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    weights = torch.load(pretrained_weights(x[y < 5], y[y < 5]))
    weights = {name: value for name, value in weights.items() if not name.startswith("4.")}

    model = build(5)
    model.load_state_dict(weights, strict=False)
    head = model[-1]
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    x, y = x[y >= 5], y[y >= 5] - 5
    for _ in range(80):
        rows = torch.randint(0, len(x), (64,))
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
