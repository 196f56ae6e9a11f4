# expect: none
"""The loss is computed on the model's own output."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


def train(model, optimizer, x, y, epochs):
    for epoch in range(epochs):
        for rows in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            logits = model(x[rows])
            loss = F.cross_entropy(logits, y[rows])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} {loss.item():.4f}")
    return loss.item()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(data.target)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    print(f"final loss {train(model, optimizer, x, y, 4):.4f}")
