# expect: none
"""The head is replaced first, then the optimizer is built."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.body(x))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_digits(n_class=6, return_X_y=True)
    x, y = torch.tensor(x).float() / 16, torch.tensor(y)
    model = Net(classes=1000)
    model.head = nn.Linear(32, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = nn.CrossEntropyLoss()
    for step in range(100):
        rows = torch.randint(0, len(x), (32,))
        loss = criterion(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
