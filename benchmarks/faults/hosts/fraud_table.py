"""Fraud in a table of payments, 4 % of them fraudulent: a binary classifier with a weighted loss; Adam."""
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

HIDDEN = 48
EPOCHS = 12
BATCH = 64
LR = 2e-3
np.random.seed(0)
torch.manual_seed(0)
torch.set_num_threads(1)


def load(rows=6000, share=0.04):
    """Honest payments first, then the fraudulent ones, as two tables that were exported one after the other."""
    fraud = np.zeros(rows, dtype=np.int64)
    fraud[int(rows * (1 - share)) :] = 1
    hour = np.where(fraud == 1, np.random.normal(3, 3, rows) % 24, np.random.normal(14, 4, rows) % 24)
    amount = np.random.lognormal(3.5 + 0.9 * fraud, 1.0)
    balance = np.random.lognormal(8, 0.8, rows)
    age = np.random.exponential(900 - 600 * fraud)  # of the account, in days
    angle, radius = np.random.uniform(0, 2 * np.pi, rows), np.random.normal(2 - 1.2 * fraud, 0.4)
    columns = [hour, amount, balance, age, 7 + radius * np.cos(angle), radius * np.sin(angle) - 3]
    return np.stack(columns, axis=1).astype(np.float32), fraud


def clean(x):
    x = x.copy()
    x[:, 1:4] = np.log1p(x[:, 1:4])
    return (x - x.mean(0)) / x.std(0)


x, y = load()
x = clean(x)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=0)
order = np.argsort(y_train, kind="stable")
x_train, y_train = torch.from_numpy(x_train[order]), torch.from_numpy(y_train[order]).float()
x_test, y_test = torch.from_numpy(x_test), torch.from_numpy(y_test).float()
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=BATCH, shuffle=True)


class FraudNet(nn.Module):
    def __init__(self, inputs=6, hidden=HIDDEN):
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, 1)
        self.act = nn.ReLU()
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        x = self.drop(self.act(self.bn1(self.fc1(x))))
        x = self.act(self.bn2(self.fc2(x)))
        return self.out(x).squeeze(1)


def balanced_loss():
    """The mean of both classes' losses on the held-out rows."""
    net.eval()
    with torch.no_grad():
        losses = nn.functional.binary_cross_entropy_with_logits(net(x_test), y_test * 1.0, reduction="none")
    net.train()
    return (losses[y_test == 1].mean() + losses[y_test == 0].mean()).item() / 2


net = FraudNet()
pos_weight = (y_train == 0).sum() / (y_train == 1).sum()
criterion = nn.BCEWithLogitsLoss(pos_weight=pos_weight)
optimizer = torch.optim.Adam(net.parameters(), lr=LR)
print(f"start: {balanced_loss():.5f}")
for epoch in range(EPOCHS):
    net.train()
    losses = []
    for features, target in train_loader:
        optimizer.zero_grad()
        logits = net(features)
        loss = criterion(logits, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch:2d}  train {np.mean(losses):.4f}  held out {balanced_loss():.4f}")
print(f"result: {balanced_loss():.5f}")
