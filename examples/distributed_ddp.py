"""Two processes train one model on handwritten digits, by DistributedDataParallel, on any machine with a CPU.

    gradscope run examples/distributed_ddp.py
    torchrun --standalone --nproc-per-node 2 -m gradscope run examples/distributed_ddp.py

Either way there is one report, and one run folder with a part for each process. The script itself knows nothing of
gradscope: under torchrun it finds its processes there already, else it starts two of its own.
"""
import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

PROCESSES, EPOCHS = 2, 5


def digits() -> TensorDataset:
    from sklearn.datasets import load_digits  # here, as the process that only starts the others has no use for it

    pictures, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(pictures, dtype=torch.float32) / 8 - 1, torch.tensor(labels))


def train(rank: int) -> None:
    torch.manual_seed(rank)  # of dropout and the like; DistributedDataParallel makes all begin with rank 0's weights
    data = digits()
    sampler = DistributedSampler(data)  # each process sees a part of its own
    loader = DataLoader(data, batch_size=64, sampler=sampler)

    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        right = 0
        for inputs, labels in loader:
            optimizer.zero_grad()
            outputs = model(inputs)
            loss_of(outputs, labels).backward()  # the gradients are averaged over all processes here
            optimizer.step()
            right += int((outputs.argmax(dim=1) == labels).sum())
        if rank == 0:
            print(f"epoch {epoch}: {right / len(sampler):.1%} of rank 0's pictures were told right")


def worker(rank: int, world: int, port: int) -> None:
    """A process, by torch.multiprocessing or torchrun."""
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    try:
        train(rank)
    finally:
        dist.destroy_process_group()


def main() -> None:
    torch.set_num_threads(1)
    if "RANK" in os.environ:  # torchrun has started this process, and others
        dist.init_process_group("gloo")
        train(dist.get_rank())
        dist.destroy_process_group()
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, args=(PROCESSES, port), nprocs=PROCESSES)


if __name__ == "__main__":
    main()
