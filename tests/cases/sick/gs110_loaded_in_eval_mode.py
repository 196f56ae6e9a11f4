# expect: GS110
# by-row: 12
# line: here
# healed-by: healthy/gs110_loaded_in_eval_mode_healed.py
"""A model comes out of a helper that puts it into eval mode, and is fine-tuned as it is: its batch normalisation keeps
the statistics of other data."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.classifier = nn.Linear(8, 4)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def load_pretrained():
    net = ConvNet()
    net.load_state_dict(ConvNet().state_dict())
    return net.eval()


class FineTuning:
    def __init__(self, net):
        self.net = net
        self.optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)

    def step(self, images, labels):
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.net(images), labels)
        loss.backward()
        self.optimizer.step()  # <- here
        return loss.item()


labels = torch.randint(0, 4, (512,))
images = 0.02 * torch.randn(512, 1, 10, 10)
images[torch.arange(512), 0, labels * 2, :] += 0.03
net = load_pretrained()
tuning = FineTuning(net)
for epoch in range(6):
    losses = [tuning.step(images[rows], labels[rows]) for rows in torch.randperm(512).split(32)]
    print(f"epoch {epoch} loss {sum(losses) / len(losses):.4f}")
