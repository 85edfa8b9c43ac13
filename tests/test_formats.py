"""NIfTI, NRRD and Slicer segmentations: known answers, round trips, damaged files."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osteon.core.errors import FileError, LabelError, OsteonError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.formats import (
    read_geometry,
    read_segmentation,
    read_structures,
    read_volume,
    write_segmentation,
    write_volume,
)
from osteon.formats.labelmap import to_index_map, to_integer_labels, to_multi_hot, value_counts
from osteon.formats.nifti import read_nifti, read_nifti_segmentation, write_nifti
from osteon.formats.registry import FORMATS, stem_of, suffix_of

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
FEMUR_TIBIA = make_structures(["femur_left", "femur_right"], [2, 7])


def grid(shape: tuple[int, int, int] = (4, 5, 6), **changes: float) -> Geometry:
    affine = np.diag([changes.get("x", 1.0), 1.5, 2.0, 1.0])
    affine[:3, 3] = (10, -20, 30)
    return Geometry(shape, affine)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Straight, oblique and sheared grids, mirrored or not."""
    seed = draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from(["straight", "oblique", "sheared"]))
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if kind == "straight":
        matrix = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    if kind == "sheared":
        matrix[:, 2] += 0.4 * matrix[:, 0]
    affine = np.eye(4)
    affine[:3, :3] = matrix * rng.uniform(0.3, 5, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    i, j, k = (draw(st.integers(1, 5)) for _ in range(3))
    return Geometry((i, j, k), affine)


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    geometry = draw(geometries())
    channels = draw(st.integers(1, 3))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    raw = rng.bytes(channels * int(np.prod(geometry.shape)) * dtype.itemsize)
    array = np.frombuffer(raw, dtype=dtype).reshape(channels, *geometry.shape)
    return Volume(np.nan_to_num(array) if dtype.kind == "f" else array, geometry)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(volume=volumes())
def test_an_image_reads_back_identical(tmp_path: Path, suffix: str, volume: Volume) -> None:
    path = tmp_path / f"image{suffix}"
    write_volume(path, volume)
    again = read_volume(path)
    assert again.array.dtype == volume.array.dtype
    assert np.array_equal(again.array, volume.array)
    assert again.array.flags.c_contiguous
    if suffix == ".nrrd":
        assert np.array_equal(again.geometry.affine_ras, volume.geometry.affine_ras)
    else:  # NIfTI's sform is float32
        assert np.array_equal(again.geometry.affine_ras, volume.geometry.affine_ras.astype(np.float32))
    assert np.array_equal(read_geometry(path).affine_ras, again.geometry.affine_ras)
    assert read_geometry(path).shape == volume.geometry.shape


@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(geometry=geometries(), seed=st.integers(0, 100))
def test_an_index_map_reads_back_with_its_structures(
    tmp_path: Path, suffix: str, geometry: Geometry, seed: int
) -> None:
    array = np.random.default_rng(seed).choice([0, 2, 7], geometry.shape)
    path = tmp_path / f"label{suffix}"
    write_segmentation(path, Segmentation(array, geometry, FEMUR_TIBIA))
    again = read_segmentation(path)
    assert again.structures == FEMUR_TIBIA
    assert again.array.dtype == np.uint8
    assert np.array_equal(again.array, array)
    assert np.array_equal(read_segmentation(path, FEMUR_TIBIA).array, array)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(geometry=geometries(), seed=st.integers(0, 100))
def test_overlapping_structures_read_back_from_slicers_format(tmp_path: Path, geometry: Geometry, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 2, (2, *geometry.shape), dtype=np.uint8)
    path = tmp_path / "label.seg.nrrd"
    write_segmentation(path, Segmentation(array, geometry, FEMUR_TIBIA))
    again = read_segmentation(path)
    assert again.overlapping
    assert again.structures == FEMUR_TIBIA
    assert np.array_equal(again.array, array)
    swapped = read_segmentation(path, FEMUR_TIBIA[::-1])
    assert np.array_equal(swapped.array, array[::-1])


def test_sides_and_colours_that_the_name_does_not_tell_survive_in_both_formats(tmp_path: Path) -> None:
    odd = (
        Structure(name="Knochen | größer: α", value=300, colour="#010203", side="left", counterpart="b|c"),
        Structure(name="b|c", value=1, colour="#fefdfc"),
    )
    array = np.zeros(grid().shape, dtype=np.int64)
    array[0, 0, 0], array[1, 1, 1] = 300, 1
    for name in ("a.nii.gz", "a.seg.nrrd"):
        write_segmentation(tmp_path / name, Segmentation(array, grid(), odd))
        again = read_segmentation(tmp_path / name)
        assert {s.name: s for s in again.structures} == {s.name: s for s in odd}
        assert again.array.dtype == np.uint16
        assert np.array_equal(again.array, array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_bool_and_half_floats_are_stored_in_the_next_type(tmp_path: Path, suffix: str) -> None:
    for given_type, stored in (("bool", "uint8"), ("float16", "float32")):
        volume = Volume(np.ones((1, 4, 5, 6), dtype=given_type), grid())
        write_volume(tmp_path / f"a{suffix}", volume)
        again = read_volume(tmp_path / f"a{suffix}").array
        assert again.dtype == stored
        assert (again == 1).all()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_pixels_stay_pixels(tmp_path: Path, suffix: str) -> None:
    geometry = Geometry((4, 5, 1), np.eye(4), "px")
    write_volume(tmp_path / f"a{suffix}", Volume(np.zeros((1, 4, 5, 1)), geometry))
    assert read_volume(tmp_path / f"a{suffix}").geometry.unit == "px"
    assert read_geometry(tmp_path / f"a{suffix}").unit == "px"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".seg.nrrd"])
