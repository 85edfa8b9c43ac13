"""Sheets of A4 with headings, sentences, tables and pictures, one below the other, made by matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFont

WIDTH_IN, HEIGHT_IN = 8.27, 11.69
LEFT, RIGHT, TOP, BOTTOM = 0.08, 0.92, 0.95, 0.06
"""Margins, as parts of the sheet."""
SIZE = 9.0
"""Points of a sentence."""
LINE = 1.45
"""Height of a line, in its letters'."""
INK, FAINT, RULE = "#1d2430", "#5a6472", "#c8ccd2"
_PICTURE_HEIGHT = 0.42
"""A picture is at most this part of the sheet high."""
_CELL_GAP = 0.008
_GAP = 0.02
"""Between pictures side by side, as a part of the sheet's width."""
_BELOW = 0.006
"""Between a picture and its caption, as a part of the sheet's height."""
_LETTERS: Any = {"pdf.fonttype": 42}
"""TrueType: text can be selected and searched."""


@dataclass(frozen=True, eq=False)
class SheetPicture:
    """A picture as it lies on a sheet: as wide as the text, or as high as _PICTURE_HEIGHT allows.

    Attributes:
        pixels: (height, width, 3) of RGB.
        caption: What stands below it.
        width: A part of the sheet's.
        height: A part of the sheet's.
    """

    pixels: np.ndarray
    caption: str
    width: float
    height: float

    @classmethod
    def read(cls, png: bytes, caption: str) -> SheetPicture:
        """The picture of a PNG file."""
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        width = RIGHT - LEFT
        height = width * WIDTH_IN / HEIGHT_IN * pixels.shape[0] / pixels.shape[1]
        smaller = min(1.0, _PICTURE_HEIGHT / height)
        return cls(pixels, caption, width * smaller, height * smaller)


@dataclass(frozen=True)
class PictureRow:
    """Pictures that lie side by side."""

    pictures: Sequence[SheetPicture]

    @property
    def spare(self) -> float:
        """What is left of the text's width for each of them."""
        return (RIGHT - LEFT - sum(one.width for one in self.pictures)) / len(self.pictures)

    @property
    def highest(self) -> float:
        """Of the pictures, as a part of the sheet."""
        return max(one.height for one in self.pictures)

    @cached_property
    def captions(self) -> list[list[str]]:
        """In lines."""
        return [wrap(one.caption, SIZE - 1, one.width + self.spare - _GAP) for one in self.pictures]

    @property
    def height(self) -> float:
        """With captions, as a part of the sheet."""
        return self.highest + _BELOW + max(map(len, self.captions)) * _height(SIZE - 1) + _height(SIZE)


def place_pictures(pictures: Iterable[tuple[bytes, str]]) -> list[PictureRow]:
    """Pictures and captions in rows, as many in each as find room."""
    rows: list[list[SheetPicture]] = []
    for picture in (SheetPicture.read(png, caption) for png, caption in pictures):
        if rows and sum(one.width + _GAP for one in rows[-1]) + picture.width <= RIGHT - LEFT:
            rows[-1].append(picture)
        else:
            rows.append([picture])
    return [PictureRow(row) for row in rows]


