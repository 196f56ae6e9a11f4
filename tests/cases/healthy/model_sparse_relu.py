# expect: none
"""Three of four activations are zero: low biases, a penalty; each unit fires for some images."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
first, second, head = nn.Linear(64, 256), nn.Linear(256, 128), nn.Linear(128, 10)
for layer in (first, second):
    nn.init.normal_(layer.weight, std=0.3)
    nn.init.constant_(layer.bias, -1.0)
model = nn.ModuleList([first, second, head])
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(5):
    for batch in torch.randperm(1200).split(32):
        optimizer.zero_grad()
        hidden = torch.relu(first(images[batch]))
        more = torch.relu(second(hidden))
        loss = nn.functional.cross_entropy(head(more), labels[batch]) + 1e-3 * (hidden.mean() + more.mean())
        loss.backward()
        optimizer.step()
print(f"zeros: {(hidden == 0).float().mean():.2f} {(more == 0).float().mean():.2f}, loss {loss.item():.3f}")
