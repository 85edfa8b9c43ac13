"""Contours on grids: known answers by calculation, and real contours against the masks that came with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_writing import image, save
from osteon.core.errors import FileError, GeometryError, LabelError
from osteon.core.geometry import Geometry, reorient_like
from osteon.dataset.dataset import Dataset as Imported
from osteon.formats.dicom_references import read_references
from osteon.formats.dicom_series import find_series, read_series
from osteon.formats.nifti import read_nifti_segmentation
from osteon.formats.rtstruct import EPSILON, fill_even_odd, fill_nested, read_rtstruct
from osteon.importing.run import import_dataset

GRID = Geometry((20, 10, 4), np.array([[-0.5, 0, 0, -100], [0, -2, 0, 50], [0, 0, 3, 7], [0, 0, 0, 1]]))
Region = tuple[str, list[list[tuple[float, float, float]]]]


def write(path: Path, *regions: Region, kind: str = "CLOSED_PLANAR") -> Path:
    """Regions whose contours are given in indices of `GRID`."""
    dataset = Dataset()
    dataset.file_meta = image(np.zeros((1, 1), np.int16)).file_meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.4"
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", "1.2.3.5"
    rois, drawn = [], []
    for n, (name, contours) in enumerate(regions, start=1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = n, name
        item.ReferencedROINumber, item.ROIDisplayColor = n, [255, 16 * n, 0]
        item.ContourSequence = []
        for index in contours:
            contour = Dataset()
            contour.ContourGeometricType = kind
            world = GRID.to_world(np.array(index)) * [-1, -1, 1]
            contour.ContourData = [f"{value:.6f}" for value in world.ravel()]
            item.ContourSequence.append(contour)
        rois.append(roi)
        drawn.append(item)
    of, study, one = Dataset(), Dataset(), Dataset()
    one.SeriesInstanceUID = "1.2.3.9"
    study.RTReferencedSeriesSequence = [one]
    of.FrameOfReferenceUID, of.RTReferencedStudySequence = "1.2.3", [study]
    dataset.ReferencedFrameOfReferenceSequence = [of]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = rois, drawn
    return save(dataset, path)


def box(i0: float, i1: float, j0: float, j1: float, k: float) -> list[tuple[float, float, float]]:
    return [(i0, j0, k), (i1, j0, k), (i1, j1, k), (i0, j1, k)]


def test_a_box_with_a_hole(tmp_path: Path) -> None:
    path = write(tmp_path / "rt", ("Left femur", [box(1.5, 12.5, 0.5, 8.5, 2), box(3.5, 5.5, 2.5, 4.5, 2)]))
    found = read_rtstruct(path, GRID)
    expected = np.zeros(GRID.shape, bool)
    expected[2:13, 1:9, 2] = True
    expected[4:6, 3:5, 2] = False
    assert np.array_equal(found.array > 0, expected)
    structure = found.structures[0]
    assert (structure.name, structure.side, structure.colour, structure.value) == ("Left femur", "left", "#ff1000", 1)
    assert read_references(path).series == {"1.2.3.9"}


def test_regions_that_overlap_become_multi_hot(tmp_path: Path) -> None:
    path = write(tmp_path / "rt", ("a", [box(0.5, 5.5, 0.5, 5.5, 1)]), ("b", [box(4.5, 8.5, 0.5, 5.5, 1)]))
    found = read_rtstruct(path, GRID)
    assert found.overlapping
    assert [int(layer.sum()) for layer in found.array] == [25, 20]
    assert int((found.array.sum(axis=0) == 2).sum()) == 5


def test_regions_that_touch_share_nothing_and_leave_nothing_out(tmp_path: Path) -> None:
    path = write(tmp_path / "rt", ("a", [box(1, 5, 1, 5, 1)]), ("b", [box(5, 8, 1, 5, 1)]))
    found = read_rtstruct(path, GRID)
    assert not found.overlapping
    assert (found.array[1:8, 1:5, 1] > 0).all()
    assert int((found.array > 0).sum()) == 28


def test_a_contour_written_twice_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "rt", ("a", [box(0.5, 5.5, 0.5, 5.5, 1)] * 2))
    assert int(read_rtstruct(path, GRID).array.sum()) == 25


def square(i0: float, i1: float, j0: float = 0.5, j1: float = 9.5) -> np.ndarray:
    return np.array([(i0, j0), (i1, j0), (i1, j1), (i0, j1)])


@pytest.mark.parametrize(
    ("contours", "size", "partly"),
    [
        ([square(0.5, 5.5), square(3.5, 9.5)], 81, 1),  # a part is shared
        ([square(0.5, 5.5), square(5.5, 9.5)], 81, 0),  # an edge is
        ([square(0.5, 9.5), square(2.5, 6.5, 2.5, 6.5)], 81 - 16, 0),  # a hole
        ([square(2.5, 6.5, 2.5, 6.5), square(0.5, 9.5)], 81 - 16, 0),  # in any order
        ([square(0.5, 9.5), square(5.5, 9.5)], 45, 0),  # a hole that touches the edge
        ([square(0.5, 9.5), square(1.5, 8.5, 1.5, 8.5), square(3.5, 6.5, 3.5, 6.5)], 81 - 49 + 9, 0),  # an island
        ([square(0.5, 9.5), square(0.5001, 9.5001)], 81, 0),  # written twice, rounded
        ([square(0.5, 9.5), square(2.5, 4.5, 2.5, 4.5), square(3.5, 6.5, 2.5, 4.5)], 81 - 8, 1),  # holes overlap
        ([square(0.5, 6.5), square(3.5, 9.5), square(4.5, 5.5, 2.5, 6.5)], 81 - 4, 1),  # a hole in both of two
        ([square(0.5, 6.5), square(1.5, 3.5, 2.5, 6.5), square(2.5, 9.5)], 81 - 4, 2),  # half of a hole is covered
        ([square(0.5, 3.5), square(3.6, 3.9)], 27, 0),  # too thin for a pixel
    ],
)
def test_contours_are_united_and_one_within_another_is_a_hole(
    contours: list[np.ndarray], size: int, partly: int
) -> None:
    region, pairs = fill_nested(contours, (12, 11))
    assert (int(region.sum()), pairs) == (size, partly)


def test_a_hole_joined_by_a_slit_stays_one() -> None:
    outer, inner = square(0.5, 9.5).tolist(), square(2.5, 6.5, 2.5, 6.5).tolist()
    keyhole = np.array([*outer, outer[0], *inner[::-1], inner[-1]])
    assert int(fill_nested([keyhole], (12, 11))[0].sum()) == 81 - 16
    both, pairs = fill_nested([keyhole, square(7.5, 10.5)], (12, 11))
    assert (int(both.sum()), pairs) == (81 - 16 + 9, 1)


def test_contours_that_overlap_partly_are_told(tmp_path: Path) -> None:
    boxes = [box(0.5, 6.5, 0.5, 5.5, 1), box(4.5, 9.5, 0.5, 5.5, 1)]
    notes: list[str] = []
    assert int(read_rtstruct(write(tmp_path / "rt", ("femur", boxes)), GRID, notes=notes).array.sum()) == 45
    assert notes == ["femur: contours overlap partly in 1 slice, the first of them slice 2; they were united"]
    crossing = write(tmp_path / "xor", ("femur", boxes), kind="CLOSEDPLANAR_XOR")
    assert int(read_rtstruct(crossing, GRID).array.sum()) == 35  # as this type says


def test_the_grid_may_be_turned(tmp_path: Path) -> None:
    """The slices of the contours need not be the grid's last axis."""
    path = write(tmp_path / "rt", ("a", [box(1.5, 12.5, 0.5, 8.5, k) for k in range(3)]))
    affine = GRID.affine_ras[:, [2, 0, 1, 3]]
    turned = Geometry((4, 20, 10), affine)
    found = read_rtstruct(path, turned)
    assert np.array_equal(found.array.transpose(1, 2, 0), read_rtstruct(path, GRID).array)


