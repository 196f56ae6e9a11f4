# expect: none
"""Five-fold cross-validation: five models with five optimizers are trained in a row under the same variable
names.
"""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)

scores = []
for fold, (train, test) in enumerate(KFold(5, shuffle=True, random_state=0).split(x)):
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    train = torch.tensor(train)
    for step in range(30):
        rows = train[torch.randint(0, len(train), (128,))]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores.append(nn.functional.cross_entropy(model(x[test]), y[test]).item())
    print(f"fold {fold}: {scores[-1]:.4f}")

print(f"final loss {sum(scores) / len(scores):.4f}")
