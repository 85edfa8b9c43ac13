"""The garbage collector passes over libraries where they are imported, and at the end."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from osteon.core.garbage import pause_collector

CYCLE = """
import sys
from osteon.core.garbage import skip_last_collection
class Cycle:
    def __init__(self):
        self.own = self
    def __del__(self):
        print("collected")
cycle = Cycle()
print("begun")
if sys.argv[1] == "skip":
    skip_last_collection()
"""


@pytest.mark.parametrize("was_on", [True, False])
def test_after_a_pause_all_is_as_before(was_on: bool) -> None:
    before = gc.isenabled()
    (gc.enable if was_on else gc.disable)()
    try:
        with pause_collector():
            assert not gc.isenabled()
        assert gc.isenabled() == was_on
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize(("word", "said"), [("skip", "begun\n"), ("plain", "begun\ncollected\n")])
def test_at_the_end_of_a_process_nothing_is_collected(word: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", CYCLE, word], capture_output=True, text=True, check=True)
    assert done.stdout == said