class PdfSheets:
    """The sheets, written from above.

    Args:
        title: Of the file.
        foot: What stands at the foot of each sheet, before its number.
    """

    def __init__(self, title: str, foot: str) -> None:
        from matplotlib.backends.backend_pdf import PdfPages

        self.buffer, self.foot, self.number = io.BytesIO(), foot, 0
        self.pdf = PdfPages(self.buffer, metadata={"Title": title, "Creator": "osteon"})
        self._begin()

    def heading(self, text: str, size: float = 11.5, *, keep: float = 0.0) -> None:
        """A heading, which does not stand alone at the foot of a sheet; `keep`: what follows needs so much of one."""
        self._need(4 * _height(size) + keep)
        self.at -= _height(size) * 0.6
        self._lines(text, size, bold=True)

    def text(self, text: str, *, faint: bool = False, indent: float = 0.0) -> None:
        """Sentences, broken into lines."""
        self._lines(text, SIZE, colour=FAINT if faint else INK, indent=indent)

    def space(self) -> None:
        """Half an empty line."""
        self.at -= _height(SIZE) / 2

    def pictures(self, rows: Sequence[PictureRow]) -> None:
        """Pictures side by side, with what stands below them."""
        for row in rows:
            self._need(row.height)
            self.at -= _height(SIZE) / 2
            x = LEFT
            for picture, lines in zip(row.pictures, row.captions, strict=True):
                axes = self.sheet.add_axes((x, self.at - picture.height, picture.width, picture.height))
                axes.imshow(picture.pixels, aspect="auto", interpolation="lanczos")
                axes.set_axis_off()
                for number, line in enumerate(lines):
                    y = self.at - row.highest - _BELOW - number * _height(SIZE - 1)
                    self._write(x, y, line, SIZE - 1, FAINT)
                x += picture.width + row.spare
            self.at -= row.height - _height(SIZE) / 2

    def table(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        *,
        numbers: Sequence[int] = (),
        colours: Sequence[str] = (),
    ) -> None:
        """A table, its headings once more on each sheet.

        Args:
            headings: Of the columns.
            rows: Cells, as text.
            widths: Of the columns, beside one another.
            numbers: Columns that end on the right.
            colours: Of a swatch before each row; none where there is none.
        """
        shares = np.cumsum([0.0, *widths]) / sum(widths)
        edges = LEFT + (RIGHT - LEFT) * shares
        swatch = 0.016 if colours else 0.0

        def draw(cells: Sequence[str], *, colour: str = "", head: bool = False) -> None:
            inset = [swatch if column == 0 else 0.0 for column in range(len(cells))]
            spans = [edges[c + 1] - edges[c] - inset[c] - _CELL_GAP for c in range(len(cells))]
            broken = [wrap(cell, SIZE - 1, span) for cell, span in zip(cells, spans, strict=True)]
            height = max(1, *map(len, broken)) * _height(SIZE - 1) + 0.003
            if self._need(height + (_height(SIZE) if head else 0)) and not head:
                draw(headings, head=True)
            for column, lines in enumerate(broken):
                right = column in numbers
                x = edges[column + 1] - _CELL_GAP if right else edges[column] + inset[column]
                for number, line in enumerate(lines):
                    y = self.at - number * _height(SIZE - 1)
                    self._write(x, y, line, SIZE - 1, FAINT if head else INK, right=right)
            if colour:
                self._swatch(edges[0], self.at - _height(SIZE - 1) * 0.72, colour)
            self.at -= height
            self._rule(self.at + 0.0015)
            self.at -= 0.002

        draw(headings, head=True)
        for number, row in enumerate(rows):
            draw(row, colour=colours[number] if colours else "")

    def close(self) -> bytes:
        """The file's content."""
        import matplotlib

        self._end()
        with matplotlib.rc_context(_LETTERS):
            self.pdf.close()
        return self.buffer.getvalue()

    def _begin(self) -> None:
        from matplotlib.figure import Figure

        self.sheet: Any = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
        self.number += 1
        self.at = TOP

    def _end(self) -> None:
        import matplotlib

        self._write(LEFT, BOTTOM - 0.02, self.foot, 7, FAINT)
        self._write(RIGHT, BOTTOM - 0.02, str(self.number), 7, FAINT, right=True)
        with matplotlib.rc_context(_LETTERS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in letters that the font lacks
            self.pdf.savefig(self.sheet)

    def _need(self, height: float) -> bool:
        """Begin another sheet where so much does not fit on this one; whether that was so."""
        if self.at - height >= BOTTOM or self.at == TOP:
            return False
        self._end()
        self._begin()
        return True

    def _lines(self, text: str, size: float, *, colour: str = INK, bold: bool = False, indent: float = 0.0) -> None:
        for line in wrap(text, size, RIGHT - LEFT - indent, bold=bold):
            self._need(_height(size))
            self._write(LEFT + indent, self.at, line, size, colour, bold=bold)
            self.at -= _height(size)

    def _write(
        self, x: float, y: float, text: str, size: float, colour: str, *, bold: bool = False, right: bool = False
    ) -> None:
        where = {"ha": "right" if right else "left", "va": "top"}
        weight = "bold" if bold else "normal"
        self.sheet.text(x, y, text, size=size, color=colour, weight=weight, parse_math=False, **where)

    def _swatch(self, x: float, y: float, colour: str) -> None:
        from matplotlib.patches import Rectangle

        side = 0.009
        self.sheet.add_artist(Rectangle((x, y), side, side * WIDTH_IN / HEIGHT_IN, facecolor=colour, edgecolor="none"))

    def _rule(self, y: float) -> None:
        from matplotlib.lines import Line2D

        self.sheet.add_artist(Line2D((LEFT, RIGHT), (y, y), color=RULE, linewidth=0.5))


def wrap(text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    """Break a text into lines.

    Args:
        text: Any; what breaks lines in it becomes a space.
        size: Of letters, in points.
        width: Of a line, as a part of the sheet's.
        bold: Whether it is.
    """
    most, lines, line = width * WIDTH_IN * 72, list[str](), ""
    for word in "".join(c if c.isprintable() else " " for c in text).split():
        whole = f"{line} {word}" if line else word
        if _length(whole, size, bold=bold) <= most:
            line = whole
            continue
        if line:
            lines.append(line)
        while _length(word, size, bold=bold) > most and len(word) > 1:
            fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or _length(word[:n], size, bold=bold) <= most)
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line] if line else lines


def _height(size: float) -> float:
    return size * LINE / 72 / HEIGHT_IN


def _length(text: str, size: float, *, bold: bool = False) -> float:
    """Points of a text."""
    return _font(bold).getlength(text) * size / 100


@cache
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / name, 100)
