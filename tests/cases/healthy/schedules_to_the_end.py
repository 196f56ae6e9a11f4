# expect: none
"""Schedules that end at nothing when the run ends: cosine, linear after a warm-up, one cycle, exponential per epoch."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim import lr_scheduler as schedules

torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
STEPS, EPOCHS = 240, 10


def warmup_linear(step):
    return step / 20 if step < 20 else (STEPS - step) / (STEPS - 20)


def train(name, lr, make, per_epoch=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    for _ in range(EPOCHS):
        for batch in torch.randperm(1500).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            if not per_epoch:
                scheduler.step()
        if per_epoch:
            scheduler.step()
    print(f"{name} loss {loss.item():.4f} lr {optimizer.param_groups[0]['lr']:.2g}")


train("cosine", 0.1, lambda o: schedules.CosineAnnealingLR(o, STEPS))
train("warm-up, linear", 0.1, lambda o: schedules.LambdaLR(o, warmup_linear))
train("one cycle", 0.1, lambda o: schedules.OneCycleLR(o, 0.1, total_steps=STEPS + 1))
train("polynomial", 0.1, lambda o: schedules.PolynomialLR(o, STEPS, power=4))
train("exponential", 0.1, lambda o: schedules.ExponentialLR(o, 0.5), per_epoch=True)
train("steps", 0.1, lambda o: schedules.StepLR(o, 4, 0.1), per_epoch=True)
