# expect: GS302
# worse: test loss
# line: here
# healed-by: healthy/gs302_far_above_a_guess_healed.py
"""SGD at lr 1e-5 from a start far above a blind guess: it gets nowhere near it."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
nn.init.normal_(model[2].weight, std=0.6)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
for step in range(400):
    batch = torch.randint(1500, (32,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()  # <- here
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(model(images[1500:]), labels[1500:]):.5f}")
