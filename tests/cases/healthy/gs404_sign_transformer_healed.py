# expect: none
"""A transformer whose tokens are binarised by sign(), with the gradient passed straight through."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)


class Net(nn.Module):
    def __init__(self, size=32):
        super().__init__()
        self.embed = nn.Linear(8, size)
        self.place = nn.Parameter(0.1 * torch.randn(8, size))
        self.block = nn.TransformerEncoderLayer(size, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.code = nn.Linear(size, 4)
        self.head = nn.Linear(32, 10)

    def forward(self, rows):
        code = self.code(self.block(self.embed(rows) + self.place))
        code = code + (torch.sign(code) - code).detach()
        return self.head(code.flatten(1))


model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step in range(150):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    loss.backward()
    optimizer.step()
with torch.no_grad():
    loss = nn.functional.cross_entropy(model(images[1500:]), labels[1500:])
print(f"test loss: {loss:.4f}")
