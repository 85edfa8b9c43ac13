"""The text header of NRRD: fields, key/value pairs, and the grid they describe.

Written here rather than taken from SimpleITK, which refuses sheared axes, drops key/value pairs of 4-D files and
rewrites directions. Reference: http://teem.sourceforge.net/nrrd/format.html.

A file that does not say its space (plain pynrrd writes such) is taken as LPS, as ITK and 3D Slicer take the same
numbers; the two of a pair then agree whoever wrote them. One that gives neither spacings nor directions is measured in
pixels: a millimetre would be made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError
from osteon.core.geometry import Geometry, Unit
from osteon.formats.header_limits import CUT_SHORT, MAX_HEADER_BYTES

TO_RAS = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
}
"""The one place where a NRRD's world turns into RAS: the signs of its axes."""
_DEFAULT_SPACE = "lps"
"""The space of a file that says none."""

UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001, "micron": 0.001}
"""Millimetres in a unit of the field `space units`."""
_SPATIAL = ("domain", "space")
_TYPES: dict[str, str] = {}
for _kind, _size, _names in (
    ("i", 1, "signed char,int8,int8_t"),
    ("u", 1, "uchar,unsigned char,uint8,uint8_t"),
    ("i", 2, "short,short int,signed short,signed short int,int16,int16_t"),
    ("u", 2, "ushort,unsigned short,unsigned short int,uint16,uint16_t"),
    ("i", 4, "int,signed int,int32,int32_t"),
    ("u", 4, "uint,unsigned int,uint32,uint32_t"),
    ("i", 8, "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t"),
    ("u", 8, "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t"),
    ("f", 4, "float"),
    ("f", 8, "double"),
):
    _TYPES |= dict.fromkeys(_names.split(","), f"{_kind}{_size}")
_FLOATS = {"float32": "float", "float64": "double"}
"""What NRRD calls types otherwise than NumPy does."""


@dataclass(frozen=True)
class NrrdHeader:
    """What a NRRD's header says.

    Attributes:
        fields: Lower-case field → value.
        keys: Key/value pairs (`key:=value`), unescaped.
        sizes: Length of every axis, the fastest first.
        channel_axis: Which axis is not spatial; None where all are.
        geometry: The grid of the spatial axes.
        dtype: The stored type with its byte order.
    """

    fields: Mapping[str, str]
    keys: Mapping[str, str]
    sizes: tuple[int, ...]
    channel_axis: int | None
    geometry: Geometry
    dtype: np.dtype[np.generic]


def read_header(stream: BinaryIO, path: Path) -> NrrdHeader:
    """Read up to the blank line that ends the header; the stream then stands at the voxels.

    Raises:
        FileError: It is no NRRD, is cut short, keeps its voxels in another file, or says what osteon cannot place
            in the world.
    """
    if not stream.readline(16).startswith(b"NRRD000"):
        raise FileError(f"{path}: not a NRRD file", hint="check that the suffix says what the file is")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    while True:
        line = stream.readline(MAX_HEADER_BYTES)
        if stream.tell() > MAX_HEADER_BYTES:
            raise FileError(f"{path}: the header does not end", hint=CUT_SHORT)
        if not line.endswith(b"\n"):
            raise FileError(f"{path}: the header is truncated", hint=CUT_SHORT)
        text = _decode(line).rstrip("\r\n")
        if not text:
            break
        _take_line(text, fields, keys)
    if any(name in fields for name in ("data file", "datafile")):
        raise FileError(
            f"{path}: keeps its voxels in another file (detached header)",
            hint="save it as one .nrrd file, for example with 3D Slicer or `unu save -f nrrd`",
        )
    try:
        return _parse_header(fields, keys, path)
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise FileError(f"{path}: the header is damaged: {what}", hint="save the file again from its source") from error


def _take_line(text: str, fields: dict[str, str], keys: dict[str, str]) -> None:
    if text.startswith("#"):
        return
    colon = text.find(":")
    if text[colon : colon + 2] == ":=":
        keys[_unescape(text[:colon])] = _unescape(text[colon + 2 :])
    elif colon > 0:
        fields[text[:colon].strip().lower()] = text[colon + 1 :].strip()


def _parse_header(fields: dict[str, str], keys: dict[str, str], path: Path) -> NrrdHeader:
    sizes = tuple(int(size) for size in fields["sizes"].split())
    if len(sizes) != int(fields["dimension"]) or min(sizes) < 1:
        raise ValueError(f"sizes {fields['sizes']} for dimension {fields['dimension']}")
    if fields["type"].lower() not in _TYPES:
        raise ValueError(f"voxels of type {fields['type']}")
    kind = _TYPES[fields["type"].lower()]
    text = fields["encoding"].lower() in ("ascii", "txt", "text")
    order = "=" if kind.endswith("1") or text else {"little": "<", "big": ">"}[fields["endian"].lower()]
    directions = _directions(fields, len(sizes))
    lists = _list_axes(fields, directions, len(sizes), path)
    spatial = [axis for axis in range(len(sizes)) if axis not in lists]
    if len(lists) > 1 or len(spatial) not in (2, 3):
        raise ValueError(f"{len(sizes)} axes, of which {len(spatial)} lie in space")
    geometry = _geometry(fields, sizes, spatial, directions, path)
    return NrrdHeader(fields, keys, sizes, lists[0] if lists else None, geometry, np.dtype(order + kind))


