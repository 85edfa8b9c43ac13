"""Pictures of what a training finds in its validation scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import tiny_plan
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Plan
from osteon.preparing.cache import CachedCase, prepare_cases
from osteon.training.sample_pictures import MAX_PICTURES, write_sample_picture
from runs import cohort


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cohort(tmp_path_factory.mktemp("dataset"), 1)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return tiny_plan()


@pytest.fixture(scope="module")
def case(dataset: Dataset, plan: Plan) -> CachedCase:
    cached, failed = prepare_cases(dataset, plan, dataset.manifest.cases, workers=1)
    assert not failed
    return cached["c0"]


def coloured(path: Path, near: tuple[int, int, int]) -> int:
    """Pixels whose hue is that of a colour."""
    pixels = np.asarray(Image.open(path)).astype(int)
    strong, others = int(np.argmax(near)), [n for n in range(3) if n != int(np.argmax(near))]
    return int((pixels[..., strong] - pixels[..., others].max(-1) > 60).sum())


def test_what_is_found_is_filled_and_the_reference_outlined(case: CachedCase, plan: Plan, tmp_path: Path) -> None:
    labels = np.asarray(case.labels)
    red, green = (255, 0, 0), (0, 255, 0)
    write_sample_picture(tmp_path, 0, case, np.zeros_like(labels), plan)
    outlines = coloured(tmp_path / "samples/1.jpg", red), coloured(tmp_path / "samples/1.jpg", green)
    assert min(outlines) > 100
    write_sample_picture(tmp_path, 0, case, np.where(labels == 1, labels, 0), plan)
    assert coloured(tmp_path / "samples/1.jpg", red) > 3 * outlines[0]
    assert coloured(tmp_path / "samples/1.jpg", green) == pytest.approx(outlines[1], rel=0.2)


def test_overlapping_structures_are_drawn_the_same(case: CachedCase, plan: Plan, tmp_path: Path) -> None:
    labels = np.asarray(case.labels)
    write_sample_picture(tmp_path, 0, case, labels, plan)
    write_sample_picture(tmp_path, 1, case, np.stack([labels == 1, labels == 2]).astype(np.uint8), plan)
    first, second = (np.asarray(Image.open(tmp_path / f"samples/{n}.jpg")) for n in (1, 2))
    np.testing.assert_array_equal(first, second)


def test_only_the_first_scans_have_a_picture(case: CachedCase, plan: Plan, tmp_path: Path) -> None:
    write_sample_picture(tmp_path, MAX_PICTURES, case, np.asarray(case.labels), plan)
    assert list(tmp_path.iterdir()) == []


def test_axes_that_run_backwards_give_the_same_picture(dataset: Dataset, tmp_path: Path) -> None:
    plans = [tiny_plan({"grid.nnunet": {}, "grid.axes": list(axes)}) for axes in ("RAS", "LPI", "SPL", "AIR")]
    for number, plan in enumerate(plans):
        turned, _ = prepare_cases(dataset, plan, dataset.manifest.cases, workers=1)
        write_sample_picture(tmp_path / str(number), 0, turned["c0"], np.asarray(turned["c0"].labels), plan)
    pictures = [(tmp_path / str(number) / "samples/1.jpg").read_bytes() for number in range(len(plans))]
    assert all(picture == pictures[0] for picture in pictures)
