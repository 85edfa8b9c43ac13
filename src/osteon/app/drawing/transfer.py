"""Labels as the browser draws them, and back onto the scan's grid. In the reader's process.

A volume travels as uint8 `[i, j, k]`, i fastest, its axes turned to the nearest right, anterior, superior: 0, or n for
the n-th entry, from 1. A picture travels as uint32 words `[word, row, column]`, as `picture_view.js` shows them: bit
n % 32 of word n // 32 is the n-th entry, from 0. Both are one gzip stream, little-endian.

An entry is a structure, or one numbered piece of it: its name and its value in label files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.app.orientation import PictureOrientation
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.core.gzip_files import GZIP_ERRORS, open_gzip, pack
from osteon.core.label_values import remap_values
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.formats.labelmap import smallest_uint, value_counts
from osteon.web.http_errors import RejectedError

MAX_ENTRIES = 255
"""Of a volume: NiiVue colours a drawing by a byte."""
WORD_BITS = 32
RELOAD = "reload the page: what you drew is kept as a draft"


@dataclass(frozen=True)
class Entry:
    """What a number of a volume, or a bit of a picture, stands for.

    Attributes:
        name: Of the structure.
        value: In label files: the structure's, or that of one of its pieces.
    """

    name: str
    value: int


@dataclass(frozen=True)
class Drawing:
    """A label as it travels.

    Attributes:
        body: One gzip stream.
        entries: What its numbers or bits stand for.
    """

    body: bytes
    entries: tuple[Entry, ...]


def shown_shape(geometry: Geometry) -> tuple[int, ...]:
    """The axes of a drawing: right, anterior, superior of a volume; rows and columns of a picture."""
    if 1 in geometry.shape:
        orientation = PictureOrientation.from_geometry(geometry)
        return orientation.rows, orientation.columns
    return reorient_to_ras(geometry).geometry(geometry).shape


def check_drawable(dataset: Dataset, geometry: Geometry) -> None:
    """Raise UsageError where the labels of this dataset cannot be drawn here; its hint is the way out."""
    if dataset.manifest.overlapping and 1 not in geometry.shape:
        raise UsageError(
            "the structures of this dataset overlap: a drawing of a volume has one structure for each voxel",
            hint="draw them in 3D Slicer and import its .seg.nrrd files; radiographs with overlaps are drawn here",
        )


def encode_label(segmentation: Segmentation | None, dataset: Dataset, geometry: Geometry) -> Drawing:
    """A label as the browser draws it; an empty one where there is none.

    Args:
        segmentation: With the dataset's structures, on the case's grid.
        dataset: Whose structures are offered, those with numbered pieces by each piece and one that is free.
        geometry: The case's grid.

    Raises:
        UsageError: It has more structures and pieces than a drawing holds, or the dataset's overlap in a volume.
    """
    check_drawable(dataset, geometry)
    entries = _entries(segmentation, dataset.structures)
    if 1 in geometry.shape:
        return Drawing(pack(_to_words(segmentation, entries, geometry).tobytes()), entries)
    if len(entries) > MAX_ENTRIES:
        raise UsageError(
            f"this label has {len(entries)} structures and pieces; a drawing holds at most {MAX_ENTRIES}",
            hint="merge pieces on the page of a result, or correct the label in 3D Slicer and import it",
        )
    turn = reorient_to_ras(geometry)
    if segmentation is None:
        numbers = np.zeros(shown_shape(geometry), np.uint8)
    else:
        numbers = remap_values(segmentation.array, {e.value: n for n, e in enumerate(entries, 1)}, np.uint8)
        numbers = turn.apply(numbers)
    return Drawing(pack(numbers.tobytes(order="F")), entries)


def decode_label(path: Path, entries: Sequence[Entry], dataset: Dataset, geometry: Geometry) -> Segmentation:
    """What the browser sent, on the case's grid, with the dataset's structures.

    Args:
        path: One gzip stream.
        entries: What its numbers or bits stand for.
        dataset: Whose structures they are.
        geometry: The case's grid.

    Raises:
        RejectedError: 422: an unknown structure, another size, a damaged stream, two structures on one pixel of a
            dataset whose structures exclude one another.
        UsageError: As `check_drawable`.
    """
    check_drawable(dataset, geometry)
    check_entries(entries, dataset.structures)
    highest = max((s.values[-1] for s in dataset.structures), default=0)
    shape, kind = shown_shape(geometry), smallest_uint(highest)
    if 1 not in geometry.shape:
        numbers = _unpack(path, np.prod(shape, dtype=int))
        table = np.zeros(MAX_ENTRIES + 1, kind)
        table[1 : len(entries) + 1] = [entry.value for entry in entries]
        if int(numbers.max(initial=0)) > len(entries):
            raise _unknown(f"number {int(numbers.max())}")
        shown = numbers.reshape(shape, order="F")
        return Segmentation(table[reorient_to_ras(geometry).undo(shown)], geometry, dataset.structures)
    count = -(-max(len(entries), 1) // WORD_BITS)
    words = _unpack(path, 4 * count * np.prod(shape, dtype=int)).view("<u4").reshape(count, *shape)
    known = np.zeros(count, np.uint32)
    for bit in range(len(entries)):
        known[bit // WORD_BITS] |= np.uint32(1 << bit % WORD_BITS)
    if (words & ~known[:, None, None]).any():
        raise _unknown("a bit that nothing is said of")
    return _from_words(words, entries, dataset, geometry, kind)


def check_entries(entries: Sequence[Entry], structures: Sequence[Structure]) -> None:
    """Raise RejectedError (422) where an entry is not one of the structures, or two are the same."""
    named = {s.name: s for s in structures}
    for entry in entries:
        if entry.name not in named or entry.value not in named[entry.name].values:
            raise _unknown(entry.name)
    if len({entry.value for entry in entries}) < len(entries):
        raise RejectedError(422, "the drawing names a structure twice", hint=RELOAD)


def rename_entries(entries: Sequence[Entry], structures: Sequence[Structure]) -> tuple[Entry, ...]:
    """The entries of an older drawing by today's names: a structure keeps its value when it is renamed."""
    by_value = {entry.value: next((s.name for s in structures if entry.value in s.values), "") for entry in entries}
    return tuple(Entry(by_value[entry.value] or entry.name, entry.value) for entry in entries)


