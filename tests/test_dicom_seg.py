"""DICOM SEG: real objects against the label maps from which they were made, and made-up ones with known answers."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from highdicom.spatial import get_volume_positions
from pydicom.dataset import Dataset

from dicom_writing import AXIAL, image, save
from osteon.core.errors import DatasetError, FileError, GeometryError, LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import make_structures
from osteon.dataset import dataset as dataset_module
from osteon.formats import read_segmentation, write_volume
from osteon.formats.dicom import read_dicom_segmentation
from osteon.formats.dicom_seg import read_dicom_seg, read_dicom_seg_geometry, read_dicom_seg_structures
from osteon.formats.dicom_series import find_series, read_series
from osteon.importing.run import import_dataset

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
GRID = Geometry((6, 5, 4), np.array([[-1.0, 0, 0, 30], [0, -1, 0, 20], [0, 0, 2, 10], [0, 0, 0, 1]]))
"""An image whose first voxel lies at LPS (−30, −20, 10)."""


def write(
    path: Path,
    frames: list[tuple[int, tuple[float, float, float], np.ndarray]],
    kind: str = "BINARY",
    names: tuple[str, ...] = ("femur", "tibia"),
    **tags: object,
) -> Path:
    """Frames: segment, position of the first pixel (LPS), pixels `[row, column]`."""
    pixels = np.stack([pixels for _, _, pixels in frames]).astype(np.uint8)
    dataset = image(pixels, SOPClassUID=SEG, Modality="SEG", NumberOfFrames=len(frames), SegmentationType=kind)
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing
    if kind == "BINARY":
        raw = np.packbits(pixels.ravel(), bitorder="little").tobytes()
        dataset.PixelData = raw + b"\0" * (len(raw) % 2)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.SegmentSequence = []
    for n, name in enumerate(names, start=1):
        item = Dataset()
        item.SegmentNumber, item.SegmentLabel = n, name
        dataset.SegmentSequence.append(item)
    shared, turn, size = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient, size.PixelSpacing = list(AXIAL), [1.0, 1.0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [size]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], []
    for segment, position, _ in frames:
        frame, place, which = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, which.ReferencedSegmentNumber = list(position), segment
        frame.PlanePositionSequence = [place]
        if kind != "LABELMAP":
            frame.SegmentIdentificationSequence = [which]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return save(dataset, path)


def plane(*ones: tuple[int, int], value: int = 1, rows: int = 5, columns: int = 6) -> np.ndarray:
    pixels = np.zeros((rows, columns), np.uint8)
    for row, column in ones:
        pixels[row, column] = value
    return pixels


def test_frames_in_any_order_and_without_the_empty_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s",
        [(2, (-30, -20, 14), plane((4, 5))), (1, (-30, -20, 10), plane((0, 1), (2, 3))), (1, (-30, -20, 16), plane())],
    )
    found = read_dicom_seg(path, GRID)
    assert not found.overlapping
    assert found.geometry is GRID
    assert np.argwhere(found.array == 1).tolist() == [[1, 0, 0], [3, 2, 0]]
    assert np.argwhere(found.array == 2).tolist() == [[5, 4, 2]]
    own = read_dicom_seg(path)
    assert own.geometry.is_close(GRID)  # slices 10, 14 and 16: the smallest distance is 2, and all lie on it
    assert np.array_equal(own.array, found.array)
    assert read_dicom_seg_geometry(path).is_close(GRID)
    assert [s.name for s in read_dicom_seg_structures(path)] == ["femur", "tibia"]


def test_a_part_of_the_image_is_laid_where_it_belongs(tmp_path: Path) -> None:
    """A cropped segmentation of one slice, whose thickness only the image tells."""
    path = write(tmp_path / "s", [(1, (-28, -19, 14), plane((0, 0), (1, 2), rows=2, columns=3))])
    found = read_dicom_seg(path, GRID)
    assert np.argwhere(found.array).tolist() == [[2, 1, 2], [4, 2, 2]]
    turned = Geometry((5, 6, 4), GRID.affine_ras[:, [1, 0, 2, 3]])  # the same image with its first axes swapped
    assert np.array_equal(read_dicom_seg(path, turned).array.transpose(1, 0, 2), found.array)


def test_segments_that_overlap_become_multi_hot(tmp_path: Path) -> None:
    path = write(tmp_path / "s", [(1, (-30, -20, 10), plane((0, 0), (0, 1))), (2, (-30, -20, 10), plane((0, 1)))])
    found = read_dicom_seg(path, GRID)
    assert found.overlapping
    assert [int(layer.sum()) for layer in found.array] == [2, 1]


def test_fractions_count_from_one_half_on(tmp_path: Path) -> None:
    pixels = plane((0, 0), value=100) + plane((0, 1), value=99) + plane((0, 2), value=200)
    path = write(tmp_path / "s", [(1, (-30, -20, 10), pixels)], "FRACTIONAL", MaximumFractionalValue=200)
    assert np.argwhere(read_dicom_seg(path, GRID).array).tolist() == [[0, 0, 0], [2, 0, 0]]


def test_label_maps(tmp_path: Path) -> None:
    frames = [(0, (-30.0, -20.0, 10.0), plane((0, 0), value=2) + plane((1, 1), value=1))]
    path = write(tmp_path / "s", frames, "LABELMAP", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7")
    found = read_dicom_seg(path, GRID)
    assert (found.array[0, 0, 0], found.array[1, 1, 0], int((found.array > 0).sum())) == (2, 1, 2)
    path = write(tmp_path / "t", frames, "LABELMAP", names=("femur",))
    with pytest.raises(LabelError, match=r"labels that no segment has: \[2\]"):
        read_dicom_seg(path)


def test_sides_come_from_codes_where_the_name_is_silent(tmp_path: Path) -> None:
    path = write(tmp_path / "s", [(1, (-30, -20, 10), plane((0, 0)))], names=("femur", "femur"))
    import pydicom

    dataset = pydicom.dcmread(path)
    for item, code in zip(dataset.SegmentSequence, ("7771000", "24028007"), strict=True):
        modifier = Dataset()
        modifier.CodeValue, modifier.CodingSchemeDesignator = code, "SCT"
        item.SegmentedPropertyTypeModifierCodeSequence = [modifier]
    save(dataset, path)
    structures = read_dicom_seg_structures(path)
    assert [(s.name, s.side, s.counterpart) for s in structures] == [
        ("femur left", "left", "femur right"),
        ("femur right", "right", "femur left"),
    ]


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ((-30, -20, 11), "does not lie on the image's grid"),
        ((-30.5, -20, 10), "does not lie on the image's grid"),
        ((-30, -20, 18), "1 of its voxels lie outside the image"),
    ],
)
def test_what_does_not_lie_on_the_image_is_refused(
    tmp_path: Path, position: tuple[float, float, float], message: str
) -> None:
    path = write(tmp_path / "s", [(1, position, plane((0, 0)))])
    with pytest.raises(GeometryError, match=message):
        read_dicom_seg(path, GRID)


def test_slices_between_those_of_the_image_are_refused_with_both_distances(tmp_path: Path) -> None:
    """Reconstructed thicker, half a thin slice further up: which thin slices they show is not known."""
    thick = write(tmp_path / "s", [(1, (-30, -20, z), plane((0, 0))) for z in (11, 15)])
    with pytest.raises(GeometryError, match=r"its slices lie 2 mm apart and the image's 2 mm, the first of them 1 mm"):
        read_dicom_seg(thick, GRID)
    uneven = write(tmp_path / "t", [(1, (-30, -20, z), plane((0, 0))) for z in (10, 13, 16)])
    with pytest.raises(GeometryError, match=r"its slices lie 3 mm apart and the image's 2 mm, the first of them 0 mm"):
        read_dicom_seg(uneven, GRID)


def test_frames_at_uneven_or_shifted_places_are_refused(tmp_path: Path) -> None:
    uneven = [(1, (-30.0, -20.0, z), plane((0, 0))) for z in (10.0, 12.0, 13.1)]
    with pytest.raises(GeometryError, match="uneven distances"):
        read_dicom_seg(write(tmp_path / "a", uneven))
    shifted = [(1, (-30.0, -20.0 + z / 10, z), plane((0, 0))) for z in (10.0, 12.0)]
    with pytest.raises(GeometryError, match=r"shifted by up to 0\.2 mm"):
        read_dicom_seg(write(tmp_path / "b", shifted))


def test_an_image_is_no_segmentation(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no DICOM SEG"):
        read_dicom_seg(save(image(np.zeros((2, 2), np.int16)), tmp_path / "ct"))


def test_known_structures_are_found_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "s.dcm", [(1, (-30, -20, 10), plane((0, 0))), (2, (-30, -20, 10), plane((1, 1)))])
    known = make_structures(["tibia", "femur"], [5, 7])
    found = read_dicom_segmentation(path, known)
    assert (found.array[0, 0, 0], found.array[1, 1, 0]) == (7, 5)
    with pytest.raises(LabelError, match="femur"):
        read_dicom_segmentation(path, make_structures(["tibia"]))


def test_real_objects_agree_with_the_label_maps_they_were_made_from(shared_data: Path) -> None:
    folder = shared_data / "awkward-dicom" / "seg-objects" / "dcmqi"
    volume, _ = read_series(find_series(folder / "ct-3slice").series[0])
    liver = read_dicom_seg(folder / "liver.dcm", volume.geometry)
    reference = read_segmentation(folder / "liver_seg.nrrd")
    assert reference.geometry.is_close(volume.geometry)
    assert np.array_equal(liver.array, reference.array)
    assert (liver.structures[0].name, liver.structures[0].colour) == ("Liver", "#dd8265")  # as 3D Slicer shows it
    five = read_dicom_seg(folder / "partial_overlaps.dcm", volume.geometry)
    assert five.overlapping
    maps = [read_segmentation(folder / f"partial_overlaps-{n}.nrrd").array for n in (1, 2, 3)]
    for layer, (which, value) in zip(five.array, [(0, 1), (1, 2), (2, 3), (0, 4), (0, 5)], strict=True):
        assert np.array_equal(layer > 0, maps[which] == value)


def test_real_fractional_sparse_and_single_objects(shared_data: Path) -> None:
    folder = shared_data / "awkward-dicom" / "seg-objects"
    binary = read_dicom_seg(folder / "highdicom" / "seg_image_ct_binary.dcm")
    for name in ("seg_image_ct_binary_fractional.dcm", "seg_image_ct_true_fractional.dcm"):
        assert np.array_equal(read_dicom_seg(folder / "highdicom" / name).array, binary.array)
    sparse = read_dicom_seg(folder / "dcmqi" / "sparse-labelmap-noppv.dcm")  # its middle slice is empty, and left out
    assert sparse.array.any(axis=(0, 1)).tolist() == [True, False, True]
    assert sparse.geometry.spacing_mm == pytest.approx((0.7, 0.7, 2.5))
    assert [s.name for s in sparse.structures] == ["Liver"]
    image_, _ = read_series(find_series(folder / "dcmqi" / "24x38x3" / "multiframe").series[0])
    assert int(read_dicom_seg(folder / "dcmqi" / "24x38x3" / "seg" / "label.seg", image_.geometry).array.sum()) == 315
    radiograph = read_dicom_seg(folder / "highdicom" / "seg_image_cr_binary.dcm")
    assert (radiograph.geometry.unit, radiograph.geometry.shape) == ("px", (16, 16, 1))


def test_what_the_reader_of_highdicom_would_lose(tmp_path: Path, shared_data: Path) -> None:
    """Why SEGs are read by osteon's own code; with a highdicom of which this no longer holds, look at it again."""
    path = write(tmp_path / "s", [(1, (-30, -20, 10), plane((0, 0)))])
    assert read_dicom_seg(path, GRID).array.any()
    with pytest.raises(AttributeError, match="SegmentedPropertyCategoryCodeSequence"):  # nor without SliceThickness
        hd.seg.segread(path)
    radiograph = shared_data / "awkward-dicom" / "seg-objects" / "highdicom" / "seg_image_cr_binary.dcm"
    with pytest.raises(sqlite3.OperationalError, match="ImagePositionPatient"):  # a picture lies nowhere
        hd.seg.segread(radiograph).get_volume()
    # Slices of 1 mm on an image of 2 mm: the first four would be taken for the image's, without a word.
    thin = [(1, (-30.0, -20.0, 10.0 + k), plane((0, 0))) for k in range(7)]
    with pytest.raises(GeometryError, match="its slices lie 1 mm apart and the image's 2 mm"):
        read_dicom_seg(write(tmp_path / "t", thin), GRID)
    drawn, image_ = (
        hd.Volume(np.ones((n, 5, 6), np.uint8), np.diag([s, 1, 1, 1]), "PATIENT") for n, s in [(7, 1), (4, 2)]
    )
    laid = drawn.match_geometry(image_)
    assert (laid.array[:7] == 1).all()
    assert laid.spatial_shape == (8, 5, 6)
    # A stack that leans by 2°, its last slice shifted by 3 pixels, would be straightened.
    leaning = [(1, (-30.0, -20.0 + 0.035 * z, 10.0 + z), plane((0, 0))) for z in range(0, 90, 2)]
    with pytest.raises(GeometryError, match=r"shifted by up to 3\.08 mm"):
        read_dicom_seg(write(tmp_path / "l", leaning))
    assert get_volume_positions([position for _, position, _ in leaning], AXIAL)[0] == 2