@pytest.mark.parametrize(
    ("contour", "message"),
    [
        (box(1, 5, 1, 5, 1.4), r"a contour lies up to 1\.2 mm from the nearest slice, 3 mm lie between slices"),
        ([(1, 1, 0), (5, 1, 0), (5, 5, 2)], "from the nearest slice"),
        (box(1, 5, 1, 5, 4), "outside the image, in slice 5 of 4"),
        (box(30, 35, 1, 5, 1), "beside it"),
    ],
)
def test_contours_that_do_not_lie_in_the_slices_are_refused(
    tmp_path: Path, contour: list[tuple[float, float, float]], message: str
) -> None:
    path = write(tmp_path / "rt", ("tibia", [contour]))
    with pytest.raises(GeometryError, match=message) as refused:
        read_rtstruct(path, GRID)
    assert str(path) in refused.value.message
    assert "tibia" in refused.value.message


def test_an_image_in_pixels_has_no_contours(tmp_path: Path) -> None:
    path = write(tmp_path / "rt", ("a", [box(1, 5, 1, 5, 1)]))
    with pytest.raises(GeometryError, match="in px"):
        read_rtstruct(path, Geometry(GRID.shape, GRID.affine_ras, "px"))


def test_points_are_no_structures(tmp_path: Path) -> None:
    path = write(tmp_path / "rt", ("isocentre", [[(1, 1, 1)]]), kind="POINT")
    with pytest.raises(LabelError, match="holds no structure"):
        read_rtstruct(path, GRID)


