# expect: none
"""float16, four backwards a step, activation checkpointing, unscale_ and clip after the last of them."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
first = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
second = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.AdamW([*first.parameters(), *second.parameters()], lr=1e-3)
scaler = torch.amp.GradScaler("cpu")
for step in range(100):
    for part in range(4):
        batch = torch.randint(1500, (16,))
        with torch.autocast("cpu", dtype=torch.float16):
            output = checkpoint(second, first(images[batch]), use_reentrant=False)
            loss = nn.functional.cross_entropy(output, labels[batch])
        scaler.scale(loss / 4).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(first.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
