"""NRRD images and label maps in one file (.nrrd): raw, gzip and text voxels."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, LabelError, missing_file
from osteon.core.files import whole_file
from osteon.core.geometry import Geometry
from osteon.core.gzipped import GZIP_ERRORS, open_gzip, pack
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.formats.claims import check_claim, read_claimed
from osteon.formats.labelmap import index_map, storable, whole_labels
from osteon.formats.nrrd_header import UNITS, Header, header_text, read_header
from osteon.formats.oddities import Oddity
from osteon.formats.order import in_c_order

_DAMAGE: tuple[type[Exception], ...] = (*GZIP_ERRORS, OverflowError)


def read_nrrd(path: Path) -> Volume:
    """Read an image as `[channel, i, j, k]`, RAS+ millimetres. A picture gets a singleton k.

    Raises:
        FileError: The file is missing, truncated, damaged, or of a kind that osteon cannot place in the world.
    """
    header, array = load_nrrd(path)
    return Volume(array, header.geometry)


def read_nrrd_geometry(path: Path) -> Geometry:
    """The grid alone; reads no voxels. Raises FileError as `read_nrrd` does for the header."""
    return read_nrrd_header(path).geometry


def read_nrrd_header(path: Path) -> Header:
    """Everything before the voxels. Raises FileError as `read_nrrd`."""
    path = Path(path)
    if not path.is_file():
        raise missing_file(path, "the NRRD file")
    try:
        with path.open("rb") as stream:
            return read_header(stream, path)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", hint="check the file's permissions") from error


def read_nrrd_segmentation(path: Path, structures: Sequence[Structure] | None = None) -> Segmentation:
    """Read an index map without names of its own; values become `label_<value>` where `structures` is None.

    Raises:
        FileError: As `read_nrrd`.
        LabelError: The values are not whole numbers, or no structure has them, or the file has several channels.
    """
    header, array = load_nrrd(path)
    if len(array) != 1:
        raise LabelError(
            f"{path}: {len(array)} channels where an index map has one",
            hint="store overlapping structures as 3D Slicer's .seg.nrrd",
        )
    labels, named = index_map(whole_labels(array[0], path), (), structures, path, by_value=True)
    return Segmentation(labels, header.geometry, named)


def write_nrrd(path: Path, volume: Volume) -> None:
    """Write an image. Array, type (bool becomes uint8) and affine read back identical.

    Raises:
        FileError: The file cannot be written.
    """
    data = storable(volume.array)
    store_nrrd(path, data[0] if len(data) == 1 else data, volume.geometry, {}, channel_kind="vector")


def nrrd_oddities(path: Path, *, label: bool) -> list[Oddity]:  # noqa: ARG001 (labels are no odder than images)
    """Where the header leaves open what was then taken; reads no voxels. Raises FileError as `read_nrrd`."""
    fields = read_nrrd_header(path).fields
    found = []
    if "space" not in fields:
        what = "does not say its space; taken as left-posterior-superior, as ITK and 3D Slicer do"
        found.append(Oddity("no space", what, grave=True))
    if "spacings" in fields and "space directions" in fields:
        what = "gives spacings beside space directions, which say them too; taken are the directions"
        found.append(Oddity("spacings", what, grave=True))
    units = set(fields.get("space units", "").replace('"', " ").split()) - {"mm", "px"}
    if applied := sorted(units & set(UNITS)):
        what = f"its unit is {', '.join(applied)}, and was applied (ITK and 3D Slicer do not)"
        found.append(Oddity("unit", what, grave=True))
    if others := sorted(
        (units - set(UNITS)) | (set(fields.get("units", "").replace('"', " ").split()) - {"mm", "???"})
    ):
        found.append(Oddity("unit", f"its unit is {', '.join(others)}; taken as mm", grave=True))
    return found


def load_nrrd(path: Path) -> tuple[Header, npt.NDArray[np.generic]]:
    """Read header and voxels `[channel, i, j, k]`, contiguous and native. Raises FileError as `read_nrrd`."""
    path = Path(path)
    if not path.is_file():
        raise missing_file(path, "the NRRD file")
    try:
        with path.open("rb") as stream:
            header = read_header(stream, path)
            packed = stream.read()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", hint="check the file's permissions") from error
    flat = _voxels(packed, header, path)
    axis = header.channel_axis
    stored = flat.reshape(header.sizes, order="F")
    stored = stored[None] if axis is None else np.moveaxis(stored, axis, 0)
    stored = stored.reshape((len(stored), *header.geometry.shape))
    return header, in_c_order(storable(stored))


def store_nrrd(
    path: Path,
    array: npt.NDArray[np.generic],
    geometry: Geometry,
    keys: Mapping[str, str],
    *,
    channel_kind: str = "list",
) -> None:
    """Write an array `[i, j, k]` or `[channel, i, j, k]` with key/value pairs, gzip. Raises FileError."""
    path = Path(path)
    head = header_text(array, geometry, keys, channel_kind=channel_kind)
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(order="F")
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        stream.write(head.encode("utf-8"))
        stream.write(pack(data))


def _voxels(packed: bytes, header: Header, path: Path) -> npt.NDArray[np.generic]:
    """The flat voxels, still in the file's byte order."""
    encoding, count = header.fields["encoding"].lower(), math.prod(header.sizes)
    if any(header.fields.get(name, "0") != "0" for name in ("byte skip", "byteskip", "line skip", "lineskip")):
        raise FileError(f"{path}: skips bytes before its voxels", hint="save it again as a plain .nrrd file")
    hint = "copy the file again from its source; it was probably cut short"
    try:
        if encoding in ("ascii", "txt", "text"):
            check_claim(path, count, packed=False)  # a digit and a space each, at the least
            flat: npt.NDArray[np.generic] = np.array(packed.split(maxsplit=count)[:count], dtype=header.dtype)
        elif encoding in ("raw", "gzip", "gz"):
            claimed = count * header.dtype.itemsize
            check_claim(path, claimed, packed=encoding != "raw")
            raw = packed
            if encoding != "raw":
                with open_gzip(io.BytesIO(packed)) as stream:
                    raw = read_claimed(stream, claimed, path)
            flat = np.frombuffer(raw, dtype=header.dtype, count=min(count, len(raw) // header.dtype.itemsize))
        else:
            raise FileError(
                f"{path}: voxels are packed as {encoding}", hint="save it again with encoding raw, gzip or ascii"
            )
    except _DAMAGE as error:
        raise FileError(f"{path}: the voxels are truncated or damaged ({error})", hint=hint) from error
    if len(flat) < count:
        raise FileError(f"{path}: truncated, {len(flat)} of {count} voxels", hint=hint)
    return flat[:count]
