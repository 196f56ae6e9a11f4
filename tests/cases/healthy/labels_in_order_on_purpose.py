# expect: none
"""Labels that come in an order for a reason: activities as they follow each other, an utterance frame by frame, a state
carried on, tasks one after the other, episodes of five classes, pairs, a class for each batch, real and false by turns.
"""
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
centres = torch.randn(10, 12)


def train(batches, classes=10):
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(centres[labels] + torch.randn(len(labels), 12)), labels)
        loss.backward()
        optimizer.step()
    print(f"{loss.item():.4f}")


def segments(many, classes, least, most):
    lengths = torch.randint(least, most, (many,)).tolist()
    return torch.cat([torch.full((n,), int(torch.randint(classes, ()))) for n in lengths])


activities = segments(60, 4, 30, 140)
train(activities.repeat(3).split(32))
train(segments(60, 2, 20, 160).repeat(2).split(16), classes=2)
train(task + torch.randint(0, 2, (16,)) for task in range(0, 10, 2) for _ in range(60))
train(torch.full((16,), kind) for kind in range(4) for _ in range(60))
train(torch.randperm(10)[:5].repeat_interleave(5) for _ in range(150))
train(torch.randperm(10)[:2].repeat_interleave(8) for _ in range(150))
train(torch.full((16,), int(torch.randint(10, ()))) for _ in range(150))
train(torch.full((16,), row % 2) for row in range(150))

frames, head = nn.GRU(12, 24, batch_first=True), nn.Linear(24, 10)
optimizer = torch.optim.Adam([*frames.parameters(), *head.parameters()], lr=3e-3)
state = None
for labels in activities.split(20):
    output, state = frames((centres[labels] + torch.randn(len(labels), 12))[None], state)
    state = state.detach()
    optimizer.zero_grad()
    loss = F.cross_entropy(head(output).view(-1, 10), labels)
    loss.backward()
    optimizer.step()
print(f"{loss.item():.4f}")

judge = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(judge.parameters(), lr=1e-3)
for row in range(150):
    optimizer.zero_grad()
    for label in (1.0, 0.0):
        loss = F.binary_cross_entropy_with_logits(judge(torch.randn(16, 12) + label)[:, 0], torch.full((16,), label))
        loss.backward()
    optimizer.step()
print(f"{loss.item():.4f}")
