# expect: none
"""Validation numbers that a rule could misread, all of a run that learns well: a different dozen of samples every few
steps, parts of a loss that grow, dropout that keeps the training loss above, a number that is no number once.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

import gradscope

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
order = torch.randperm(len(images))
train, val = order[:1200], order[1200:]
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)


def loss_on(chosen):
    model.eval()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
    model.train()
    return loss


with gradscope.watch(model, optimizer) as scope:
    for step in range(400):
        batch = train[torch.randint(1200, (32,))]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
        if step % 5 == 4:
            scope.log(val_loss=loss_on(val[torch.randint(len(val), (12,))]))
        if step % 20 == 19:
            weights = sum(p.square().sum() for p in model.parameters())
            scope.log(**{"val/penalty_loss": weights, "val/kl_loss": step / 100, "test_loss": loss_on(val)})
    scope.log(val_loss=float("nan"))
print(f"test loss: {loss_on(val):.4f}")
