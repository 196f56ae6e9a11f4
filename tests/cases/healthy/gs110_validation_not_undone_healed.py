# expect: none
"""model.train() is called at the head of each epoch."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
noise = torch.rand(200) < 0.3
train_x, train_y = x[:200], torch.where(noise, torch.randint(0, 10, (200,)), y[:200])
val_x, val_y = x[200:], y[200:]
model = nn.Sequential(
    nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.6), nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.6), nn.Linear(256, 10)
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)


def validate():
    model.eval()
    with torch.no_grad():
        return criterion(model(val_x), val_y).item()


for epoch in range(40):
    model.train()
    for rows in torch.randperm(200).split(20):
        optimizer.zero_grad()
        loss = criterion(model(train_x[rows]), train_y[rows])
        loss.backward()
        optimizer.step()
    val_loss = validate()
print(f"validation loss {val_loss:.4f}")
