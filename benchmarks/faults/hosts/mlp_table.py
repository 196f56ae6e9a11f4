"""Prices of houses from a table with columns of very different scales: an MLP for regression, SGD with momentum."""
import numpy as np
import torch
import torch.nn as nn
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

SEED, EPOCHS, BATCH_SIZE, LEARNING_RATE = 3, 40, 32, 0.01
torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_table(rows=1600):
    rng = np.random.default_rng(SEED)
    income = rng.lognormal(10.4, 0.4, rows)  # a year
    age = rng.uniform(1, 60, rows)
    area = rng.normal(110, 30, rows).clip(30)
    rooms = (area / 25 + rng.normal(0, 0.6, rows)).round().clip(1)
    lat, lon = rng.uniform(32.5, 42, rows), rng.uniform(-124, -114, rows)
    population = rng.lognormal(7.2, 0.5, rows)
    coast = np.exp(-(((lon + 122) / 2.5) ** 2) - ((lat - 37.5) / 2) ** 2)
    price = 1.2 * income + 900 * area + 150_000 * coast + 30_000 * np.cos(age / 9) * (area > 100)
    price += 20_000 * np.sin(income / 9000) - 4 * population + rng.normal(0, 9_000, rows)
    return np.stack([income, age, area, rooms, lat, lon, population], axis=1), price


X, y = make_table()
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=SEED)
x_scaler, y_scaler = StandardScaler().fit(X_train), StandardScaler().fit(y_train[:, None])
X_train, X_test = x_scaler.transform(X_train), x_scaler.transform(X_test)
y_train, y_test = y_scaler.transform(y_train[:, None]), y_scaler.transform(y_test[:, None])
X_train, y_train = torch.tensor(X_train, dtype=torch.float32), torch.tensor(y_train, dtype=torch.float32)
X_test, y_test = torch.tensor(X_test, dtype=torch.float32), torch.tensor(y_test, dtype=torch.float32)
loader = DataLoader(TensorDataset(X_train, y_train), batch_size=BATCH_SIZE, shuffle=True)

model = nn.Sequential(
    nn.Linear(X_train.shape[1], 64),
    nn.ReLU(),
    nn.Linear(64, 64),
    nn.ReLU(),
    nn.Linear(64, 1),
)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)


def evaluate():
    model.eval()
    with torch.no_grad():
        return nn.functional.mse_loss(model(X_test), y_test).item()


print(f"start: {evaluate():.5f}")
for epoch in range(EPOCHS):
    model.train()
    epoch_loss = 0.0
    for batch_x, batch_y in loader:
        prediction = model(batch_x)
        loss = criterion(prediction, batch_y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item() * len(batch_x)
    if epoch % 10 == 9:
        print(f"epoch {epoch + 1}/{EPOCHS}, loss {epoch_loss / len(X_train):.5f}, held out {evaluate():.5f}")
print(f"result: {evaluate():.5f}")
