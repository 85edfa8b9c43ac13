"""NIfTI's header, read, and which of its two forms places the voxels.

One rule for all files, nibabel's: the sform where its code is above 0, else the qform where its code is above 0, else
pixdim alone, the first axis then running to the left. ITK's readers (SimpleITK, 3D Slicer) keep another: they take the
sform where its code is 1, else the qform where there is one; the voxels' size from pixdim throughout; and without
codes the second axis runs to the back. Where the two differ for a file, `nifti_warnings` says so.
Reference: nifti1.h (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h); ITK's itkNiftiImageIO.cxx (5.4).
"""

from __future__ import annotations

import io
import json
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, summarise_error
from osteon.core.geometry import Geometry, Unit
from osteon.core.gzip_files import GZIP_ERRORS
from osteon.formats.header_limits import CUT_SHORT, MAX_HEADER_BYTES

COMMENT = 6
"""The code of a plain-text header extension (nifti1_io.h, NIFTI_ECODE_COMMENT)."""
READ_ERRORS: tuple[type[Exception], ...] = (
    *GZIP_ERRORS,
    OverflowError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)
_HEAD = 544
"""Bytes of the longer of the two headers, and of the mark of extensions after it."""
MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in one unit of the header's xyzt_units: unknown, metre, millimetre, micrometre."""
_SILENT = logging.getLogger("osteon.formats.nifti.header")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

Affine = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NiftiHeader:
    """What stands before the voxels.

    Attributes:
        fields: nibabel's header, with what it repairs: an unknown code is 0, a pixdim positive, qfac 1 or -1.
        raw: The same as the file has it.
        start: The byte at which the voxels begin.
        start_given: Whether the header says that; else the file's length must.
    """

    fields: Any
    raw: Any
    start: int
    start_given: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Python's integers: products of what a header claims do not overflow."""
        return tuple(int(n) for n in self.fields.get_data_shape())

    @property
    def end(self) -> int:
        """The byte after the last voxel."""
        return self.start + math.prod(self.shape) * int(self.fields.get_data_dtype().itemsize)

    @property
    def note(self) -> dict[str, Any]:
        """What osteon wrote into the header's extensions; empty in files of others."""
        for extension in self.fields.extensions:
            if extension.get_code() != COMMENT:
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


def read_header(stream: BinaryIO, path: Path) -> NiftiHeader:
    """Read header and extensions.

    Raises:
        FileError: It is no NIfTI of one file, is cut short, or its shape or offset is none.
    """
    try:
        head = stream.read(_HEAD)
        longer = head[:4] in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
        kind: Any = nib.Nifti2Header if longer else nib.Nifti1Header
        size, least = kind.sizeof_hdr, kind.single_vox_offset
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            # Extensions of odd lengths are common, and read as they are.
            warnings.filterwarnings("ignore", message="Extension size is not a multiple of 16", category=UserWarning)
            raw: Any = kind.from_fileobj(io.BytesIO(head[:size] + bytes(4)), check=False)
            start = int(raw["vox_offset"])
            if head[size : size + 1] not in (b"", b"\0") and size < start <= MAX_HEADER_BYTES:
                stream.seek(0)  # extensions lie between header and voxels; nothing beyond is read for them
                raw = kind.from_fileobj(io.BytesIO(stream.read(start)), check=False)
            fields = raw.copy()
            if given := start >= least:
                fields["vox_offset"] = start
            else:
                fields["vox_offset"] = least
            fields.check_fix(logger=_SILENT, error_level=40)
        header = NiftiHeader(fields, raw, start if given else least, given)
        magic, shape = raw["magic"].item(), header.shape
    except READ_ERRORS as error:
        raise FileError(f"{path}: truncated, or not a NIfTI file ({summarise_error(error)})", hint=CUT_SHORT) from error
    if not magic.startswith(b"n+"):
        raise FileError(f"{path}: not a single-file NIfTI", hint="convert .hdr/.img pairs to .nii.gz first")
    if not 0 <= start <= MAX_HEADER_BYTES or min(shape, default=0) < 1:
        raise FileError(f"{path}: the header is damaged: shape {shape}, voxels from byte {start}", hint=CUT_SHORT)
    return header


