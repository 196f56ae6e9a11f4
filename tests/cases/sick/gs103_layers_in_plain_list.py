# expect: GS103
# by-row: 20
# line: here
# healed-by: healthy/gs103_layers_in_plain_list_healed.py
"""The hidden layers live in a plain Python list, so model.parameters() does not know them: only the output
layer is trained.
"""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class MLP(nn.Module):
    def __init__(self, sizes=(64, 16, 16)):
        super().__init__()
        self.layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        self.output = nn.Linear(sizes[-1], 10)

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.output(x)


torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)

model = MLP()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()
for step in range(100):
    batch = torch.randint(0, len(x), (64,))
    optimizer.zero_grad()
    loss = criterion(model(x[batch]), y[batch])
    loss.backward()
    optimizer.step()  # <- here
print(f"final loss {loss.item():.4f}")
