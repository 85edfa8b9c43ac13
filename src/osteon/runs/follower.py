"""The other ranks' side of a training over several devices: each trains what rank 0 tells it to.

    RANK=… WORLD_SIZE=… LOCAL_RANK=… MASTER_ADDR=… MASTER_PORT=… python -m osteon.runs.follower

They write nothing and say nothing: locks, checkpoints, records and messages are rank 0's.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time

from osteon.core.devices import resolve_device
from osteon.core.errors import DatasetError, OsteonError, summarise_error
from osteon.core.garbage import skip_last_collection
from osteon.core.heap import keep_freed_memory
from osteon.core.processes import handle_termination_signals
from osteon.core.progress import show_progress
from osteon.dataset.dataset import Dataset
from osteon.preparing.cache import prepare_cases
from osteon.runs.fit_task import FitTask
from osteon.runs.rank_environment import RankEnvironment, find_environment, open_store, rank_device
from osteon.runs.rank_launcher import DONE, POLL_EVERY_S, is_lost_connection
from osteon.training.ranks import join_ranks


def follow(count: int = 1) -> bool:
    """In a process of rank 1 or more, train what rank 0 says until it says that all is done.

    Args:
        count: Of processes, as `resolve_ranks` has it.

    Returns:
        False in rank 0 and where a process is alone, at once.
    """
    environment = find_environment(count)
    if environment is None:
        return False
    store = open_store(environment)  # rank 0's, too: when it ends, the others do
    if environment.rank == 0:
        return False
    logging.getLogger("osteon").setLevel(logging.CRITICAL)
    with show_progress(False):
        while True:
            number = store.add(f"asked/{environment.rank}", 1) - 1
            while not store.check([f"task/{number}"]):
                time.sleep(POLL_EVERY_S)
            text = store.get(f"task/{number}").decode()
            if text == DONE:
                return True
            try:
                _fit(text, number, environment)
            except Exception as error:
                about = (error.message, error.hint) if isinstance(error, OsteonError) else (summarise_error(error), "")
                if not is_lost_connection(error):  # whoever was lost has its own reason
                    store.set(f"failure/{environment.rank}", json.dumps(about))
                raise


def _fit(text: str, number: int, environment: RankEnvironment) -> None:
    from torch.distributed import PrefixStore

    from osteon.runs.loop import fit_network

    keep_freed_memory()
    store, task = open_store(environment), FitTask.from_json(text)
    dataset = Dataset.open(task.dataset)
    ids = [*task.training, *task.validation]
    cached, failed = prepare_cases(dataset, task.plan, [dataset.case(case_id) for case_id in ids], workers=1)
    if failed:
        case_id, error = next(iter(failed.items()))
        raise DatasetError(
            f"case {case_id} cannot be read from {task.dataset / 'cache'}: {error.message}",
            hint="dataset and run have to lie where all nodes read them",
        )
    training, validation = ([cached[case_id] for case_id in part] for part in (task.training, task.validation))
    device = rank_device(resolve_device(task.options.device), environment.local_rank)
    store.set(f"ready/{number}/{environment.rank}", "")
    group = PrefixStore(f"fit/{number}", store)
    with join_ranks(group, environment.rank, environment.world_size, device, environment.local_world_size):
        fit_network(
            task.plan,
            task.run,
            task.options,
            task.state,
            training,
            validation,
            device,
            task.checkpoint_every_s,
            None,
            task.repeats,
        )
        store.set(f"left/{number}/{environment.rank}", "")


def _end_with_parent() -> None:
    """End when rank 0, which has started this process, has ended, however that was."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(POLL_EVERY_S * 5)
    os._exit(1)


def main() -> None:
    """Entry of the processes that rank 0 starts."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    handle_termination_signals()
    skip_last_collection()
    try:
        follow()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
