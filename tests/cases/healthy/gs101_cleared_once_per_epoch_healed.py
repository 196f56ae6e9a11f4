# expect: none
"""zero_grad() and step() are both called once per batch."""
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
        running_loss = 0.0
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        print(f"[{epoch + 1}] loss: {running_loss / len(loader):.3f}")
    print(f"final loss {running_loss / len(loader):.4f}")


if __name__ == "__main__":
    main()
