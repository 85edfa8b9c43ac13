"""Files into arrays and back, a piece at a time: every axis where it belongs, and no second copy of the voxels."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from helpers import spacing_affine
from osteon.core.errors import FileError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.checks import present_structures
from osteon.formats import read_volume, write_volume
from osteon.formats.nifti import write_nifti
from osteon.formats.voxel_stream import array_type, copy_into, fill_array, voxel_pieces
from osteon.importing.masks.files import is_binary

SHAPE = (120, 110, 100)
KINDS = ("int16", "float64", "int64")


@settings(deadline=None, max_examples=60)
@given(
    array_shapes(min_dims=1, max_dims=5, max_side=5),
    st.data(),
    st.sampled_from(["u1", ">i2", "<f4", "f8"]),
    st.integers(1, 300),
)
def test_every_voxel_lies_where_it_belongs(shape: tuple[int, ...], data: st.DataObject, kind: str, piece: int) -> None:
    stored = np.random.default_rng(0).integers(0, 3, shape).astype(kind)
    order = data.draw(st.permutations(range(len(shape))))
    array = np.zeros([shape[axis] for axis in order], array_type(np.dtype(kind))).transpose(np.argsort(order))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("osteon.formats.voxel_stream.PIECE_BYTES", piece)
        fill_array(array, io.BytesIO(stored.tobytes(order="F")).read, stored.dtype)
        pieces = list(voxel_pieces(array))
    assert np.array_equal(array, stored)
    assert b"".join(part.tobytes() for part in pieces) == array.tobytes(order="F")
    assert all(part.nbytes <= max(piece, array.itemsize) for part in pieces)


def test_the_sign_of_zeros_stays() -> None:
    values = np.array([0.0, -0.0, np.nan, 1.0] * 15).reshape(3, 4, 5)
    array = np.zeros((3, 4, 5))
    copy_into(np.asfortranarray(values), array)
    assert array.tobytes() == values.tobytes()


@pytest.mark.parametrize("name", ["nifti", "nrrd"])
def test_a_volume_is_written_in_few_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(1, *SHAPE)
    monkeypatch.setattr("osteon.formats.voxel_stream.PIECE_BYTES", 1 << 18)
    sizes: list[int] = []

    class Counted(io.BytesIO):
        def write(self, data: Any) -> int:
            sizes.append(memoryview(data).nbytes)
            return super().write(data)

    monkeypatch.setattr(f"osteon.formats.{name}.pack_into", lambda _: Counted())
    write_volume(
        tmp_path / f"x{'.nii.gz' if name == 'nifti' else '.nrrd'}",
        Volume(array, Geometry(SHAPE, spacing_affine(1, 1, 1))),
    )
    assert sum(size > 1000 for size in sizes) <= array.nbytes / (1 << 18) + 3
    assert max(sizes) <= 1 << 18


@pytest.mark.parametrize("what", ["mask", "present"])
def test_looking_at_a_mask_makes_no_copy_of_it_in_another_type(tmp_path: Path, what: str) -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[-20:] = 1
    labels = Segmentation(array, Geometry(SHAPE, spacing_affine(1, 1, 1)), make_structures(["femur"]))
    write_nifti(tmp_path / "x.nii", labels)
    tracemalloc.start()
    found = is_binary(tmp_path / "x.nii") if what == "mask" else present_structures(labels) == ("femur",)
    peak = tracemalloc.get_traced_memory()[1] - (array.nbytes if what == "mask" else 0)
    tracemalloc.stop()
    assert found
    assert peak < 1.3 * array.nbytes if what == "mask" else peak < array.nbytes / 10


def test_a_scan_behind_an_empty_channel_is_no_mask(tmp_path: Path) -> None:
    array = np.stack([np.zeros(SHAPE), np.random.default_rng(0).integers(0, 99, SHAPE)]).astype(np.int16)
    write_volume(tmp_path / "x.nrrd", Volume(array, Geometry(SHAPE, spacing_affine(1, 1, 1))))
    assert not is_binary(tmp_path / "x.nrrd")


def test_zeros_with_a_sign_and_nan_stay() -> None:
    stored = np.array([[[-0.0, 0.0], [np.nan, 1.0]]], dtype=np.float32)
    array = np.zeros(stored.shape, np.float32)
    fill_array(array, io.BytesIO(stored.tobytes(order="F")).read, stored.dtype)
    assert array.tobytes() == stored.tobytes()


def written(path: Path, kind: str) -> np.ndarray:
    array = np.arange(np.prod(SHAPE), dtype=np.int64).reshape(1, *SHAPE) % 30_000
    if path.suffix == ".mha":
        head = f"NDims = 3\nDimSize = {' '.join(map(str, SHAPE))}\nElementSpacing = 1 1 1\n"
        element_type = {"int16": "SHORT", "float64": "DOUBLE", "int64": "LONG_LONG"}[kind]
        head += f"ElementType = MET_{element_type}\nElementDataFile = LOCAL\n"
        path.write_bytes(head.encode() + array[0].astype(kind).tobytes(order="F"))
    else:
        write_volume(path, Volume(array.astype(kind), Geometry(SHAPE, spacing_affine(1, 1, 1))))
    return array


@pytest.mark.parametrize("single", [False, True], ids=["as stored", "single"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_reading_holds_the_array_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, kind: str, single: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    expected = written(path, kind)
    monkeypatch.setattr("osteon.formats.voxel_stream.PIECE_BYTES", 1 << 18)
    read_volume(path)  # what is loaded once is no scan's
    tracemalloc.start()
    try:
        volume = read_volume(path, single=single)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    kept = 4 if single and kind != "int16" else np.dtype(kind).itemsize
    assert volume.array.nbytes == expected.size * kept
    assert np.array_equal(volume.array, expected)
    assert peak < volume.array.nbytes + (3 << 20)


def test_scaled_voxels_are_single_too(tmp_path: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(np.arange(24, dtype=np.int32).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    path = tmp_path / "a.nii"
    nib.save(image, path)
    exact, single = read_volume(path), read_volume(path, single=True)
    assert (exact.array.dtype, single.array.dtype) == (np.float64, np.float32)
    assert np.array_equal(exact.array, single.array)


def test_what_no_float32_holds_is_infinite_and_found() -> None:
    array = np.zeros((1, 1, 2), np.float32)
    fill_array(array, io.BytesIO(np.array([1e300, 1.0]).tobytes()).read, np.dtype("f8"))
    assert np.isinf(array[0, 0, 0])


def test_a_file_that_does_not_fit_into_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii"
    write_nifti(path, Volume(np.zeros((1, 50, 50, 50)), Geometry((50, 50, 50), spacing_affine(1, 1, 1))))
    free = type("Memory", (), {"available": 600_000, "total": 10**9})
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with pytest.raises(FileError, match="takes 1 MB of memory to read"):
        read_volume(path)
    assert read_volume(path, single=True).array.nbytes == 500_000
