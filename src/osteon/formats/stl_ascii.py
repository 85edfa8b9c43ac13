"""The ASCII kind of STL, as tolerantly as it is written in the world.

Several solids in one file, names or none behind `solid`, capital letters, CRLF, any blanks and exponents are taken.
Normals are skipped: they follow from the corners, and many writers leave zeros.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError

_BOM = b"\xef\xbb\xbf"
_CORNER = rb"vertex\s+(\S{1,40})\s+(\S{1,40})\s+(\S{1,40})\s+"
_FACET = re.compile(rb"outer\s+loop\s+" + 3 * _CORNER + rb"endloop\b")
_LINE = re.compile(rb"^[ \t]*(?:vertex\s|endfacet\b)", re.MULTILINE)
_END = re.compile(rb"^[ \t]*endsolid\b", re.MULTILINE)
_HINT = "export the surface again; the file was probably cut short"


def looks_like_text(head: bytes) -> bool:
    """Whether a file that begins with `head` is meant as ASCII STL: the word `solid`, and no zero byte."""
    return head.removeprefix(_BOM).lstrip().lower().startswith(b"solid") and b"\0" not in head


def parse_ascii(data: bytes, path: Path) -> npt.NDArray[np.float64]:
    """Corners `[3 m, 3]` of the triangles of all solids, in order.

    Raises:
        FileError: A facet is not three corners of three numbers, the last solid does not end, or there is no facet.
    """
    text = data.replace(b"\r", b"\n").lower()
    facets = _FACET.findall(text)
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
