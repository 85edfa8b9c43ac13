"""Made-up legs: the series as a scanner sends it, and masks that lie on it in the world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage

from osteon.core.geometry import Geometry, reorient_like
from osteon.formats import read_segmentation, read_volume
from osteon.phantoms.limb import STRUCTURES
from osteon.phantoms.limb_dicom import PATIENTS
from osteon.phantoms.registry import make_request, write_phantoms
from phantom_checks import best_threshold_dice

CASES = ("L001", "L002", "L003")


@pytest.fixture(scope="module")
def limbs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limbs")
    write_phantoms(folder, make_request("limb", cases=3, seed=2, size=112))
    return folder


def slices(limbs: Path, case: str) -> tuple[list[Dataset], list[Dataset]]:
    """The series by position from front to back, and the localizer."""
    read = [pydicom.dcmread(path) for path in sorted((limbs / "source" / case / "mr").iterdir())]
    series = [one for one in read if "LOCALIZER" not in one.ImageType]
    normal = np.cross(series[0].ImageOrientationPatient[:3], series[0].ImageOrientationPatient[3:])
    series.sort(key=lambda one: float(normal @ np.array(one.ImagePositionPatient, dtype=float)))
    return series, [one for one in read if "LOCALIZER" in one.ImageType]


def grid_of(series: list[Dataset]) -> Geometry:
    """The grid that PS3.3 C.7.6.2.1.1 gives, turned from LPS to RAS."""
    first, last = (np.array(one.ImagePositionPatient, dtype=float) for one in (series[0], series[-1]))
    row, column = np.array(series[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    down, across = (float(v) for v in series[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * across, column * down, (last - first) / (len(series) - 1), first])
    affine[:2] *= -1
    return Geometry((series[0].Columns, series[0].Rows, len(series)), affine)


@pytest.mark.parametrize("case", CASES)
def test_the_series_lies_where_the_truth_does(limbs: Path, case: str) -> None:
    series, _ = slices(limbs, case)
    truth = read_segmentation(limbs / f"truth/{case}.nii.gz")
    assert grid_of(series).is_close(truth.geometry, tolerance=0.01)
    assert np.abs(np.abs(truth.geometry.directions).max(axis=0) - 1).max() > 1e-5  # oblique
    assert {str(one.file_meta.TransferSyntaxUID) for one in series} == {"1.2.840.10008.1.2.1"}
    numbers = [int(one.InstanceNumber) for one in series]
    assert numbers == sorted(numbers)
    names = [Path(str(one.filename)).name for one in series]
    assert names != sorted(names)
    image = np.stack([one.pixel_array.T for one in series], axis=2)
    femur = ndimage.binary_erosion(truth.mask(STRUCTURES[1]))
    assert image[femur].mean() > 1.4 * np.median(image[image > 100])  # marrow is bright
    assert image[:, :, 0].mean() < 0.5 * image[:, :, image.shape[2] // 2].mean()  # air in front of the knees


@pytest.mark.parametrize("case", CASES)
def test_masks_lie_in_the_world_where_the_truth_does(limbs: Path, case: str) -> None:
    truth = read_segmentation(limbs / f"truth/{case}.nii.gz")
    found = {path.name.removesuffix(".nii.gz"): path for path in (limbs / "source" / case / "masks").iterdir()}
    recorded = json.loads((limbs / "truth.json").read_text())["cases"][case]
    assert sorted(found) == sorted(recorded["annotated"])
    for structure in STRUCTURES:
        if structure.name not in found:
            continue
        mask = read_volume(found[structure.name])
        assert set(np.unique(mask.array)) == {0, 1}
        turn = reorient_like(mask.geometry, truth.geometry)
        assert turn.geometry(mask.geometry).is_close(truth.geometry, tolerance=0.01)
        assert (turn.apply(mask.array[0]) == truth.mask(structure)).all()


def test_quirks_of_the_cohort(limbs: Path) -> None:
    truth = json.loads((limbs / "truth.json").read_text())["cases"]
    assert [len(truth[case]["annotated"]) for case in CASES] == [7, 7, 6]
    flips = {
        tuple(np.sign(np.diag(np.linalg.solve(t, m)[:3, :3]).round(3)))
        for case in CASES
        for t, m in [
            [
                read_volume(path).geometry.affine_ras
                for path in (limbs / f"truth/{case}.nii.gz", limbs / f"source/{case}/masks/tibia_left.nii.gz")
            ]
        ]
    }
    assert flips == {(1, 1, 1), (1, -1, -1), (-1, -1, 1)}
    shared = []
    for case in CASES:
        series, localizer = slices(limbs, case)
        shared.append({one.SeriesInstanceUID for one in localizer} == {series[0].SeriesInstanceUID})
        assert len(localizer) == {"none": 0, "own series": 3, "same series": 3}[truth[case]["localizer"]]
        assert str(series[0].PatientName) in PATIENTS
        assert series[0].PatientID
        assert series[0].PatientBirthDate
    assert shared == [False, False, True]


def test_left_is_left_and_right_is_right(limbs: Path) -> None:
    truth = read_segmentation(limbs / "truth/L001.nii.gz")
    for structure in STRUCTURES[1:]:
        world = truth.geometry.to_world(np.argwhere(truth.mask(structure)))
        assert (world[:, 0] > 20).all() if structure.side == "right" else (world[:, 0] < -20).all()
    heights = [truth.geometry.to_world(np.argwhere(truth.mask(s)))[:, 2].mean() for s in STRUCTURES]
    assert heights[0] > heights[1] + 80 > heights[3] + 120  # pelvis, femur, tibia


def test_a_threshold_does_not_find_the_bones(limbs: Path) -> None:
    series, _ = slices(limbs, "L001")
    image = np.stack([one.pixel_array.T for one in series], axis=2)
    truth = read_segmentation(limbs / "truth/L001.nii.gz")
    assert best_threshold_dice(image, truth.array > 0) < 0.6
    assert best_threshold_dice(image, truth.mask(STRUCTURES[1])) < 0.6


def test_the_localizer_shows_the_same_patient(limbs: Path) -> None:
    series, localizer = slices(limbs, "L002")
    image = np.stack([one.pixel_array.T for one in series], axis=2)
    grid = grid_of(series)
    for one in localizer:
        first = np.array(one.ImagePositionPatient, dtype=float) * [-1, -1, 1]
        index = np.linalg.solve(grid.affine_ras, [*first, 1])[:3]
        assert index[1:] == pytest.approx([0, 0], abs=0.01)
        assert (one.pixel_array == image[round(index[0]), ::4, :]).all()
        row, column = np.array(one.ImageOrientationPatient, dtype=float).reshape(2, 3)
        assert (row * [-1, -1, 1]) @ grid.directions[:, 2] == pytest.approx(1, abs=1e-4)
        assert (column * [-1, -1, 1]) @ grid.directions[:, 1] == pytest.approx(1, abs=1e-4)
        assert [float(v) for v in one.PixelSpacing] == pytest.approx(
            [4 * grid.spacing_mm[1], grid.spacing_mm[2]], rel=1e-4
        )