def test_simpleitk_sees_the_same_voxels_at_the_same_places(tmp_path: Path, suffix: str) -> None:
    affine = np.array([[0, 0, -2.0, 5], [1.5, 0, 0, -7], [0, -1.25, 0, 11], [0, 0, 0, 1]])
    geometry = Geometry((3, 4, 5), affine)
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    path = tmp_path / f"a{suffix}"
    if suffix == ".seg.nrrd":
        structures = make_structures([f"s{n}" for n in range(1, 60)])
        write_segmentation(path, Segmentation(array, geometry, structures))
    else:
        write_volume(path, Volume(array[None], geometry))
    image = SimpleITK.ReadImage(str(path))
    assert image[(2, 1, 4)] == array[2, 1, 4]
    lps = np.array(image.TransformIndexToPhysicalPoint((2, 1, 4)))
    assert lps * (-1, -1, 1) == pytest.approx(geometry.to_world([[2, 1, 4]])[0], abs=1e-5)


def test_simpleitks_files_are_read_at_the_same_places(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(5, 4, 3))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    image.SetSpacing((0.5, 2, 3))
    image.SetOrigin((1, 2, 3))
    for name in ("a.nii.gz", "a.nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
        volume = read_volume(tmp_path / name)
        assert volume.array[0, 2, 1, 4] == image[(2, 1, 4)]
        lps = np.array(image.TransformIndexToPhysicalPoint((2, 1, 4)))
        assert volume.geometry.to_world([[2, 1, 4]])[0] == pytest.approx(lps * (-1, -1, 1), abs=1e-4)


# -- NIfTI -----------------------------------------------------------------------------------------------------------


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **header: object) -> Path:
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def test_the_sform_wins_over_the_qform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    image.set_qform(np.diag([5.0, 5, 5, 1]), code=1)
    image.set_sform(np.diag([-2.0, 2, 2, 1]), code=1)
    nib.save(image, tmp_path / "a.nii")
    assert read_geometry(tmp_path / "a.nii").axis_codes == "LAS"
    assert read_geometry(tmp_path / "a.nii").spacing_mm == (2, 2, 2)


def test_a_qform_is_written_only_where_it_says_the_same(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 2] = 0.4
    for affine, code in ((np.diag([-2.0, 2, 3, 1]), 1), (sheared, 0)):
        write_volume(tmp_path / "a.nii", Volume(np.zeros((1, 2, 2, 2), np.uint8), Geometry((2, 2, 2), affine)))
        header = nib.load(tmp_path / "a.nii").header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, code)
        assert header.get_zooms() == pytest.approx(np.linalg.norm(affine[:3, :3], axis=0))


def test_scaled_integers_become_their_values_and_nan_slopes_mean_none(tmp_path: Path) -> None:
    stored = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    for slope, intercept, expected, dtype in (
        (2.0, -3.0, stored * 2 - 3, "float32"),
        (np.nan, np.nan, stored, "int16"),
        (0.0, 5.0, stored, "int16"),
    ):
        path = save(tmp_path / "a.nii", stored)
        raw = bytearray(path.read_bytes())
        raw[112:120] = np.array([slope, intercept], dtype="<f4").tobytes()
        path.write_bytes(raw)
        again = read_nifti(path).array[0]
        assert again.dtype == dtype
        assert np.array_equal(again, expected)


