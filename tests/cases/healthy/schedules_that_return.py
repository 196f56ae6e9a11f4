# expect: none
"""Learning rates that go down to nothing and come back (restarts, cycles), and one that had converged before."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim import lr_scheduler as schedules

torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


def train(name, lr, make, epochs=15):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    for _ in range(epochs):
        for batch in torch.randperm(1500).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            scheduler.step()
    print(f"{name} loss {loss.item():.4f} lr {optimizer.param_groups[0]['lr']:.2g}")


train("restarts", 0.1, lambda o: schedules.CosineAnnealingWarmRestarts(o, 24, 2))
train("triangles", 0.1, lambda o: schedules.CyclicLR(o, 1e-4, 0.1, step_size_up=30))
train("inverse of time", 0.2, lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step / 20)))
train("converged", 0.1, lambda o: schedules.ExponentialLR(o, 0.985), epochs=35)
