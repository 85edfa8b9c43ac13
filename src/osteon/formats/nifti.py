"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz).

nibabel reads and writes the header, since it takes the affines that others refuse; sform wins over qform. The voxels
are read here, so that a truncated or damaged file is told from a good one. NIfTI keeps its affine in float32: what is
written and read again agrees with the original to about 1e-7 of its largest entry; everything else is identical.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from osteon.core.errors import FileError, LabelError, missing_file
from osteon.core.files import whole_file
from osteon.core.geometry import Geometry, Unit
from osteon.core.gzipped import GZIP_ERRORS, is_gzip, open_gzip, pack_into
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.formats.claims import LONGEST_HEADER, check_claim, read_claimed
from osteon.formats.labelmap import index_map, smallest_uint, storable, whole_labels
from osteon.formats.order import in_c_order

_GZIP = b"\x1f\x8b"
_HEAD = 544
"""Bytes of the longer of the two headers, and of the mark of extensions after it."""
_PIECE = 2**18
"""Voxels that `stored_values` gives at a time."""
_COMMENT = 6
"""The code of a plain-text header extension (nifti1_io.h, NIFTI_ECODE_COMMENT)."""
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in one unit of the header's xyzt_units: unknown, metre, millimetre, micrometre."""
_HINT = "copy the file again from its source; it was probably cut short"
_STRUCTURES = TypeAdapter(tuple[Structure, ...])
_READ_ERRORS: tuple[type[Exception], ...] = (
    *GZIP_ERRORS,
    OverflowError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)


def read_nifti(path: Path) -> Volume:
    """Read an image as `[channel, i, j, k]`, RAS+ millimetres.

    Channels come from a 4th axis, or a 5th where the 4th has length 1; a picture gets a singleton k. Integers without
    scaling keep their type; scaled ones become float32 (float64 where they are wider than 16 bits).

    Raises:
        FileError: The file is missing, truncated, damaged, or holds colours or complex numbers.
    """
    path = Path(path)
    header, raw = _load(path)
    array = _voxels(header, raw, path)
    return Volume(array, _geometry(header, path))


def read_nifti_geometry(path: Path) -> Geometry:
    """The grid alone; reads no voxels. Raises FileError as `read_nifti` does for the header."""
    path = Path(path)
    with _open(path, whole=False) as stream:
        return _geometry(_header(stream, path), path)


def stored_values(path: Path) -> Iterator[npt.NDArray[np.generic]]:
    """The voxels as they are stored, unscaled and in one row, a piece at a time. Raises FileError as `read_nifti`."""
    path = Path(path)
    with _open(path, whole=False) as stream:
        header = _header(stream, path)
    dtype = header.get_data_dtype()
    with _open(path, whole=True) as stream:
        try:
            stream.seek(int(header["vox_offset"]))
            while piece := stream.read(_PIECE * dtype.itemsize):
                yield np.frombuffer(piece, dtype, len(piece) // dtype.itemsize)
        except _READ_ERRORS as error:
            raise FileError(f"{path}: truncated or damaged ({error})", hint=_HINT) from error


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
    header, raw = _load(path)
    array = _voxels(header, raw, path)
    if len(array) != 1:
        raise LabelError(
            f"{path}: {len(array)} channels where an index map has one",
            hint="store overlapping structures as 3D Slicer's .seg.nrrd",
        )
    own = _own_structures(header, path)
    labels, named = index_map(whole_labels(array[0], path), own, structures, path, by_value=True)
    return Segmentation(labels, _geometry(header, path), named)


def read_nifti_structures(path: Path) -> tuple[Structure, ...]:
    """The structures that osteon wrote into the header; reads no voxels. Raises FileError as `read_nifti`."""
    path = Path(path)
    with _open(path, whole=False) as stream:
        return _own_structures(_header(stream, path), path)


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
        data = storable(content.array)
        data = data[0] if len(data) == 1 else np.moveaxis(data, 0, -1)
    kind: Any = nib.Nifti1Image if max(data.shape) < 2**15 else nib.Nifti2Image
    image = kind(data, content.geometry.affine_ras, dtype=data.dtype)
    _set_affine(image, content.geometry)
    image.header.set_xyzt_units("mm" if content.geometry.unit == "mm" else "unknown")
    if isinstance(content, Segmentation):
        image.header.set_intent("label")
    if isinstance(content, Segmentation) or content.geometry.unit != "mm":
        image.header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, json.dumps(note).encode("ascii")))
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        if path.suffix.lower() == ".gz":
            with pack_into(stream) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(stream)


def _set_affine(image: Any, geometry: Geometry) -> None:
    """The sform says it all; a qform is added where it can say the same, for readers that prefer it."""
    image.set_sform(geometry.affine_ras, code=1)
    straight = np.abs(geometry.directions.T @ geometry.directions - np.eye(3)).max() < 1e-6
    image.set_qform(geometry.affine_ras if straight else None, code=1 if straight else 0, update_affine=False)
    if not straight:
        image.header.set_zooms((*geometry.spacing_mm, *(1.0,) * (image.ndim - 3)))


def _open(path: Path, *, whole: bool) -> BinaryIO:
    """The file's content, unpacked as it is read where it is gzip, whatever its name says; whole, or only its start."""
    if not path.is_file():
        raise missing_file(path, "the NIfTI file")
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == _GZIP
        if not packed:
            return path.open("rb")
        return open_gzip(path) if whole else cast(BinaryIO, gzip.open(path))  # ISA-L begins with half a megabyte
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", hint="check the file's permissions") from error


