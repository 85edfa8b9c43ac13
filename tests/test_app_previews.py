"""Previews and layers: smaller, but in the right place; overlapping structures parted; differences named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from osteon.app.layers import difference_map, pack_bits, split_layers
from osteon.app.previews import MAX_VOXELS, shrink_factors, shrink_geometry, shrink_image, shrink_labels
from osteon.app.scenes import SceneRequest, make_scene
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures


def test_a_scan_of_several_files_is_shown(tmp_path: Path) -> None:
    """As the record of a prediction lists them: a header with its voxels, or one file for each channel."""
    voxels = np.arange(120, dtype=np.int16).reshape(3, 5, 8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(tmp_path / "a.mhd"))
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(-voxels), str(tmp_path / "b.nii.gz"))
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(tmp_path / "c.nii.gz"))
    for names, lowest in ((("a.mhd", "a.raw"), 0.0), (("b.nii.gz", "c.nii.gz"), -119.0)):
        scene = make_scene(SceneRequest("x", tuple(tmp_path / name for name in names)), tmp_path / f"cache/{names[0]}")
        assert scene["full"] == [8, 5, 3]
        assert scene["range"][0] == lowest


GRID = Geometry((4, 4, 1), np.eye(4))


@pytest.mark.parametrize(
    ("shape", "factors"),
    [
        ((100, 100, 100), (1, 1, 1)),
        ((512, 512, 400), (3, 3, 3)),
        ((256, 256, 256), (2, 2, 1)),
        ((2000, 64, 64), (2, 1, 1)),
    ],
)
def test_a_preview_has_few_enough_voxels(shape: tuple[int, ...], factors: tuple[int, ...]) -> None:
    assert shrink_factors(shape) == factors
    assert np.prod([-(-n // f) for n, f in zip(shape, factors, strict=True)]) <= MAX_VOXELS


def test_a_preview_lies_where_the_scan_lies() -> None:
    affine = np.array([[0.0, -2.0, 0.0, 5.0], [1.0, 0.0, 0.0, 7.0], [0.0, 0.0, 3.0, 9.0], [0.0, 0.0, 0.0, 1.0]])
    small = shrink_geometry(Geometry((4, 6, 5), affine), (2, 3, 1))
    assert small.shape == (2, 2, 5)
    first_block = affine @ [0.5, 1.0, 0.0, 1.0]  # the middle of voxels 0 … 1, 0 … 2, 0
    np.testing.assert_allclose(small.affine_ras @ [0, 0, 0, 1], first_block)


def test_blocks_are_averaged_and_labels_taken_from_their_middle() -> None:
    image = np.arange(5, dtype=np.int16)[:, None, None] * np.ones((1, 2, 1), dtype=np.int16)
    np.testing.assert_array_equal(shrink_image(image, (2, 2, 1))[:, 0, 0], [0, 2, 4])  # 0.5 → 0, 2.5 → 2: half to even
    np.testing.assert_array_equal(shrink_labels(image, (2, 2, 1))[:, 0, 0], [1, 3, 4])


@pytest.mark.parametrize("factors", [(2, 2, 2), (3, 3, 3), (4, 4, 4), (2, 3, 1), (5, 2, 4)])
def test_a_previews_labels_lie_where_the_scans_labels_lie(factors: tuple[int, int, int]) -> None:
    """Of a ball: where its middle is, in millimetres, to a twentieth of a voxel, and how large it is."""
    affine = np.array([[0.0, -1.5, 0.0, 5.0], [0.7, 0.0, 0.0, -7.0], [0.0, 0.0, 1.1, 9.0], [0.0, 0.0, 0.0, 1.0]])
    geometry = Geometry((83, 82, 81), affine)
    away = np.indices(geometry.shape) - np.array([40.3, 39.6, 41.2])[:, None, None, None]
    labels = (3 * ((away**2).sum(axis=0) < 30**2)).astype(np.uint8)
    small, found = shrink_geometry(geometry, factors), shrink_labels(labels, factors)
    middles = [
        grid.to_world(np.argwhere(array == 3)).mean(axis=0) for grid, array in ((geometry, labels), (small, found))
    ]
    np.testing.assert_allclose(middles[1], middles[0], atol=0.05 * min(geometry.spacing_mm) * max(factors))
    ratio = (found > 0).sum() * small.voxel_volume_mm3 / ((labels > 0).sum() * geometry.voxel_volume_mm3)
    assert ratio == pytest.approx(1, abs=0.06)


def test_a_bone_of_one_voxel_stays_in_a_preview() -> None:
    plate = np.zeros((8, 8, 8), dtype=np.uint8)
    plate[3], plate[:, 6] = 1, 2
    found = shrink_labels(plate, (2, 2, 2))
    assert (found[1, :3] == 1).all()
    assert (found[:, 3] == 2).all()


def test_overlapping_structures_go_into_layers_that_do_not() -> None:
    array = np.zeros((3, *GRID.shape), dtype=np.uint8)
    array[0, :2], array[1, 1:3], array[2, 3:] = 1, 1, 1
    segmentation = Segmentation(array, GRID, make_structures(["a", "b", "c"]))
    layers = split_layers(segmentation)
    assert [[s.name for s in layer.structures] for layer in layers] == [["a", "c"], ["b"]]
    np.testing.assert_array_equal(layers[0].array[:, 0, 0], [1, 1, 0, 2])
    np.testing.assert_array_equal(pack_bits(segmentation)[0].array[:, 0, 0], [1, 3, 2, 4])


def test_differences_are_missed_invented_or_in_both() -> None:
    structures = make_structures(["a", "b"])
    first, second = np.zeros(GRID.shape, dtype=np.uint8), np.zeros(GRID.shape, dtype=np.uint8)
    first[:3, 0, 0], second[1:, 0, 0] = [1, 1, 2], [1, 1, 1]
    found = difference_map(Segmentation(first, GRID, structures), Segmentation(second, GRID, structures), ["a", "b"])
    np.testing.assert_array_equal(found.array[:, 0, 0], [2, 1, 2, 3])
