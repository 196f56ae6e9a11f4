"""What comparing ranks costs: steps of a loop in two processes, watched with and without it, in turns.

    python benchmarks/ranks.py            two gloo processes on this machine, ratios of the medians
    python benchmarks/ranks.py --store N  rank 0's share of a check among N ranks that are made up

Times of different machines cannot be compared, and those of one only in turns: each round runs every variant once.
"""
from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gradscope
from gradscope.hooks.processes import Exchange
from gradscope.probes import ranks
from gradscope.recording.comparing import Comparison, Own
from gradscope.recording.peers import EVERY, Check, Flag, Peers, columns_for, is_check

ROUNDS, STEPS = 5, 200  # the steps of a round hold two checks


def steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, first: int, checked: list[float], others: list[float]
) -> None:
    """Time each step, those with a check apart."""
    x = torch.randn(32, 512)
    for step in range(first, first + STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        (checked if is_check(step) else others).append(time.perf_counter() - start)


def worker() -> None:
    """Rank 0 prints the figures."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(*[nn.Linear(512, 512) for _ in range(8)]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ("bare", "watched", "compared")}
    original = ranks.place
    for turn in range(ROUNDS):
        for name in found:
            checked, others = found[name]
            if name == "bare":
                steps(model, optimizer, 0, checked, others)
                continue
            ranks.place = original if name == "compared" else lambda: None  # type: ignore[attr-defined]
            with gradscope.watch(model, optimizer):
                steps(model, optimizer, 0, checked, others)
            dist.barrier()
    if dist.get_rank() == 0:
        bare = statistics.median(found["bare"][1])
        count = sum(p.numel() for p in model.parameters())
        print(f"{count / 1e6:.1f} M parameters, {ROUNDS} rounds of {STEPS} steps; medians, by that of a bare step")
        for name, (checked, others) in found.items():
            check = statistics.median(checked) / bare
            print(f"  {name:9} a step {statistics.median(others) / bare:.3f}, one with a check {check:.3f}")
        more = statistics.median(found["compared"][0]) - statistics.median(found["watched"][0])
        share = 2 / EVERY * more / bare
        print(f"  comparing, over a long run (2 checks in {EVERY} steps): {100 * share:.2f} % of a bare step")
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)


def among(world: int, columns: int = 300) -> None:
    """Rank 0's share of one check among `world` ranks, whose checks are put by this process."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=30))
    starts = columns_for(columns, world)
    words = np.arange(1, len(starts) + 1, dtype=np.uint32)
    check = Check(100, Flag.SYNCED, 0, 99, 1.0, 1.0, words, words * 7, words * 2 + 1)
    everybody = [Peers(Exchange(store), rank, world, "made up") for rank in range(world)]
    start = time.perf_counter()
    for peer in everybody:
        peer.put(check)
    put = (time.perf_counter() - start) / world
    comparisons = [Comparison() for _ in range(world)]
    own = Own(check, np.ones(len(words), np.bool_), np.zeros(len(words), np.bool_), 100)
    start = time.perf_counter()
    checks = everybody[0].read(100, range(1, world))
    read = time.perf_counter() - start
    for rank, other in checks.items():
        comparisons[rank].compare(own, other, {100: check.total})
    compared = time.perf_counter() - start - read
    size = len(check.packed())
    print(f"{world} ranks, {len(starts)} columns, {size} bytes each: put {1e6 * put:.0f} us a rank")
    print(f"  rank 0 reads in {read:.3f} s, compares in {compared:.3f} s; all slots hold {16e-6 * world * size:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=int, metavar="N")
    chosen = parser.parse_args()
    if "RANK" in os.environ:
        worker()
    elif chosen.store:
        among(chosen.store)
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        command = [sys.executable, "-W", "ignore", __file__]
        common["OMP_NUM_THREADS"] = "1"
        workers = [subprocess.Popen(command, env={**common, "RANK": str(rank)}) for rank in (0, 1)]
        for process in workers:
            process.wait()


if __name__ == "__main__":
    main()
