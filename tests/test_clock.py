"""Files of a clock that was wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from osteon.app import scenes
from osteon.core.file_stamps import age_key

WEEK = 7 * 86_400.0


def written(path: Path, ago_s: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(100))
    os.utime(path, (time.time() - ago_s,) * 2)
    return path


def test_a_file_from_the_future_counts_as_the_oldest(tmp_path: Path) -> None:
    ages = {"future": -WEEK, "old": WEEK, "skewed": -60.0, "new": 60.0}
    files = [written(tmp_path / name, ago) for name, ago in ages.items()]
    assert [path.name for path in sorted(files, key=age_key)] == ["future", "old", "new", "skewed"]


def test_previews_of_a_wrong_clock_do_not_outlast_those_of_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [written(tmp_path / name / scenes.INFO, ago) for name, ago in (("a", -WEEK), ("b", 60.0), ("c", 0.0))]
    monkeypatch.setattr(scenes, "MAX_CACHE_BYTES", 100)
    scenes._prune_cache(tmp_path, made[2].parent)
    assert [path.parent.name for path in made if path.exists()] == ["b", "c"]
