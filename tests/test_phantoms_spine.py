"""Made-up lumbar spines: pairs, names by order, and the shift along the spine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from osteon.formats import read_segmentation, read_volume
from osteon.importing.options import ImportOptions
from osteon.importing.pairs import read
from osteon.phantoms.grid import voxel_centres
from osteon.phantoms.registry import make_request, write_phantoms
from osteon.phantoms.spine import STRUCTURES
from osteon.phantoms.vertebra import draw_column
from phantom_checks import best_threshold_dice

CASES = 6


@pytest.fixture(scope="module")
def spines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spines")
    write_phantoms(folder, make_request("spine", cases=CASES, seed=1, size=96))
    return folder


def test_the_list_names_pairs_that_agree_with_the_truth(spines: Path) -> None:
    found = read(spines / "source", ImportOptions(modality="mr"))
    assert [case.id for case in found.cases] == [f"spine_{n + 1:03d}" for n in range(CASES)]
    for case in found.cases:
        image, truth = read_volume(case.images[0]), read_segmentation(spines / f"truth/{case.id}.nii.gz")
        assert case.label is not None
        label = read_volume(case.label)
        assert image.array.shape == label.array.shape
        assert image.geometry.is_close(label.geometry)
        assert label.geometry.is_close(truth.geometry)
        assert (label.array[0] == truth.array).all()


def test_every_vertebra_is_whole_in_order_and_of_a_vertebras_size(spines: Path) -> None:
    for path in sorted((spines / "truth").iterdir()):
        truth = read_segmentation(path)
        heights = []
        for structure in STRUCTURES:
            mask = truth.mask(structure)
            assert 25 < mask.sum() * truth.geometry.voxel_volume_mm3 / 1000 < 90
            sizes = np.bincount(ndimage.label(mask, np.ones((3, 3, 3)))[0].ravel())[1:]
            assert sizes.max() > 0.93 * sizes.sum(), (path.name, structure.name, sizes)
            assert not mask[:, 0].any()
            assert not mask[:, -1].any()
            heights.append(truth.geometry.to_world(np.argwhere(mask))[:, 2].mean())
        assert (np.diff(heights) < -22).all()  # L1 on top


def test_scans_are_shifted_along_the_spine(spines: Path) -> None:
    rows = []
    for path in sorted((spines / "truth").iterdir()):
        truth = read_segmentation(path)
        rows.append(np.argwhere(truth.mask(STRUCTURES[2]))[:, 1].mean() * truth.geometry.spacing_mm[1])
    assert np.ptp(rows) > 32  # more than a vertebra and its disc: the place in the image tells no name


def test_neighbours_without_a_name_look_the_same(spines: Path) -> None:
    request = make_request("spine", cases=CASES, seed=1, size=96)
    seen = 0
    for number in range(CASES):
        image = read_volume(spines / f"source/images/spine_{number + 1:03d}_image.nrrd").array[0].astype(float)
        truth = read_segmentation(spines / f"truth/spine_{number + 1:03d}.nii.gz")
        points = voxel_centres(truth.geometry)
        _, unnamed, named, *_ = draw_column(request.rng(number)).vertebrae  # T12 and L1
        core = {v.name: (v.body(v.to_local(points)) < -4).reshape(image.shape) for v in (unnamed, named)}
        assert (truth.array[core["T12"]] == 0).all()
        assert (truth.array[core["L1"]] == 1).all()
        if core["T12"].sum() > 20:
            seen += 1
            assert image[core["T12"]].mean() == pytest.approx(image[core["L1"]].mean(), rel=0.25)
    assert seen >= 3


def test_a_threshold_does_not_find_the_vertebrae(spines: Path) -> None:
    image = read_volume(spines / "source/images/spine_002_image.nrrd").array[0]
    truth = read_segmentation(spines / "truth/spine_002.nii.gz")
    assert best_threshold_dice(image, truth.array > 0) < 0.6
