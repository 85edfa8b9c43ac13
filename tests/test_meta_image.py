"""MetaImage against ITK's own reading, and files that are not what their header says."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from osteon.core.errors import FileError, LabelError
from osteon.formats import read_geometry, read_segmentation, read_volume
from osteon.formats.io import companion_paths
from osteon.predicting.scans import find_scans
from osteon.serving.uploads import detect_suffix

TAGS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "ElementByteOrderMSB": "False",
    "TransformMatrix": "0 1 0 -1 0 0 0 0 1",
    "Offset": "10 -20 30",
    "ElementSpacing": "0.5 0.6 2",
    "DimSize": "5 4 3",
    "ElementType": "MET_SHORT",
}
VOXELS = np.arange(60, dtype="<i2")


def write(path: Path, data: bytes = VOXELS.tobytes(), file: str = "LOCAL", **tags: str | None) -> Path:
    """A file by hand; a tag that is None is left out."""
    if tags.get("CompressedData"):
        tags["CompressedDataSize"] = str(len(data))  # without it ITK makes up voxels
    header = {name: value for name, value in (TAGS | tags).items() if value is not None}
    head = "".join(f"{name} = {value}\n" for name, value in header.items()) + f"ElementDataFile = {file}\n"
    path.write_bytes(head.encode() + (data if file == "LOCAL" else b""))
    if file != "LOCAL" and "/" not in file and data:
        (path.parent / file).write_bytes(data)
    return path


def check_as_itk(path: Path, image: SimpleITK.Image | None = None) -> None:
    """The same values at the same places of the world; ITK's is LPS."""
    image = SimpleITK.ReadImage(str(path)) if image is None else image
    volume = read_volume(path)
    array = SimpleITK.GetArrayFromImage(image)
    channels = image.GetNumberOfComponentsPerPixel()
    expected = np.moveaxis(array, -1, 0) if channels > 1 else array[None]
    expected = expected.transpose(0, *range(expected.ndim - 1, 0, -1))
    if image.GetDimension() == 2:
        expected = expected[..., None]
    assert volume.array.dtype == expected.dtype
    assert volume.array.flags.c_contiguous
    np.testing.assert_array_equal(volume.array, expected)
    size = image.GetDimension()
    for index in ([0] * size, [n - 1 for n in image.GetSize()], [1] * size):
        place = np.array([*image.TransformIndexToPhysicalPoint(index), 0.0][:3]) * (-1, -1, 1)
        np.testing.assert_allclose(volume.geometry.to_world([[*index, 0][:3]])[0], place, atol=1e-9)
    assert read_geometry(path).is_close(volume.geometry)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_what_itk_writes_is_read_as_itk_reads_it(tmp_path: Path, dtype: str, suffix: str, packed: bool) -> None:
    rng = np.random.default_rng(3)
    image = SimpleITK.GetImageFromArray(rng.integers(0, 100, (3, 4, 5)).astype(dtype))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    image.SetDirection((turn * np.sign(np.linalg.det(turn))).ravel().tolist())
    image.SetOrigin((-31.5, 4.25, 1e3))
    image.SetSpacing((0.4, 0.5, 3.0))
    path = tmp_path / f"ct{suffix}"
    SimpleITK.WriteImage(image, str(path), packed)
    check_as_itk(path, image)
    assert companion_paths(path) == (() if suffix == ".mha" else (tmp_path / f"ct.{'z' * packed}raw",))


@pytest.mark.parametrize(("shape", "vector"), [((3, 4, 5, 2), True), ((4, 5), False), ((4, 5, 3), True)])
def test_channels_and_pictures(tmp_path: Path, shape: tuple[int, ...], vector: bool) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(np.prod(shape), dtype="i2").reshape(shape), isVector=vector)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    check_as_itk(tmp_path / "a.mha", image)


@pytest.mark.parametrize(
    ("tags", "data"),
    [
        ({"ElementByteOrderMSB": "True"}, VOXELS.astype(">i2").tobytes()),
        ({"ElementByteOrderMSB": None, "BinaryDataByteOrderMSB": "True"}, VOXELS.astype(">i2").tobytes()),
        ({"ElementByteOrderMSB": None}, VOXELS.tobytes()),
        ({"ElementSpacing": None, "ElementSize": "2 2 2"}, VOXELS.tobytes()),
        ({"ElementSize": "2 2 2"}, VOXELS.tobytes()),
        ({"Offset": None, "Position": "1 2 3"}, VOXELS.tobytes()),
        ({"TransformMatrix": None, "Orientation": "1 0 0 0 0 1 0 1 0", "Origin": "1 2 3", "Offset": None}, None),
        ({"ElementSpacing": "-1 2 3"}, None),
        ({"ElementType": "MET_LONG"}, VOXELS.astype("<i4").tobytes()),
        ({"CompressedData": "True"}, zlib.compress(VOXELS.tobytes())),
        ({"CompressedData": "True"}, gzip.compress(VOXELS.tobytes(), mtime=0)),
    ],
)
def test_headers_written_otherwise_mean_what_itk_takes_them_for(
    tmp_path: Path, tags: dict[str, str | None], data: bytes | None
) -> None:
    check_as_itk(write(tmp_path / "a.mha", VOXELS.tobytes() if data is None else data, **tags))


