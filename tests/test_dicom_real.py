"""Every file of the awkward DICOM, and real series against SimpleITK and against the same case as NIfTI."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (the name it goes by)

from osteon.core.errors import FileError, GeometryError, OsteonError
from osteon.core.geometry import reorient_like
from osteon.core.volume import Volume
from osteon.formats import read_geometry, read_segmentation, read_volume
from osteon.formats.dicom_inventory import sort_dicom_files
from osteon.formats.dicom_seg import read_dicom_seg
from osteon.formats.dicom_series import find_series, read_series
from osteon.formats.rtstruct import read_rtstruct

CT_TEXT = "transfer-syntaxes/CTImage_LittleEndianImplicit_1.2.840.10008.1.2.dcm"
LOSSLESS = (
    "BigEndianExplicit_1.2.840.10008.1.2.2",
    "DeflatedExplicitVRLittleEndian_1.2.840.10008.1.2.1.99",
    "JPEG2000LosslessOnly_1.2.840.10008.1.2.4.90",
    "JPEGLSLossless_1.2.840.10008.1.2.4.80",
    "JPEGProcess14SV1_1.2.840.10008.1.2.4.70",
    "JPEGProcess14_1.2.840.10008.1.2.4.57",
    "RLELossless_1.2.840.10008.1.2.5",
)
LOSSY = {
    "JPEGLSLossy_1.2.840.10008.1.2.4.81": 1,
    "JPEG2000_1.2.840.10008.1.2.4.91": 5,
    "JPEGProcess2_4_1.2.840.10008.1.2.4.51": 36,
    "JPEGProcess6_8_1.2.840.10008.1.2.4.53": 36,
    "JPEGProcess10_12_1.2.840.10008.1.2.4.55": 36,
    "JPEGProcess1_1.2.840.10008.1.2.4.50": 65,
}
MR_SMALL = ("RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded")
IMAGES = {
    # file: shape, spacing in its unit, unit, lowest and highest value
    "multiframe/eCT_Supplemental.dcm": "numbers of colours in a table",
    "multiframe/emri_small.dcm": "10 frames that do not give their position",
    "multiframe/emri_small_RLE.dcm": "10 frames that do not give their position",
    "multiframe/emri_small_big_endian.dcm": "10 frames that do not give their position",
    "multiframe/emri_small_jpeg_2k_lossless.dcm": "10 frames that do not give their position",
    "rtstruct/one_slice_data_0.dcm": ((100, 50, 1), (2.5, 3.5, 1), "mm", -9.997, 9.999),
    "rtstruct/oriented_data": ((100, 50, 3), (2.5, 3.5, 4.5), "mm", -10.0, 9.999),
    "rtstruct/mock_data_rt.dcm": "contours .RTSTRUCT. and no image",
    "seg-objects/highdicom/ct_image.dcm": ((128, 128, 1), (0.661468, 0.661468, 1), "mm", -896, 1167),
    "seg-objects/dcmqi/ct-3slice": ((512, 512, 3), (0.810547, 0.810547, 1), "mm", -1024, 1381),
    "seg-objects/dcmqi/24x38x3/image": ((24, 38, 3), (0.7, 0.7, 2.5), "mm", 0, 1),
    "seg-objects/dcmqi/24x38x3/multiframe/mf.dcm": ((24, 38, 3), (0.7, 0.7, 2.5), "mm", 0, 1),
    "seg-objects/dcmqi/liver.dcm": "a segmentation and no image",
    "series-gantry-tilt": r"leans 14\.0° .* shifted by 3\.629 mm",
    "series-missing-slice": r"0\.7497 mm apart, but 1\.499 mm between .*0003.dcm and .*; 1 missing there; .*15\.5°",
    "series-mixed-orientations": "holds 2 image series.*axial.*sagittal",
    "series-only-two-slices": ((256, 256, 2), (1, 1, 1), "mm", 0, 254),
    "single-files/CT_small.dcm": ((128, 128, 1), (0.661468, 0.661468, 1), "mm", -896, 1167),
    "single-files/J2K_pixelrep_mismatch.dcm": ((512, 512, 1), (0.431, 0.431, 1), "mm", -1047, 1896),
    "single-files/JPEG-lossy.dcm": ((256, 1024, 1), (2.26, 2.26, 1), "mm", 0, 264),
    "single-files/MR_truncated.dcm": "truncated or damaged pixels.*8130 vs 8192 bytes",
    "single-files/badVR.dcm": "a dose, no image",
    "single-files/bad_sequence.dcm": ((512, 512, 1), (0.287109375, 0.287109375, 1), "mm", -1011, 1243),
    "single-files/explicit_VR-UN.dcm": ((512, 512, 1), (0.859375, 0.859375, 1), "mm", -1024, 1186),
    "single-files/image_dfl.dcm": ((512, 512, 1), (1, 1, 1), "px", 0, 255),
    "single-files/no_meta.dcm": "not a DICOM file|not DICOM",
    "single-files/rtdose.dcm": "a dose, no image",
    "single-files/rtstruct.dcm": "contours .RTSTRUCT. and no image",
    "transfer-syntaxes": "share a position",
    "xray-monochrome1/RG3_J2KR.dcm": ((1760, 1760, 1), (1, 1, 1), "px", 0, 1023),
    "xray-monochrome1/cspine_6154": ((16, 16, 1), (1, 1, 1), "px", 1084.412, 1637.084),
    "xray-monochrome1/cspine_6247": ((16, 16, 1), (1, 1, 1), "px", 1723.268, 2179.496),
    "xray-monochrome1/cspine_6278": ((16, 16, 1), (1, 1, 1), "px", 1061.156, 1578.944),
    "xray-monochrome1/dx_image.dcm": ((211, 169, 1), (1.2012, 1.2, 1), "mm", 0, 250),
}


@lru_cache(maxsize=1)
def series_of(folder: Path) -> Volume:
    """A series that two tests read."""
    return read_volume(folder)


def values(volume: Volume) -> np.ndarray:
    return np.asarray(volume.array, dtype=np.float64)


@pytest.mark.parametrize("name", IMAGES)
def test_every_awkward_file_is_read_right_or_refused(shared_data: Path, name: str) -> None:
    path, expected = shared_data / "awkward-dicom" / name, IMAGES[name]
    if isinstance(expected, str):
        with pytest.raises((FileError, GeometryError), match=expected) as refused:
            read_volume(path)
        assert str(path) in refused.value.message
        assert refused.value.hint
        return
    shape, spacing, unit, low, high = expected
    volume = read_volume(path)
    assert (volume.geometry.shape, volume.geometry.unit) == (shape, unit)
    assert volume.geometry.spacing_mm == pytest.approx(spacing, rel=1e-6)
    found = float(volume.array.min()), float(volume.array.max())
    assert found == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    assert read_geometry(path).is_close(volume.geometry)


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_transfer_syntaxes_give_the_same_pixels(shared_data: Path, name: str) -> None:
    folder = shared_data / "awkward-dicom"
    first = read_volume(folder / CT_TEXT)
    other = read_volume(folder / "transfer-syntaxes" / f"CTImage_{name}.dcm")
    assert np.array_equal(first.array, other.array)
    assert first.array.dtype == np.int16
    assert (first.array.min(), first.array.max()) == (-1024, 1378)  # padding of -3024 is air
    assert first.geometry.is_close(other.geometry)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_transfer_syntaxes_come_near_in_hounsfield_units(shared_data: Path, name: str) -> None:
    folder = shared_data / "awkward-dicom"
    first, other = read_volume(folder / CT_TEXT), read_volume(folder / "transfer-syntaxes" / f"CTImage_{name}.dcm")
    assert 0 < np.abs(values(first) - values(other)).max() <= LOSSY[name]


@pytest.mark.parametrize("name", MR_SMALL)
def test_six_encodings_of_one_mr_slice(shared_data: Path, name: str) -> None:
    folder = shared_data / "awkward-dicom" / "single-files"
    first, other = read_volume(folder / "MR_small.dcm"), read_volume(folder / f"MR_small_{name}.dcm")
    assert np.array_equal(first.array, other.array)
    assert other.geometry.spacing_mm == pytest.approx((0.3125, 0.3125, 1))


def test_awkward_series_are_repaired_on_request(shared_data: Path) -> None:
    folder = shared_data / "awkward-dicom"
    tilted = find_series(folder / "series-gantry-tilt").series[0]
    volume, notes = read_series(tilted, resample_tilt=True)
    assert volume.geometry.spacing_mm == pytest.approx((0.41796875, 0.41796875, 5 * np.cos(np.radians(14))), rel=1e-5)
    assert volume.geometry.shape == (512, 512 + 9, 4)  # 3.629 mm are 8.7 pixels
    assert "14.0°" in notes[0]
    gap = find_series(folder / "series-missing-slice").series[0]
    with pytest.raises(GeometryError, match="leans"):
        read_series(gap, accept_gaps=True)
    with pytest.raises(GeometryError, match="1 missing there"):
        read_series(gap, resample_tilt=True)
    volume, notes = read_series(gap, accept_gaps=True, resample_tilt=True)
    assert volume.geometry.shape[2] == 5
    assert volume.geometry.spacing_mm[2] == pytest.approx(0.778 * np.cos(np.radians(15.5)), rel=1e-3)
    assert len(notes) == 2


def test_mixed_orientations_are_two_series(shared_data: Path) -> None:
    found = find_series(shared_data / "awkward-dicom" / "series-mixed-orientations").series
    volumes = [read_series(one)[0] for one in found]
    assert [v.geometry.axis_codes for v in volumes] == ["~LPS", "~PIR"]
    assert [v.geometry.spacing_mm for v in volumes] == [
        pytest.approx((0.5555556, 0.5555556, 4.4), abs=1e-4),
        pytest.approx((0.32, 0.32, 3.3), abs=1e-4),
    ]


SERIES = [
    "knee-mr/dicom-echo1",
    "sts-limb-mr-dicom/STS_025/MR_T1/dicom",
    "sts-limb-mr-dicom/STS_042/MR_T1/dicom",
    "awkward-dicom/seg-objects/dcmqi/ct-3slice",
    "awkward-dicom/series-only-two-slices",
    "totalsegmentator-example/ct_dicom",
]


@pytest.mark.parametrize("name", SERIES)
def test_series_are_what_simpleitk_reads(shared_data: Path, name: str) -> None:
    folder = shared_data / name
    volume = series_of(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine_ras = np.eye(4)
    affine_ras[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine_ras[:3, 3] = image.GetOrigin()
    affine_ras = np.diag([-1, -1, 1, 1]) @ affine_ras
    assert volume.geometry.shape == image.GetSize()
    np.testing.assert_allclose(volume.geometry.affine_ras, affine_ras, atol=2e-3)
    expected = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
    padding = expected == -3024  # of GE: here it is air
    assert np.array_equal(volume.array[0], np.where(padding, -1000, expected))


def test_humeri_are_bone(shared_data: Path) -> None:
    folder = shared_data / "totalsegmentator-example"
    volume = series_of(folder / "ct_dicom")
    assert volume.geometry.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2))  # SliceThickness says 3
    labels = read_segmentation(folder / "ct_dicom_seg" / "example_ct_dicom_seg.nii.gz")
    turn = reorient_like(labels.geometry, volume.geometry)
    assert turn.geometry(labels.geometry).is_close(volume.geometry)
    humeri = np.isin(turn.apply(labels.array), [69, 70])
    assert humeri.any()
    assert 500 < volume.array[0][humeri].mean() < 700


def test_echoes_of_the_knee_are_told_apart(shared_data: Path) -> None:
    found = find_series(shared_data / "knee-mr" / "dicom-two-echoes").series
    assert [one.part for one in found] == ["echo 6.312 ms", "echo 12.624 ms"]
    first, second = (read_series(one)[0] for one in found)
    assert first.geometry.is_close(second.geometry)
    assert first.geometry.spacing_mm == pytest.approx((0.625, 0.625, 4), abs=1e-3)  # SliceThickness says 3
    whole = read_volume(shared_data / "knee-mr" / "dicom-echo1")
    assert np.array_equal(first.array, whole.array[..., -3:]) or np.array_equal(first.array, whole.array[..., :3])


def test_the_lung_is_the_same_as_dicom_and_as_nifti(shared_data: Path) -> None:
    folder = shared_data / "ibsi-lung-tumour-ct"
    dicom, nifti = read_volume(folder / "dicom" / "image"), read_volume(folder / "nifti" / "image" / "phantom.nii.gz")
    turn = reorient_like(nifti.geometry, dicom.geometry)
    assert turn.geometry(nifti.geometry).is_close(dicom.geometry, tolerance=1e-3)
    assert np.array_equal(turn.apply(nifti.array), dicom.array)


MUTATED = [
    "awkward-dicom/single-files/MR_small.dcm",
    "awkward-dicom/single-files/MR_small_RLE.dcm",
    "awkward-dicom/single-files/MR_small_jp2klossless.dcm",
    "awkward-dicom/single-files/MR_small_jpeg_ls_lossless.dcm",
    "awkward-dicom/single-files/image_dfl.dcm",
    "awkward-dicom/seg-objects/dcmqi/24x38x3/multiframe/mf.dcm",
    "awkward-dicom/seg-objects/highdicom/seg_image_ct_binary_overlap.dcm",
    "awkward-dicom/seg-objects/dcmqi/sparse-labelmap-noppv.dcm",
    "awkward-dicom/rtstruct/mock_data_rt.dcm",
]


@pytest.mark.parametrize("name", MUTATED)
def test_mutated_files_end_in_results_or_errors_of_our_own(shared_data: Path, tmp_path: Path, name: str) -> None:
    raw = (shared_data / name).read_bytes()
    random = np.random.default_rng(5)
    path = tmp_path / "mutated.dcm"
    grid = read_geometry(shared_data / "awkward-dicom/seg-objects/dcmqi/ct-3slice")
    for n in range(6):
        data = bytearray(raw)
        if n % 3 == 0:
            data = data[: int(random.integers(1, len(raw)))]
        for _ in range(int(random.integers(1, 8))):
            # Headers are where the harm is; they are the first kilobytes.
            reach = len(data) if n % 2 else min(len(data), 4000)
            data[int(random.integers(0, reach))] = int(random.integers(0, 256))
        path.write_bytes(data)
        for read in (
            lambda: [read_series(one) for one in sort_dicom_files([path]).series],
            lambda: read_volume(path),
            lambda: read_dicom_seg(path),
            lambda: read_rtstruct(path, grid),
        ):
            with suppress(OsteonError):
                read()
