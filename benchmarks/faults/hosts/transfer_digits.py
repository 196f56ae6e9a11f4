"""Fine-tuning: a small convnet learns the digits 0 to 4, then, with a new head, 5 to 9 from few pictures of each.

SGD with momentum; the backbone's rate is a tenth of the head's; both fall in steps after some epochs.
"""
import copy

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
torch.set_num_threads(1)

# %% data: 8-bit pictures, as files have them
digits = load_digits()
pixels = torch.from_numpy(digits.images * 255 / 16).to(torch.uint8)
labels = torch.from_numpy(digits.target)
MEAN, STD = 0.305, 0.376


def transform(x):
    x = x.unsqueeze(1).float() / 255
    return (x - MEAN) / STD


def loader_of(keep, batch_size=20, shuffle=True):
    return DataLoader(TensorDataset(transform(pixels[keep]), labels[keep] % 5), batch_size=batch_size, shuffle=shuffle)


old_task = torch.nonzero(labels < 5).flatten()
new_task = torch.nonzero(labels >= 5).flatten()
few, rest = new_task[:300], new_task[400:]
few = few[torch.argsort(labels[few], stable=True)]  # a folder for each digit
pretrain_loader = loader_of(old_task)
dataloaders = {"train": loader_of(few), "val": loader_of(rest, batch_size=500, shuffle=False)}


# %% model
def make_model():
    features = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    neck = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.3))
    return nn.ModuleDict({"features": features, "neck": neck, "head": nn.Linear(64, 5)})


def forward(model, x):
    x = model["features"](x)
    return model["head"](model["neck"](x))


# %% the source task
model = make_model()
pretraining = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(3):
    for x, y in pretrain_loader:
        pretraining.zero_grad()
        nn.functional.cross_entropy(forward(model, x), y).backward()
        pretraining.step()
model["head"] = nn.Linear(64, 5)


# %% fine-tuning
def evaluate(model):
    model.eval()
    with torch.no_grad():
        x, y = next(iter(dataloaders["val"]))
        outputs = forward(model, x)
        return nn.functional.cross_entropy(outputs, y).item(), (outputs.argmax(1) == y).float().mean().item()


def train_model(model, criterion, optimizer, scheduler, num_epochs):
    best, best_weights = float("inf"), copy.deepcopy(model.state_dict())
    for epoch in range(num_epochs):
        model.train()
        running = 0.0
        for inputs, targets in dataloaders["train"]:
            optimizer.zero_grad()
            outputs = forward(model, inputs)
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(targets)
        scheduler.step()
        val_loss, val_acc = evaluate(model)
        print(f"Epoch {epoch}: loss {running / len(few):.4f}, val {val_loss:.4f}, acc {val_acc:.3f}")
        if val_loss < best:
            best, best_weights = val_loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_weights)
    return model


criterion = nn.CrossEntropyLoss()
backbone = [*model["features"].parameters(), *model["neck"].parameters()]
optimizer_ft = torch.optim.SGD(
    [{"params": backbone, "lr": 2e-3}, {"params": model["head"].parameters()}],
    lr=2e-2,
    momentum=0.9,
    weight_decay=1e-4,
)
exp_lr_scheduler = lr_scheduler.StepLR(optimizer_ft, step_size=10, gamma=0.3)
print(f"start: {evaluate(model)[0]:.5f}")
model = train_model(model, criterion, optimizer_ft, exp_lr_scheduler, num_epochs=20)
print(f"result: {evaluate(model)[0]:.5f}")