def sided(folder: Path) -> Path:
    """A scan, and a SEG of a tumour and of two femora whose sides are codes."""
    import pydicom

    for k in range(4):
        pixels = np.full((5, 6), k, np.int16)
        place = [-30.0, -20.0, 10.0 + 2 * k]
        save(image(pixels, ImagePositionPatient=place), folder / "p1" / "ct" / f"{k}.dcm")
    frames = [(n, (-30.0, -20.0, 10.0), plane((n, n))) for n in (1, 2, 3)]
    path = write(folder / "p1" / "labels.dcm", frames, names=("femur", "femur", "tumour"))
    dataset = pydicom.dcmread(path)
    for item, code in zip(dataset.SegmentSequence[:2], ("7771000", "24028007"), strict=True):
        modifier = Dataset()
        modifier.CodeValue, modifier.CodingSchemeDesignator = code, "SCT"
        item.SegmentedPropertyTypeModifierCodeSequence = [modifier]
    save(dataset, path)
    return folder


def test_an_import_keeps_segments_whose_side_is_a_code(tmp_path: Path) -> None:
    report = import_dataset(sided(tmp_path / "heap"), tmp_path / "set")
    assert report.present == {"p1": ("femur left", "femur right", "tumour")}
    segmentation = dataset_module.Dataset.open(tmp_path / "set").load_segmentation(report.manifest.cases[0])
    places = {s.name: [axis.tolist() for axis in np.nonzero(segmentation.mask(s))] for s in segmentation.structures}
    assert places == {"femur left": [[1], [1], [0]], "femur right": [[2], [2], [0]], "tumour": [[3], [3], [0]]}


