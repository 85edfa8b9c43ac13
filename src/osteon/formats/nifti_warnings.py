"""Where a NIfTI's header contradicts itself, or leaves open what readers then guess."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from osteon.core.geometry import Geometry
from osteon.formats.header_limits import SLACK
from osteon.formats.header_warnings import HeaderWarning
from osteon.formats.nifti_header import MM, NiftiHeader, affines_by_form, geometry_of, is_valid_affine

_UNITS = {1: "metres", 3: "micrometres"}
_PLAUSIBLE_MM = (0.005, 50.0)
"""Edges of voxels that no unit is said of; outside, another unit is likely."""
_LABELS = (1002, 1003)
"""Intent codes of label maps: NIFTI_INTENT_LABEL, NIFTI_INTENT_NEURONAME."""


def find_header_warnings(header: NiftiHeader, path: Path, *, label: bool) -> Iterator[HeaderWarning]:
    """What the header leaves open, or says twice and differently. Raises FileError as `geometry_of`."""
    geometry = geometry_of(header, path)
    yield from _position_warnings(header, geometry)
    yield from _size_warnings(header, geometry)
    yield from _value_warnings(header, label=label)
    yield from _length_warnings(header, path)


def _position_warnings(header: NiftiHeader, geometry: Geometry) -> Iterator[HeaderWarning]:
    codes = {name: int(header.raw[f"{name}_code"]) for name in ("sform", "qform")}
    forms = affines_by_form(header)
    taken = next(iter(forms))
    for name, code in codes.items():
        if code != int(header.fields[f"{name}_code"]):
            yield HeaderWarning(
                f"{name} code", f"{name}_code {code} is none of the standard's; it counts as 0", severe=True
            )
    if taken == "pixdim":
        what = "sform_code and qform_code are 0, so nothing says where right, front and top are; taken are the axes "
        yield HeaderWarning(
            "no orientation", f"{what}left, front, top, as nibabel does (ITK takes left, back, top)", severe=True
        )
    for name, affine in geometry.alternative_affines:
        other = "; ".join(Geometry(geometry.shape, affine, geometry.unit).explain_mismatch(geometry))
        itk = f" (ITK's readers take the {name}, as sform_code is {codes['sform']})" if codes["sform"] != 1 else ""
        yield HeaderWarning(
            "sform against qform",
            f"its {name} contradicts its {taken}: {other}; taken is the {taken}{itk}",
            severe=True,
        )
    if taken == "sform" and codes["qform"] > 0 and not (len(forms) > 1 and is_valid_affine(forms["qform"])):
        yield HeaderWarning("qform", "its qform is damaged; taken is the sform", severe=True)
    qfac = float(header.raw["pixdim"][0])
    if taken == "qform" and qfac not in (-1, 1):
        yield HeaderWarning("qfac", f"pixdim[0] (qfac) is {qfac:g}, neither 1 nor -1; taken as 1")


def _size_warnings(header: NiftiHeader, geometry: Geometry) -> Iterator[HeaderWarning]:
    if geometry.unit == "px":
        return
    code, spacing = int(header.raw["xyzt_units"]) & 7, np.array(geometry.spacing_mm)
    size = "×".join(f"{edge:.4g}" for edge in spacing)
    if code in _UNITS:
        yield HeaderWarning(
            "unit", f"its unit is {_UNITS[code]}, and was applied: voxels of {size} mm (nibabel does not)", severe=True
        )
    elif code not in MM:
        yield HeaderWarning("unit", f"its unit (xyzt_units {code}) is none of the standard's; taken as mm", severe=True)
    elif code == 0 and not (_PLAUSIBLE_MM[0] <= spacing.min() and spacing.max() <= _PLAUSIBLE_MM[1]):
        yield HeaderWarning("unit", f"says no unit; taken as mm, which makes voxels of {size} mm", severe=True)
    by_header = np.array(header.raw["pixdim"][1:4], np.float64) * MM.get(code, 1.0)
    shape = np.array(geometry.shape)
    with np.errstate(invalid="ignore"):
        apart = (shape > 1) & ~(np.abs(by_header - spacing) * shape <= 0.1 * spacing.min())
    if apart.any():
        by_pixdim = "×".join(f"{edge:.4g}" for edge in by_header)
        what = f"voxels of {size} mm by the affine, of {by_pixdim} mm by pixdim; taken is the affine (ITK takes pixdim)"
        yield HeaderWarning("affine against pixdim", what, severe=True)


def _value_warnings(header: NiftiHeader, *, label: bool) -> Iterator[HeaderWarning]:
    slope, intercept = float(header.raw["scl_slope"]), float(header.raw["scl_inter"])
    scaled = math.isfinite(slope) and slope != 0
    if not scaled and math.isfinite(intercept) and intercept != 0:
        what = f"scl_slope is {slope:g}, so scl_inter {intercept:g} is not added (ITK adds it)"
        yield HeaderWarning("scale", what, severe=True)
    elif math.isinf(slope):
        yield HeaderWarning("scale", f"scl_slope is {slope:g}; the values are taken as they are stored", severe=True)
    elif label and scaled and (slope, intercept) != (1, 0):
        what = f"its labels are scaled: stored value × {slope:g} + {intercept:g} is taken"
        yield HeaderWarning("scaled labels", what, severe=True)
    bits = int(header.fields.get_data_dtype().itemsize) * 8
    if int(header.raw["bitpix"]) != bits:
        kind = header.fields.get_value_label("datatype")
        yield HeaderWarning(
            "bitpix", f"bitpix {int(header.raw['bitpix'])} contradicts the datatype {kind}, which is taken"
        )
    intent = int(header.raw["intent_code"])
    if not label and intent in _LABELS:
        yield HeaderWarning("intent", f"says that it is a label map (intent code {intent}), and is taken as an image")
    elif label and intent and intent not in _LABELS:
        yield HeaderWarning("intent", f"says that it is no label map (intent code {intent}), and is taken as one")


def _length_warnings(header: NiftiHeader, path: Path) -> Iterator[HeaderWarning]:
    if not header.start_given:
        what = f"vox_offset {float(header.raw['vox_offset']):g} lies within the header; voxels are taken from byte "
        yield HeaderWarning("vox_offset", f"{what}{header.start}, which its length confirms", severe=True)
    slice_bytes = math.prod(header.shape[:2]) * int(header.fields.get_data_dtype().itemsize)
    beyond = _length(path) - header.end
    if slice_bytes <= beyond <= SLACK:
        yield HeaderWarning(
            "bytes beyond", f"{beyond} bytes follow the voxels that its header speaks of; they are skipped"
        )


def _length(path: Path) -> int:
    """Bytes of the file, unpacked; of a gzip stream modulo 2³², and nonsense where it has several members."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        if not packed:
            return path.stat().st_size
        stream.seek(-4, io.SEEK_END)
        return int(struct.unpack("<I", stream.read(4))[0])
