"""Labels cropped to a box of their scan's lattice, or larger than the scan: laid where they lie, or refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteon.core.boxes import Box
from osteon.core.errors import GeometryError
from osteon.core.geometry import AxisPermutation, Geometry, offset_on
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_placement import common_grid, place_segmentation
from osteon.evaluating.evaluate import evaluate
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.importing.run import ImportReport, import_dataset

GRID = Geometry((12, 10, 8), np.array([[-0.5, 0, 0, 10], [0, -0.6, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1.0]]))
BOX = Box((2, 3, 1), (9, 8, 6))
NAMES = make_structures(["femur", "tibia"])
TURNS = [AxisPermutation(order, flips) for order in itertools.permutations(range(3)) for flips in [(True, False, True)]]


def whole(seed: int = 0, box: Box = BOX) -> Segmentation:
    """Random labels of two structures that fill the box's inside alone."""
    array = np.zeros(GRID.shape, np.uint8)
    array[box.slices] = np.random.default_rng(seed).integers(0, 3, box.shape)
    return Segmentation(array, GRID, NAMES)


def turned(segmentation: Segmentation, turn: AxisPermutation) -> Segmentation:
    array = np.ascontiguousarray(turn.apply(segmentation.array))
    return Segmentation(array, turn.geometry(segmentation.geometry), segmentation.structures)


def laid(segmentation: Segmentation, grid: Geometry = GRID) -> tuple[Segmentation, str]:
    return place_segmentation(segmentation, grid, name="label", image_name="image")


