"""Series: found by content, told apart, sorted by position, refused where they make no grid."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dicom_writing import AXIAL, image, save, series
from osteon.core.errors import FileError, GeometryError
from osteon.core.volume import Volume
from osteon.formats.dicom_series import Series, find_series, read_series, series_geometry


def only(folder: Path) -> Series:
    found = find_series(folder)
    assert len(found.series) == 1, found
    return found.series[0]


def read(folder: Path, **options: bool) -> tuple[Volume, list[str]]:
    return read_series(only(folder), **options)


def heights(*z: float) -> list[tuple[float, float, float]]:
    return [(10.0, 20.0, height) for height in z]


def test_slices_are_sorted_by_position_and_spaced_by_it(tmp_path: Path) -> None:
    series(tmp_path / "deep" / "er", heights(4.5, 0.0, 1.5, 3.0), PixelSpacing=[0.5, 0.25])
    volume, notes = read(tmp_path)
    assert notes == []
    assert volume.geometry.shape == (4, 3, 4)
    assert volume.geometry.spacing_mm == pytest.approx((0.25, 0.5, 1.5))  # not SliceThickness, which says 7
    assert volume.array[0, 2, 1].tolist() == [112, 212, 312, 12]
    # LPS → RAS: the first voxel of the lowest slice, and the ways along a row and a column.
    expected = np.array([[-0.25, 0, 0, -10], [0, -0.5, 0, -20], [0, 0, 1.5, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(volume.geometry.affine_ras, expected)
    assert series_geometry(only(tmp_path)).is_close(volume.geometry)


def test_rescaling_is_each_slices_own(tmp_path: Path) -> None:
    for n, (slope, intercept) in enumerate([(1, -1024), (2, 0), (0.5, 10)]):
        pixels = np.full((2, 2), 8, np.int16)
        pixels[0, 0] = 9
        tags = {"RescaleSlope": slope, "RescaleIntercept": intercept, "ImagePositionPatient": [0, 0, n]}
        save(image(pixels, **tags), tmp_path / str(n))
    volume, _ = read(tmp_path)
    assert volume.array[0, 1, 1].tolist() == [-1016, 16, 14]
    assert volume.array.dtype == np.float32


def test_whole_hounsfield_units_stay_int16(tmp_path: Path) -> None:
    series(tmp_path, heights(0, 1), RescaleSlope=1, RescaleIntercept=-1024)
    volume, _ = read(tmp_path)
    assert volume.array.dtype == np.int16
    assert volume.array.min() == -1024


@pytest.mark.parametrize(("kind", "low"), [(np.uint16, 0), (np.int16, -2048)])
def test_monochrome1_is_turned_within_the_stored_bits(tmp_path: Path, kind: type, low: int) -> None:
    pixels = np.array([[low, low + 4095]], kind)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11, "Modality": "DX"}
    save(image(pixels, **tags, ImagePositionPatient=None, ImageOrientationPatient=None), tmp_path / "x")
    volume, notes = read(tmp_path)
    assert volume.array.ravel().tolist() == [low + 4095, low]
    assert "MONOCHROME1" in notes[0]


def test_monochrome1_does_not_turn_hounsfield_units(tmp_path: Path) -> None:
    save(image(np.array([[0, 5]], np.int16), PhotometricInterpretation="MONOCHROME1"), tmp_path / "x")
    volume, notes = read(tmp_path)
    assert volume.array.ravel().tolist() == [0, 5]
    assert "ignored" in notes[0]


def test_a_missing_slice_is_refused_and_resampled_on_request(tmp_path: Path) -> None:
    series(tmp_path, heights(0, 2, 4, 8, 10))
    with pytest.raises(GeometryError, match=r"2 mm apart, but 4 mm between im4 and im1; 1 missing") as refused:
        read(tmp_path)
    assert "--accept-gaps" in refused.value.hint
    with pytest.raises(GeometryError):
        series_geometry(only(tmp_path))
    volume, notes = read(tmp_path, accept_gaps=True)
    assert volume.geometry.shape == (4, 3, 6)
    assert volume.geometry.spacing_mm == pytest.approx((1, 1, 2))
    assert volume.array[0, 1, 0].tolist() == [1, 101, 201, 251, 301, 401]  # halfway between 201 and 301
    assert "5 slices 2 to 4 mm apart were resampled to 6 slices 2 mm apart" in notes[0]


def test_gaps_wider_than_what_was_measured_stay_refused(tmp_path: Path) -> None:
    series(tmp_path, heights(0, 1, 2, 50))
    with pytest.raises(GeometryError, match="47 slices would be made up"):
        read(tmp_path, accept_gaps=True)


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    series(tmp_path, heights(0, 2.99999999, 6.0001, 9.01))
    assert read(tmp_path)[0].geometry.spacing_mm[2] == pytest.approx(9.01 / 3)


def test_spacings_that_drift_by_a_tenth_are_refused(tmp_path: Path) -> None:
    series(tmp_path, heights(0, 1, 2.12, 3.24))
    with pytest.raises(GeometryError, match="--accept-gaps"):
        read(tmp_path)


def test_images_at_one_position_are_refused(tmp_path: Path) -> None:
    series(tmp_path, heights(0, 1, 1, 2))
    with pytest.raises(GeometryError, match=r"share a position.*0 mm apart"):
        read(tmp_path, accept_gaps=True, resample_tilt=True)


def test_the_same_files_twice_are_read_once(tmp_path: Path) -> None:
    series(tmp_path / "a", heights(0, 1, 2))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    volume, notes = read(tmp_path)
    assert volume.geometry.shape[2] == 3
    assert notes == ["3 files that are copies of others were left out"]


def test_files_that_share_a_uid_but_not_their_pixels_are_no_copies(tmp_path: Path) -> None:
    for n in range(2):
        save(image(np.full((2, 2), n, np.int16), SOPInstanceUID="1.2.3"), tmp_path / str(n))
    with pytest.raises(GeometryError, match="share a position"):
        read(tmp_path)


def test_a_tilted_stack_is_refused_and_straightened_on_request(tmp_path: Path) -> None:
    """A plane through the world that does not move with the slices: straightened it stands where it was."""
    tilt = np.radians(20)
    down = np.array([0, np.cos(tilt), -np.sin(tilt)])  # along a column
    normal = np.cross([1, 0, 0], down)
    j, i = np.mgrid[0:30, 0:6]
    for n in range(8):
        place = np.array([0, 0, 3.0 * n])  # the table moves along z
        y = place[1] + j * down[1]
        tags = {"ImagePositionPatient": place.tolist(), "ImageOrientationPatient": [1, 0, 0, *down.tolist()]}
        save(image(np.rint(100 * y + 10 * i).astype(np.int16), **tags), tmp_path / str(n))
    with pytest.raises(GeometryError, match=r"leans 20\.0°.*shifted by 7\.182 mm") as refused:
        read(tmp_path, accept_gaps=True)
    assert "--resample-tilt" in refused.value.hint
    volume, notes = read(tmp_path, resample_tilt=True)
    geometry = volume.geometry
    assert geometry.spacing_mm == pytest.approx((1, 1, 3 * np.cos(tilt)))
    assert np.abs(geometry.directions.T @ geometry.directions - np.eye(3)).max() < 1e-9
    assert geometry.directions[:, 2] @ (normal * [-1, -1, 1]) == pytest.approx(1)
    index = np.argwhere(volume.array[0] > volume.array.min() + 50)
    world = geometry.to_world(index)
    values = volume.array[0][tuple(index.T)]
    assert len(index) > 1000
    np.testing.assert_allclose(values, 100 * -world[:, 1] + 10 * -world[:, 0], atol=1.5)
    assert "20.0°" in notes[0]


def test_echoes_and_orientations_are_series_of_their_own(tmp_path: Path) -> None:
    series(tmp_path / "1", heights(0, 1), EchoTime=6.3)
    series(tmp_path / "2", heights(0, 1), EchoTime=12.6)
    series(tmp_path / "3", heights(0, 1), EchoTime=6.3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    names = [one.part for one in find_series(tmp_path).series]
    assert names == ["axial, echo 6.3 ms", "axial, echo 12.6 ms", "sagittal, echo 6.3 ms"]


def test_times_are_told_apart_only_where_images_share_positions(tmp_path: Path) -> None:
    for n in range(3):
        pixels = np.full((2, 2), n, np.int16)
        save(image(pixels, ImagePositionPatient=[0, 0, n], AcquisitionNumber=n), tmp_path / f"a{n}")
    assert read(tmp_path)[0].geometry.shape[2] == 3
    for n in range(3):
        pixels = np.full((2, 2), n + 10, np.int16)
        tags = {"ImagePositionPatient": [0, 0, n], "TemporalPositionIdentifier": 2, "AcquisitionNumber": n}
        save(image(pixels, **tags), tmp_path / f"b{n}")
    found = find_series(tmp_path).series
    assert [read_series(one)[0].array.max() for one in found] == [2, 12]
    assert [one.part for one in found] == ["part 1", "time 2"]


def test_localizers_and_other_files_are_skipped_with_a_reason(tmp_path: Path) -> None:
    series(tmp_path, heights(0, 1))
    save(image(np.zeros((4, 4), np.int16), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "scout")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 200)
    assert only(tmp_path).kind == "volume"
    reasons = {path.name: reason for path, reason in find_series(tmp_path).skipped}
    assert reasons == {"scout": "a localizer", "notes.txt": "not DICOM", "DICOMDIR": "a list of files (DICOMDIR)"}


def test_patients_get_keys_in_their_order(tmp_path: Path) -> None:
    for name, person in (("a", "Zoe 1970-01-01"), ("b", "Adam"), ("c", "Zoe 1970-01-01")):
        series(tmp_path / name, heights(0, 1), PatientID=person, SeriesInstanceUID=f"1.2.{ord(name)}")
    found = find_series(tmp_path).series
    assert [one.patient_key for one in found] == ["p001", "p002", "p001"]
    assert "Zoe" not in repr(found)
    assert found[0].patient_id == "Zoe 1970-01-01"


def test_pictures_are_measured_in_pixels_unless_the_file_says_better(tmp_path: Path) -> None:
    where = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "Modality": "DX"}
    save(image(np.zeros((2, 3), np.uint16), **where, PixelSpacing=None, ImagerPixelSpacing=[0.1, 0.1]), tmp_path / "a")
    save(image(np.zeros((2, 3), np.uint16), **where, PixelSpacing=[0.3, 0.2]), tmp_path / "b")
    (first, series), (second, nothing) = [read_series(one) for one in find_series(tmp_path).series]
    assert (first.geometry.unit, first.geometry.spacing_mm) == ("px", (1, 1, 1))
    assert "ImagerPixelSpacing (0.1×0.1 mm)" in series[0]
    assert (second.geometry.unit, second.geometry.shape) == ("mm", (3, 2, 1))
    assert second.geometry.spacing_mm == pytest.approx((0.2, 0.3, 1))
    assert nothing == []


def test_a_scan_without_places_or_spacing_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "a", heights(0, 1), PixelSpacing=None)
    save(image(np.zeros((2, 2), np.int16), ImagePositionPatient=None), tmp_path / "b" / "1")
    save(image(np.ones((2, 2), np.int16), ImagePositionPatient=None), tmp_path / "b" / "2")
    with pytest.raises(GeometryError, match="gives no PixelSpacing"):
        read(tmp_path / "a")
    with pytest.raises(GeometryError, match="gives no position"):
        read(tmp_path / "b")


def test_colours_become_grey_in_pictures_and_are_refused_in_scans(tmp_path: Path) -> None:
    pixels = np.zeros((1, 2, 3), np.uint8)
    pixels[0, 0] = (200, 100, 50)
    pixels[0, 1] = (7, 7, 7)
    tags = {"Rows": 1, "Columns": 2, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    save(image(pixels, **tags), tmp_path / "scan")
    with pytest.raises(FileError, match="holds colours"):
        read(tmp_path)
    where = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "Modality": "CR"}
    save(image(pixels, **tags, **where), tmp_path / "scan")
    volume, notes = read(tmp_path)
    assert volume.array.ravel().tolist() == [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50), 7]
    assert "grey" in notes[0]


def test_frames_take_their_places_from_their_groups(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    frames = []
    for height, slope in ((5.0, 1), (0.0, 2), (2.5, 3)):
        frame, place, scale = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [1, 2, height]
        scale.RescaleSlope, scale.RescaleIntercept = slope, 0
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [scale]
        frames.append(frame)
    shared, turn, size = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = list(AXIAL)
    size.PixelSpacing = [0.5, 0.25]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [size]
    pixels = np.ones((3, 2, 4), np.uint16) * np.array([1, 2, 3], np.uint16)[:, None, None]
    dataset = image(
        pixels, NumberOfFrames=3, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=[9, 9]
    )
    dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence = frames, [shared]
    save(dataset, tmp_path / "enhanced")
    volume, _ = read(tmp_path)
    assert volume.geometry.spacing_mm == pytest.approx((0.25, 0.5, 2.5))
    assert volume.array[0, 0, 0].tolist() == [4, 9, 1]


def test_a_film_without_positions_is_refused(tmp_path: Path) -> None:
    save(image(np.zeros((3, 2, 2), np.uint16), NumberOfFrames=3, Modality="XA"), tmp_path / "film")
    found = find_series(tmp_path)
    assert not found.series
    assert "3 frames that do not give their position" in found.skipped[0][1]


def test_a_header_that_claims_too_much_takes_no_memory(tmp_path: Path) -> None:
    save(image(np.zeros((2, 2), np.int16), Rows=65535, Columns=65535), tmp_path / "bomb")
    with pytest.raises(FileError, match="claims 4294836225 pixels"):
        read(tmp_path)


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        find_series(tmp_path / "nowhere")
