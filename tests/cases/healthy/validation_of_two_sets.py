# expect: none
"""Three folds, each with a new model; after each epoch the same lines evaluate the training and the validation set, and
a second model, a frozen teacher, on the way.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
data = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
teacher = nn.Linear(64, 10).requires_grad_(False)
criterion = nn.CrossEntropyLoss()


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        return sum(criterion(model(x), y).item() * len(x) for x, y in loader) / len(loader.dataset)


for fold in range(3):
    inside = [i for i in range(len(data)) if i % 3 != fold]
    loaders = {
        "train": DataLoader(Subset(data, inside), batch_size=64, shuffle=True),
        "val": DataLoader(Subset(data, range(fold, len(data), 3)), batch_size=200),
    }
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4)
    for epoch in range(10):
        model.train()
        for x, y in loaders["train"]:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        scheduler.step()
        losses = {name: evaluate(model, loader) for name, loader in loaders.items()}
        evaluate(teacher, loaders["val"])
    print(f"fold {fold}: {losses}")