@pytest.mark.parametrize("intercept", [np.nan, np.inf])
def test_a_slope_without_its_intercept_is_refused(tmp_path: Path, intercept: float) -> None:
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([2, intercept], dtype="<f4").tobytes()
    path.write_bytes(raw)
    for reader in (read_volume, read_segmentation):
        with pytest.raises(FileError, match=rf"a\.nii: scl_slope is 2, but scl_inter is {intercept:g}") as caught:
            reader(path)
        assert "scl_inter" in caught.value.hint


def test_axes_beyond_the_third_are_channels_and_pictures_get_a_slice(tmp_path: Path) -> None:
    four = np.arange(48, dtype=np.int16).reshape(2, 3, 4, 2)
    assert np.array_equal(read_nifti(save(tmp_path / "a.nii", four)).array, np.moveaxis(four, -1, 0))
    five = four[:, :, :, None]
    assert np.array_equal(read_nifti(save(tmp_path / "b.nii", five)).array, np.moveaxis(four, -1, 0))
    assert read_nifti(save(tmp_path / "c.nii", four[..., 0, 0])).array.shape == (1, 2, 3, 1)
    with pytest.raises(FileError, match="5 axes"):
        read_nifti(save(tmp_path / "d.nii", np.zeros((2, 2, 2, 3, 3), np.uint8)))


def test_big_endian_voxels_become_native(tmp_path: Path) -> None:
    array = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(array, np.eye(4), header), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    again = read_nifti(tmp_path / "a.nii").array
    assert again.dtype == np.dtype("int16")
    assert np.array_equal(again[0], array)


def test_micrometres_are_turned_into_millimetres(tmp_path: Path) -> None:
    assert read_geometry(
        save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8), np.diag([50.0, 50, 50, 1]), xyzt_units=3)
    ).spacing_mm == pytest.approx((0.05, 0.05, 0.05))


def test_colours_and_singular_headers_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(FileError, match=r"a\.nii.*RGB"):
        read_nifti(save(tmp_path / "a.nii", rgb))
    path = save(tmp_path / "b.nii", np.zeros((2, 2, 2), np.uint8))
    raw = bytearray(path.read_bytes())
    raw[280:328] = bytes(48)  # the sform's rows
    path.write_bytes(raw)
    with pytest.raises(FileError, match=r"b\.nii.*singular"):
        read_geometry(path)


