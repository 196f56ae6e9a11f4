# expect: none
"""Eval mode where it is meant: a linear probe on a frozen model, batch normalisation frozen inside a model in train
mode, a teacher, a perceptual loss for an image, and adversarial examples made in eval mode.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        self.fc = nn.Linear(8 * 36, 10)

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))


def batches():
    return torch.randperm(len(x))[:640].split(32)


def step(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


probe = Net().eval()
for name, p in probe.named_parameters():
    p.requires_grad = name.startswith("fc")
optimizer = torch.optim.SGD([p for p in probe.parameters() if p.requires_grad], lr=0.1)
for rows in batches():
    step(optimizer, nn.functional.cross_entropy(probe(x[rows]), y[rows]))

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for rows in batches():
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    step(optimizer, nn.functional.cross_entropy(model(x[rows]), y[rows]))

for rows in batches():
    model.eval()
    attack = x[rows].clone().requires_grad_()
    nn.functional.cross_entropy(model(attack), y[rows]).backward()
    model.train()
    step(optimizer, nn.functional.cross_entropy(model(x[rows] + 0.02 * attack.grad.sign()), y[rows]))

model.eval()
student = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
for rows in batches():
    with torch.no_grad():
        wanted = model(x[rows]).softmax(1)
    step(optimizer, nn.functional.kl_div(student(x[rows]).log_softmax(1), wanted, reduction="batchmean"))

image = x[:1].clone().requires_grad_()
optimizer = torch.optim.Adam([image], lr=0.01)
content = model.features(x[5:6]).detach()
for _ in range(30):
    step(optimizer, nn.functional.mse_loss(model.features(image), content))
print(f"distance {nn.functional.mse_loss(model.features(image), content).item():.4f}")
