"""DistributedDataParallel: which parameters it holds alike on all ranks, and whether it was to reduce gradients."""
from __future__ import annotations

import gc
import itertools
import sys
import weakref
from dataclasses import dataclass
from typing import Any, Sequence

import torch
from torch import nn

_DDP = "torch.nn.parallel.distributed"
_HOOKS = "torch.distributed.algorithms.ddp_comm_hooks"
_GOING_APART = ("post_localSGD_hook", "noop_hook")


@dataclass(frozen=True)
class Replica:
    """One wrapper that is still there."""

    wrapper: weakref.ref[nn.Module]

    def module(self) -> nn.Module | None:
        wrapper = self.wrapper()
        return None if wrapper is None else getattr(wrapper, "module", None)

    def held(self) -> dict[int, str]:
        """By the id of each parameter, its name: those that are to be the same on all ranks of `ranks`."""
        module, wrapper = self.module(), self.wrapper()
        if module is None:
            return {}
        left_out = getattr(wrapper, "parameters_to_ignore", ())
        return {id(p): name for name, p in module.named_parameters() if name not in left_out}

    def among_all(self) -> bool:
        """Whether it joins all ranks, not only some."""
        group = getattr(self.wrapper(), "process_group", None)
        return group is not None and group.size() == torch.distributed.get_world_size()

    def reduces(self) -> bool:
        """Whether the newest forward was one after which backward reduces: not within `no_sync`."""
        return bool(getattr(self.wrapper(), "require_forward_param_sync", False))

    def joining(self) -> object:
        """What `Join`, for ranks with unequal numbers of batches, has told it: another object after each that ended."""
        return getattr(self.wrapper(), "_join_config", None)

    def by_hooks_of_its_own(self) -> bool:
        """Whether gradients are reduced by a function that may do something else than to average them."""
        hooks = getattr(self.wrapper(), "_comm_hooks", ())
        return any(_may_go_apart(hook) for hook, *_ in hooks)


def shares_data_out() -> bool:
    """Whether there is a sampler that gives each rank its part of the data. A search through all objects."""
    kind = getattr(sys.modules.get("torch.utils.data.distributed"), "DistributedSampler", None)
    if kind is None:
        return False
    world = torch.distributed.get_world_size()
    return any(one.num_replicas == world for one in gc.get_objects() if issubclass(type(one), kind))


def _may_go_apart(hook: Any) -> bool:
    name, module = getattr(hook, "__name__", ""), getattr(hook, "__module__", "") or ""
    return not module.startswith(_HOOKS) or name in _GOING_APART


def find_replicas(known: Sequence[Replica] = ()) -> list[Replica]:
    """All wrappers, those `known` first. Types are compared, never `isinstance`: that would run foreign code."""
    kind = getattr(sys.modules.get(_DDP), "DistributedDataParallel", None)
    living = [replica for replica in known if replica.wrapper() is not None]
    if not isinstance(kind, type):
        return living
    have, classes, queue = {id(replica.wrapper()) for replica in living}, set[type](), [kind]
    while queue:
        found = queue.pop()
        if found not in classes:
            classes.add(found)
            queue.extend(found.__subclasses__())
    objects = itertools.chain.from_iterable(gc.get_objects(generation) for generation in (2, 1, 0))
    new = [o for o in objects if type(o) in classes and id(o) not in have and hasattr(o, "module")]
    return living + [Replica(weakref.ref(wrapper)) for wrapper in new]