def test_a_damaged_checksum_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((9, 9, 9), np.uint8))
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(FileError, match=r"a\.nii\.gz: truncated or damaged"):
        read_nifti(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.seg.nrrd"])
def test_structures_are_read_without_the_voxels(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for array in (np.zeros(grid().shape, np.uint8), np.ones((2, *grid().shape), np.uint8)):
        if array.ndim == 3 or name.endswith("nrrd"):
            write_segmentation(path, Segmentation(array, grid(), FEMUR_TIBIA))
            assert read_structures(path) == FEMUR_TIBIA
            path.write_bytes(path.read_bytes()[: -1 if name.endswith(".gz") else -20])
            assert read_structures(path) == FEMUR_TIBIA
    write_volume(tmp_path / "b.nrrd", Volume(np.zeros((1, *grid().shape)), grid()))
    assert read_structures(tmp_path / "b.nrrd") == ()
    with pytest.raises(FileError, match="does not exist"):
        read_structures(tmp_path / "c.nrrd")


READERS = (
    read_volume,
    read_geometry,
    read_segmentation,
    read_structures,
    lambda path: read_segmentation(path, FEMUR_TIBIA),
)


def error_of(reader: Callable[[Path], object], path: Path) -> OsteonError | None:
    try:
        reader(path)
    except OsteonError as error:
        return error
    return None


def spoil(data: bytes, seed: int) -> bytes:
    """The file cut at a random length (every third), or with 1 to 8 bytes changed, most of them in its header."""
    draw = random.Random(seed)
    if seed % 3 == 0:
        return data[: draw.randrange(len(data))]
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 8])):
        damaged[draw.randrange(min(len(data), draw.choice([700, len(data)])))] = draw.choice(
            [0, 255, draw.randrange(256)]
        )
    return bytes(damaged)


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        *(
            (name, False)
            for name in ("a.nii", "a.nii.gz", "a.nrrd", "label.nii", "label.nii.gz", "a.seg.nrrd", "b.seg.nrrd")
        ),
        *((name, True) for name in ("a.nii.gz", "label.nii.gz")),
    ],
)
def test_damaged_files_end_in_an_osteon_error_or_are_read(tmp_path: Path, name: str, packed: bool) -> None:
    """`packed`: the damage lies within the gzip stream, whose checksum is right."""
    path, rng = tmp_path / name, np.random.default_rng(0)
    if name == "b.seg.nrrd":
        write_segmentation(path, Segmentation(rng.integers(0, 2, (2, 4, 5, 6)), grid(), FEMUR_TIBIA))
    elif "label" in name or "seg" in name:
        write_segmentation(path, Segmentation(rng.choice([0, 2, 7], (4, 5, 6)), grid(), FEMUR_TIBIA))
    else:
        write_volume(path, Volume(rng.normal(size=(1, 4, 5, 6)).astype(np.float32), grid()))
    data = path.read_bytes()
    data = gzip.decompress(data) if packed else data
    for seed in range(90):
        damaged = spoil(data, seed)
        path.write_bytes(gzip.compress(damaged, mtime=0) if packed else damaged)
        for reader in READERS:
            error = error_of(reader, path)
            assert error is None or (path.name in error.message and error.hint), seed


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 100, 347, 348, 351])
@pytest.mark.parametrize("kind", ["zeros", "noise", "header", "gzip"])
def test_a_nifti_shorter_than_its_header_is_refused(tmp_path: Path, length: int, kind: str) -> None:
    whole = save(tmp_path / "whole.nii", np.zeros((2, 2, 2), np.uint8)).read_bytes()
    content = {"zeros": bytes(length), "noise": random.Random(length).randbytes(length)}.get(kind, whole[:length])
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.compress(content) if kind == "gzip" else content)
    for reader in (read_volume, read_segmentation):
        with pytest.raises(FileError, match=r"a\.nii") as caught:
            reader(path)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [("dim", [3, -6, -5, 4, 1, 1, 1, 1]), ("dim", [0] * 8), ("dim", [3, 6, 0, 4, 1, 1, 1, 1]), ("vox_offset", np.inf)],
)
def test_a_nifti_with_a_nonsense_header_is_refused(tmp_path: Path, field: str, value: object) -> None:
    path = save(tmp_path / "a.nii", np.zeros((6, 5, 4), np.uint8))
    raw = bytearray(path.read_bytes())
    header = np.frombuffer(raw, dtype=nib.Nifti1Header.template_dtype, count=1)  # a view: changes the bytes
    header[field][0] = value
    path.write_bytes(raw)
    with pytest.raises(FileError, match=r"a\.nii"):
        read_geometry(path)
    with pytest.raises(FileError, match=r"a\.nii"):
        read_volume(path)


def test_labels_beyond_what_a_float_counts_are_refused() -> None:
    with pytest.raises(LabelError, match=r"2 voxels .* such as 1e\+20"):
        to_integer_labels(np.array([[[1.0, 1e20, 1e19]]]), "a")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd"])
