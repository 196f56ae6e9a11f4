# expect: GS101
# by-row: 1
# line: here
# healed-by: healthy/gs101_adam_dataloader_healed.py
"""Adam with a DataLoader and no zero_grad(). Adam's normalisation hides the growing gradients, so nothing
explodes: the model only trains in the direction of the past and stays worse than it should be.
"""
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.fc(x.flatten(1))


def train(model, loader, criterion, optimizer):
    model.train()
    total = 0.0
    for data, target in loader:
        output = model(data)
        loss = criterion(output, target)
        loss.backward()  # <- here
        optimizer.step()
        total += loss.item() * len(data)
    return total / len(loader.dataset)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=64, shuffle=True)
    model = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(4):
        loss = train(model, loader, criterion, optimizer)
        print(f"epoch {epoch} loss {loss:.4f}")
    print(f"final loss {loss:.4f}")


if __name__ == "__main__":
    main()
