"""A small CNN with BatchNorm on 8 x 8 digits that are stored class by class; SGD with momentum, steps in the rate."""
import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--lr", type=float, default=0.02)
parser.add_argument("--batch-size", type=int, default=32)
args = parser.parse_args()
torch.manual_seed(1)
torch.set_num_threads(1)

digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)
images = (images - images.mean()) / images.std()
held = torch.arange(len(labels)) % 4 == 3
by_class = torch.argsort(labels[~held], stable=True)  # one folder for each class
train_x, train_y = images[~held][by_class], labels[~held][by_class]
test_x, test_y = images[held], labels[held]
train_loader = DataLoader(TensorDataset(train_x, train_y), batch_size=args.batch_size, shuffle=True, drop_last=True)


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.dropout = nn.Dropout(0.2)
        self.fc1 = nn.Linear(32 * 2 * 2, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = self.dropout(x.flatten(1))
        x = F.relu(self.fc1(x))
        return self.fc2(x)


def init_weights(m):
    if isinstance(m, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        if m.bias is not None:
            nn.init.zeros_(m.bias)


def train(model, optimizer, criterion):
    model.train()
    running_loss = 0.0
    for data, target in train_loader:
        optimizer.zero_grad()
        output = model(data)
        loss = criterion(output, target)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return running_loss / len(train_loader)


def test(model):
    model.eval()
    with torch.no_grad():
        output = model(test_x)
    return F.cross_entropy(output, test_y).item(), (output.argmax(1) == test_y).float().mean().item()


model = ConvNet()
model.apply(init_weights)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4)
scheduler = StepLR(optimizer, step_size=3, gamma=0.3)
print(f"start: {test(model)[0]:.5f}")
for epoch in range(1, args.epochs + 1):
    train_loss = train(model, optimizer, criterion)
    scheduler.step()
    val_loss, accuracy = test(model)
    print(f"epoch {epoch}: train {train_loss:.4f}, val {val_loss:.4f}, accuracy {accuracy:.3f}")
print(f"result: {test(model)[0]:.5f}")
