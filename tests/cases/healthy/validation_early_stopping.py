# expect: none
"""Few samples with wrong labels, well handled: the learning rate falls on plateaus of the validation loss, the best
weights are kept, and after eight epochs without a better one the training ends.
"""
import copy

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
noisy[train[:60]] = torch.randint(10, (60,))
model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5)


@torch.inference_mode()
def evaluate(chosen):
    model.eval()
    return criterion(model(images[chosen]), labels[chosen]).item()


best, best_state, waited = float("inf"), None, 0
while waited < 8:
    model.train()
    for batch in train[torch.randperm(300)].split(30):
        optimizer.zero_grad()
        criterion(model(images[batch]), noisy[batch]).backward()
        optimizer.step()
    loss = evaluate(val)
    scheduler.step(loss)
    waited += 1
    if loss < best:
        best, best_state, waited = loss, copy.deepcopy(model.state_dict()), 0
model.load_state_dict(best_state)
print(f"test loss: {evaluate(test):.4f}")
