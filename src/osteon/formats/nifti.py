"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz).

nibabel reads and writes the header, since it takes the affines that others refuse; what it means stands in
`nifti_header`. The voxels are read here, so that a truncated or damaged file is told from a good one. NIfTI keeps its
affine in float32: what is written and read again agrees with the original to about 1e-7 of its largest entry;
everything else is identical.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from osteon.core.errors import FileError, missing_file_error, summarise_error
from osteon.core.files import atomic_write
from osteon.core.geometry import Geometry
from osteon.core.gzip_files import is_gzip, open_gzip, pack_into
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.formats.header_limits import CUT_SHORT, check_claimed_size, check_memory, make_reader, read_rest
from osteon.formats.header_warnings import HeaderWarning
from osteon.formats.labelmap import read_index_map, smallest_uint, to_storable
from osteon.formats.nifti_header import COMMENT, READ_ERRORS, NiftiHeader, geometry_of, read_header
from osteon.formats.nifti_warnings import find_header_warnings
from osteon.formats.voxel_stream import array_type, fill_array, voxel_pieces

_GZIP = b"\x1f\x8b"
_PIECE = 2**18
"""Voxels that `stored_values` gives at a time."""
_STRUCTURES = TypeAdapter(tuple[Structure, ...])
_AGREE = 0.01
"""Voxel edges by which qform and sform of a written file may differ: rounding, and no shear."""


def read_nifti(path: Path, *, single: bool = False) -> Volume:
    """Read an image as `[channel, i, j, k]`, RAS+ millimetres.

    Channels come from a 4th axis, or a 5th where the 4th has length 1; a picture gets a singleton k. Integers without
    scaling keep their type; scaled ones become float32 (float64 where they are wider than 16 bits).

    Raises:
        FileError: The file is missing, truncated, damaged, or holds colours or complex numbers.
    """
    path = Path(path)
    header, array = _load(path, single=single)
    return Volume(array, geometry_of(header, path))


def read_nifti_geometry(path: Path) -> Geometry:
    """The grid alone; reads no voxels. Raises FileError as `read_nifti` does for the header."""
    path = Path(path)
    return geometry_of(_read_header(path), path)


