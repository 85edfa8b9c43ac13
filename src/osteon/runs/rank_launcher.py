"""Rank 0's side of a training over several devices: the other ranks are started, told what to train, and watched."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from osteon.core.errors import RankError
from osteon.core.processes import group_leader_options
from osteon.runs.fit_task import FitTask
from osteon.runs.rank_environment import find_environment, open_store, rank_device
from osteon.training.ranks import join_ranks

if TYPE_CHECKING:
    from torch.distributed import Store

logger = logging.getLogger(__name__)
POLL_EVERY_S = 0.1
LEAVE_S = 20.0
"""Within which the other ranks end when there is nothing more to do."""
EXPLAIN_S = 5.0
"""Within which a rank that failed has said why."""
NOTICE_S = 60.0
"""Within which rank 0 notices by itself that another has ended; a GPU may wait for it for ever."""
DONE = "null"
"""The task after which a rank ends."""
CONTINUES = "run the same command: it continues from the last checkpoint, with any number of devices"
_TORCH_RANKS = ("TORCHELASTIC_USE_AGENT_STORE", "GROUP_RANK", "ROLE_RANK")


@dataclass
class _OtherRanks:
    """The other ranks, and the store through which they hear of tasks.

    Attributes:
        store: Rank 0's, or its launcher's.
        world_size: How many ranks there are.
        processes: Those that were started here, by rank, each with the file of what it wrote.
    """

    store: Store
    world_size: int
    processes: dict[int, tuple[subprocess.Popen[bytes], IO[bytes]]] = field(default_factory=dict)

    def await_all(self, key: str) -> None:
        """Wait until each of them has set a key. Raises RankError where one has ended before."""
        keys = [f"{key}/{rank}" for rank in range(1, self.world_size)]
        while not self.store.check(keys):
            if (error := self.failure()) is not None:
                raise error
            time.sleep(POLL_EVERY_S)

    def failure(self) -> RankError | None:
        """Why one of them has failed; None where none has."""
        for rank in range(1, self.world_size):
            if self.store.check([f"failure/{rank}"]):
                message, hint = json.loads(self.store.get(f"failure/{rank}"))
                return RankError(f"rank {rank} of {self.world_size}: {message}", hint=hint or CONTINUES)
        ended = {rank: code for rank, (process, _) in self.processes.items() if (code := process.poll())}
        if not ended:
            return None
        rank, code = min(ended.items(), key=lambda item: item[1])  # a signal's is below 0: others followed it
        output = self.processes[rank][1]
        output.seek(0)
        last = (output.read().decode(errors="replace").strip().splitlines() or [""])[-1]
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}" + (last and f": {last}")
        return RankError(f"rank {rank} of {self.world_size} {how}; the others were ended, too", hint=CONTINUES)

    def explain(self, error: RuntimeError) -> RankError | None:
        """The failure behind an error of communication; None where all others live."""
        until = time.monotonic() + EXPLAIN_S
        while (found := self.failure()) is None and time.monotonic() < until:
            time.sleep(POLL_EVERY_S)
        if found is None and is_lost_connection(error):
            return RankError(f"another rank cannot be reached any more: {str(error).splitlines()[0]}", hint=CONTINUES)
        return found

    def end(self) -> None:
        """Wait for those that were started here; kill what does not end."""
        until = time.monotonic() + LEAVE_S
        for process, output in self.processes.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            output.close()


def is_lost_connection(error: Exception) -> bool:
    """Whether an error only says that another rank is gone."""
    return any(word in str(error) for word in ("gloo", "NCCL", "Connection closed", "reset by peer"))


@contextmanager
def all_ranks(task: FitTask, device: str) -> Iterator[str]:
    """Be rank 0 of as many as the options of a task want, all of which work on it while the block runs.

    Args:
        task: What they train.
        device: Resolved.

    Yields:
        This rank's own device.

    Raises:
        RankError: One of them has ended; the message says which, and how.
    """
    devices, count = task.options.devices, task.options.devices * task.options.nodes
    if count == 1:
        yield device
        return
    from torch.distributed import PrefixStore

    own_device = rank_device(device, 0)
    with _other_ranks(devices, count) as others:
        number = others.store.add("tasks", 1) - 1
        others.store.set(f"task/{number}", task.to_json())
        others.await_all(f"ready/{number}")
        try:
            with join_ranks(PrefixStore(f"fit/{number}", others.store), 0, count, own_device, devices):
                yield own_device
                others.await_all(f"left/{number}")
        except RuntimeError as error:
            if (explained := others.explain(error)) is None:
                raise
            raise explained from error


def dismiss_ranks(count: int) -> None:
    """Let those of `count` ranks that a launcher has started end: there is nothing more to train."""
    if (environment := find_environment(count)) is not None:
        store = open_store(environment)
        store.set(f"task/{store.add('tasks', 1) - 1}", DONE)


@contextmanager
def _other_ranks(devices: int, count: int) -> Iterator[_OtherRanks]:
    """Those of a launcher; where there is none, processes on this machine, which end with the block."""
    if (environment := find_environment(count)) is not None:
        yield _OtherRanks(open_store(environment), count)
        return
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    others = _OtherRanks(store, count)
    over = threading.Event()
    watch = threading.Thread(target=_end_with_others, args=(others, over), daemon=True)
    try:
        for rank in range(1, devices):
            others.processes[rank] = _start_rank(rank, count, store.port)
        watch.start()
        yield others
        others.store.set(f"task/{others.store.add('tasks', 1) - 1}", DONE)
    except BaseException:
        for process, _ in others.processes.values():
            process.kill()  # nothing is theirs to save
        raise
    finally:
        over.set()
        if watch.is_alive():
            watch.join()
        others.end()


def _start_rank(rank: int, count: int, port: int) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    inherited = {name: value for name, value in os.environ.items() if name not in _TORCH_RANKS}
    environment = inherited | {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in ranks.items()}}
    output = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process has ended)
    command = [sys.executable, "-m", "osteon.runs.follower"]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=Path.cwd(),
        **group_leader_options(),  # Ctrl-C comes to rank 0, and all agree on it
    )
    return process, output


def _end_with_others(others: _OtherRanks, over: threading.Event, notice_s: float = NOTICE_S) -> None:
    """End this process where another rank has ended, and it has not noticed that by itself."""
    while not over.wait(POLL_EVERY_S * 5):
        if (error := others.failure()) is not None and not over.wait(notice_s):
            logger.error(str(error))
            for process, _ in others.processes.values():
                process.kill()
            os._exit(RankError.exit_code)
