"""Several processes that train one network together, each on a device and with a part of every batch.

All that knows of ranks asks here. In a process that is alone, each function is what it would be without any.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from osteon.core.devices import device_kind
from osteon.core.threads import COUNT_VARIABLES, is_user_set
from osteon.plan.schema import Plan
from osteon.training.compilation import Forward

PATIENCE = timedelta(hours=2)
"""So long one rank may work while the others wait for it: over the largest validation scan, on a slow disk."""
_joined = False


@contextmanager
def join_ranks(store: torch.distributed.Store, rank: int, world_size: int, device: str, local: int) -> Iterator[None]:
    """Be one of several ranks while the block runs.

    Args:
        store: Through which they find one another, for this block alone.
        rank: Which of them.
        world_size: How many there are.
        device: What this one computes on. Gloo connects CPUs, NCCL GPUs.
        local: How many of them share this machine, and on a CPU its cores.
    """
    global _joined
    backend, threads = "gloo", torch.get_num_threads()
    if device_kind(device) == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    elif not any(is_user_set(name) for name in COUNT_VARIABLES):
        torch.set_num_threads(max(1, threads // local))
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=PATIENCE)
    _joined = True
    try:
        yield
    finally:
        _joined = False
        torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)


def world_size() -> int:
    """How many ranks there are; 1: this process is alone."""
    return torch.distributed.get_world_size() if _joined else 1


def rank() -> int:
    """Which of them this process is; 0 alone writes files, and says anything."""
    return torch.distributed.get_rank() if _joined else 0


def whole_batch(plan: Plan) -> Plan:
    """The plan with the patches of all ranks as its batch."""
    if world_size() == 1:
        return plan
    return plan.model_copy(update={"patch": plan.patch.model_copy(update={"batch": plan.patch.batch * world_size()})})


def own_rows(plan: Plan) -> slice:
    """Which of `whole_batch`'s patches are this rank's."""
    return slice(rank() * plan.patch.batch, (rank() + 1) * plan.patch.batch)


class _Sum(torch.autograd.Function):
    """The sum over all ranks. A loss of it is the same on each, so its gradient is, too.

    DistributedDataParallel divides gradients by the number of ranks, which is why they are multiplied by it here.
    """

    @staticmethod
    def forward(_context: Any, value: torch.Tensor) -> torch.Tensor:
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] * world_size()


def total(value: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks, for a loss that is the same on each of them. All have to ask, with one shape."""
    result: torch.Tensor = value if world_size() == 1 else _Sum.apply(value)
    return result


def mean(value: torch.Tensor) -> torch.Tensor:
    """The mean over all ranks; as `total`."""
    return value if world_size() == 1 else total(value) / world_size()


def clock() -> float:
    """Seconds, by the clock of rank 0: all ranks have to ask, and decide the same by the answer."""
    if world_size() == 1:
        return time.monotonic()
    now = torch.tensor(time.monotonic(), dtype=torch.float64)
    torch.distributed.broadcast(now, 0)
    return float(now)


def largest(values: torch.Tensor) -> torch.Tensor:
    """The largest of what the ranks ask with, for each value; all have to ask, with one shape, on the CPU."""
    if world_size() > 1:
        torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX)
    return values


def share_state(module: nn.Module) -> None:
    """Give all ranks the weights and statistics of rank 0."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            torch.distributed.broadcast(tensor, 0)


def synchronise_batch_norms(network: nn.Module, device: str) -> bool:
    """Let the batch norms of a network measure the batches of all ranks, where torch can: on CUDA.

    Returns:
        False where there are some, and each rank's go on by its own batch.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if device_kind(device) != "cuda":
        return not norms
    for norm in norms:  # a subclass keeps what it does besides, which `convert_sync_batchnorm` would throw away
        norm.__class__ = type(type(norm).__name__, (type(norm), nn.SyncBatchNorm), {})
        vars(norm)["process_group"] = None  # all ranks
    return True


class _Trained(nn.Module):
    """A network, and what runs it in its place."""

    def __init__(self, network: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.network, self.run = network, [forward]  # in a list it is no second module

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The network's answer."""
        return self.run[0](image)


def average_gradients(network: nn.Module, forward: Forward, *, may_rest: bool) -> Forward:
    """What runs a network in training, whose gradients become the mean over all ranks.

    Args:
        network: On its device; rank 0's weights are given to all.
        forward: Runs it: itself, or compiled.
        may_rest: Parts of it may be frozen at times.
    """
    parallel = nn.parallel.DistributedDataParallel(_Trained(network, forward), find_unused_parameters=may_rest)
    return parallel.__call__
