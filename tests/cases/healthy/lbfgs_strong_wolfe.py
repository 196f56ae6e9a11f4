# expect: none
"""Logistic regression on two classes of digits with LBFGS and a line search: a closure that is called many
times per step.
"""
import torch
from sklearn.datasets import load_digits

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(n_class=2, return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float64) / 16, torch.tensor(y, dtype=torch.float64)

weight = torch.zeros(64, dtype=torch.float64, requires_grad=True)
bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.LBFGS([weight, bias], max_iter=10, line_search_fn="strong_wolfe")


def closure():
    optimizer.zero_grad()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight + bias, y)
    loss = loss + 1e-3 * weight.square().sum()
    loss.backward()
    return loss


for _ in range(6):
    loss = optimizer.step(closure)
print(f"final loss {closure().item():.4f}")
