"""NRRD images and label maps in one file (.nrrd): raw, gzip and text voxels."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, missing_file_error
from osteon.core.files import atomic_write, open_binary
from osteon.core.geometry import Geometry
from osteon.core.gzip_files import GZIP_ERRORS, open_gzip, pack_into
from osteon.core.volume import Volume
from osteon.formats.header_limits import CUT_SHORT, check_claimed_size, make_reader, read_rest
from osteon.formats.header_warnings import HeaderWarning
from osteon.formats.labelmap import to_storable
from osteon.formats.nrrd_header import UNITS, NrrdHeader, header_text, read_header
from osteon.formats.voxel_stream import array_type, fill_array, voxel_pieces

_DAMAGE: tuple[type[Exception], ...] = (*GZIP_ERRORS, OverflowError)


def read_nrrd(path: Path, *, single: bool = False) -> Volume:
    """Read an image as `[channel, i, j, k]`, RAS+ millimetres. A picture gets a singleton k.

    Raises:
        FileError: The file is missing, truncated, damaged, or of a kind that osteon cannot place in the world.
    """
    header, array = load_nrrd(path, single=single)
    return Volume(array, header.geometry)


def read_nrrd_geometry(path: Path) -> Geometry:
    """The grid alone; reads no voxels. Raises FileError as `read_nrrd` does for the header."""
    return read_nrrd_header(path).geometry


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Everything before the voxels. Raises FileError as `read_nrrd`."""
    with open_binary(Path(path), "the NRRD file") as stream:
        return read_header(stream, Path(path))


def write_nrrd(path: Path, volume: Volume) -> None:
    """Write an image. Array, type (bool becomes uint8) and affine read back identical. Raises FileError."""
    data = to_storable(volume.array)
    store_nrrd(path, data[0] if len(data) == 1 else data, volume.geometry, {}, channel_kind="vector")


def nrrd_header_warnings(path: Path, *, label: bool) -> list[HeaderWarning]:  # noqa: ARG001 (labels are no odder than images)
    """Where the header leaves open what was then taken; reads no voxels. Raises FileError as `read_nrrd`."""
    fields = read_nrrd_header(path).fields
    found = []
    if "space" not in fields:
        what = "does not say its space; taken as left-posterior-superior, as ITK and 3D Slicer do"
        found.append(HeaderWarning("no space", what, severe=True))
    if "spacings" in fields and "space directions" in fields:
        what = "gives spacings beside space directions, which say them too; taken are the directions"
        found.append(HeaderWarning("spacings", what, severe=True))
    units = set(fields.get("space units", "").replace('"', " ").split()) - {"mm", "px"}
    if applied := sorted(units & set(UNITS)):
        what = f"its unit is {', '.join(applied)}, and was applied (ITK and 3D Slicer do not)"
        found.append(HeaderWarning("unit", what, severe=True))
    if others := sorted(
        (units - set(UNITS)) | (set(fields.get("units", "").replace('"', " ").split()) - {"mm", "???"})
    ):
        found.append(HeaderWarning("unit", f"its unit is {', '.join(others)}; taken as mm", severe=True))
    return found


def load_nrrd(path: Path, *, single: bool = False) -> tuple[NrrdHeader, npt.NDArray[np.generic]]:
    """Read header and voxels `[channel, i, j, k]`, contiguous and native. Raises FileError as `read_nrrd`."""
    path = Path(path)
    if not path.is_file():
        raise missing_file_error(path, "the NRRD file")
    try:
        with path.open("rb") as stream:
            header = read_header(stream, path)
            return header, _voxels(stream, header, path, single=single)
    except _DAMAGE as error:
        raise FileError(
            f"{path}: the voxels are truncated or damaged ({error})",
            hint=CUT_SHORT,
        ) from error


def store_nrrd(
    path: Path,
    array: npt.NDArray[np.generic],
    geometry: Geometry,
    keys: Mapping[str, str],
    *,
    channel_kind: str = "list",
    change: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]] = lambda part: part,
) -> None:
    """Write an array with key/value pairs, gzip; some planes at a time, so that no second array is made.

    Args:
        path: The file.
        array: `[i, j, k]` or `[channel, i, j, k]`.
        geometry: Its grid.
        keys: Beside the header's own.
        channel_kind: What the first axis of four is.
        change: What is done to pieces of the array, its axes in reverse, before they are written.

    Raises:
        FileError: It cannot be written.
    """
    path = Path(path)
    head = header_text(array.shape, change(array[..., :0].T).dtype, geometry, keys, channel_kind=channel_kind)
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        stream.write(head.encode("utf-8"))
        with pack_into(stream) as packed:
            for piece in map(change, voxel_pieces(array)):
                packed.write(piece.astype(piece.dtype.newbyteorder("<"), order="C", copy=False).data)


def _voxels(stream: BinaryIO, header: NrrdHeader, path: Path, *, single: bool) -> npt.NDArray[np.generic]:
    """The voxels that follow the header, `[channel, i, j, k]`."""
    encoding, count, axis = header.fields["encoding"].lower(), math.prod(header.sizes), header.channel_axis
    if any(header.fields.get(name, "0") != "0" for name in ("byte skip", "byteskip", "line skip", "lineskip")):
        raise FileError(f"{path}: skips bytes before its voxels", hint="save it again as a plain .nrrd file")
    kind, size = array_type(header.dtype, single=single), header.dtype.itemsize
    claimed = count * size
    spatial = [n for place, n in enumerate(header.sizes) if place != axis]
    shape = (1 if axis is None else header.sizes[axis], *spatial)

    def filled(read: Callable[[int], bytes]) -> npt.NDArray[np.generic]:
        array = np.zeros(shape, dtype=kind)
        fill_array(array[0] if axis is None else np.moveaxis(array, 0, axis), read, header.dtype)
        return array.reshape((shape[0], *header.geometry.shape))

    if encoding in ("ascii", "txt", "text"):
        check_claimed_size(
            path, count, packed=False, held=count * kind.itemsize
        )  # a digit and a space each, at the least
        flat = np.array(stream.read().split(maxsplit=count)[:count], dtype=header.dtype)
        return filled(make_reader(io.BytesIO(flat.tobytes()).read, count, size, path))
    if encoding not in ("raw", "gzip", "gz"):
        raise FileError(
            f"{path}: voxels are packed as {encoding}", hint="save it again with encoding raw, gzip or ascii"
        )
    check_claimed_size(path, claimed, packed=encoding != "raw", held=count * kind.itemsize)
    if encoding == "raw":
        return filled(make_reader(stream.read, count, size, path))
    with open_gzip(stream) as unpacked:
        array = filled(make_reader(unpacked.read, count, size, path))
        read_rest(unpacked, claimed, path)
        return array