def test_a_truncated_file_is_named_at_every_length(tmp_path: Path, suffix: str) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    rng = np.random.default_rng(0)
    if suffix == ".seg.nrrd":
        write_segmentation(whole, Segmentation(rng.choice([0, 2, 7], (9, 9, 9)), grid((9, 9, 9)), FEMUR_TIBIA))
    else:
        write_volume(whole, Volume(rng.integers(0, 99, (1, 9, 9, 9), dtype=np.int16), grid((9, 9, 9))))
    data = whole.read_bytes()
    for length in [*range(0, len(data), max(len(data) // 40, 1)), len(data) - 9, len(data) - 4, len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(FileError, match="cut") as caught:
            read_volume(cut)
        assert caught.value.hint


# -- NRRD ------------------------------------------------------------------------------------------------------------


def nrrd(path: Path, header: str, data: bytes = b"") -> Path:
    path.write_bytes(b"NRRD0004\n" + header.encode() + b"\n\n" + data)
    return path


BASE = "type: uint8\ndimension: 3\nsizes: 1 2 3\nencoding: raw"
DIRECTIONS = "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,1,1)"


@pytest.mark.parametrize(
    ("space", "codes", "origin"),
    [
        ("left-posterior-superior", "LPS", (-1, -1, 1)),
        ("LPS", "LPS", (-1, -1, 1)),
        ("right-anterior-superior", "RAS", (1, 1, 1)),
        ("LAS", "LAS", (-1, 1, 1)),
    ],
)
def test_spaces_are_turned_into_ras(tmp_path: Path, space: str, codes: str, origin: tuple[int, ...]) -> None:
    geometry = read_geometry(nrrd(tmp_path / "a.nrrd", f"{BASE}\nspace: {space}\n{DIRECTIONS}"))
    assert geometry.axis_codes == codes
    assert tuple(geometry.affine_ras[:3, 3]) == origin
    assert geometry.spacing_mm == (2, 3, 4)


def test_without_a_space_the_numbers_are_lps_as_itk_takes_them(tmp_path: Path) -> None:
    for n, more in enumerate((f"space dimension: 3\n{DIRECTIONS}", "spacings: 2 3 4")):
        path = nrrd(tmp_path / f"{n}.nrrd", f"{BASE}\n{more}", bytes(range(6)))
        volume = read_volume(path)
        assert (volume.geometry.axis_codes, volume.geometry.unit) == ("LPS", "mm")
        assert volume.geometry.spacing_mm == (2, 3, 4)
        assert volume.array[0, 0, 1, 2] == 5  # the first axis runs fastest
        image = SimpleITK.ReadImage(str(path))
        assert image[0, 1, 2] == 5
        lps = np.array(image.TransformIndexToPhysicalPoint((0, 1, 2)))
        assert volume.geometry.to_world([[0, 1, 2]])[0].tolist() == (lps * (-1, -1, 1)).tolist()


@pytest.mark.parametrize("more", ["", "\nspacings: nan nan nan", "\nspace: left-posterior-superior"])
def test_without_any_spacing_no_millimetre_is_made_up(tmp_path: Path, more: str) -> None:
    geometry = read_geometry(nrrd(tmp_path / "a.nrrd", BASE + more))
    assert (geometry.unit, geometry.spacing_mm, geometry.axis_codes) == ("px", (1, 1, 1), "LPS")


def test_text_and_big_endian_voxels_and_crlf_are_read(tmp_path: Path) -> None:
    text = BASE.replace("uint8", "short").replace("raw", "ascii")
    assert read_volume(nrrd(tmp_path / "a.nrrd", text, b"0 1 2\n-3 4 5\n")).array.min() == -3
    big = BASE.replace("uint8", "short") + "\nendian: big"
    assert read_volume(nrrd(tmp_path / "b.nrrd", big, bytes([1, 0] * 6))).array.flat[0] == 256
    path = tmp_path / "c.nrrd"
    path.write_bytes(b"NRRD0004\r\n" + BASE.replace("\n", "\r\n").encode() + b"\r\n\r\n" + bytes(range(6)))
    assert read_volume(path).array.flat[-1] == 5


@pytest.mark.parametrize(("axis", "kinds"), [(0, "vector domain domain domain"), (3, "domain domain domain list")])
def test_channels_lie_on_any_axis(tmp_path: Path, axis: int, kinds: str) -> None:
    sizes = [2, 3, 4]
    sizes.insert(axis, 5)
    header = f"type: uint8\ndimension: 4\nsizes: {' '.join(map(str, sizes))}\nencoding: gzip\nkinds: {kinds}"
    data = np.arange(120, dtype=np.uint8).reshape(sizes, order="F")
    volume = read_volume(nrrd(tmp_path / "a.nrrd", header, gzip.compress(data.tobytes(order="F"))))
    assert np.array_equal(volume.array, np.moveaxis(data, axis, 0))


def test_pictures_get_a_slice(tmp_path: Path) -> None:
    header = "type: uint8\ndimension: 2\nsizes: 2 3\nencoding: raw\nspacings: 0.5 0.5"
    volume = read_volume(nrrd(tmp_path / "a.nrrd", header, bytes(6)))
    assert volume.array.shape == (1, 2, 3, 1)
    assert volume.geometry.spacing_mm == (0.5, 0.5, 1)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (f"{BASE}\ndata file: a.raw", "detached"),
        (f"{BASE}\nspace: scanner-xyz\n{DIRECTIONS}", "scanner-xyz"),
        (BASE.replace("raw", "bzip2"), "bzip2"),
        (BASE.replace("uint8", "short"), "endian"),
        (BASE.replace("uint8", "block"), "block"),
        (BASE.replace("sizes: 1 2 3\n", ""), "sizes"),
        (BASE.replace("dimension: 3", "dimension: 4"), "dimension 4"),
        ("type: uint8\ndimension: 4\nsizes: 1 2 3 1\nencoding: raw", "which of its 4 axes"),
        (f"{BASE}\nspace: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,1)", "singular"),
        (f"{BASE}\nspace: LPS\nspace directions: (1,0,0) (0,1,x) (0,0,1)", "damaged"),
    ],
)
def test_what_cannot_be_placed_is_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(FileError, match=message) as caught:
        read_volume(nrrd(tmp_path / "a.nrrd", header, bytes(6)))
    assert "a.nrrd" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("encoding", "data"), [("raw", bytes(5)), ("ascii", b"1 2 3 4 5"), ("gzip", gzip.compress(bytes(5), mtime=0))]
)
def test_too_few_voxels_are_counted(tmp_path: Path, encoding: str, data: bytes) -> None:
    with pytest.raises(FileError, match=r"a\.nrrd: truncated, 5 of 6 voxels"):
        read_volume(nrrd(tmp_path / "a.nrrd", BASE.replace("raw", encoding), data))