def test_an_import_makes_no_background_of_segments_that_labels_do_not_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="marks femur left, femur right"):
        import_dataset(sided(tmp_path / "heap"), tmp_path / "set", structures={"tumour": 1})


def thick(folder: Path, step: int = 2) -> Path:
    """A CT of 2 mm, and a SEG of a rod whose frames lie `step` slices apart; the tibia is on two of them only."""
    for k in range(12):
        pixels = np.full((5, 6), k, np.int16)
        save(image(pixels, ImagePositionPatient=[-30.0, -20.0, 10.0 + 2 * k]), folder / "p1" / "ct" / f"{k}.dcm")
    rod, block = [(row, column) for row in (1, 2) for column in (1, 2)], [(4, 4), (4, 5)]
    frames = [(1, (-30.0, -20.0, 10.0 + 2 * k), plane(*rod)) for k in range(0, 12, step)]
    frames += [(2, (-30.0, -20.0, 10.0 + 2 * k), plane(*block)) for k in (step, 2 * step)]
    write(folder / "p1" / "labels.dcm", frames)
    return folder


@pytest.mark.parametrize("step", [2, 3])
def test_a_seg_of_thicker_slices_is_filled_or_left(tmp_path: Path, step: int) -> None:
    source = thick(tmp_path / "heap", step)
    report = import_dataset(source, tmp_path / "set")
    [case] = report.manifest.cases
    labels = dataset_module.Dataset.open(tmp_path / "set").load_segmentation(case).array
    drawn = range(0, 12, step)
    assert [bool((labels[:, :, k] == 1).sum() == 4) for k in range(12)] == [k <= drawn[-1] for k in range(12)]
    assert [int((labels[:, :, k] == 2).sum()) for k in range(12)] == [2 * (step <= k <= 2 * step) for k in range(12)]
    message = f"femur on {len(drawn)} of {drawn[-1] + 1}, tibia on 2 of {step + 1}"
    assert any(message in line for line in case.provenance)
    assert any(message in line for line in report.warnings)
    report = import_dataset(source, tmp_path / "left", between_slices="leave")
    labels = dataset_module.Dataset.open(tmp_path / "left").load_segmentation(report.manifest.cases[0]).array
    assert np.flatnonzero(labels.any(axis=(0, 1))).tolist() == list(drawn)
    assert any(message in line and "count as background" in line for line in report.warnings)


def test_a_scan_that_was_converted_takes_its_dicom_labels(tmp_path: Path) -> None:
    source = thick(tmp_path / "heap")
    volume, _ = read_series(find_series(source / "p1" / "ct").series[0])
    shutil.rmtree(source / "p1" / "ct")
    write_volume(source / "p1" / "ct.nii.gz", volume)
    report = import_dataset(source, tmp_path / "set")
    assert report.form == "masks"
    assert report.present == {"p1": ("femur", "tibia")}
    assert any("femur on 6 of 11" in line for line in report.warnings)
