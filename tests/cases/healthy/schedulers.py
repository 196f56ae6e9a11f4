# expect: none
"""A linear warm-up from zero, then a cosine decay per batch, and a second scheduler (ReduceLROnPlateau) per
epoch on another optimizer.
"""
import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
EPOCHS, BATCH = 4, 64
total = EPOCHS * math.ceil(len(x) / BATCH)


def warmup_cosine(step, warmup=10):
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


body = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
head = nn.Linear(48, 10)
body_optimizer = torch.optim.SGD(body.parameters(), lr=0.3, momentum=0.9)
head_optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
body_scheduler = LambdaLR(body_optimizer, warmup_cosine)
head_scheduler = ReduceLROnPlateau(head_optimizer, factor=0.5, patience=1)

for epoch in range(EPOCHS):
    running = 0.0
    for rows in torch.randperm(len(x)).split(BATCH):
        body_optimizer.zero_grad()
        head_optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(body(x[rows])), y[rows])
        loss.backward()
        body_optimizer.step()
        head_optimizer.step()
        body_scheduler.step()
        running += loss.item() * len(rows) / len(x)
    head_scheduler.step(running)
    print(f"epoch {epoch} loss {running:.4f} lr {body_scheduler.get_last_lr()[0]:.4f}")
print(f"final loss {running:.4f}")