@pytest.mark.parametrize("turn", TURNS)
def test_a_box_is_laid_where_it_lies_however_it_is_turned(turn: AxisPermutation) -> None:
    found, how = laid(turned(whole().crop(BOX), turn))
    np.testing.assert_array_equal(found.array, whole().array)
    assert found.geometry is GRID
    assert "7×5×5 voxels laid onto the image's 12×10×8 from voxel 2, 3, 1" in how


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_boxes_of_any_lattice_come_back(seed: int) -> None:
    """Oblique and sheared grids, boxes inside, and headers rounded as files round them."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = (np.linalg.qr(rng.normal(size=(3, 3)))[0] + rng.uniform(-0.2, 0.2, (3, 3))) * rng.uniform(
        0.4, 4, 3
    )
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    grid = Geometry((9, 8, 7), affine)
    first = [int(rng.integers(0, n - 2)) for n in grid.shape]
    stop = [int(rng.integers(a + 1, n)) for a, n in zip(first, grid.shape, strict=True)]
    box = Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))
    array = np.zeros(grid.shape, np.uint8)
    array[box.slices] = rng.integers(0, 3, box.shape)
    part = Segmentation(array, grid, NAMES).crop(box)
    rounded = Geometry(box.shape, part.geometry.affine_ras.astype(np.float32).astype(np.float64))
    found, _ = laid(Segmentation(part.array, rounded, NAMES), grid)
    np.testing.assert_array_equal(found.array, array)


def test_overlapping_structures_are_laid_too() -> None:
    layers = np.stack([whole(n).array > 0 for n in (1, 2)]).astype(np.uint8)
    found, _ = laid(Segmentation(layers, GRID, NAMES).crop(BOX))
    np.testing.assert_array_equal(found.array, layers)


def test_a_label_larger_than_the_scan_is_cropped_where_nothing_is_cut_off() -> None:
    scan = GRID.crop(BOX)
    found, how = laid(whole(), scan)
    np.testing.assert_array_equal(found.array, whole().array[BOX.slices])
    assert "from voxel -2, -3, -1" in how
    cut = whole()
    cut.array[0, 0, 0] = 1
    with pytest.raises(GeometryError, match=r"1 of its \d+ labelled voxels lie outside the image"):
        laid(cut, scan)


def moved(geometry: Geometry, *, by: float = 0.0, to: float | None = None, scale: float = 1.0) -> Geometry:
    affine = geometry.affine_ras.copy()
    affine[:3, 3] = to if to is not None else affine[:3, 3] + by
    affine[:3, :3] *= scale
    return Geometry(geometry.shape, affine, geometry.unit)


def test_other_voxels_are_no_box() -> None:
    part = whole().crop(BOX)
    for geometry in (
        moved(part.geometry, by=0.2),  # between voxels
        moved(part.geometry, scale=1.01),
        moved(part.geometry, by=600.0),  # on the lattice, far away
        moved(part.geometry, by=6.0),  # sticking out
        Geometry(BOX.shape, part.geometry.affine_ras, "px"),
    ):
        with pytest.raises(GeometryError):
            laid(Segmentation(part.array, geometry, NAMES))


def test_labels_of_the_images_size_beside_it_have_a_wrong_header() -> None:
    mirrored = GRID.affine_ras.copy()
    mirrored[0, 0] *= -1
    for affine in (mirrored, moved(GRID, by=6.0).affine_ras):
        with pytest.raises(GeometryError):
            laid(Segmentation(whole().array, Geometry(GRID.shape, affine), NAMES))
        assert common_grid(GRID, Geometry(GRID.shape, affine)) is None


def test_headers_that_know_no_place_prove_nothing() -> None:
    """The first voxel or the middle at 0, as made-up headers have it: where such a box belongs is not known."""
    grid = Geometry((12, 10, 8), np.eye(4))
    part = Geometry(BOX.shape, np.eye(4))
    assert offset_on(grid, part) is None
    middle = np.eye(4)
    middle[:3, 3] = [-3, -2, -2]
    assert offset_on(Geometry((13, 11, 9), np.eye(4)), Geometry((7, 5, 5), middle)) is None
    assert offset_on(grid, moved(part, to=2.0)) == (2, 2, 2)


def scan(path: Path, seed: int = 0) -> None:
    array = np.random.default_rng(seed).normal(size=(1, *GRID.shape)).astype(np.float32)
    write_volume(path, Volume(array, GRID))


def taken(source: Path, form: str, **options: object) -> tuple[ImportReport, Dataset]:
    report = import_dataset(source, source.parent / "set", form=form, overwrite=True, **options)  # type: ignore[arg-type]
    return report, Dataset.open(source.parent / "set")


def check(report: ImportReport, dataset: Dataset) -> None:
    """The one case is whole, written anew, and told."""
    [case] = report.manifest.cases
    labels = dataset.load_segmentation(case)
    value = {s.name: s.value for s in labels.structures}
    for name, number in (("femur", 1), ("tibia", 2)):
        np.testing.assert_array_equal(labels.array == value[name], whole().array == number)
    assert str(case.segmentation).startswith("labels/")
    assert "laid onto" in " ".join(case.provenance)
    assert sum("laid onto the image's 12×10×8 from voxel 2, 3, 1" in line for line in report.warnings) == 1


def test_cropped_masks_are_laid_onto_their_scan(tmp_path: Path) -> None:
    source = tmp_path / "src"
    scan(source / "p1" / "ct.nii.gz")
    for n, name in enumerate(("femur", "tibia"), start=1):
        array = (whole().crop(BOX).array == n).astype(np.uint8)
        write_volume(source / "p1" / f"{name}.nii.gz", Volume(array[None], GRID.crop(BOX)))
    report, dataset = taken(source, "masks")
    check(report, dataset)
    assert report.lost == []


@pytest.mark.parametrize(
    ("form", "suffix"),
    [
        *itertools.product(["masks", "pairs", "decathlon"], [".nii.gz", ".seg.nrrd"]),
        ("nnunet", ".nii.gz"),
        ("nnunet regions", ".nii.gz"),
    ],
)
def test_cropped_label_maps_are_laid_in_every_form(tmp_path: Path, form: str, suffix: str) -> None:
    """As 3D Slicer writes its segmentations: the box alone that the segments fill."""
    source = tmp_path / "src"
    image, label = ("p1/ct", "p1/seg") if form == "masks" else ("imagesTr/p1_0000", "labelsTr/p1")
    scan(source / f"{image}.nii.gz")
    write_segmentation(source / f"{label}{suffix}", whole().crop(BOX))
    pair = {"image": f"{image}.nii.gz", "label": f"{label}{suffix}"}
    if form == "pairs":
        (source / "pairs.txt").write_text(",".join(pair.values()))
    labels: dict[str, object] = {"background": 0, "femur": 1, "tibia": 2}
    if form == "nnunet regions":
        labels = {"background": 0, "femur": [1], "tibia": [2]}
    data = {"labels": labels, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    data |= {"training": [pair]} if form == "decathlon" else {}
    if form in ("decathlon", "nnunet", "nnunet regions"):
        (source / "dataset.json").write_text(json.dumps(data))
    check(*taken(source, form.partition(" ")[0]))


def test_a_cropped_mask_finds_its_scan_by_the_lattice(tmp_path: Path) -> None:
    source = tmp_path / "src"
    scan(source / "p1" / "first_scan.nii.gz")
    array = np.random.default_rng(1).normal(size=(1, *GRID.shape)).astype(np.float32)
    write_volume(source / "p1" / "second_scan.nii.gz", Volume(array, moved(GRID, by=0.2)))
    mask = (whole().crop(BOX).array > 0).astype(np.uint8)
    write_volume(source / "p1" / "femur.nii.gz", Volume(mask[None], GRID.crop(BOX)))
    report, _ = taken(source, "masks")
    assert [Path(case.images[0]).name for case in report.manifest.cases] == ["first_scan.nii.gz"]


def test_a_mask_that_is_cut_by_its_scan_is_refused_with_the_count(tmp_path: Path) -> None:
    source = tmp_path / "src"
    cut = whole()
    cut.array[0] = 1
    for name in ("p1", "p2"):
        write_segmentation(source / name / "seg.nii.gz", cut if name == "p1" else whole())
        array = np.random.default_rng(ord(name[1])).normal(size=(1, *BOX.shape)).astype(np.float32)
        write_volume(source / name / "ct.nii.gz", Volume(array, GRID.crop(BOX)))
    report, _ = taken(source, "masks")
    assert "80 of its" in str(report.failed["p1"])
    assert "labelled voxels lie outside the image" in str(report.failed["p1"])
    report, _ = taken(source, "masks", repair_geometry=True)
    assert not report.failed
    assert any("keeps" in line and "% of the labelled volume" in line for line in report.warnings)


def test_cropped_files_are_scored_on_the_grid_that_holds_both(tmp_path: Path) -> None:
    other = Box((0, 2, 0), (6, 9, 8))
    first, second = whole(1), whole(2, other)
    expected = {}
    for case, one, two in (
        ("both", first, second),
        ("prediction", first.crop(BOX), second),
        ("reference", first, second.crop(other)),
        ("tight", first.crop(BOX), second.crop(other)),
    ):
        write_segmentation(tmp_path / "a" / f"{case}.nii.gz", one)
        write_segmentation(tmp_path / "b" / f"{case}.nii.gz", two)
    result = evaluate(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert not result.failures
    for score in result.scores:
        figures = (score.dice, score.predicted_voxels, score.reference_voxels, dict(score.distances))
        assert expected.setdefault(score.structure, figures) == figures
    assert len(result.notes) == 3
    assert all("laid onto" in note for note in result.notes)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["notes"] == list(result.notes)
    assert common_grid(GRID, moved(GRID, by=0.2)) is None


def test_a_cropped_prediction_is_scored_on_the_datasets_image(tmp_path: Path) -> None:
    source = tmp_path / "src"
    scan(source / "p1" / "ct.nii.gz")
    write_segmentation(source / "p1" / "seg.nii.gz", whole())
    taken(source, "masks")
    write_segmentation(tmp_path / "made" / "p1.nii.gz", whole().crop(BOX))
    result = evaluate(tmp_path / "made", tmp_path / "set")
    assert [score.dice for score in result.scores] == [1.0, 1.0]
    affine = GRID.affine_ras.copy()
    affine[:3, 3] = GRID.to_world([[-1, -1, -1]])[0]
    larger = np.pad(whole().array, 1)
    larger[0] = 1
    write_segmentation(tmp_path / "made" / "p1.nii.gz", Segmentation(larger, Geometry(larger.shape, affine), NAMES))
    result = evaluate(tmp_path / "made", tmp_path / "set")
    assert "120 of its" in result.failures[0].message


def test_what_is_read_as_cropped_stays_as_it_is_on_disk(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", whole().crop(BOX))
    assert read_segmentation(tmp_path / "a.seg.nrrd").geometry.shape == BOX.shape
