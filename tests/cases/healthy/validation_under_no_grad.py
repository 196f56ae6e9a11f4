# expect: none
"""Training with a validation after each epoch: eval() and no_grad for the validation, train() again for the
training; BatchNorm and Dropout in the model, early stopping with a copy of the best weights.
"""
import copy

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loaders():
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x / 16, y, test_size=0.25, random_state=0)
    train = TensorDataset(torch.tensor(x_train, dtype=torch.float32), torch.tensor(y_train))
    val = TensorDataset(torch.tensor(x_val, dtype=torch.float32), torch.tensor(y_val))
    return DataLoader(train, batch_size=64, shuffle=True, drop_last=True), DataLoader(val, batch_size=256)


@torch.no_grad()
def validate(model, loader, criterion):
    model.eval()
    total, correct, count = 0.0, 0, 0
    for x, y in loader:
        output = model(x)
        total += criterion(output, y).item() * len(x)
        correct += (output.argmax(dim=1) == y).sum().item()
        count += len(x)
    return total / count, correct / count


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train_loader, val_loader = loaders()
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    best, best_state = float("inf"), None
    for epoch in range(5):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        loss, accuracy = validate(model, val_loader, criterion)
        print(f"epoch {epoch}: validation loss {loss:.4f}, accuracy {accuracy:.3f}")
        if loss < best:
            best, best_state = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    print(f"final loss {validate(model, val_loader, criterion)[0]:.4f}")


if __name__ == "__main__":
    main()
