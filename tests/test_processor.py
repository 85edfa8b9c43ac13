"""What the processor can do, by its flags, and as libraries have been told to use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from osteon.core import platform


@pytest.mark.parametrize(
    ("flags", "capability", "has"),
    [
        ("fpu avx2", None, False),
        ("fpu avx2 avx512f", None, False),
        ("fpu avx512_bf16", None, True),
        ("amx_bf16 amx_tile", None, True),
        ("amx_bf16 amx_tile", "avx2", False),
        ("amx_bf16 amx_tile", "default", False),
        ("amx_bf16 amx_tile", "avx512", True),
    ],
)
def test_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, capability: str | None, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(platform, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    if capability is not None:
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", capability)
    platform.processor_flags.cache_clear()
    assert platform.has_bf16() == has
    monkeypatch.setattr(platform, "CPUINFO", tmp_path / "absent")
    platform.processor_flags.cache_clear()
    assert not platform.has_bf16()
    monkeypatch.undo()
    platform.processor_flags.cache_clear()
