"""The colour of a mesh, as a name: from its file's name, else its header, else its facets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from osteon.core.errors import DatasetError
from osteon.formats.stl import read_stl, read_stl_colour
from osteon.importing.meshes.folders import split_words


@dataclass(frozen=True)
class Colour:
    """A colour that people name fragments after.

    Attributes:
        name: The structure's name.
        shown: `#rrggbb` in pictures.
        words: What file names call it.
        shades: `#rrggbb` that are still this colour.
    """

    name: str
    shown: str
    words: tuple[str, ...]
    shades: tuple[str, ...]


COLOURS = (
    Colour("red", "#e5484d", ("red", "crimson", "scarlet"), ("#ff0000", "#c00000")),
    Colour("green", "#46a758", ("green", "lime", "olive"), ("#00ff00", "#008000", "#90ee90", "#808000")),
    Colour("blue", "#3e7bfa", ("blue", "navy"), ("#0000ff", "#000080", "#87ceeb")),
    Colour("yellow", "#f5c542", ("yellow", "gold"), ("#ffff00", "#ffffa0")),
    Colour("orange", "#f76b15", ("orange",), ("#ffa500", "#ff8000")),
    Colour("purple", "#8e4ec6", ("purple", "violet"), ("#800080", "#8000ff")),
    Colour("cyan", "#05a2c2", ("cyan", "turquoise", "teal", "aqua"), ("#00ffff", "#008080", "#40e0d0")),
    Colour("magenta", "#d6409f", ("magenta", "fuchsia"), ("#ff00ff",)),
    Colour("pink", "#f4a3c1", ("pink", "rose"), ("#ffc0cb", "#ff69b4")),
    Colour("brown", "#ad7f58", ("brown",), ("#8b4513", "#a52a2a")),
    Colour("white", "#f0f0f0", ("white",), ("#ffffff",)),
    Colour("grey", "#8d8d8d", ("grey", "gray", "silver"), ("#808080", "#c0c0c0", "#404040")),
    Colour("black", "#202020", ("black",), ("#000000",)),
)
"""Every colour that osteon names, in the order of the structures' values. A new one is one row."""

_MOST = 0.9
"""Part of the coloured facets that must agree."""


def colour_from_name(place: PurePosixPath, known: frozenset[str]) -> Colour | None:
    """The colour that the file's name says, or else the nearest of its folders; None where none does.

    Args:
        place: The file without its suffix, relative to its case's folder.
        known: Words that belong to the case's own name.

    Raises:
        DatasetError: A name says two.
    """
    for part in reversed(place.parts):
        words = [word for word in split_words(part) if word not in known]
        found = [colour for colour in COLOURS if set(colour.words).intersection(words)]
        if len(found) > 1:
            names = " and ".join(colour.name for colour in found)
            raise DatasetError(
                f"{place.name}: the name says {names}", hint="rename the file, or pass --group all or --group none"
            )
        if found:
            return found[0]
    return None


def colour_from_file(path: Path) -> str | None:
    """The colour of a surface, `#rrggbb`: its header's, else that of its facets; None where it has none.

    Raises:
        FileError: The file cannot be read.
        DatasetError: Its facets have several colours.
    """
    in_header = read_stl_colour(path)
    if in_header is not None:
        return in_header
    faces = read_stl(path).face_colours
    if faces is None:
        return None
    counts = Counter(map(tuple, faces[(faces >= 0).all(axis=1)].tolist()))
    (rgb, count), *others = counts.most_common()
    if count < _MOST * counts.total():
        raise DatasetError(
            f"{path}: its facets have {1 + len(others)} colours, none of which most of them have",
            hint="write one file for each colour, or pass --group all or --group none",
        )
    return "#" + "".join(f"{value:02x}" for value in rgb)


@cache
def nearest_colour(shade: str) -> Colour:
    """The named colour nearest to `#rrggbb` as the eye sees it (distance in CIELAB)."""
    shades = [(colour, other) for colour in COLOURS for other in (colour.shown, *colour.shades)]
    distances = np.linalg.norm(_lab([other for _, other in shades]) - _lab([shade]), axis=1)
    return shades[int(np.argmin(distances))][0]


def _lab(shades: list[str]) -> npt.NDArray[np.float64]:
    from skimage.color import rgb2lab

    rgb = np.array([list(bytes.fromhex(shade[1:])) for shade in shades], float) / 255
    lab: npt.NDArray[np.float64] = rgb2lab(rgb[None])[0]
    return lab
