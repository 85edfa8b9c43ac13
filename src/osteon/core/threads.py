"""How the threads of numerical libraries wait for one another, and how many there are.

By default the threads of an OpenMP library spin while they wait. Where another process takes one of the cores, they
spin for a thread that does not run, and everything takes up to fifty times as long (benchmarks/contention.py). Waiting
asleep costs next to nothing on a quiet machine. The libraries read the environment once, when they are loaded, so this
is done before torch is imported, in every process: `import osteon` does it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

SET_BY_OSTEON = "OSTEON_THREAD_SETTINGS"
"""An environment variable with the names of those that osteon has set, so that they are not taken for a user's."""
COUNT_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def prepare_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads wait asleep, and be no more than the container's processor time is for; a user's settings stay.

    `OMP_WAIT_POLICY` is read by every OpenMP library (GNU's, LLVM's, Intel's, and MKL, which runs on one of them),
    `KMP_BLOCKTIME` (milliseconds of spinning) by LLVM's and Intel's. A `GOMP_SPINCOUNT` or `KMP_BLOCKTIME` of the
    user's goes before the policy in their libraries. The libraries respect affinity; none respects a quota.
    """
    if "OMP_WAIT_POLICY" not in environment:
        _set_by_osteon(environment, "OMP_WAIT_POLICY", "PASSIVE")
        if "KMP_BLOCKTIME" not in environment:
            _set_by_osteon(environment, "KMP_BLOCKTIME", "0")
    if not any(name in environment for name in COUNT_VARIABLES):
        from osteon.core.platform import cpu_count, cpu_quota

        if cpu_quota() is not None:
            for name in COUNT_VARIABLES:
                _set_by_osteon(environment, name, str(cpu_count()))


def set_thread_count(count: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let libraries that are loaded from now on have so many threads, unless the user has said how many."""
    chosen = next((environment[name] for name in COUNT_VARIABLES if is_user_set(name, environment)), str(count))
    for name in COUNT_VARIABLES:
        if not is_user_set(name, environment):
            _set_by_osteon(environment, name, chosen)


def is_user_set(name: str, environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether a variable is set, and not by osteon."""
    return name in environment and name not in environment.get(SET_BY_OSTEON, "").split()


def threads_may_spin(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether threads wait spinning: the user has set it so, or torch was loaded before osteon could prepare it."""
    return _loaded_too_late or environment.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE"


def describe_waiting(environment: MutableMapping[str, str] = os.environ) -> str:
    """How threads wait in this process, for `osteon doctor`."""
    if _loaded_too_late:
        return "spinning, since torch was imported before osteon"
    names = [name for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME") if name in environment]
    values = ", ".join(f"{name}={environment[name]}" for name in names)
    return f"{'as you have set it' if threads_may_spin(environment) else 'asleep'} ({values})"


def _set_by_osteon(environment: MutableMapping[str, str], name: str, value: str) -> None:
    known = environment.get(SET_BY_OSTEON, "").split()
    environment[name] = value
    environment[SET_BY_OSTEON] = " ".join(dict.fromkeys([*known, name]))


_loaded_too_late = "torch" in sys.modules and "OMP_WAIT_POLICY" not in os.environ
"""torch had read the environment before it was prepared."""