def stored_values(path: Path) -> Iterator[npt.NDArray[np.generic]]:
    """The voxels as they are stored, unscaled and in one row, a piece at a time. Raises FileError as `read_nifti`."""
    path = Path(path)
    header = _read_header(path)
    dtype, left = header.fields.get_data_dtype(), header.end - header.start
    with _open(path, whole=True) as stream:
        try:
            stream.seek(header.start)
            while piece := stream.read(min(_PIECE * dtype.itemsize, left)):
                left -= len(piece)
                yield np.frombuffer(piece, dtype, len(piece) // dtype.itemsize)
        except READ_ERRORS as error:
            raise FileError(f"{path}: truncated or damaged ({summarise_error(error)})", hint=CUT_SHORT) from error


def read_nifti_segmentation(path: Path, structures: Sequence[Structure] | None = None) -> Segmentation:
    """Read an index map.

    Args:
        path: The file; floats are taken where all of them are whole numbers.
        structures: What the values mean. None takes the names that osteon wrote into the file's header, and
            `label_<value>` for values without one.

    Raises:
        FileError: As `read_nifti`.
        LabelError: The values are not whole numbers, or no structure has them, or the file has several channels.
    """
    path = Path(path)
    header, array = _load(path)
    return read_index_map(Volume(array, geometry_of(header, path)), _own_structures(header, path), structures, path)


def read_nifti_structures(path: Path) -> tuple[Structure, ...]:
    """The structures that osteon wrote into the header; reads no voxels. Raises FileError as `read_nifti`."""
    path = Path(path)
    return _own_structures(_read_header(path), path)


def nifti_header_warnings(path: Path, *, label: bool) -> list[HeaderWarning]:
    """Where the header contradicts itself, or leaves open what was then taken; reads no voxels. Raises FileError."""
    path = Path(path)
    return list(find_header_warnings(_read_header(path), path, label=label))


def write_nifti(path: Path, content: Volume | Segmentation) -> None:
    """Write an image, or an index map with its structures in a header extension.

    The array's type is kept where NIfTI has it (bool becomes uint8); labels are written in the smallest unsigned type.

    Raises:
        FileError: The file cannot be written, or the segmentation overlaps, which NIfTI cannot say.
    """
    path = Path(path)
    note: dict[str, Any] = {"osteon": 1, "unit": content.geometry.unit}
    if isinstance(content, Segmentation):
        if content.overlapping:
            raise FileError(f"{path}: NIfTI holds no overlapping structures", hint="write a .seg.nrrd file instead")
        highest = max([int(content.array.max(initial=0)), *(s.value for s in content.structures)])
        data: npt.NDArray[np.generic] = content.array.astype(smallest_uint(highest), copy=False)
        note["structures"] = [s.model_dump(exclude_none=True) for s in content.structures]
    else:
        data = to_storable(content.array)
        data = data[0] if len(data) == 1 else np.moveaxis(data, 0, -1)
    kind: Any = nib.Nifti1Image if max(data.shape) < 2**15 else nib.Nifti2Image
    image = kind(data, content.geometry.affine_ras, dtype=data.dtype)
    _set_affine(image, content.geometry)
    image.header.set_xyzt_units("mm" if content.geometry.unit == "mm" else "unknown")
    if isinstance(content, Segmentation):
        image.header.set_intent("label")
    if isinstance(content, Segmentation) or content.geometry.unit != "mm":
        image.header.extensions.append(nib.nifti1.Nifti1Extension(COMMENT, json.dumps(note).encode("ascii")))
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        if path.suffix.lower() == ".gz":
            with pack_into(stream) as packed:
                _write(image, packed)
        else:
            _write(image, stream)


def _write(image: Any, stream: Any) -> None:
    """Header and voxels, a few planes at a time; nibabel's own way takes each voxel from another line of the cache."""
    image.update_header()
    image.header.set_slope_inter(1.0, 0.0)
    image.header.write_to(stream)
    stream.write(bytes(image.header.get_data_offset() - stream.tell()))
    for piece in voxel_pieces(image.dataobj):
        stream.write(piece.data)


def _set_affine(image: Any, geometry: Geometry) -> None:
    """The sform says it all; a qform is added where it can say the same, for readers that prefer it."""
    image.set_sform(geometry.affine_ras, code=1)
    image.set_qform(geometry.affine_ras, code=1, update_affine=False)
    if not Geometry(geometry.shape, image.header.get_qform()).is_close(
        Geometry(geometry.shape, geometry.affine_ras), tolerance=_AGREE
    ):
        image.set_qform(None, code=0, update_affine=False)
        image.header.set_zooms((*geometry.spacing_mm, *(1.0,) * (image.ndim - 3)))


def _open(path: Path, *, whole: bool) -> BinaryIO:
    """The file's content, unpacked as it is read where it is gzip, whatever its name says; whole, or only its start."""
    if not path.is_file():
        raise missing_file_error(path, "the NIfTI file")
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == _GZIP
        if not packed:
            return path.open("rb")
        return open_gzip(path) if whole else cast(BinaryIO, gzip.open(path))  # ISA-L begins with half a megabyte
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", hint="check the file's permissions") from error


def _read_header(path: Path) -> NiftiHeader:
    with _open(path, whole=False) as stream:
        return read_header(stream, path)


def _load(path: Path, *, single: bool = False) -> tuple[NiftiHeader, npt.NDArray[np.generic]]:
    """The header, and the voxels `[channel, i, j, k]`, contiguous and native."""
    header = _read_header(path)
    with _open(path, whole=True) as stream:
        check_claimed_size(path, header.end, packed=is_gzip(stream), held=0)
        stored, channels = _stored(header, path)
        scale, spatial = _scale(header, path), (*header.shape, 1, 1, 1)[:3]
        kind, count = (
            array_type(stored if scale is None else _scaled_type(stored), single=single),
            math.prod(header.shape),
        )
        check_memory(path, count * kind.itemsize)
        array = np.zeros((channels, *spatial), dtype=kind)
        try:
            stream.read(header.start)
            read = make_reader(stream.read, count, stored.itemsize, path)
            fill_array(np.moveaxis(array, 0, -1), read, stored, partial(_scaled, scale))
            beyond = read_rest(stream, header.end, path)
        except FileError as error:
            raise error if header.start_given else _no_start(header, path) from error
        except READ_ERRORS as error:
            raise FileError(f"{path}: truncated or damaged ({summarise_error(error)})", hint=CUT_SHORT) from error
    if not header.start_given and beyond:
        raise _no_start(header, path)
    return header, array


def _no_start(header: NiftiHeader, path: Path) -> FileError:
    return FileError(
        f"{path}: vox_offset {float(header.raw['vox_offset']):g} lies within the header, and the file's length "
        "does not show where its voxels begin",
        hint=f"write the byte into vox_offset ({header.start} where nothing lies between), or export it again",
    )


def _stored(header: NiftiHeader, path: Path) -> tuple[np.dtype[Any], int]:
    """The voxels' type in the file, and how many channels there are."""
    dtype: np.dtype[Any] = header.fields.get_data_dtype()
    if dtype.kind not in "iuf":
        raise FileError(
            f"{path}: voxels of type {header.fields.get_value_label('datatype')} are no intensities",
            hint="convert the file to one plain number for each voxel and channel",
        )
    rest = [n for n in header.shape[3:] if n != 1]
    if len(rest) > 1:
        raise FileError(
            f"{path}: {len(header.shape)} axes {header.shape}", hint="give at most one axis of channels after i, j, k"
        )
    return dtype, (rest or [1])[0]


def _scale(header: NiftiHeader, path: Path) -> tuple[np.float64, np.float64] | None:
    """Slope and intercept; None where values mean what they are."""
    try:
        slope, intercept = header.fields.get_slope_inter()  # None where the slope is NaN or 0: no scaling
    except READ_ERRORS as error:
        raise FileError(
            f"{path}: scl_slope is {header.fields['scl_slope']:g}, but scl_inter is {header.fields['scl_inter']:g}: "
            "the voxels' values cannot be told",
            hint="correct scl_inter in the header (0 where nothing is added), or export the image again",
        ) from error
    plain = slope is None or (slope, intercept) == (1, 0)
    return None if plain else (np.float64(slope), np.float64(intercept or 0))


def _scaled_type(stored: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32 if stored.kind != "f" and stored.itemsize <= 2 else np.float64)


def _scaled(scale: tuple[np.float64, np.float64] | None, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if scale is None:
        return values
    with np.errstate(over="ignore", invalid="ignore"):  # infinite then, and found where images are checked
        return np.asarray(values * scale[0] + scale[1])


def _own_structures(header: NiftiHeader, path: Path) -> tuple[Structure, ...]:
    try:
        return _STRUCTURES.validate_python(header.note.get("structures", []))
    except ValidationError as error:
        raise FileError(f"{path}: the structures in its header are damaged", hint="write the file again") from error
