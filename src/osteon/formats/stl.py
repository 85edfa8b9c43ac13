"""STL surfaces: binary (also where the header begins with "solid") and ASCII, with the colours that some writers add.

The format knows neither unit nor world, so coordinates stay as the file has them. 3D Slicer writes the world into the
header, as `SPACE=LPS` or `SPACE=RAS` (since 2017, in text too, behind `solid`), and osteon both; else
`importing.meshes.frames` finds them out.
Text is taken as it is written in the world: several solids in one file, names or none behind `solid`, capital letters,
CRLF, any blanks and exponents. Normals are skipped: they follow from the corners, and many writers leave zeros.
Colours: Materialise Magics writes `COLOR=` and four bytes RGBA into the header, and 15 bits per facet with red lowest;
VisCAM and SolidView write 15 bits per facet with blue lowest and no header. Both keep them in the facet's two spare
bytes (https://en.wikipedia.org/wiki/STL_(file_format), "Color in binary STL").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError
from osteon.core.files import atomic_write, open_binary

HEADER_BYTES = 84
"""Bytes before the first facet: 80 of header, 4 of count."""
_FACET = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("spare", "<u2")])
_COLOR = b"COLOR="
_FRAME = re.compile(rb"\b(SPACE|UNIT)\s*[=:]\s*(LPS|RAS|mm|cm|m)\b", re.IGNORECASE)
_HINT = "export the surface again; the file was probably cut short"
_open = partial(open_binary, what="the STL surface")
MeshSpace = Literal["LPS", "RAS"]
TO_RAS: dict[MeshSpace, npt.NDArray[np.float64]] = {
    "LPS": np.array([-1.0, -1.0, 1.0]),
    "RAS": np.array([1.0, 1.0, 1.0]),
}
"""Factors of the coordinates: the one place where meshes are turned."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles.

    Attributes:
        vertices: `[n, 3]` float64, as the file has them. Triangles of an STL share no vertices: n is 3 m.
        faces: `[m, 3]` int32, rows of `vertices`.
        colour: `#rrggbb` of the whole, where the header says it.
        face_colours: `[m, 3]` int16 RGB from 0 to 255, -1 for a facet without; None where no facet has its own.
    """

    vertices: npt.NDArray[np.float64]
    faces: npt.NDArray[np.int32]
    colour: str | None = None
    face_colours: npt.NDArray[np.int16] | None = None

    @property
    def triangles(self) -> npt.NDArray[np.float64]:
        """`[m, 3, 3]`: corners of each triangle, coordinates last."""
        if len(self.vertices) == self.faces.size and np.array_equal(self.faces.ravel(), np.arange(self.faces.size)):
            return self.vertices.reshape(-1, 3, 3)
        return np.ascontiguousarray(self.vertices[self.faces])

    @property
    def bounds(self) -> npt.NDArray[np.float64]:
        """`[2, 3]`: the lowest and the highest coordinates."""
        return np.stack([self.vertices.min(axis=0), self.vertices.max(axis=0)])


def read_stl(path: Path) -> Mesh:
    """Read a surface.

    Raises:
        FileError: The file is missing, truncated, damaged, no STL, holds no facet, or holds NaN or infinite corners.
    """
    path = Path(path)
    head, size = _read_header(path)
    with _open(path) as stream:
        data = stream.read()
    if _is_binary(head, size, path):
        return _binary(data, head, path)
    vertices = parse_ascii(data, path)
    return Mesh(_finite(vertices, path), _soup(len(vertices)))


def read_stl_colour(path: Path) -> str | None:
    """The colour of the whole surface, `#rrggbb`, from a binary file's header; None where it names none.

    Raises FileError where the file is missing, or not long enough for an STL.
    """
    head, size = _read_header(Path(path))
    return _header_colour(head) if _is_binary(head, size, Path(path)) else None


def read_stl_frame(path: Path) -> tuple[str | None, str | None]:
    """The unit (`mm`, `cm`, `m`) and the world (`LPS`, `RAS`) that the header says; None where it says none.

    Raises FileError as `read_stl_colour`.
    """
    head, size = _read_header(Path(path))
    line = head[:80] if _is_binary(head, size, Path(path)) else head.replace(b"\r", b"\n").lstrip().partition(b"\n")[0]
    fields = {name.upper(): value.decode() for name, value in _FRAME.findall(line)}
    unit, space = fields.get(b"UNIT", "").lower(), fields.get(b"SPACE", "").upper()
    return unit if unit in ("mm", "cm", "m") else None, space if space in ("LPS", "RAS") else None


def write_stl(path: Path, mesh: Mesh, *, space: str = "") -> None:
    """Write a binary STL with `mesh.colour` in Materialise's way; coordinates are rounded to float32.

    Args:
        path: The file.
        mesh: The surface.
        space: The world of the coordinates, which are millimetres: LPS or RAS. It goes into the header as `SPACE=LPS`,
            which is how 3D Slicer writes and reads it; nothing does where it is empty.

    Raises:
        FileError: The file cannot be written.
    """
    triangles = mesh.triangles.astype("<f4")
    facets = np.zeros(len(triangles), _FACET)
    sides = triangles[:, 1:].astype(np.float64) - triangles[:, :1]
    normals = np.cross(sides[:, 0], sides[:, 1])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    facets["corners"] = triangles
    head = b"osteon" + (f" SPACE={space} UNIT=mm".encode("ascii") if space else b"")
    if mesh.colour is not None:
        head += b" " + _COLOR + bytes.fromhex(mesh.colour.removeprefix("#")) + b"\xff"
        facets["spare"] = 0x8000  # in Magics' way: this facet has the colour of the whole
    with atomic_write(Path(path)) as temporary, temporary.open("wb") as stream:
        stream.write(head.ljust(80, b" ") + len(facets).to_bytes(4, "little"))
        stream.write(facets.tobytes())


def _read_header(path: Path) -> tuple[bytes, int]:
    """The first bytes and the file's size."""
    with _open(path) as stream:
        return stream.read(1024), path.stat().st_size


