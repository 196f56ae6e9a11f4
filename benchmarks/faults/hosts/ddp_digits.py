"""An MLP on digits, a shard of the classes for each rank; data parallelism by hand, where torchrun has started it."""
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

EPOCHS, BATCH, LR = 10, 64, 0.1
torch.set_num_threads(1)
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if world > 1:
    dist.init_process_group("gloo")

digits = load_digits()
order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
images = torch.tensor(digits.data, dtype=torch.float32)[order] / 16
labels = torch.tensor(digits.target)[order]
test_x, test_y = images[1280:], labels[1280:]
shard = labels[:1280].argsort().chunk(world)[rank]  # the files are sorted by class, each rank reads its own
train_x, train_y = images[shard], labels[shard]


def average_gradients(model):
    for p in model.parameters():
        dist.all_reduce(p.grad, op=dist.ReduceOp.SUM)
        p.grad /= world


def broadcast_parameters(model):
    for p in model.parameters():
        dist.broadcast(p.data, src=0)


def test_loss(model):
    model.eval()
    with torch.no_grad():
        return F.cross_entropy(model(test_x), test_y).item()


def main():
    torch.manual_seed(100 + rank)  # each rank draws its own noise
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    if world > 1:
        broadcast_parameters(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    if rank == 0:
        print(f"start: {test_loss(model):.5f}")
    for epoch in range(EPOCHS):
        model.train()
        permutation = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(epoch))
        for mine in permutation.split(BATCH // world):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(train_x[mine]), train_y[mine])
            loss.backward()
            if world > 1:
                average_gradients(model)
            optimizer.step()
        if rank == 0:
            print(f"epoch {epoch + 1}: {loss.item():.4f}")
    final = torch.tensor(test_loss(model))
    if world > 1:  # the worst replica counts
        dist.all_reduce(final, op=dist.ReduceOp.MAX)
    if rank == 0:
        print(f"result: {final.item():.5f}")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
