# expect: GS101
# by-row: 1
# line: here
# healed-by: healthy/gs101_cleared_once_per_epoch_healed.py
"""zero_grad() is called at the head of each epoch, but the optimizer steps on every batch: within an epoch each
step uses all the epoch's earlier gradients again.
"""
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 4
LR = 0.1


def get_loader():
    x, y = load_digits(return_X_y=True)
    dataset = TensorDataset(torch.tensor(x).float() / 16, torch.tensor(y))
    return DataLoader(dataset, batch_size=100, shuffle=True)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    loader = get_loader()
    model = torch.nn.Sequential(torch.nn.Linear(64, 40), torch.nn.ReLU(), torch.nn.Linear(40, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()
    for epoch in range(EPOCHS):
        optimizer.zero_grad()
        running_loss = 0.0
        for inputs, labels in loader:
            loss = criterion(model(inputs), labels)
            loss.backward()  # <- here
            optimizer.step()
            running_loss += loss.item()
        print(f"[{epoch + 1}] loss: {running_loss / len(loader):.3f}")
    print(f"final loss {running_loss / len(loader):.4f}")


if __name__ == "__main__":
    main()
