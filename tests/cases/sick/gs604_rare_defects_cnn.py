# expect: GS604
# line: here
# advised: nn.CrossEntropyLoss(weight=torch.tensor([
# worse: balanced error
# healed-by: healthy/gs604_rare_defects_cnn_healed.py
"""A CNN sorts parts into sound ones (96 %) and two kinds of defects, seen as faint stripes; SGD."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


def parts(many):
    kinds = torch.multinomial(torch.tensor([0.96, 0.02, 0.02]), many, replacement=True)
    images = torch.randn(many, 1, 8, 8)
    images[kinds == 1, :, ::2] += 0.7
    images[kinds == 2, :, :, ::2] += 0.7
    return images, kinds


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Linear(128, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(1))


images, kinds = parts(3000)
test_images, test_kinds = parts(3000)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loss_fn = nn.CrossEntropyLoss()
for epoch in range(8):
    for batch in torch.randperm(len(images)).split(64):
        optimizer.zero_grad()
        loss = loss_fn(model(images[batch]), kinds[batch])
        loss.backward()  # <- here
        optimizer.step()
with torch.no_grad():
    found = model(test_images).argmax(1)
wrong = [(found[test_kinds == c] != c).float().mean().item() for c in range(3)]
print(f"balanced error: {sum(wrong) / 3:.4f}")
