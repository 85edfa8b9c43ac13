"""What the processor can do."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""Of x86-64, and of ARM."""
CPUINFO = Path("/proc/cpuinfo")


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
