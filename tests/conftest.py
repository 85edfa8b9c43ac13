"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from osteon.core.garbage import skip_last_collection
from osteon.core.progress import print_messages, show_progress
from osteon.networks import fused_norm

gc.disable()  # until all tests are collected: imports make no garbage
os.fsync = lambda _: None  # what tests write need not outlive a power failure
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")  # a test never times


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Let `gc.collect` pass over what lives as long as the tests: NiceGUI's simulation calls it twice a test."""
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """End at once: what there is goes with the process."""
    skip_last_collection()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where torch sees none; Ctrl-C is Python's, whoever began the tests or came before."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch sees no CUDA device here")


@pytest.fixture(autouse=True)
def _printed() -> Iterator[None]:
    """What osteon logs is printed, and progress shown, as the command line has it."""
    with print_messages(), show_progress():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (`OSTEON_SHARED_DATA`, or `../shared/data`); the test is skipped where it is not."""
    named = os.environ.get("OSTEON_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data are not here ({folder}); set OSTEON_SHARED_DATA")
    return folder


@pytest.fixture(params=["usual order", "channels innermost"])
def memory_order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Networks compute in one order of memory and in the other, whatever this machine would choose."""
    innermost = bool(request.param == "channels innermost")
    monkeypatch.setattr(fused_norm, "is_channels_last_faster", lambda *_: innermost)
    return innermost