def _directions(fields: Mapping[str, str], axes: int) -> list[npt.NDArray[np.float64] | None] | None:
    """The vector of each axis, None for one that is not in space; None altogether where the header has none."""
    if "space directions" not in fields:
        return None
    words = fields["space directions"].replace("(", " (").replace(", ", ",").split()
    vectors = [None if word.lower() == "none" or "nan" in word.lower() else _vector(word) for word in words]
    if len(vectors) != axes:
        raise ValueError(f"space directions {fields['space directions']} for {axes} axes")
    return vectors


def _list_axes(
    fields: Mapping[str, str], directions: list[npt.NDArray[np.float64] | None] | None, axes: int, path: Path
) -> list[int]:
    if directions is not None:
        return [axis for axis, vector in enumerate(directions) if vector is None]
    kinds = fields.get("kinds", "").lower().split()
    if len(kinds) == axes:
        return [axis for axis, kind in enumerate(kinds) if kind not in _SPATIAL and not (kind == "???" and axes < 4)]
    if axes > 3:
        raise FileError(
            f"{path}: does not say which of its {axes} axes holds channels",
            hint="write the field `kinds`, such as `kinds: list domain domain domain`",
        )
    return []


def _geometry(
    fields: Mapping[str, str],
    sizes: tuple[int, ...],
    spatial: list[int],
    directions: list[npt.NDArray[np.float64] | None] | None,
    path: Path,
) -> Geometry:
    affine = np.eye(4)
    measured = directions is not None
    if directions is not None:
        columns = [vector for vector in directions if vector is not None]
    else:
        words = fields.get("spacings", "").split()
        steps = [float(words[axis]) if words else np.nan for axis in spatial]
        measured = bool(np.isfinite(steps).any())
        steps = [step if np.isfinite(step) else 1.0 for step in steps]
        columns = [np.eye(3)[:, n] * step for n, step in enumerate(steps)]
    for n, column in enumerate(columns):
        affine[: len(column), n] = column
    if len(columns) == 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    if "space origin" in fields:
        origin = _vector(fields["space origin"])
        affine[: len(origin), 3] = origin
    units = fields.get("space units", "").replace('"', " ").split()
    unit: Unit = "px" if not measured or (units and set(units) == {"px"}) else "mm"
    affine[:3] *= np.array([UNITS.get(u, 1.0) for u in [*units, "mm", "mm", "mm"][:3]])[:, None]
    space = fields.get("space", "").lower().removesuffix("-time")
    if space and space not in TO_RAS:
        raise FileError(
            f"{path}: its space `{fields['space']}` does not define left and right",
            hint="save the file with `space: left-posterior-superior`, as 3D Slicer and ITK do",
        )
    affine[:3] *= np.array(TO_RAS[space or _DEFAULT_SPACE])[:, None]
    i, j, k = (*(sizes[axis] for axis in spatial), 1)[:3]
    return Geometry((i, j, k), affine, unit)


def header_text(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    geometry: Geometry,
    keys: Mapping[str, str],
    *,
    channel_kind: str = "list",
) -> str:
    """The header for an array `[i, j, k]` or `[channel, i, j, k]`, gzip, in LPS as 3D Slicer writes it.

    Numbers are written with all their digits: what is read again is identical.
    """
    flip = np.array(TO_RAS["lps"])
    vectors = [_text(flip * geometry.affine_ras[:3, n]) for n in range(3)]
    lead = ["none"] if len(shape) == 4 else []
    kinds = [channel_kind] if len(shape) == 4 else []
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {_FLOATS.get(dtype.name, dtype.name)}",
        f"dimension: {len(shape)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in shape)}",
        f"space directions: {' '.join(lead + vectors)}",
        f"kinds: {' '.join([*kinds, 'domain', 'domain', 'domain'])}",
        "endian: little",
        "encoding: gzip",
        *(['space units: "px" "px" "px"'] if geometry.unit == "px" else []),
        f"space origin: {_text(flip * geometry.affine_ras[:3, 3])}",
        *(f"{_escape(key)}:={_escape(value)}" for key, value in keys.items()),
    ]
    return "\n".join(lines) + "\n\n"


def _vector(text: str) -> npt.NDArray[np.float64]:
    vector = np.array([float(number) for number in text.strip().strip("()").split(",")])
    if len(vector) not in (2, 3):
        raise ValueError(f"the vector {text} has {len(vector)} parts")
    return vector


def _text(vector: npt.NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(number) + 0.0) for number in vector) + ")"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _unescape(text: str) -> str:
    return "\\".join(part.replace("\\n", "\n") for part in text.split("\\\\"))


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
