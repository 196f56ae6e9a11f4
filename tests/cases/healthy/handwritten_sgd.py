# expect: none
"""Linear regression by hand: w -= lr * w.grad under no_grad, w.grad.zero_() after it, no torch optimizer
anywhere.
"""
import torch

torch.manual_seed(0)
torch.set_num_threads(1)

true_w, true_b = torch.tensor([[2.0], [-3.4]]), 4.2
X = torch.randn(1000, 2)
y = X @ true_w + true_b + 0.01 * torch.randn(1000, 1)

w = torch.normal(0, 0.01, size=(2, 1), requires_grad=True)
b = torch.zeros(1, requires_grad=True)
lr = 0.03

for epoch in range(3):
    for rows in torch.randperm(1000).split(25):
        loss = ((X[rows] @ w + b - y[rows]) ** 2 / 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= lr * w.grad
            b -= lr * b.grad
            w.grad.zero_()
            b.grad.zero_()

print(f"final loss {loss.item():.4f}")