def test_slicers_old_files_have_a_layer_for_each_segment(tmp_path: Path) -> None:
    header = (
        "type: uint8\ndimension: 4\nspace: LPS\nsizes: 2 1 2 3\nencoding: raw\nkinds: list domain domain domain\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n"
        "Segment0_Name:=hip\nSegment0_Color:=1 0 0\nSegment1_Name:=sacrum"
    )
    path = nrrd(tmp_path / "a.seg.nrrd", header, bytes([1, 1, 0, 1] + [0] * 8))
    again = read_segmentation(path)
    assert [(s.name, s.value) for s in again.structures] == [("hip", 1), ("sacrum", 2)]
    assert again.structures[0].colour == "#ff0000"
    assert again.array.sum(axis=(1, 2, 3)).tolist() == [1, 2]


def test_slicers_layers_share_segments(tmp_path: Path) -> None:
    header = (
        "type: uint8\ndimension: 4\nspace: LPS\nsizes: 2 1 1 3\nencoding: raw\nkinds: list domain domain domain\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\n"
        "Segment0_Name:=a\nSegment0_Layer:=0\nSegment0_LabelValue:=1\n"
        "Segment1_Name:=b\nSegment1_Layer:=0\nSegment1_LabelValue:=2\n"
        "Segment2_Name:=c\nSegment2_Layer:=1\nSegment2_LabelValue:=1"
    )
    again = read_segmentation(nrrd(tmp_path / "a.seg.nrrd", header, bytes([1, 1, 2, 0, 2, 1])))
    assert again.array[:, 0, 0].tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 1]]


# -- labels ----------------------------------------------------------------------------------------------------------


