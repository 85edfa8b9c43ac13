"""Cores, memory and disk that this process may use, asked of each operating system in its own way.

What processes do to one another is in `processes`, locks on files are in `locks`. No other module imports what only
some systems have (`resource`, `fcntl`, `msvcrt`) or asks for it (`os.getpgid`, `os.sched_getaffinity`).
"""

from __future__ import annotations

import math
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import psutil

CGROUPS = Path("/sys/fs/cgroup")
PROCESS_CGROUP = Path("/proc/self/cgroup")
STATUS = Path("/proc/self/status")
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""Of x86-64, and of ARM."""
CPUINFO = Path("/proc/cpuinfo")
_BLOCK = 1 << 20
HAS_CHANGE_TIMES = sys.platform != "win32"
"""Whether the system notes, where no program can set it, when a file was last changed; `st_ctime` is a birth there."""


def cpu_count() -> int:
    """The processor cores that this process may use: by its affinity and its container's quota, rounded up."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    elif hasattr(psutil.Process, "cpu_affinity"):
        allowed = len(psutil.Process().cpu_affinity())
    else:
        allowed = psutil.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else min(allowed, math.ceil(quota))


def address_space_limit() -> int | None:
    """Bytes that the process may map (`ulimit -v`); None: there is no limit, or the system has none."""
    try:
        import resource
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit in (resource.RLIM_INFINITY, -1) else limit


def cpu_quota(cgroups: Path = CGROUPS, process_cgroup: Path = PROCESS_CGROUP) -> float | None:
    """Cores' worth of time that the process's control groups grant it, the tightest of them; None: there is no limit.

    Args:
        cgroups: Where the groups are mounted, of version 1, 2 or both.
        process_cgroup: The kernel's list of the process's groups, `number:controllers:path` (cgroups(7)).
    """
    return min(
        (quota for folder in _cgroup_folders(cgroups, process_cgroup) for quota in _quotas(folder)), default=None
    )


def _cgroup_folders(cgroups: Path, process_cgroup: Path) -> Iterator[Path]:
    """The process's groups and those above them; in a container the list may name paths of the host: then the root."""
    lines = []
    with suppress(OSError):
        lines = process_cgroup.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        parts = [part for part in path.split("/") if part not in ("", "..")]
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in (cgroups / controllers, cgroups / "cpu") if controllers else (cgroups, cgroups / "unified"):
            yield from (mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _quotas(folder: Path) -> list[float]:
    """Limits of one group: `cpu.max` of version 2 ("max" is no number), or the two files of version 1 (-1: none)."""
    found = []
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        found.append(int(quota) / int(period))
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((folder / f"cpu.cfs_{what}_us").read_text(encoding="ascii") for what in ("quota", "period"))
        found.append(int(quota) / int(period))
    return [quota for quota in found if quota > 0]


def peak_bytes(status: Path = STATUS) -> int:
    """The most memory that this process has held so far (resident set).

    Linux's `ru_maxrss` begins with the parent's peak; the kernel's own high-water mark of the process does not.
    Where no system tells a peak, it is what the process holds now.

    Args:
        status: The kernel's report on the process, where there is one.
    """
    with suppress(OSError):
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reserve_space(file: BinaryIO, size: int) -> None:
    """Take the disk's space for a new file: a full disk is an OSError here, and not a signal when a page is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, _BLOCK):
        file.write(bytes(min(_BLOCK, size - start)))
    file.flush()


def release_pages(mapped: mmap.mmap) -> None:
    """Give back a mapped file's memory, where the system can be told to; what is asked for is read again."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def has_bf16() -> bool:
    """Whether the processor is known to compute in bf16 itself, and libraries have not been told to do without."""
    narrowed = os.environ.get("ATEN_CPU_CAPABILITY", "").lower() in ("avx2", "default")
    return not narrowed and bool(processor_flags() & set(BF16_FLAGS))


@cache
def processor_flags() -> frozenset[str]:
    """The kernel's names of what the processor can do; none where the system does not list them."""
    if not CPUINFO.is_file():
        return frozenset()
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    line = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())
