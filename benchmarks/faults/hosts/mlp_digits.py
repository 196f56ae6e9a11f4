"""An MLP with dropout on scikit-learn's digits; Adam, validation after each epoch."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
order = torch.randperm(len(digits.target))
images = torch.tensor(digits.data, dtype=torch.float32)[order] / 16
labels = torch.tensor(digits.target)[order]
train_set, held = TensorDataset(images[:1300], labels[:1300]), (images[1300:], labels[1300:])
loader = DataLoader(train_set, batch_size=32, shuffle=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 128)
        self.second = nn.Linear(128, 64)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = self.dropout(torch.relu(self.first(x)))
        x = torch.relu(self.second(x))
        return self.head(x)


def evaluate(model):
    model.eval()
    with torch.no_grad():
        return nn.functional.cross_entropy(model(held[0]), held[1]).item()


model = Net()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
print(f"start: {evaluate(model):.4f}")
for epoch in range(8):
    model.train()
    total = 0.0
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: {total / len(loader):.4f}")
print(f"result: {evaluate(model):.4f}")
