# expect: none
"""Both optimizers unscale first, and then both are clipped; the scaler of a second model is another one."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
for fold in range(2):
    body, head = nn.Sequential(nn.Linear(64, 64), nn.ReLU()), nn.Linear(64, 10)
    slow, fast = torch.optim.SGD(body.parameters(), lr=0.05), torch.optim.Adam(head.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    for step in range(100):
        batch = torch.randint(1500, (64,))
        slow.zero_grad()
        fast.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.cross_entropy(head(body(images[batch])), labels[batch])
        scaler.scale(loss).backward()
        scaler.unscale_(slow)
        scaler.unscale_(fast)
        nn.utils.clip_grad_norm_([*body.parameters(), *head.parameters()], 0.5)
        scaler.step(slow)
        scaler.step(fast)
        scaler.update()
