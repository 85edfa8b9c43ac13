"""Labels drawn on every second slice or so: what is one, what is drawn between, what is left and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.sparse_labels import find_sparse_structures
from osteon.formats import write_segmentation, write_volume
from osteon.importing.between_slices import resolve_gaps
from osteon.importing.run import import_dataset

GRID = Geometry((24, 22, 20), np.diag([0.5, 1.0, 2.0, 1.0]))
Labels = npt.NDArray[np.uint8]


def disc(radius_mm: float, i: float = 5.75, j: float = 10.5) -> npt.NDArray[np.bool_]:
    """A slice along k; the centre in mm."""
    x, y = np.meshgrid(np.arange(24) * 0.5, np.arange(22) * 1.0, indexing="ij")
    return np.asarray((x - i) ** 2 + (y - j) ** 2 <= radius_mm**2)


def stack(slices: dict[int, npt.NDArray[np.bool_]], value: int = 1) -> Labels:
    array = np.zeros(GRID.shape, np.uint8)
    for k, plane in slices.items():
        array[:, :, k] = plane * np.uint8(value)
    return array


def of(array: Labels, *names: str, grid: Geometry = GRID) -> Segmentation:
    return Segmentation(array, grid, make_structures(names or ("femur",)))


def test_a_shaft_on_every_second_slice_becomes_whole() -> None:
    labels = of(stack({k: disc(4) for k in range(2, 13, 2)}))
    filled, changed, [line] = resolve_gaps(labels, "fill")
    assert changed
    assert np.array_equal(filled.array, stack({k: disc(4) for k in range(2, 13)}))
    assert line.startswith("labels were drawn on every 2nd slice: femur on 6 of 11; the slices between were drawn")
    assert labels.array[:, :, 3].sum() == 0  # what was given stays
    left, changed, [line] = resolve_gaps(labels, "leave")
    assert (left, changed) == (labels, False)
    assert line.endswith("femur on 6 of 11; the slices between were left empty and count as background")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slices_may_run_along_any_axis(axis: int) -> None:
    whole = np.moveaxis(stack({k: disc(4) for k in range(2, 12)}), 2, axis)
    sparse = np.moveaxis(stack({k: disc(4) for k in range(2, 12, 3)}), 2, axis)
    edges = np.insert(np.array([0.5, 1.0]), axis, 2.0)
    grid = Geometry((whole.shape[0], whole.shape[1], whole.shape[2]), np.diag([*edges, 1.0]))
    filled, _, [line] = resolve_gaps(of(sparse, grid=grid), "fill")
    assert np.array_equal(filled.array, whole)
    assert "every 3rd slice: femur on 4 of 10" in line


def test_between_two_sizes_lies_the_size_between() -> None:
    """Radii of 2, 4 and 6 mm, then 5 and 3: in mm, though a pixel is twice as high as it is wide."""
    drawn = {k: disc(r) for k, r in ((0, 2), (4, 6), (8, 4))}
    filled, _, _ = resolve_gaps(of(stack(drawn)), "fill")
    for k, radius in ((1, 3), (2, 4), (3, 5), (5, 5.5), (6, 5), (7, 4.5)):
        assert disc(radius - 0.75).sum() <= filled.array[:, :, k].sum() <= disc(radius + 0.75).sum()
        assert not (filled.array[:, :, k].astype(bool) & ~disc(radius + 1)).any()
        assert not (~filled.array[:, :, k].astype(bool) & disc(radius - 1)).any()


def test_a_thin_shape_does_not_tear() -> None:
    wall = np.zeros((24, 22), bool)
    wall[4:20, 10] = True
    drawn = {k: np.roll(wall, k // 2, axis=1) for k in (0, 2, 4)}  # one pixel further in each drawn slice
    filled, _, _ = resolve_gaps(of(stack(drawn)), "fill")
    assert all(filled.array[5:19, :, k].any(axis=1).all() for k in range(5))


@pytest.mark.parametrize(
    ("slices", "gap"),
    [
        ([2, 3, 4, 5, 7, 8, 9], "femur in slices 7 along k"),  # one slice forgotten, or a joint
        ([2, 3, 4, 5, 9, 10, 11], "femur in slices 7 to 9 along k"),
        ([2, 4, 6, 12, 14, 16], "femur in slices 8 to 12 along k"),  # more than its own step
        ([2, 4], "femur in slices 4 along k"),  # two slices show no usual step
    ],
)
def test_a_gap_that_may_be_anatomy_is_left_and_told(slices: list[int], gap: str) -> None:
    labels = of(stack({k: disc(4) for k in slices}))
    filled, _, lines = resolve_gaps(labels, "fill")
    assert lines[-1] == f"empty between slices that were drawn, and left so, as it may be anatomy: {gap}"
    first, last = (int(word) - 1 for word in (gap.split()[3], gap.split()[5] if "to" in gap else gap.split()[3]))
    assert not filled.array[:, :, first : last + 1].any()


@pytest.mark.parametrize(
    "slices",
    [
        {k: disc(4) for k in range(3, 9)},
        {**{k: disc(4) for k in (2, 3, 4)}, **{k: disc(4) for k in (14, 15)}},  # two pieces
        {**{k: disc(2, i=3) for k in (2, 3)}, **{k: disc(2, i=9) for k in (5, 6)}},  # not over each other
        {**{k: disc(4) for k in (2, 3, 4)}, 6: disc(0.6, i=5.5)},  # a shred
        {k: disc(0.4, i=2 + k / 2, j=k) for k in range(0, 20, 2)},  # sparse along every axis: points
        {7: disc(4)},
        {},
    ],
)
def test_labels_without_such_gaps_stay_as_they_are_without_a_word(slices: dict[int, npt.NDArray[np.bool_]]) -> None:
    labels = of(stack(slices))
    assert resolve_gaps(labels, "fill") == (labels, False, [])


def test_a_structure_of_two_slices_takes_the_step_of_the_others() -> None:
    labels = stack({k: disc(3, j=5) for k in range(0, 12, 2)}) + stack({k: disc(2, j=15) for k in (4, 6)}, 2)
    filled, _, [line] = resolve_gaps(of(labels, "femur", "patella"), "fill")
    assert np.array_equal(filled.array[:, :, 5] == 2, disc(2, j=15))
    assert "every 2nd slice: femur on 6 of 11, patella on 2 of 3" in line


def test_shapes_that_do_not_lie_over_each_other_stay_empty_between() -> None:
    labels = of(stack({k: disc(1.1, j=3 * k + 2.0) for k in (0, 2, 4, 6)}))
    filled, _, lines = resolve_gaps(labels, "fill")
    assert not filled.array[:, :, 1::2].any()
    assert lines[1].endswith("the outlines on both sides do not lie over each other: femur (3)")


def neighbours() -> tuple[Labels, Labels]:
    """Two bones that touch; where they do moves from slice to slice."""
    one, other = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.uint8)
    for k in range(0, 9, 2):
        border = 8 + k
        one[2:border, 3:15, k], other[border:22, 3:15, k] = 1, 1
    return one, other


def test_bones_that_touch_share_nothing_and_leave_nothing_out() -> None:
    one, other = neighbours()
    filled, _, _ = resolve_gaps(of(one + 2 * other, "femur", "tibia"), "fill")
    assert (filled.array[2:22, 3:15, :9] > 0).all()
    layers, _, _ = resolve_gaps(of(np.stack([one, other]), "femur", "tibia"), "fill")
    assert np.array_equal(layers.array[0] > 0, filled.array == 1)
    assert np.array_equal(layers.array[1] > 0, filled.array == 2)


def test_structures_that_overlap_do_so_between_as_well_and_what_is_drawn_stays() -> None:
    bone = stack({k: disc(5) for k in range(0, 9, 2)})
    marrow = stack({k: disc(3) for k in range(0, 9, 2)})
    skin = stack({k: ~disc(6) & disc(9) for k in range(9)})
    bone[:, :, 5] = 0
    skin[8:12, 9:12, 5] = 1  # drawn where the bone would be
    filled, _, _ = resolve_gaps(of(np.stack([bone, marrow, skin]), "bone", "marrow", "skin"), "fill")
    assert np.array_equal(filled.array[0, :, :, 3] > 0, disc(5))
    assert np.array_equal(filled.array[1, :, :, 3] > 0, disc(3))
    assert not (filled.array[0, 8:12, 9:12, 5]).any()
    assert np.array_equal(filled.array[2], skin)


def test_values_of_any_size_and_pictures() -> None:
    [structure] = make_structures(["femur"], [3_000_000])
    labels = Segmentation(stack({k: disc(4) for k in (0, 2, 4)}).astype(np.int32) * 3_000_000, GRID, (structure,))
    filled, changed, _ = resolve_gaps(labels, "fill")
    assert changed
    assert set(np.unique(filled.array)) == {0, 3_000_000}
    striped = np.zeros((20, 20, 1), np.uint8)
    striped[::2] = 1
    picture = Geometry((20, 20, 1), np.eye(4), "px")
    assert find_sparse_structures(Segmentation(striped, picture, make_structures(["ulna"]))) == []


def case(folder: Path, name: str = "p1") -> Labels:
    values = np.random.default_rng(0).normal(size=(1, *GRID.shape)).astype(np.float32)
    write_volume(folder / f"{name}.nii.gz", Volume(values, GRID))
    return stack({k: disc(4) for k in range(2, 13, 2)})


def loaded(folder: Path) -> Labels:
    dataset = Dataset.open(folder)
    array: Labels = dataset.load_segmentation(dataset.manifest.cases[0]).array.astype(np.uint8)
    return array


def test_masks_and_label_maps_are_filled_by_an_import_and_the_files_stay(tmp_path: Path) -> None:
    whole = stack({k: disc(4) for k in range(2, 13)})
    for name, file_name in (("mask", "femur.nii.gz"), ("map", "seg.nii.gz"), ("slicer", "label.seg.nrrd")):
        sparse = case(tmp_path / name / "p1", "ct")
        file = tmp_path / name / "p1" / file_name
        labels = of(sparse if name == "mask" else sparse * 2, *(("femur",) if name == "mask" else ("tibia", "femur")))
        write_segmentation(file, labels)
        before = file.read_bytes()
        report = import_dataset(tmp_path / name, tmp_path / f"{name}-set", form="masks", modality="ct")
        assert np.array_equal(loaded(tmp_path / f"{name}-set") > 0, whole > 0), name
        assert any("femur on 6 of 11" in line for line in report.warnings), name
        assert any("femur on 6 of 11" in line for line in report.manifest.cases[0].provenance), name
        assert file.read_bytes() == before
        left = tmp_path / f"{name}-left"
        report = import_dataset(tmp_path / name, left, form="masks", modality="ct", between_slices="leave")
        assert np.array_equal(loaded(left) > 0, sparse > 0), name
        assert any("count as background" in line for line in report.warnings), name


def test_other_forms_say_it_and_refer_to_the_labels_as_they_are(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "label.nii.gz", of(case(tmp_path)))
    (tmp_path / "pairs.txt").write_text("p1.nii.gz,label.nii.gz\n")
    report = import_dataset(tmp_path / "pairs.txt", tmp_path / "set", modality="ct")
    [line] = report.warnings
    assert "labels were drawn on every 2nd slice: femur on 6 of 11; the slices between were left empty" in line
    assert report.manifest.cases[0].segmentation == "../label.nii.gz"
