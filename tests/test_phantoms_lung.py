"""Made-up chests: small tumours that density alone does not tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from osteon.core.geometry import reorient_to_ras
from osteon.formats import read_segmentation, read_volume
from osteon.importing.decathlon import explain_mismatch, read
from osteon.importing.options import ImportOptions
from osteon.phantoms.registry import make_request, write_phantoms
from phantom_checks import best_threshold_dice

CASES = 4


@pytest.fixture(scope="module")
def lungs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lungs")
    write_phantoms(folder, make_request("lung", cases=CASES, seed=0, size=80))
    return folder


def case(lungs: Path, number: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """HU and labels along R, A, S, and the spacing."""
    volume = read_volume(lungs / f"source/imagesTr/lung_{number:03d}.nii.gz")
    truth = read_segmentation(lungs / f"truth/lung_{number:03d}.nii.gz")
    assert truth.geometry.is_close(volume.geometry)
    turn = reorient_to_ras(volume.geometry)
    return turn.apply(volume.array[0]), turn.apply(truth.array), turn.geometry(volume.geometry).spacing_mm


def test_the_decathlons_layout(lungs: Path) -> None:
    assert explain_mismatch(lungs / "source") is None
    found = read(lungs / "source", ImportOptions())
    assert found.structures is not None
    assert [s.name for s in found.structures] == ["cancer"]
    assert (found.channels[0].modality, found.warnings) == ("ct", [])
    assert len(found.cases) == CASES
    for one in found.cases:
        assert one.label is not None
        truth = read_segmentation(lungs / f"truth/{one.id}.nii.gz")
        label = read_volume(one.label)
        assert label.geometry.is_close(read_volume(one.images[0]).geometry)
        assert (label.array[0] == truth.array).all()


def test_tumours_are_small_whole_and_as_big_as_said(lungs: Path) -> None:
    truth = json.loads((lungs / "truth.json").read_text())["cases"]
    counts = []
    for number in range(1, CASES + 1):
        _, labels, spacing = case(lungs, number)
        diameters = truth[f"lung_{number:03d}"]["diameters_mm"]
        counts.append(len(diameters))
        assert ndimage.label(labels, np.ones((3, 3, 3)))[1] == len(diameters)
        assert 0 < labels.any(axis=(0, 1)).sum() <= 6 * len(diameters)  # few slices
        volume = labels.sum() * np.prod(spacing)
        assert 0.2 < volume / sum(np.pi / 6 * d**3 for d in diameters) < 1.7
        assert all(3 <= d <= 15 for d in diameters)
    assert counts == [1, 1, 1, 2]


def test_density_does_not_tell_the_tumour(lungs: Path) -> None:
    for number in range(1, CASES + 1):
        hu, labels, _ = case(lungs, number)
        assert best_threshold_dice(hu, labels > 0) < 0.2
        # Even inside the lungs: vessels and scars are as dense.
        lung = ndimage.binary_closing(inner_air(hu), iterations=3)
        lung |= labels > 0
        assert best_threshold_dice(hu[lung], labels[lung] > 0) < 0.6


def inner_air(hu: np.ndarray) -> np.ndarray:
    """Air in the body: no way within its slice leads to it from the field's sides."""
    air = np.pad(hu < -500, ((1, 1), (1, 1), (0, 0)), constant_values=True)
    cross = ndimage.generate_binary_structure(2, 1)[..., None]
    parts, _ = ndimage.label(air, np.concatenate([cross & False, cross, cross & False], axis=2))
    return ((parts > 0) & ~np.isin(parts, np.unique(parts[0])))[1:-1, 1:-1]


def test_the_first_slices_show_no_lung(lungs: Path) -> None:
    for number in range(1, CASES + 1):
        hu, labels, _ = case(lungs, number)
        air = inner_air(hu).sum(axis=(0, 1))
        assert (air[:4] < 20).all()
        assert air[len(air) // 2] > 500
        assert not labels[:, :, :4].any()


def test_tissues_have_their_hounsfield_numbers(lungs: Path) -> None:
    hu, labels, _ = case(lungs, 1)
    assert -900 < np.median(hu[inner_air(hu)]) < -760
    assert hu.min() == pytest.approx(-1024, abs=60)
    assert 250 < np.percentile(hu[hu > 150], 80) < 1500  # bone
    assert hu.dtype == np.int16
    core = hu[ndimage.binary_erosion(labels > 0)] if ndimage.binary_erosion(labels > 0).any() else hu[labels > 0]
    assert -150 < np.median(core) < 120
