# expect: none
"""Sharpness-aware minimisation: two backwards per step, the weights are moved uphill between them, and only the
second gradient is used for the step.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        norms = [p.grad.norm() for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack(norms).norm()
        for group in self.param_groups:
            scale = group["rho"] / (norm + 1e-12)
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["uphill"] = p.grad * scale
                    p.add_(self.state[p]["uphill"])
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(self.state[p]["uphill"])
        self.base_optimizer.step()
        self.zero_grad()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.2, momentum=0.9)
    for step in range(70):
        rows = torch.randint(0, len(x), (64,))
        loss = criterion(model(x[rows]), y[rows])
        loss.backward()
        optimizer.first_step()
        criterion(model(x[rows]), y[rows]).backward()
        optimizer.second_step()
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