def test_segments_are_found_by_name_and_made_up_names_by_value(tmp_path: Path) -> None:
    array = np.zeros(grid().shape, np.uint8)
    array[0], array[1] = 1, 2
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, Segmentation(array, grid(), make_structures(["tibia", "femur"])))
    known = make_structures(["femur", "tibia"])
    assert read_segmentation(path, known).array[:2, 0, 0].tolist() == [2, 1]
    with pytest.raises(LabelError, match=r"a\.seg\.nrrd.*1 \(tibia\) in 30 voxels"):
        read_segmentation(path, known[:1])
    write_segmentation(path, Segmentation(array, grid(), make_structures(["Segment_1", "Segment_2"])))
    assert read_segmentation(path, known).array[:2, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_values_without_a_structure_are_listed_with_their_voxels(tmp_path: Path, suffix: str) -> None:
    array = np.zeros((1, 4, 5, 6), np.int16)
    array[0, 0], array[0, 1, 0, 0] = 2, 9
    path = tmp_path / f"a{suffix}"
    write_volume(path, Volume(array, grid()))
    with pytest.raises(LabelError, match="9 in 1 voxels") as caught:
        read_segmentation(path, FEMUR_TIBIA)
    assert path.name in caught.value.message
    assert [(s.name, s.value) for s in read_segmentation(path).structures] == [("label_2", 2), ("label_9", 9)]
    write_volume(path, Volume(-array, grid()))
    with pytest.raises(LabelError, match="-2 in 30 voxels"):
        read_segmentation(path)


def test_float_labels_must_be_whole(tmp_path: Path) -> None:
    array = np.zeros((1, 4, 5, 6), np.float32)
    array[0, 0] = 7
    write_volume(tmp_path / "a.nii.gz", Volume(array, grid()))
    again = read_segmentation(tmp_path / "a.nii.gz", FEMUR_TIBIA)
    assert again.array.dtype == np.uint8
    assert value_counts(again.array) == {7: 30}
    array[0, 1, 0, 0], array[0, 1, 0, 1] = 2.1, 2.5
    write_volume(tmp_path / "a.nii.gz", Volume(array, grid()))
    with pytest.raises(LabelError, match=r"a\.nii\.gz: 2 voxels .* such as 2\.5"):
        read_segmentation(tmp_path / "a.nii.gz", FEMUR_TIBIA)
    for strange in (np.nan, np.inf):
        with pytest.raises(LabelError, match="1 voxels"):
            to_integer_labels(np.array([1.0, strange]), "a")


def test_a_nifti_whose_names_have_other_values_now_is_read_by_name(tmp_path: Path) -> None:
    array = np.full(grid().shape, 2)
    write_nifti(tmp_path / "a.nii.gz", Segmentation(array, grid(), FEMUR_TIBIA))
    moved = make_structures(["femur_right", "femur_left"], [2, 7])
    assert (read_nifti_segmentation(tmp_path / "a.nii.gz", moved).array == 7).all()


def test_an_image_in_the_place_of_labels_is_noticed(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", Volume(np.arange(1000, dtype=np.int16).reshape(1, 10, 10, 10), grid((10,) * 3)))
    with pytest.raises(LabelError, match="looks like an image"):
        read_segmentation(tmp_path / "a.nii.gz")
    write_volume(tmp_path / "b.nii.gz", Volume(np.zeros((2, 4, 5, 6)), grid()))
    with pytest.raises(LabelError, match="2 channels"):
        read_segmentation(tmp_path / "b.nii.gz")


def test_layouts_turn_into_each_other_unless_structures_overlap() -> None:
    array = np.zeros(grid().shape, np.uint8)
    array[0], array[1] = 2, 7
    index = Segmentation(array, grid(), FEMUR_TIBIA)
    assert np.array_equal(to_index_map(to_multi_hot(index), "a").array, array)
    both = np.ones((2, *grid().shape), np.uint8)
    with pytest.raises(LabelError, match="120 voxels"):
        to_index_map(Segmentation(both, grid(), FEMUR_TIBIA), "a")


# -- the table -------------------------------------------------------------------------------------------------------


def test_suffixes_choose_the_format() -> None:
    assert suffix_of(Path("a.b.SEG.NRRD")) == ".seg.nrrd"
    assert stem_of(Path("x/a.b.nii.gz")) == "a.b"
    everything = list(itertools.chain(*(row.suffixes for row in FORMATS)))
    assert len(everything) == len(set(everything))


def test_unknown_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"a\.foo") as caught:
        read_volume(tmp_path / "a.foo")
    assert all(suffix in caught.value.hint for suffix in (".nii.gz", ".nii", ".nrrd", ".seg.nrrd"))
    for read in (read_volume, read_geometry, read_segmentation):
        for name in ("a.nii.gz", "a.nrrd", "a.seg.nrrd"):
            with pytest.raises(FileError, match="does not exist"):
                read(tmp_path / name)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    overlapping = Segmentation(np.ones((2, *grid().shape), np.uint8), grid(), FEMUR_TIBIA)
    for name in ("a.nii.gz", "a.nrrd"):
        with pytest.raises(FileError, match=name) as caught:
            write_segmentation(tmp_path / name, overlapping)
        assert ".seg.nrrd" in caught.value.hint
    with pytest.raises(FileError, match="holds no images"):
        write_volume(tmp_path / "a.seg.nrrd", Volume(np.zeros((1, 4, 5, 6)), grid()))
    assert not list(tmp_path.iterdir())


def test_foreign_notes_in_a_nifti_header_are_passed_over(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4))
    for note in (b"hello", json.dumps([1]).encode(), json.dumps({"osteon": 1, "structures": []}).encode()):
        image.header.extensions.append(nib.nifti1.Nifti1Extension(6, note))
    nib.save(image, tmp_path / "a.nii.gz")
    assert [s.name for s in read_segmentation(tmp_path / "a.nii.gz").structures] == ["label_1"]
