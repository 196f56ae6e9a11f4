# expect: none
"""The encoder's output goes into the head as it is; only the copy that is kept for the plot is detached."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 12), nn.ReLU())
        self.head = nn.Linear(12, 10)
        self.last_features = None

    def forward(self, x):
        features = self.encoder(x)
        self.last_features = features.detach()
        return self.head(features)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    x, y = torch.FloatTensor(x) / 16, torch.LongTensor(y)
    model = DigitNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    for step in range(80):
        idx = torch.randperm(len(x))[:128]
        optimizer.zero_grad()
        loss = criterion(model(x[idx]), y[idx])
        loss.backward()
        optimizer.step()
    print(f"final loss {loss.item():.4f}")


main()
