# expect: GS901
# line: here
# advised: stop at step 139
# worse: test loss
# healed-by: healthy/gs901_few_samples_mlp_healed.py
"""300 digits, a fifth of them with a wrong label, 75,000 weights: what is learned from step 140 on is the noise.

The evaluations are seen by themselves: the training's loss function, called in eval mode without gradients.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
order = torch.randperm(len(images))
train, val, test = order[:300], order[300:800], order[800:]
noisy = labels.clone()
wrong = torch.rand(len(labels)) < 0.2
noisy[wrong] = torch.randint(10, (int(wrong.sum()),))

model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)


def evaluate(chosen):
    model.eval()
    with torch.no_grad():
        return criterion(model(images[chosen]), labels[chosen]).item()  # <- here


for epoch in range(60):
    model.train()
    for batch in train[torch.randperm(300)].split(30):
        optimizer.zero_grad()
        loss = criterion(model(images[batch]), noisy[batch])
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: train {loss.item():.3f}, val {evaluate(val):.3f}")
print(f"test loss: {evaluate(test):.4f}")
