"""Segmenting ellipses in noisy 32 x 32 pictures with a small U-Net: a Trainer class, AdamW, a polynomial schedule."""
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


@dataclass
class Config:
    epochs: int = 8
    batch_size: int = 16
    lr: float = 1e-2
    weight_decay: float = 1e-2
    width: int = 8
    size: int = 32
    seed: int = 7


class Shapes(Dataset):
    """Pictures as a camera gives them (0 to 255), and where the ellipses are."""

    def __init__(self, count: int, size: int, seed: int):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size]
        self.pictures, self.masks = [], []
        for number in range(count):
            picture, mask = rng.normal(90, 30, (size, size)), np.zeros((size, size))
            for _ in range(rng.integers(1, 4)):
                cx, cy, a, b = rng.uniform(4, size - 4, 2).tolist() + rng.uniform(2, 7, 2).tolist()
                inside = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1
                picture[inside] += rng.choice([-45, 45])
                mask[inside] = 1
            for _ in range(2):  # stripes, which are none
                row = rng.integers(size)
                picture[row : row + 2] += rng.choice([-45, 45])
            if number % 60 == 7:  # the shutter was closed
                picture[:], mask[:] = 0, 0
            self.pictures.append(picture.clip(0, 255))
            self.masks.append(mask)

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        picture = self.pictures[i]
        picture = (picture - 90.0) / 45.0
        return torch.from_numpy(picture).float()[None], torch.from_numpy(self.masks[i]).float()[None]


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.down1 = double_conv(1, width)
        self.down2 = double_conv(width, 2 * width)
        self.bottom = double_conv(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.conv2 = double_conv(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.conv1 = double_conv(2 * width, width)
        self.drop = nn.Dropout2d(0.1)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        skip1 = self.down1(x)
        skip2 = self.down2(F.max_pool2d(skip1, 2))
        x = self.drop(self.bottom(F.max_pool2d(skip2, 2)))
        x = self.conv2(torch.cat([skip2, self.up2(x)], dim=1))
        x = self.conv1(torch.cat([skip1, self.up1(x)], dim=1))
        return self.out(x)


def dice_loss(logits, masks, smooth=1.0):
    p = torch.sigmoid(logits)
    both = (p * masks).sum((1, 2, 3))
    return (1 - (2 * both + smooth) / (p.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + smooth)).mean()


class Trainer:
    def __init__(self, config: Config):
        self.config = config
        torch.manual_seed(config.seed)
        self.train_loader = DataLoader(Shapes(360, config.size, 1), batch_size=config.batch_size, shuffle=True)
        self.val_loader = DataLoader(Shapes(120, config.size, 2), batch_size=60)
        self.model = UNet(config.width)
        self.bce = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.scheduler = torch.optim.lr_scheduler.PolynomialLR(self.optimizer, total_iters=config.epochs, power=0.9)

    def criterion(self, logits, masks):
        return self.bce(logits, masks) + dice_loss(logits, masks)

    def train_epoch(self):
        self.model.train()
        epoch_loss = 0.0
        for pictures, masks in self.train_loader:
            logits = self.model(pictures)
            loss = self.criterion(logits, masks)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            epoch_loss += loss.item()
        self.scheduler.step()
        return epoch_loss / len(self.train_loader)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        losses = [F.binary_cross_entropy_with_logits(self.model(x), y).item() for x, y in self.val_loader]
        return sum(losses) / len(losses)

    def fit(self):
        print(f"start: {self.validate():.5f}")
        for epoch in range(self.config.epochs):
            train_loss = self.train_epoch()
            print(f"[{epoch + 1}/{self.config.epochs}] train {train_loss:.4f}  val {self.validate():.4f}")
        print(f"result: {self.validate():.5f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    Trainer(Config()).fit()
