"""Files that lie: headers that claim the world, names that lead out of the dataset."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from osteon.core.errors import FileError, OsteonError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.formats import read_geometry, read_segmentation, read_volume, write_segmentation, write_volume
from osteon.formats.dicom_files import read_dataset
from osteon.importing.pseudonyms import TABLE, Patient, Pseudonyms
from osteon.importing.run import import_dataset

GRID = Geometry((6, 5, 4), np.diag([1.0, 1.5, 2, 1]))
NAMES = ["../out", "/tmp/out", "a\nb", "..", "x" * 10_000, "..\\out", "\0", "~/out", "a/../../out"]


def picture(path: Path) -> Path:
    write_volume(path, Volume(np.arange(120, dtype=np.int16).reshape(1, *GRID.shape), GRID))
    return path


def nifti_claiming(path: Path, *sizes: int, more: bytes = b"") -> Path:
    """A NIfTI-1 of 240 bytes of voxels whose header says that it has `sizes`."""
    raw = bytearray(picture(path.with_name("honest.nii")).read_bytes())
    raw[40:56] = np.array([len(sizes), *sizes, *[1] * (7 - len(sizes))], "<i2").tobytes()
    content = bytes(raw) + more
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def nrrd_claiming(path: Path, sizes: str, *, encoding: str = "gzip", voxels: bytes = b"\0" * 64) -> Path:
    head = f"NRRD0004\ntype: short\ndimension: {len(sizes.split())}\nsizes: {sizes}\nendian: little\n"
    data = gzip.compress(voxels) if encoding == "gzip" else voxels
    path.write_bytes(f"{head}encoding: {encoding}\n\n".encode() + data)
    return path


def check_refused(path: Path, match: str) -> None:
    """Reading ends in a FileError before 40 MB are taken."""
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=match):
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_small_nifti_that_claims_tera_voxels_is_refused(tmp_path: Path, name: str) -> None:
    check_refused(nifti_claiming(tmp_path / name, 10_000, 10_000, 10_000), "header claims 2000 GB")


def test_claims_whose_product_overflows_64_bits_are_refused(tmp_path: Path) -> None:
    check_refused(nifti_claiming(tmp_path / "a.nii.gz", *[32767] * 7), "header claims 10\\^31 bytes")
    check_refused(nrrd_claiming(tmp_path / "a.nrrd", "4294967296 4294967296 3"), "header claims")


@pytest.mark.parametrize("sizes", [(-5, 4, 4), (0, 4, 4)])
def test_negative_and_empty_sizes_are_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    check_refused(nifti_claiming(tmp_path / "a.nii", *sizes), "damaged")
    check_refused(nrrd_claiming(tmp_path / "a.nrrd", " ".join(map(str, sizes))), "damaged")


@pytest.mark.parametrize("encoding", ["gzip", "raw", "ascii"])
def test_a_small_nrrd_that_claims_tera_voxels_is_refused(tmp_path: Path, encoding: str) -> None:
    check_refused(nrrd_claiming(tmp_path / "a.nrrd", "10000 10000 10000", encoding=encoding), "header claims")


def test_what_unpacks_far_beyond_its_header_is_refused(tmp_path: Path) -> None:
    bomb = bytes(200_000_000)
    check_refused(nifti_claiming(tmp_path / "a.nii.gz", 6, 5, 4, more=bomb), "far more")
    check_refused(nrrd_claiming(tmp_path / "a.nrrd", "4 4 2", voxels=bomb), "far more")


def test_a_claim_beyond_free_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "a.nii.gz")
    read_volume(path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("M", (), {"available": 100, "total": 1 << 40})())
    check_refused(path, "are free")


def test_extensions_of_a_header_are_bounded(tmp_path: Path) -> None:
    raw = bytearray(picture(tmp_path / "honest.nii").read_bytes())
    raw[108:112] = np.array([1e9], "<f4").tobytes()
    raw[348] = 1
    raw[352:360] = np.array([2**31 - 16, 6], "<i4").tobytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(bytes(raw) + bytes(100_000_000)))
    check_refused(path, "damaged")


def test_a_nrrd_header_without_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    with path.open("wb") as stream:
        stream.write(b"NRRD0004\n# ")
        stream.truncate(1 << 28)  # a sparse file: no disk is taken
    with pytest.raises(FileError, match="header"):
        read_geometry(path)


def test_a_segment_of_an_absurd_number_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    array = np.zeros(GRID.shape, np.uint8)
    array[0] = 1
    write_segmentation(path, Segmentation(array, GRID, make_structures(["femur"])))
    path.write_bytes(path.read_bytes().replace(b"Segment0_", b"Segment99999999999_"))
    tracemalloc.start()
    assert [s.name for s in read_segmentation(path).structures] == ["femur"]
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()


def test_an_absurd_label_value_takes_no_memory(tmp_path: Path) -> None:
    """Its value stands for a structure of another value: no table up to the value is made."""
    path = tmp_path / "a.seg.nrrd"
    structures = make_structures(["femur", "tibia"], [7, 2**40])
    array = np.zeros(GRID.shape, np.uint64)
    array[0], array[1] = 7, 2**40
    write_segmentation(path, Segmentation(array, GRID, structures))
    tracemalloc.start()
    read = read_segmentation(path, make_structures(["tibia", "femur"], [1, 2]))
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()
    assert (read.array[0] == 2).all()
    assert (read.array[1] == 1).all()


def test_a_dicom_element_that_claims_all_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pydicom allocates what an element claims; where that is refused, the file is at fault."""

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(128) + b"DICM")
    monkeypatch.setattr("pydicom.dcmread", full)
    with pytest.raises(FileError, match="claims more bytes"):
        read_dataset(path, pixels=False)


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def only_inside(home: Path, source: Path, dataset: Path) -> None:
    """An import of `source`, whatever comes of it, changes nothing below `home` but `dataset`."""
    before = {path: path.read_bytes() for path in everything(home) if not path.is_relative_to(dataset)}
    with suppress(OsteonError):
        import_dataset(source, dataset)
    outside = {path for path in everything(home) if not path.is_relative_to(dataset)}
    assert outside == set(before)
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("name", NAMES)
def test_names_in_lists_write_nothing_outside(tmp_path: Path, name: str) -> None:
    source, dataset = tmp_path / "home" / "source", tmp_path / "home" / "data" / "set"
    picture(source / "imagesTr" / "a.nii.gz")
    write_volume(source / "labelsTr" / "a.nii.gz", Volume(np.eye(4, dtype=np.uint8)[None, :, :, None], GRID4))
    entry = {"image": name, "label": name}
    data = {"name": name, "modality": {"0": name}, "labels": {"0": "background", "1": name}}
    (source / "dataset.json").write_text(json.dumps({**data, "training": [entry]}))
    only_inside(tmp_path, source, dataset)
    (source / "dataset.json").unlink()
    (source / "pairs.txt").write_text(f'imagesTr/a.nii.gz,"{name}"\n"{name}.nii.gz",labelsTr/a.nii.gz\n')
    only_inside(tmp_path, source, dataset)


