"""Memory that is freed stays with the process, where the C library can be told so."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from osteon.core import heap

CODE = """
import resource, sys
from osteon.core.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import ctypes
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 64 << 20
def fill():
    block = c.malloc(size)
    ctypes.memset(block, 1, size)
    c.free(block)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_large_blocks_are_not_fetched_anew() -> None:
    faults = []
    for word in ("plain", "keep"):
        done = subprocess.run([sys.executable, "-c", CODE, word], capture_output=True, text=True, check=True)
        faults.append(int(done.stdout))
    assert faults[0] > 100  # at least one for each huge page
    assert faults[1] < faults[0] / 10


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: object) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", nothing)
    assert not heap.keep_freed_memory()
    assert not heap.return_freed_memory()


SPREAD = """
import ctypes, sys
from osteon.core.heap import return_freed_memory
import psutil
if sys.argv[1] == "return":
    assert return_freed_memory()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def filled(size):
    block = c.malloc(size)
    ctypes.memset(block, 1, size)
    return block
c.free(filled(30 << 20))
before = psutil.Process().memory_info().rss
blocks = [filled(20 << 20) for _ in range(8)]
last = filled(5 << 20)
for block in blocks:
    c.free(block)
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_blocks_freed_before_others_are_given_back() -> None:
    held = []
    for word in ("plain", "return"):
        done = subprocess.run([sys.executable, "-c", SPREAD, word], capture_output=True, text=True, check=True)
        held.append(int(done.stdout))
    assert held[0] > 100 << 20
    assert held[1] < 10 << 20
