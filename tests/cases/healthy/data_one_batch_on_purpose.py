# expect: none
"""One batch of a shuffled loader, learned by heart to see whether the model can; and a validation loader beside it."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
loader = DataLoader(TensorDataset(images[:1280], labels[:1280]), batch_size=32, shuffle=True)
validation = DataLoader(TensorDataset(images[1280:1408], labels[1280:1408]), batch_size=64)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
x, y = next(iter(loader))
for step in range(140):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        with torch.no_grad():
            print(sum(nn.functional.cross_entropy(model(a), b).item() for a, b in validation))