GRID4 = Geometry((4, 4, 1), np.eye(4))


@pytest.mark.parametrize("name", NAMES)
def test_names_of_segments_write_nothing_outside(tmp_path: Path, name: str) -> None:
    source, dataset = tmp_path / "home" / "source", tmp_path / "home" / "data" / "set"
    picture(source / "a.nii.gz")
    array = np.zeros((2, *GRID.shape), np.uint8)
    array[:, 0] = 1
    write_segmentation(source / "a.seg.nrrd", Segmentation(array, GRID, make_structures([name, "femur"])))
    (source / "pairs.txt").write_text("a.nii.gz,a.seg.nrrd\n")
    only_inside(tmp_path, source, dataset)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_nnunet_write_nothing_outside(tmp_path: Path, name: str) -> None:
    source, dataset = tmp_path / "home" / "source", tmp_path / "home" / "data" / "set"
    picture(source / "a.nii.gz")
    array = np.zeros((1, *GRID.shape), np.uint8)
    array[0, 0] = 1
    write_volume(source / "l.nii.gz", Volume(array, GRID))
    entries = {name: {"images": ["a.nii.gz"], "label": "l.nii.gz"}, "b": {"images": [name], "label": name}}
    data = {"name": name, "channel_names": {"0": name}, "labels": {name: [1]}, "dataset": entries}
    (source / "dataset.json").write_text(json.dumps(data))
    only_inside(tmp_path, source, dataset)


@pytest.mark.parametrize("name", ["..", "a\nb", "~", "x" * 200, "..\\out", "-rf", "$(touch out)"])
def test_names_of_masks_write_nothing_outside(tmp_path: Path, name: str) -> None:
    source, dataset = tmp_path / "home" / "source", tmp_path / "home" / "data" / "set"
    picture(source / f"{name} x" / "ct.nii.gz")
    array = np.zeros((1, *GRID.shape), np.uint8)
    array[0, 0] = 1
    write_volume(source / f"{name} x" / f"{name} femur.nii.gz", Volume(array, GRID))
    (source / "labels.json").write_text(json.dumps({"1": name, "2": "../../tibia"}))
    only_inside(tmp_path, source, dataset)
    (source / "labels.json").unlink()
    only_inside(tmp_path, source, dataset / "second")
    taken = not name.startswith(".") and name.isprintable() and len(name) < 150  # hidden, or no name of a structure
    assert (dataset / "second" / "dataset.yaml").is_file() == taken


def test_a_table_of_pseudonyms_is_no_way_out(tmp_path: Path) -> None:
    """A patient called `../../x` is a line in the table, and no path."""
    patient = Patient("../../x", "a\nb,=cmd()")
    made = Pseudonyms(tmp_path / "source", [patient])
    (tmp_path / "source").mkdir()
    made.write()
    assert everything(tmp_path) == {tmp_path / "source" / TABLE}
    assert Pseudonyms(tmp_path / "source", []).key(patient) == "p001"