@pytest.mark.parametrize("size", ["4", "-1"])
def test_what_stands_before_the_voxels_is_skipped(tmp_path: Path, size: str) -> None:
    path = write(tmp_path / "a.mhd", b"1234" + VOXELS.tobytes(), "a.raw", HeaderSize=size)
    np.testing.assert_array_equal(read_volume(path).array[0].ravel(order="F"), VOXELS)


def test_several_volumes_are_channels(tmp_path: Path) -> None:
    tags = {"NDims": "4", "DimSize": "5 3 2 2", "ElementSpacing": "1 2 3 1", "Offset": "0 0 0 0"}
    volume = read_volume(write(tmp_path / "a.mha", **tags, TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"))
    np.testing.assert_array_equal(volume.array, VOXELS.reshape((5, 3, 2, 2), order="F").transpose(3, 0, 1, 2))
    assert volume.geometry.spacing_mm == (1, 2, 3)


def test_sheared_axes_are_kept_and_no_spacing_is_made_up(tmp_path: Path) -> None:
    """ITK takes the first matrix as it is and refuses or straightens others."""
    sheared = read_geometry(write(tmp_path / "a.mha", TransformMatrix="1 0 0 0.5 1 0 0 0 1", ElementSpacing="1 1 1"))
    np.testing.assert_allclose(sheared.affine_ras[:3, 1], (-0.5, -1, 0))
    assert sheared.unit == "mm"
    assert read_geometry(write(tmp_path / "b.mha", ElementSpacing=None)).unit == "px"


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"data": VOXELS.tobytes()[:-2]}, "59 of 60 voxels|cannot hold"),
        ({"DimSize": "9999999 9999999 9999999"}, "cannot hold"),
        ({"DimSize": "5 4"}, "DimSize 5 4 for NDims 3"),
        ({"DimSize": "5 4 0"}, "DimSize"),
        ({"DimSize": "x 4 3"}, "damaged"),
        ({"DimSize": None}, "lacks dimsize"),
        ({"NDims": "5", "DimSize": "1 1 1 1 1"}, "NDims 5"),
        ({"ElementType": "MET_OTHER"}, "MET_OTHER"),
        ({"ElementNumberOfChannels": "0"}, "0 channels"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "singular"),
        ({"TransformMatrix": "nan 0 0 0 1 0 0 0 1"}, "singular or not finite"),
        ({"TransformMatrix": "1 0 0"}, "3 numbers where 9"),
        ({"ElementSpacing": "0 1 1"}, "singular"),
        ({"BinaryData": "False"}, "text"),
        ({"ElementToIntensityFunctionSlope": "2"}, "scales the voxels"),
        ({"ObjectType": "Mesh"}, "no image"),
        ({"CompressedData": "True", "data": zlib.compress(VOXELS.tobytes())[:-3]}, "truncated or damaged"),
        ({"CompressedData": "True", "data": zlib.compress(VOXELS.tobytes()[:-2])}, "59 of 60 voxels"),
        ({"CompressedData": "True", "data": zlib.compress(bytes(100_000_000))}, "more than the 120"),
        ({"CompressedData": "True", "data": b"no stream"}, "truncated or damaged"),
        ({"file": "other.raw"}, "call such a header .mhd"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(
    tmp_path: Path, tags: dict[str, str | None], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.mha", **tags)  # type: ignore[arg-type]
    with pytest.raises(FileError, match=says) as caught:
        read_volume(path)
    assert "a.mha" in caught.value.message or "mhd" in caught.value.hint
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("gone.raw", "gone.raw: the file of voxels of .*a.mhd does not exist"),
        ("../a.raw", "no such file beside it"),
        ("/etc/passwd", "no such file beside it"),
        ("C:\\a.raw", "no such file beside it"),
        ("a.mhd", "no such file beside it"),
        ("LIST", "each slice"),
        ("a%03d.raw 1 3 1", "each slice"),
    ],
)
def test_a_header_leads_to_no_file_but_its_own(tmp_path: Path, file: str, says: str) -> None:
    (tmp_path / "a.raw").write_bytes(VOXELS.tobytes())
    with pytest.raises(FileError, match=says):
        read_volume(write(tmp_path / "a.mhd", b"", file))


def test_predicting_does_a_scan_again_whose_voxels_have_changed(tmp_path: Path) -> None:
    [scan] = find_scans([write(tmp_path / "a.mhd", file="a.raw")])
    before = scan.fingerprint()
    (tmp_path / "a.raw").write_bytes(bytes(121))
    assert scan.fingerprint() != before
    (tmp_path / "a.raw").unlink()
    assert len(scan.fingerprint()) == 1
    with pytest.raises(FileError, match=r"a\.raw: the file of voxels"):
        scan.load()


def test_what_is_no_meta_image(tmp_path: Path) -> None:
    for text in (b"", b"NRRD0004\n", b"ObjectType = Image\nNDims = 3\n", bytes(1000)):
        (tmp_path / "a.mha").write_bytes(text)
        with pytest.raises(FileError, match=r"a\.mha"):
            read_volume(tmp_path / "a.mha")


def test_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mha", (VOXELS % 3).astype("<i2").tobytes())
    assert [s.name for s in read_segmentation(path).structures] == ["label_1", "label_2"]
    with pytest.raises(LabelError, match="2 channels"):
        read_segmentation(write(tmp_path / "b.mha", DimSize="5 3 2", ElementNumberOfChannels="2"))


def test_a_server_sees_what_it_is(tmp_path: Path) -> None:
    assert detect_suffix(write(tmp_path / "upload")) == ".mha"
