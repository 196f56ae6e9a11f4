# expect: GS104
# by-row: 1
# line: here
# healed-by: healthy/gs104_cleared_sgd_to_zeros_healed.py
"""backward(), zero_grad(set_to_none=False), step(): SGD with momentum steps on zeros."""
import torch
import torch.nn.functional as F


def train_step(model, optimizer, x, y):
    loss = F.mse_loss(model(x), y)
    loss.backward()
    optimizer.zero_grad(set_to_none=False)  # <- here
    optimizer.step()
    return loss.item()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.randn(256, 6)
    y = (x @ torch.randn(6, 2)).tanh()
    model = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = [train_step(model, optimizer, x, y) for _ in range(60)]
    print(f"final loss {losses[-1]:.4f}")


if __name__ == "__main__":
    main()
