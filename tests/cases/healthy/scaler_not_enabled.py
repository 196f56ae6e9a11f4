# expect: none
"""A scaler that is switched off, with a clip and no unscale_; then one whose max_norm is scaled, too."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
for enabled in (False, True):
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=enabled)
    for step in range(120):
        batch = torch.randint(1500, (64,))
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16, enabled=enabled):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        scaler.scale(loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.2 * scaler.get_scale())
        scaler.step(optimizer)
        scaler.update()
