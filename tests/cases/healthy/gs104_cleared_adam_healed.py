# expect: none
"""The call order is right: zero_grad(), backward(), step()."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model, loader, lr=1e-2):
        self.model = model
        self.loader = loader
        self.criterion = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def fit(self, epochs):
        for _ in range(epochs):
            total = 0.0
            for x, y in self.loader:
                total += self.training_step(x, y)
        return total / len(self.loader)

    def training_step(self, x, y):
        loss = self.criterion(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(512, 10)
labels = (inputs[:, :2].prod(dim=1, keepdim=True) > 0).float()
net = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
trainer = Trainer(net, DataLoader(TensorDataset(inputs, labels), batch_size=64, shuffle=True))
print(f"final loss {trainer.fit(12):.4f}")