def _load(path: Path) -> tuple[Any, bytes]:
    """The header and the unpacked file up to its last voxel."""
    with _open(path, whole=False) as stream:
        header = _header(stream, path)
    claimed = int(header["vox_offset"]) + math.prod(_shape(header)) * header.get_data_dtype().itemsize
    with _open(path, whole=True) as stream:
        check_claim(path, claimed, packed=is_gzip(stream))
        try:
            return header, read_claimed(stream, claimed, path)
        except _READ_ERRORS as error:
            raise FileError(f"{path}: truncated or damaged ({error})", hint=_HINT) from error


def _header(stream: BinaryIO, path: Path) -> Any:
    try:
        head = stream.read(_HEAD)
        longer = head[:4] in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
        kind: Any = nib.Nifti2Header if longer else nib.Nifti1Header
        size = kind.sizeof_hdr
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            # Extensions of odd lengths are common, and read as they are.
            warnings.filterwarnings("ignore", message="Extension size is not a multiple of 16", category=UserWarning)
            header: Any = kind.from_fileobj(io.BytesIO(head[:size] + bytes(4)))
            start = int(header["vox_offset"])
            if head[size : size + 1] not in (b"", b"\0") and size < start <= LONGEST_HEADER:
                stream.seek(0)  # extensions lie between header and voxels; nothing beyond is read for them
                header = kind.from_fileobj(io.BytesIO(stream.read(start)))
        magic, shape = header["magic"].item(), _shape(header)
    except _READ_ERRORS as error:
        raise FileError(f"{path}: truncated, or not a NIfTI file ({error})", hint=_HINT) from error
    if not magic.startswith(b"n+"):
        raise FileError(f"{path}: not a single-file NIfTI", hint="convert .hdr/.img pairs to .nii.gz first")
    if not 0 <= start <= LONGEST_HEADER or min(shape, default=0) < 1:
        raise FileError(f"{path}: the header is damaged: shape {shape}, voxels from byte {start}", hint=_HINT)
    return header


def _shape(header: Any) -> tuple[int, ...]:
    """Python's integers: products of what a header claims do not overflow."""
    return tuple(int(n) for n in header.get_data_shape())


def _geometry(header: Any, path: Path) -> Geometry:
    i, j, k, *_ = (*_shape(header), 1, 1, 1)
    try:
        with np.errstate(invalid="ignore"):  # NaN is refused below
            affine = np.array(header.get_best_affine(), dtype=np.float64)
    except _READ_ERRORS as error:
        raise FileError(f"{path}: its place in the world is damaged ({error})", hint=_HINT) from error
    if k == 1 and not affine[:3, 2].any():
        affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] /= np.linalg.norm(affine[:3, 2]) or 1.0
    unit: Unit = "px" if _note(header).get("unit") == "px" else "mm"
    affine[:3] *= 1.0 if unit == "px" else _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    try:
        return Geometry((i, j, k), affine, unit)
    except ValueError as error:
        raise FileError(f"{path}: {error}", hint="correct the header: every voxel needs a size above zero") from error


def _voxels(header: Any, raw: bytes, path: Path) -> npt.NDArray[np.generic]:
    """`[channel, i, j, k]`, contiguous and native."""
    dtype, shape = header.get_data_dtype(), _shape(header)
    if dtype.kind not in "iuf":
        raise FileError(
            f"{path}: voxels of type {header.get_value_label('datatype')} are no intensities",
            hint="convert the file to one plain number for each voxel and channel",
        )
    spatial, rest = (*shape, 1, 1, 1)[:3], [n for n in shape[3:] if n != 1]
    if len(rest) > 1:
        raise FileError(f"{path}: {len(shape)} axes {shape}", hint="give at most one axis of channels after i, j, k")
    count, start = math.prod(shape), int(header["vox_offset"])
    if len(raw) < start + count * dtype.itemsize or count == 0:
        raise FileError(
            f"{path}: truncated, {max(len(raw) - start, 0)} of {count * dtype.itemsize} bytes of voxels", hint=_HINT
        )
    flat = np.frombuffer(raw, dtype=dtype, count=count, offset=start)
    stored = np.moveaxis(flat.reshape((*spatial, *(rest or [1])), order="F"), -1, 0)
    try:
        slope, intercept = header.get_slope_inter()  # None where the slope is NaN or 0: no scaling
    except _READ_ERRORS as error:
        raise FileError(
            f"{path}: scl_slope is {header['scl_slope']:g}, but scl_inter is {header['scl_inter']:g}: the voxels' "
            "values cannot be told",
            hint="correct scl_inter in the header (0 where nothing is added), or export the image again",
        ) from error
    if slope is None or (slope, intercept) == (1, 0):
        return in_c_order(storable(stored))
    exact = np.float32 if dtype.kind != "f" and dtype.itemsize <= 2 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):  # infinite then, and found where images are checked
        return np.ascontiguousarray(stored * np.float64(slope) + np.float64(intercept or 0), dtype=exact)


def _note(header: Any) -> dict[str, Any]:
    """What osteon wrote into the header's extensions; empty in files of others."""
    for extension in header.extensions:
        if extension.get_code() != _COMMENT:
            continue
        content = extension.get_content()
        text = content.decode("utf-8", errors="replace") if isinstance(content, bytes) else str(content)
        try:
            data = json.loads(text.rstrip("\0"))
        except json.JSONDecodeError:
            continue
        if isinstance(data, dict) and "osteon" in data:
            return data
    return {}


def _own_structures(header: Any, path: Path) -> tuple[Structure, ...]:
    try:
        return _STRUCTURES.validate_python(_note(header).get("structures", []))
    except ValidationError as error:
        raise FileError(f"{path}: the structures in its header are damaged", hint="write the file again") from error
