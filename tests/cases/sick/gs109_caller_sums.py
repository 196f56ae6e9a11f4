# expect: GS109
# by-row: 40
# line: here
# healed-by: healthy/gs109_caller_sums_healed.py
"""train_step() returns the loss, and the loop that calls it sums the losses up."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Trainer:
    def __init__(self):
        self.model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.history = []

    def train_step(self, x, y):
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def train_epoch(self, batches):
        epoch_loss = 0
        for x, y in batches:
            epoch_loss += self.train_step(x, y) * len(x)  # <- here
        return epoch_loss / sum(len(x) for x, _ in batches)


def main():
    x = torch.randn(640, 10)
    y = x[:, :2].prod(1, keepdim=True)
    trainer = Trainer()
    for epoch in range(3):
        trainer.history.append(float(trainer.train_epoch(list(zip(x.split(16), y.split(16))))))
    print(f"final loss {trainer.history[-1]:.4f}")


if __name__ == "__main__":
    main()
