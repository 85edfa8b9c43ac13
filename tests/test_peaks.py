"""What stages take of memory for a scan, in bytes for each of its voxels, as the kernel has it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from helpers import spacing_affine, tiny_plan, write_dataset
from osteon.core.geometry import Geometry
from osteon.core.platform import peak_bytes
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.formats import read_volume, write_volume
from osteon.planning.fingerprint import measure_fingerprint
from osteon.preparing.case import prepare_image
from osteon.preparing.foreground import foreground_index
from osteon.preparing.resample import resample_image, resample_index_map, resample_multi_hot

SIDE = 240
VOXELS = SIDE**3
SMALL = (SIDE // 2,) * 3
RESET = Path("/proc/self/clear_refs")


def peak_of(function: Callable[[], Any]) -> float:
    """The most that a call takes beside what was there before, for each voxel."""
    gc.collect()
    try:
        RESET.write_text("5", encoding="ascii")  # the kernel counts its high-water mark anew (proc(5))
    except OSError:
        pytest.skip("this system does not count a peak anew")
    before = psutil.Process().memory_info().rss
    made = function()
    peak = peak_bytes() - before
    del made
    return peak / VOXELS


def blocks(shape: tuple[int, int, int] = (SIDE,) * 3) -> np.ndarray:
    """Nested boxes, 1 to 3: nearly the whole."""
    labels = np.zeros(shape, dtype=np.uint8)
    for value in (1, 2, 3):
        labels[tuple(slice(value * n // 16, n - value * n // 16) for n in shape)] = value
    return labels


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held at a time, made as small against this scan as it is against one of a gigabyte."""
    monkeypatch.setattr("osteon.formats.voxel_stream.PIECE_BYTES", 1 << 20)
    monkeypatch.setattr("osteon.preparing.resample.CHUNK_VOXELS", 1 << 18)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("kind", "most"), [("int16", 3.5), ("float64", 5.5)])
def test_reading_a_scan(tmp_path: Path, kind: str, most: float) -> None:
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(blocks()[None].astype(kind), Geometry((SIDE,) * 3, spacing_affine(1, 1, 1))))
    read_volume(path)
    assert peak_of(lambda: read_volume(path, single=True)) < most


@pytest.mark.usefixtures("small_parts")
def test_resampling_an_image_holds_no_floats_of_it() -> None:
    image = blocks()[None].astype(np.int16)
    resample_image(image, (9, 9, 9))
    assert peak_of(lambda: resample_image(image, SMALL)) < 1.5
    assert peak_of(lambda: resample_image(image.transpose(0, 3, 1, 2), SMALL)) < 1.5


@pytest.mark.usefixtures("small_parts")
def test_resampling_labels_holds_no_shares_of_the_whole() -> None:
    labels = blocks(SMALL)
    resample_index_map(labels, (9, 9, 9))
    assert peak_of(lambda: resample_index_map(labels, (SIDE,) * 3)) < 2
    assert peak_of(lambda: resample_multi_hot(labels[None], (SIDE,) * 3)) < 2


@pytest.mark.usefixtures("small_parts")
def test_preparing_an_image_holds_it_once() -> None:
    volume = Volume(blocks()[None].astype(np.int16), Geometry((SIDE,) * 3, spacing_affine(1, 1, 1)))
    plan = tiny_plan({"grid.spacing_mm": [1.0] * 3})
    assert peak_of(lambda: prepare_image(volume, plan)) < 5


def test_sampling_the_foreground_lists_none_of_it() -> None:
    labels = blocks()
    assert peak_of(lambda: foreground_index(labels, [0, 1, 2])) < 1


@pytest.mark.usefixtures("small_parts")
def test_measuring_a_case_takes_its_image_and_its_labels(tmp_path: Path) -> None:
    labels = blocks() * np.uint8(3)
    labels[labels > 5] = 5
    write_dataset(tmp_path, {"c1": (labels.astype(np.int16), labels, spacing_affine(1, 1, 1))})
    dataset = Dataset.open(tmp_path)
    measure_fingerprint(dataset)
    (tmp_path / "fingerprint.json").unlink()
    assert peak_of(lambda: measure_fingerprint(dataset)) < 7
