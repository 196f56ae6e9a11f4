# expect: none
"""Meta-learning (MAML): the inner loop takes its gradients from autograd.grad(create_graph=True) on functional
copies of the weights, only the outer loss is sent backward.
"""
import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)


def init():
    shapes = [(1, 32), (32,), (32, 32), (32,), (32, 1), (1,)]
    tensors = [torch.randn(s) * (2 / s[0]) ** 0.5 if len(s) == 2 else torch.zeros(s) for s in shapes]
    return [t.requires_grad_(True) for t in tensors]


def forward(weights, x):
    w1, b1, w2, b2, w3, b3 = weights
    return torch.tanh(torch.tanh(x @ w1 + b1) @ w2 + b2) @ w3 + b3


def sample_task():
    amplitude, phase = torch.rand(1) * 2 + 0.5, torch.rand(1) * torch.pi

    def draw(n=10):
        x = torch.rand(n, 1) * 6 - 3
        return x, amplitude * torch.sin(x + phase)

    return draw


meta_weights = init()
meta_optimizer = torch.optim.Adam(meta_weights, lr=5e-3)
history = []
for iteration in range(60):
    meta_optimizer.zero_grad()
    outer_loss = 0.0
    for _ in range(4):
        draw = sample_task()
        x, y = draw()
        inner_loss = F.mse_loss(forward(meta_weights, x), y)
        grads = torch.autograd.grad(inner_loss, meta_weights, create_graph=True)
        adapted = [w - 0.02 * g for w, g in zip(meta_weights, grads)]
        x, y = draw()
        outer_loss = outer_loss + F.mse_loss(forward(adapted, x), y) / 4
    outer_loss.backward()
    meta_optimizer.step()
    history.append(outer_loss.item())
print(f"final loss {sum(history[-10:]) / 10:.4f}")