def geometry_of(header: NiftiHeader, path: Path) -> Geometry:
    """Where the voxels lie, by the rule above; what the other form says goes into `alternative_affines`.

    Raises:
        FileError: The form that counts is damaged, or leaves a millimetre or a side to be guessed.
    """
    try:
        with np.errstate(invalid="ignore"):  # NaN is refused below
            forms = affines_by_form(header)
    except READ_ERRORS as error:
        raise FileError(
            f"{path}: its place in the world is damaged ({summarise_error(error)})", hint=CUT_SHORT
        ) from error
    (name, affine), *others = forms.items()
    if name != "sform":
        _refuse_guesses(header, name, path)
    i, j, k = _spatial(header)
    unit: Unit = "px" if header.note.get("unit") == "px" else "mm"
    try:
        taken = Geometry((i, j, k), affine, unit)
    except ValueError as error:
        way = "correct the header: every voxel needs a size above zero"
        if others and is_valid_affine(others[0][1]):
            way = f"its {others[0][0]} is whole: correct the {name}, or set {name}_code to 0"
        raise FileError(f"{path}: its {name} is singular or not finite", hint=way) from error
    also = [(n, Geometry((i, j, k), a, unit)) for n, a in others if is_valid_affine(a)]
    return Geometry((i, j, k), affine, unit, tuple((n, g.affine_ras) for n, g in also if not g.is_close(taken)))


def affines_by_form(header: NiftiHeader) -> dict[str, Affine]:
    """Index → world in millimetres by each form that has a code, the one that counts first; `pixdim` where none has."""
    fields, forms = header.fields, {}
    if int(fields["sform_code"]) > 0:
        forms["sform"] = fields.get_sform()
    if int(fields["qform_code"]) > 0:
        try:
            forms["qform"] = fields.get_qform()
        except READ_ERRORS:
            if not forms:
                raise
    scale = 1.0 if header.note.get("unit") == "px" else MM.get(int(header.raw["xyzt_units"]) & 7, 1.0)
    found = {}
    for name, form in (forms or {"pixdim": fields.get_base_affine()}).items():
        affine = np.array(form, dtype=np.float64)
        if _spatial(header)[2] == 1 and not affine[:3, 2].any():
            affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
            affine[:3, 2] /= np.linalg.norm(affine[:3, 2]) or 1.0
        affine[:3] *= scale
        found[name] = affine
    return found


def _refuse_guesses(header: NiftiHeader, name: str, path: Path) -> None:
    """Refuse what the qform, or pixdim alone, would leave to be guessed."""
    shape, edges = _spatial(header), [float(edge) for edge in header.raw["pixdim"][:4]]
    odd = [edge for edge, n in zip(edges[1:], shape, strict=True) if edge < 0 or (edge == 0 and n > 1)]
    if odd:
        raise FileError(
            f"{path}: its {name} counts, and pixdim says voxels of {odd[0]:g} mm: programs differ in what that means",
            hint="write the voxels' edges, all above 0, into pixdim",
        )
    if name == "qform" and edges[0] < 0 and edges[0] != -1:
        raise FileError(
            f"{path}: its qform counts, and pixdim[0] (qfac) is {edges[0]:g}: programs differ in what that means",
            hint="write 1 or -1 into pixdim[0], as the third axis runs",
        )


def is_valid_affine(affine: Affine) -> bool:
    """Whether an affine places voxels at all: it is finite, and not singular."""
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) >= 1e-12)


def _spatial(header: NiftiHeader) -> tuple[int, int, int]:
    i, j, k, *_ = (*header.shape, 1, 1, 1)
    return i, j, k