def entries_from(data: Any) -> tuple[Entry, ...]:
    """Entries from `[[name, value], …]` of untrusted JSON. Raises RejectedError (422)."""
    entries = []
    for row in data if isinstance(data, list) else [None]:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and type(row[1]) is int):
            raise RejectedError(422, "the drawing does not say what it holds", hint=RELOAD)
        entries.append(Entry(row[0], row[1]))
    return tuple(entries)


def _entries(segmentation: Segmentation | None, structures: Sequence[Structure]) -> tuple[Entry, ...]:
    there: dict[int, int] = {}
    if segmentation is not None and any(s.instances for s in structures):
        there = value_counts(segmentation.array)
    entries: list[Entry] = []
    for structure in structures:
        pieces = [value for value in structure.values if value in there] if structure.instances else [structure.value]
        free = next((value for value in structure.values if value not in pieces), None)
        entries += [Entry(structure.name, value) for value in pieces]
        if structure.instances and free is not None:
            entries.append(Entry(structure.name, free))
    return tuple(entries)


def _to_words(
    segmentation: Segmentation | None, entries: Sequence[Entry], geometry: Geometry
) -> npt.NDArray[np.uint32]:
    orientation = PictureOrientation.from_geometry(geometry)
    words = np.zeros((-(-max(len(entries), 1) // WORD_BITS), orientation.rows, orientation.columns), "<u4")
    if segmentation is None:
        return words
    named = {structure.name: structure for structure in segmentation.structures}
    for bit, entry in enumerate(entries):
        overlapping = segmentation.overlapping
        mask = segmentation.mask(named[entry.name]) if overlapping else segmentation.array == entry.value
        words[bit // WORD_BITS][orientation.to_picture(mask)] |= np.uint32(1 << bit % WORD_BITS)
    return words


def _from_words(
    words: npt.NDArray[np.uint32],
    entries: Sequence[Entry],
    dataset: Dataset,
    geometry: Geometry,
    kind: type[np.unsignedinteger[Any]],
) -> Segmentation:
    orientation = PictureOrientation.from_geometry(geometry)
    masks = [
        orientation.from_picture((words[bit // WORD_BITS] >> np.uint32(bit % WORD_BITS)) & 1 > 0, geometry.shape)
        for bit in range(len(entries))
    ]
    if dataset.manifest.overlapping:
        layers = np.zeros((len(dataset.structures), *geometry.shape), np.uint8)
        places = {s.name: n for n, s in enumerate(dataset.structures)}
        for entry, mask in zip(entries, masks, strict=True):
            layers[places[entry.name]][mask] = 1
        return Segmentation(layers, geometry, dataset.structures)
    index = np.zeros(geometry.shape, kind)
    for entry, mask in zip(entries, masks, strict=True):
        if index[mask].any():
            raise RejectedError(
                422,
                "two structures share pixels, but those of this dataset exclude one another",
                hint="draw each pixel as one structure, or set `overlapping: true` in dataset.yaml and import again",
            )
        index[mask] = entry.value
    return Segmentation(index, geometry, dataset.structures)


def _unpack(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """So many bytes of a gzip stream, and no more. Raises RejectedError (422)."""
    found = np.empty(size, np.uint8)
    try:
        with open_gzip(path) as stream:
            at, view = 0, found.data
            while at < size and (count := stream.readinto(view[at : at + (1 << 24)])):  # type: ignore[attr-defined]
                at += count
            more = stream.read(1)
    except GZIP_ERRORS as error:
        raise RejectedError(422, "the drawing came damaged", hint="save it again") from error
    if at < size or more:
        what = "more" if more else f"{at} bytes"
        raise RejectedError(422, f"the drawing is of another size: {size} bytes were expected, not {what}", hint=RELOAD)
    return found


def _unknown(name: str) -> RejectedError:
    return RejectedError(422, f"the drawing holds {name}, which is no structure of the dataset", hint=RELOAD)
