"""Forecasting the load of a made power grid one hour ahead with a temporal convolutional network; Adagrad, plateaus."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset

WINDOW = 32
HOURS = 2600
BATCH = 32
EPOCHS = 10
LR = 0.02


def make_series(hours, seed=0):
    """In megawatts: a daily and a weekly rhythm, and a market that answers the two hours before it, not linearly."""
    rng = np.random.default_rng(seed)
    t = np.arange(hours)
    market = np.zeros(hours)
    for i in range(2, hours):
        market[i] = np.clip(1 - 1.3 * market[i - 1] ** 2 + 0.3 * market[i - 2] + 0.03 * rng.normal(), -1.2, 1.2)
    load = 480 + 50 * np.sin(2 * np.pi * t / 24) + 20 * np.sin(2 * np.pi * t / 168 + 1) + 50 * market
    broken = rng.choice(hours // 30, 12, replace=False) * 30 + 5  # the meter was silent for three hours
    for start in broken:
        load[start : start + 3] = np.nan
    return load


def fill_gaps(load):
    known = ~np.isnan(load)
    return np.interp(np.arange(len(load)), np.flatnonzero(known), load[known])


def windows(series):
    x = np.lib.stride_tricks.sliding_window_view(series[:-1], WINDOW)
    y = series[WINDOW:]
    return torch.tensor(x, dtype=torch.float32).unsqueeze(1), torch.tensor(y, dtype=torch.float32)


def get_loaders():
    load = fill_gaps(make_series(HOURS))
    split = int(0.7 * HOURS)
    mean, std = load[:split].mean(), load[:split].std()
    scaled = (load - mean) / std
    x, y = windows(scaled[:split])
    train_loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
    return train_loader, windows(scaled[split:])


class Block(nn.Module):
    def __init__(self, n_in, n_out, dilation, kernel_size=3, dropout=0.0):
        super().__init__()
        self.pad = (kernel_size - 1) * dilation
        self.conv = weight_norm(nn.Conv1d(n_in, n_out, kernel_size, dilation=dilation))
        self.act = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x):
        y = self.act(self.conv(F.pad(x, (self.pad, 0))))
        return self.dropout(y) + self.shortcut(x)


class TCN(nn.Module):
    def __init__(self, channels=16, levels=4):
        super().__init__()
        self.blocks = nn.ModuleList([Block(channels if i else 1, channels, 2**i) for i in range(levels)])
        self.head = nn.Linear(channels, 1)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, :, -1]).squeeze(1)


def train_one_epoch(model, loader, optimizer):
    model.train()
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        prediction = model(x)
        loss = F.mse_loss(prediction, y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def evaluate(model, test):
    """The share of the held-out series' variance that is not foretold."""
    model.eval()
    x, y = test
    return ((model(x).flatten() - y).square().mean() / y.var()).item()


def main():
    torch.manual_seed(11)
    torch.set_num_threads(1)
    train_loader, test = get_loaders()
    model = TCN()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=LR)
    scheduler = ReduceLROnPlateau(optimizer, patience=1, factor=0.3)
    print(f"start: {evaluate(model, test):.5f}")
    for epoch in range(EPOCHS):
        train_loss = train_one_epoch(model, train_loader, optimizer)
        val_loss = evaluate(model, test)
        scheduler.step(val_loss)
        print(f"epoch {epoch}: train {train_loss:.4f}, val {val_loss:.4f}, lr {optimizer.param_groups[0]['lr']:.1e}")
    print(f"result: {evaluate(model, test):.5f}")


if __name__ == "__main__":
    main()