def test_an_image_is_no_rtstruct(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no RTSTRUCT"):
        read_rtstruct(save(image(np.zeros((2, 2), np.int16)), tmp_path / "ct"), GRID)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 14), st.floats(-3, 11)), min_size=3, max_size=9))
@example([(0.0, 0.0), (0.0, 0.0), (1.0, 5e-324)])
def test_filling_agrees_with_counting_crossings(points: list[tuple[float, float]]) -> None:
    """Each pixel by itself: how often the way to its right, just above its centre, meets an edge."""
    inside = fill_even_odd([np.array(points)], (12, 9))
    contour = np.array([[0 if abs(x) < EPSILON else x for x in point] for point in points])
    for i in range(12):
        for j in range(9):
            odd = False
            for (x0, y0), (x1, y1) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
                if (y0 <= j) != (y1 <= j):
                    (a, b), (c, d) = sorted([(x0, y0), (x1, y1)], key=lambda p: p[1])
                    odd ^= a + (j - b) * ((c - a) / (d - b)) > i
            assert inside[i, j] == odd


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_contours_on_every_second_slice_of_a_resampled_scan_are_filled(tmp_path: Path, modality: str) -> None:
    """A scan that was resampled to thinner slices after its contours were drawn."""
    for k in range(8):
        pixels = np.random.default_rng(k).integers(0, 99, (10, 20)).astype(np.int16)
        slice_ = image(
            pixels,
            ImagePositionPatient=[100.0, -50.0, 7.0 + 3 * k],
            PixelSpacing=[2.0, 0.5],
            Modality=modality,
            SeriesInstanceUID="1.2.3.9",
            FrameOfReferenceUID="1.2.3",
        )
        save(slice_, tmp_path / "heap" / "p1" / "scan" / f"{k}.dcm")
    slices = [box(1.5, 12.5, 0.5, 8.5, k) for k in (0, 2, 4, 6)]
    write(tmp_path / "heap" / "p1" / "rt.dcm", ("femur", [*slices, box(3.5, 5.5, 2.5, 4.5, 2)]))
    report = import_dataset(tmp_path / "heap", tmp_path / "set")
    [case] = report.manifest.cases
    filled = Imported.open(tmp_path / "set").load_segmentation(case).array
    assert filled.sum(axis=(0, 1)).tolist() == [88, 88, 84, 88, 88, 88, 88, 0]
    assert any("every 2nd slice: femur on 4 of 7" in line for line in report.warnings)
    import_dataset(tmp_path / "heap", tmp_path / "left", between_slices="leave")
    left = Imported.open(tmp_path / "left").load_segmentation(case).array
    assert left.sum(axis=(0, 1)).tolist() == [88, 0, 84, 0, 88, 0, 88, 0]


CASES = [
    "sts-limb-mr-dicom/STS_002/MR_T1",
    "sts-limb-mr-dicom/STS_008/CT",
    "sts-limb-mr-dicom/STS_008/MR_T1",
    "sts-limb-mr-dicom/STS_015/MR_T1",
    "sts-limb-mr-dicom/STS_024/MR_T1",
    "sts-limb-mr-dicom/STS_025/MR_T1",
    "sts-limb-mr-dicom/STS_042/MR_T1",
    "ibsi-lung-tumour-ct",
]


@pytest.mark.parametrize("case", CASES)
def test_real_contours_give_the_masks_that_came_with_them(shared_data: Path, case: str) -> None:
    found = find_series(shared_data / case)
    volume, _ = read_series(found.series[0])
    drawn = read_rtstruct(found.structure_sets[0], volume.geometry)
    reference = read_nifti_segmentation(next((shared_data / case).rglob("*mask.nii.gz")))
    turn = reorient_like(reference.geometry, volume.geometry)
    assert turn.geometry(reference.geometry).is_close(volume.geometry)
    assert np.array_equal(drawn.array > 0, turn.apply(reference.array) != 0)  # Dice 1
    with pytest.raises(GeometryError):
        read_rtstruct(found.structure_sets[0], GRID)