def _is_binary(head: bytes, size: int, path: Path) -> bool:
    """Whether the size is the one that a binary file's count asks for; that is checked before memory is taken.

    A file that fits neither kind is an error.
    """
    count = int.from_bytes(head[80:HEADER_BYTES], "little")
    if size >= HEADER_BYTES and size == HEADER_BYTES + _FACET.itemsize * count:
        return True
    if looks_like_text(head):
        return False
    if size < HEADER_BYTES:
        raise FileError(f"{path}: {size} bytes are no STL surface", hint=_HINT)
    raise FileError(
        f"{path}: truncated or damaged: the header announces {count} facets, the file holds "
        f"{(size - HEADER_BYTES) / _FACET.itemsize:.10g}",
        hint=_HINT,
    )


def _binary(data: bytes, head: bytes, path: Path) -> Mesh:
    if len(data) < HEADER_BYTES + _FACET.itemsize:
        raise FileError(f"{path}: the surface has no facet", hint="export it again")
    facets = np.frombuffer(data, _FACET, offset=HEADER_BYTES)
    with np.errstate(invalid="ignore"):  # a signalling NaN; `_finite` names it
        vertices = facets["corners"].reshape(-1, 3).astype(np.float64)
    colour = _header_colour(head)
    return Mesh(_finite(vertices, path), _soup(len(vertices)), colour, _facet_colours(facets["spare"], colour))


def _soup(corners: int) -> npt.NDArray[np.int32]:
    return np.arange(corners, dtype=np.int32).reshape(-1, 3)


def _finite(vertices: npt.NDArray[np.float64], path: Path) -> npt.NDArray[np.float64]:
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        facet = int(np.argmin(finite)) // 3 + 1
        raise FileError(f"{path}: facet {facet} has a corner that is not a finite number", hint="export it again")
    return vertices


def _header_colour(head: bytes) -> str | None:
    place = head[:80].find(_COLOR)
    value = head[place + len(_COLOR) : place + len(_COLOR) + 3]
    return f"#{value.hex()}" if place >= 0 and len(value) == 3 and place + len(_COLOR) + 3 <= 80 else None


def _facet_colours(spare: npt.NDArray[np.uint16], colour: str | None) -> npt.NDArray[np.int16] | None:
    """`[m, 3]` RGB of facets that have their own; None where none has."""
    fields = np.stack([(spare >> shift) & 31 for shift in (10, 5, 0)], axis=1).astype(np.int16)
    marked = spare >= 0x8000
    if colour is None:  # VisCAM, SolidView: the highest bit says that there is a colour; red stands highest
        if not marked.any():
            return None
        rest = np.array([-1, -1, -1], np.int16)
    else:  # Magics: the highest bit says that there is none; red stands lowest
        if marked.all() or not spare.any():  # writers that know the header alone leave zeros
            return None
        fields, marked = fields[:, ::-1], ~marked
        rest = np.array(list(bytes.fromhex(colour[1:])), np.int16)
    return np.where(marked[:, None], np.rint(fields * (255 / 31)).astype(np.int16), rest)


_BOM = b"\xef\xbb\xbf"
_VERTEX = rb"vertex\s+(\S{1,40})\s+(\S{1,40})\s+(\S{1,40})\s+"
_LOOP = re.compile(rb"outer\s+loop\s+" + 3 * _VERTEX + rb"endloop\b")
_LINE = re.compile(rb"^[ \t]*(?:vertex\s|endfacet\b)", re.MULTILINE)
_END = re.compile(rb"^[ \t]*endsolid\b", re.MULTILINE)


def looks_like_text(head: bytes) -> bool:
    """Whether a file that begins with `head` is meant as ASCII STL: the word `solid`, and no zero byte."""
    return head.removeprefix(_BOM).lstrip().lower().startswith(b"solid") and b"\0" not in head


def parse_ascii(data: bytes, path: Path) -> npt.NDArray[np.float64]:
    """Corners `[3 m, 3]` of the triangles of all solids, in order.

    Raises:
        FileError: A facet is not three corners of three numbers, the last solid does not end, or there is no facet.
    """
    text = data.replace(b"\r", b"\n").lower()
    facets = _LOOP.findall(text)
    lines = len(_LINE.findall(text))
    if lines != 4 * len(facets):  # three corners and an `endfacet` each
        raise FileError(
            f"{path}: truncated or damaged: {lines} lines of corners and ends make no {lines / 4:g} facets of "
            f"three corners; {len(facets)} are whole",
            hint=_HINT,
        )
    if not facets:
        raise FileError(f"{path}: the surface has no facet", hint="export it again")
    if _END.search(text, pos=text.rfind(b"endfacet")) is None:
        raise FileError(f"{path}: truncated: there is no `endsolid` behind the last facet", hint=_HINT)
    try:
        values = np.array(facets, dtype=np.bytes_).astype(np.float64)
    except (ValueError, MemoryError) as error:
        raise FileError(f"{path}: a corner is not three numbers ({error})", hint="export it again") from error
    return values.reshape(-1, 3)
