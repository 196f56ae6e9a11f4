# expect: none
"""A student learns from a teacher's softmax by KL, and from labels; and an ensemble's mean probability by NLLLoss."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
teacher = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
student = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
members = nn.ModuleList(nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)) for _ in range(3))
optimizer = torch.optim.Adam(teacher.parameters(), lr=3e-3)
for step in range(60):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(teacher(images[batch]), labels[batch]).backward()
    optimizer.step()
optimizer = torch.optim.Adam([*student.parameters(), *members.parameters()], lr=3e-3)
for step in range(100):
    batch = torch.randint(1500, (64,))
    optimizer.zero_grad()
    with torch.no_grad():
        soft = torch.softmax(teacher(images[batch]) / 2, dim=1)
    logits = student(images[batch])
    loss = 4 * nn.functional.kl_div(torch.log_softmax(logits / 2, dim=1), soft, reduction="batchmean")
    loss = loss + nn.functional.cross_entropy(logits, labels[batch])
    mean = torch.stack([torch.softmax(member(images[batch]), dim=1) for member in members]).mean(0)
    loss = loss + nn.functional.nll_loss(torch.log(mean + 1e-8), labels[batch])
    loss.backward()
    optimizer.step()
