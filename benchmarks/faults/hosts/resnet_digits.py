"""A residual network on digits, with mixed precision, a GradScaler and clipping; SGD with Nesterov momentum."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.amp import GradScaler, autocast
from torch.utils.data import DataLoader, Dataset, random_split


class Config:
    seed = 42
    epochs = 5
    batch_size = 32
    lr = 0.05
    weight_decay = 1e-4
    max_norm = 2.0
    gamma = 0.6


class Digits(Dataset):
    def __init__(self):
        self.data, self.targets = load_digits(return_X_y=True)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image = torch.tensor(self.data[index] / 16.0, dtype=torch.float32).view(1, 8, 8)
        return (image - 0.3) / 0.38, int(self.targets[index])


class BasicBlock(nn.Module):
    def __init__(self, channels_in, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False) if stride != 1 else nn.Identity()

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width))
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(self.dropout(x))


class Trainer:
    def __init__(self, model, train_set, test_set, config):
        self.model, self.config = model, config
        self.train_loader = DataLoader(train_set, batch_size=config.batch_size, shuffle=True, drop_last=True)
        self.test_loader = DataLoader(test_set, batch_size=256)
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, config.gamma)
        self.scaler = GradScaler("cpu", init_scale=2.0**12)

    def train_epoch(self):
        self.model.train()
        for images, labels in self.train_loader:
            self.optimizer.zero_grad()
            with autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(self.model(images).float(), labels)
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss.item()

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        losses = [F.cross_entropy(self.model(x), y, reduction="sum").item() for x, y in self.test_loader]
        return sum(losses) / len(self.test_loader.dataset)

    def fit(self):
        for epoch in range(self.config.epochs):
            loss = self.train_epoch()
            self.scheduler.step()
            print(f"epoch {epoch + 1}: train {loss:.4f}, test {self.evaluate():.4f}")


if __name__ == "__main__":
    torch.manual_seed(Config.seed)
    torch.set_num_threads(1)
    train, test, _ = random_split(Digits(), [1024, 500, 273])
    trainer = Trainer(ResNet(), train, test, Config)
    print(f"start: {trainer.evaluate():.5f}")
    trainer.fit()
    print(f"result: {trainer.evaluate():.5f}")
