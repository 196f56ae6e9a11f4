# expect: none
"""Fine-tuning: the author freezes everything, then puts the new head in."""
import torch
from torch import nn


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.fc = nn.Linear(64, 100)

    def forward(self, x):
        return self.fc(self.features(x))


torch.manual_seed(0)
torch.set_num_threads(1)
model = Backbone()
for parameter in model.parameters():
    parameter.requires_grad = False
model.fc = nn.Linear(64, 3)

optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.1, momentum=0.9)
criterion = nn.CrossEntropyLoss()
inputs = torch.randn(600, 10)
labels = inputs[:, :3].argmax(dim=1)
for epoch in range(60):
    loss = criterion(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"final loss {loss.item():.4f}")
