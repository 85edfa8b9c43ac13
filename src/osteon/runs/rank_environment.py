"""Which rank this process is where a launcher has started one for each device: torchrun, or SLURM's srun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from osteon.core.devices import device_kind, resolve_device
from osteon.core.errors import UsageError
from osteon.training.ranks import PATIENCE

if TYPE_CHECKING:
    from torch.distributed import Store

FIRST_PORT, PORTS = 15000, 10000
"""Of SLURM's jobs each takes a port of its own by its number, as in Lightning's `SLURMEnvironment`."""


@dataclass(frozen=True)
class RankEnvironment:
    """What a launcher tells a process.

    Attributes:
        rank: The process's number among all.
        world_size: How many there are.
        local_rank: Its number on this machine, and that of its GPU.
        local_world_size: How many there are on this machine.
        address, port: Where rank 0 is found.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    address: str
    port: int


def find_environment(wanted: int, variables: Mapping[str, str] = os.environ) -> RankEnvironment | None:
    """What a launcher has told this process; None where it is alone.

    Args:
        wanted: How many processes are to train together. With 1 torchrun's do, which are there for nothing else; srun's
            may well train a run each. A SLURM job's script has no ranks, whatever the job has asked for.
        variables: The environment.

    Raises:
        UsageError: A variable is missing, or nodes have different numbers of processes.
    """
    if int(variables.get("WORLD_SIZE", 1)) > 1:
        try:
            rank, world_size, local_rank, port = (
                int(variables[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
            )
            local_world_size = int(variables.get("LOCAL_WORLD_SIZE", world_size))
            return RankEnvironment(rank, world_size, local_rank, local_world_size, variables["MASTER_ADDR"], port)
        except KeyError as error:
            raise UsageError(
                f"WORLD_SIZE is {variables['WORLD_SIZE']}, but {error.args[0]} is not set",
                hint="start the ranks with torchrun or srun, or unset WORLD_SIZE",
            ) from None
    if wanted == 1 or int(variables.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
        return None
    from osteon.training.lightning import SLURMEnvironment

    tasks, nodes = int(variables["SLURM_STEP_NUM_TASKS"]), int(variables.get("SLURM_STEP_NUM_NODES", 1))
    if tasks % nodes:
        raise UsageError(
            f"srun has started {tasks} tasks on {nodes} nodes, not as many on each", hint="give --ntasks-per-node"
        )
    nodelist = variables.get("SLURM_STEP_NODELIST", "127.0.0.1")
    return RankEnvironment(
        int(variables["SLURM_PROCID"]),
        tasks,
        int(variables["SLURM_LOCALID"]),
        tasks // nodes,
        variables.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodelist),
        int(variables.get("MASTER_PORT") or FIRST_PORT + int(variables.get("SLURM_JOB_ID", 0)) % PORTS),
    )


def resolve_ranks(devices: int, nodes: int, device: str) -> tuple[int, int]:
    """Devices on each node, and nodes, as they are asked for or as a launcher has started processes for them.

    Args:
        devices: On each node; 1 with 1 node: as torchrun says, where it has started this process.
        nodes: Machines.
        device: What to train on, as a user names it.

    Raises:
        UsageError: The launcher has started others; there are fewer GPUs; nobody has started processes on other nodes.
    """
    environment = find_environment(devices * nodes)
    if environment is not None:
        there = environment.local_world_size, environment.world_size // environment.local_world_size
        if (devices, nodes) not in ((1, 1), there):
            raise UsageError(
                f"--devices {devices} --nodes {nodes}: {there[0]} processes on each of {there[1]} nodes were started",
                hint=f"--devices {there[0]} --nodes {there[1]}, or start others",
            )
        devices, nodes = there
    for option, number in (("--devices", devices), ("--nodes", nodes)):
        if number < 1:
            raise UsageError(f"{option} {number}: nothing to train on", hint=f"{option} 1 or more")
    if nodes > 1 and environment is None:
        raise UsageError(
            f"--nodes {nodes}: no other node has a process of this training",
            hint="start the same command on all of them: `srun osteon train …` in a SLURM job with a task for each "
            "device, or `torchrun --nnodes … --nproc-per-node … -m osteon.cli train …` on each",
        )
    if devices * nodes > 1:
        _check_devices(devices, device)
    return devices, nodes


def _check_devices(devices: int, device: str) -> None:
    if ":" in device:
        raise UsageError(
            f"--device {device}: is one, and {devices} are wanted on each node",
            hint="--device cuda, and CUDA_VISIBLE_DEVICES to choose which",
        )
    kind = device_kind(resolve_device(device))
    if kind == "mps":
        raise UsageError("--device mps: there is only one", hint="leave out --devices")
    if kind == "cuda":
        import torch

        if devices > (count := torch.cuda.device_count()):
            raise UsageError(
                f"--devices {devices}: torch sees {count} GPU{'s' * (count != 1)} here",
                hint=f"--devices {count}, or --device cpu",
            )


def rank_device(device: str, local_rank: int) -> str:
    """The device of one of several ranks, of those of a resolved one's kind."""
    return f"cuda:{local_rank}" if device_kind(device) == "cuda" else device


@cache
def open_store(environment: RankEnvironment) -> Store:
    """The store through which a launcher's processes find one another; it stays open as long as the process."""
    from torch.distributed.rendezvous import rendezvous

    os.environ |= {"MASTER_ADDR": environment.address, "MASTER_PORT": str(environment.port)}
    url = f"env://?rank={environment.rank}&world_size={environment.world_size}"
    store: Store = next(rendezvous(url, timeout=PATIENCE))[0]
    return store
