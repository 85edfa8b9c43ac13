"""Padding of CT becomes air: declared with either sign, in a range, or not at all; nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_writing import image, save
from osteon.core.volume import Volume
from osteon.formats import write_volume
from osteon.formats.dicom import read_dicom
from osteon.formats.dicom_series import find_series, read_series
from osteon.importing.run import import_dataset

ROUND: npt.NDArray[np.bool_] = ((np.indices((32, 32)) - 15.5) ** 2).sum(axis=0) <= 16**2
"""The field of view of a slice."""


def slices(kind: type, padding: int, body: int = 1024) -> list[npt.NDArray[np.integer]]:
    """Stored values: a body of 1024 and a bone of 1800 in air of 24, and padding around."""
    made: list[npt.NDArray[np.integer]] = []
    for k in range(3):
        pixels = np.full((32, 32), body - 1000)
        pixels[8:24, 8:24], pixels[12 + k : 16 + k, 12:16] = body, body + 776
        made.append(np.where(ROUND, pixels, padding).astype(kind))
    return made


def written(folder: Path, planes: list[npt.NDArray[np.integer]], **tags: object) -> Path:
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, **tags}
    for k, pixels in enumerate(planes):
        save(image(pixels, ImagePositionPatient=[0.0, 0.0, 2.0 * k], **tags), folder / f"{k}.dcm")
    return folder


def read(folder: Path) -> tuple[npt.NDArray[np.generic], list[str]]:
    volume, notes = read_series(find_series(folder).series[0])
    return volume.array[0], notes


@pytest.mark.parametrize(
    ("kind", "padding", "tags", "hu"),
    [
        (np.uint16, 63536, {"PixelPaddingValue": 63536}, 62512),
        (np.int16, -2000, {"PixelPaddingValue": -2000}, -3024),
        (np.int16, -2000, {"PixelPaddingValue": -2000, "RescaleIntercept": 0}, -2000),
        (np.uint16, 63536, {}, 62512),
        (np.int16, -2000, {}, -3024),
        (np.int16, -8192, {"RescaleIntercept": 0}, -8192),
        (np.uint16, 63000, {"PixelPaddingValue": 62000, "PixelPaddingRangeLimit": 65535}, 61976),
        (np.uint16, 63000, {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 62000}, 61976),
        (np.uint16, 63536, {"PixelPaddingValue": 63536, "PhotometricInterpretation": "MONOCHROME1"}, 62512),
    ],
)
def test_padding_becomes_air(tmp_path: Path, kind: type, padding: int, tags: dict[str, object], hu: int) -> None:
    body = 0 if tags.get("RescaleIntercept") == 0 else 1024
    found, notes = read(written(tmp_path, slices(kind, padding, body), **tags))
    expected = np.stack([np.where(ROUND, plane.T.astype(int) - body, -1000) for plane in slices(kind, 0, body)], axis=2)
    assert np.array_equal(found, expected)
    assert found.dtype == np.int16
    [note] = [note for note in notes if "padding" in note]
    declared = "" if "PixelPaddingValue" in tags else ", though the header does not declare it"
    assert note == f"padding outside the field of view ({hu} HU) was taken as air (-1000 HU){declared}"


@pytest.mark.parametrize(
    ("kind", "padding", "vr", "value"), [(np.uint16, 63536, "SS", -2000), (np.int16, -2000, "US", 63536)]
)
def test_padding_may_be_written_with_the_wrong_type(
    tmp_path: Path, kind: type, padding: int, vr: str, value: int
) -> None:
    for k, pixels in enumerate(slices(kind, padding)):
        dataset = image(pixels, ImagePositionPatient=[0.0, 0.0, 2.0 * k], RescaleSlope=1, RescaleIntercept=-1024)
        dataset.add_new("PixelPaddingValue", vr, value)
        save(dataset, tmp_path / f"{k}.dcm")
    written_as = pydicom.dcmread(tmp_path / "0.dcm")["PixelPaddingValue"].VR
    assert written_as == vr
    found, [note] = read(tmp_path)
    assert (found[0, 0] == -1000).all()
    assert "declare" not in note


def test_padding_that_lossy_compression_has_blurred(tmp_path: Path) -> None:
    planes = slices(np.int16, -2000)
    for seed, pixels in enumerate(planes):
        pixels[~ROUND] += np.random.default_rng(seed).integers(-30, 30, int((~ROUND).sum())).astype(np.int16)
    found, notes = read(written(tmp_path, planes))
    assert (found[~ROUND] == -1000).all()
    assert (found[9, 9] == 0).all()
    assert notes == [
        "padding outside the field of view (several values) was taken as air (-1000 HU), though the header does not "
        "declare it"
    ]


def test_padding_of_float_pixels(tmp_path: Path) -> None:
    for k in range(3):
        pixels = np.where(ROUND, 10.5 + k, -5000.25).astype(np.float32)
        dataset = image(
            pixels.view(np.int32), ImagePositionPatient=[0.0, 0.0, 2.0 * k], FloatPixelPaddingValue=-5000.25
        )
        dataset.FloatPixelData = dataset.PixelData
        del dataset.PixelData, dataset.PixelRepresentation
        save(dataset, tmp_path / f"{k}.dcm")
    found, _ = read(tmp_path)
    assert found.min() == -1000
    assert found.max() == 12.5


@pytest.mark.parametrize(
    ("kind", "padding", "tags"),
    [
        (np.int16, 0, {"Modality": "MR", "PixelPaddingValue": 0}),
        (np.int16, -2000, {"Modality": "MR", "PixelPaddingValue": -2000}),
        (np.uint16, 0, {"PixelPaddingValue": 0}),  # -1024 HU is air
        (np.int16, 500, {}),  # what two corners have, within the range
        (np.uint16, 4095, {}),  # 3071 HU: bright, yet measured
    ],
)
def test_other_values_stay_without_a_word(tmp_path: Path, kind: type, padding: int, tags: dict[str, object]) -> None:
    found, notes = read(written(tmp_path, slices(kind, padding), **tags))
    assert (found[0, 0] == padding - 1024).all()
    assert notes == []


def test_declared_padding_among_the_bodys_values_is_kept_and_told(tmp_path: Path) -> None:
    """0 HU is water: taking it out would riddle the body with air."""
    found, notes = read(written(tmp_path, slices(np.int16, 0, 0), PixelPaddingValue=0, RescaleIntercept=0))
    assert (found[0, 0] == 0).all()
    assert notes == ["declared padding (0 HU) may be a value of the body too, and was kept"]


def test_metal_is_no_padding(tmp_path: Path) -> None:
    planes = slices(np.uint16, 24)
    for pixels in planes:
        pixels[14:16, 14:16] = 31000
    found, notes = read(written(tmp_path, planes))
    assert found.max() == 29976
    assert notes == []


def test_numbers_without_an_intercept_take_their_lowest(tmp_path: Path) -> None:
    found, [note] = read(written(tmp_path, slices(np.uint16, 63536), PixelPaddingValue=63536, RescaleIntercept=0))
    assert (found[0, 0] == 0).all()
    assert "air (0 HU)" in note


def test_a_multi_frame_ct(tmp_path: Path) -> None:
    dataset = image(np.stack(slices(np.uint16, 63536)), NumberOfFrames=3, PixelPaddingValue=63536)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    shared, turn, size, numbers = Dataset(), Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient, size.PixelSpacing = [1, 0, 0, 0, 1, 0], [1.0, 1.0]
    numbers.RescaleSlope, numbers.RescaleIntercept = 1, -1024
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [size]
    shared.PixelValueTransformationSequence = [numbers]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], []
    for k in range(3):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0.0, 0.0, 2.0 * k]
        frame.PlanePositionSequence = [place]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    volume = read_dicom(save(dataset, tmp_path / "ct.dcm"))  # as a prediction reads it
    assert (volume.array[0, 0, 0] == -1000).all()
    assert volume.array.max() == 776


def test_an_import_says_what_became_air(tmp_path: Path) -> None:
    written(tmp_path / "heap" / "p1" / "ct", slices(np.uint16, 63536), PixelPaddingValue=63536)
    scan = read_dicom(tmp_path / "heap" / "p1" / "ct")
    bone = (scan.array[0] > 500).astype(np.uint8)
    write_volume(tmp_path / "heap" / "p1" / "femur.nii.gz", Volume(bone[None], scan.geometry))
    report = import_dataset(tmp_path / "heap", tmp_path / "set")
    line = "padding outside the field of view (62512 HU) was taken as air (-1000 HU)"
    assert line in report.manifest.cases[0].provenance
    assert f"case p1: {line}" in report.warnings
