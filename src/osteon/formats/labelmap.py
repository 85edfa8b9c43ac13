"""From the numbers in a label file to a segmentation of known structures, and between its two layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import bounding_box
from osteon.core.errors import LabelError, UnknownValueError
from osteon.core.label_values import MAX_VALUE, remap_values
from osteon.core.labels import BACKGROUND, Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.formats.voxel_stream import array_type

_PLACEHOLDER = re.compile(r"(label|segment)[ _-]?\d+", re.IGNORECASE)
"""Names that programs make up (`label_3`, `Segment_1`) say no more than the value beside them."""
_NUMBERED = re.compile(r"(.*?)[ _.-]*(\d+)")
"""A class that is one numbered piece of a structure, such as `fragment_2`."""
_LISTED = 10
"""How many strange values a message lists."""
_SLAB = 1 << 20
"""Voxels that are counted at a time."""
_MAX_UNNAMED = 500
"""More values than this without names are an image, not labels; the largest label sets in use have about 200."""


def is_placeholder(name: str) -> bool:
    """Whether a structure's name is one that programs make up, such as `label_3`."""
    return _PLACEHOLDER.fullmatch(name) is not None


def piece_stem(name: str) -> str:
    """The name without the number at its end, `fragment` for `fragment_2`; the name itself where it has none."""
    return split_number(name)[0]


def split_number(name: str) -> tuple[str, int | None]:
    """What a name counts and its number: `fragment` and 2 of `fragment_2`; the name and None where it has none."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)


def smallest_uint(highest: int) -> type[np.unsignedinteger[Any]]:
    """The smallest unsigned type that holds 0 … `highest`."""
    return next(kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if highest <= np.iinfo(kind).max)


def to_storable(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The array in a native type that image files hold: bool as uint8, float16 as float32, long double as float64."""
    return array.astype(array_type(array.dtype), copy=False)


def to_integer_labels(array: npt.NDArray[np.generic], name: str | Path) -> npt.NDArray[np.integer]:
    """Labels as integers, in the smallest unsigned type that holds them where none is negative.

    Args:
        array: Any shape. Floats must be whole numbers, as some programs store labels.
        name: The file, for messages.

    Raises:
        LabelError: Some value is not a whole number; the message says the worst and how many voxels there are.
    """
    if array.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.rint(array)
            away = np.abs(np.asarray(array - whole, dtype=np.float64))
            broken = ~(away == 0) | (np.abs(whole) > MAX_VALUE)  # NaN and Inf too
        if broken.any():
            badness = np.where(broken, np.nan_to_num(away, nan=1.0), -1.0)
            worst = array[np.unravel_index(int(np.argmax(badness)), array.shape)]
            raise LabelError(
                f"{name}: {int(broken.sum())} voxels hold values that are not whole numbers, such as {worst:g}",
                hint="give the label map, not a probability map or an image; resample labels by nearest neighbour",
            )
        array = whole.astype(np.int64)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype.kind not in "iu":
        raise LabelError(f"{name}: voxels of type {array.dtype} are no labels", hint="give an integer label map")
    labels: npt.NDArray[np.integer] = array  # type: ignore[assignment]
    if labels.dtype == np.uint8:
        return labels
    if labels.size and labels.dtype.itemsize == 8 and int(labels.max()) > MAX_VALUE:
        raise LabelError(
            f"{name}: holds the value {int(labels.max())}; a structure's value is at most {MAX_VALUE}",
            hint="give an integer label map whose values are small numbers",
        )
    if labels.size and int(labels.min()) >= 0:
        return labels.astype(smallest_uint(int(labels.max())), copy=False)
    return labels


def value_counts(labels: npt.NDArray[np.integer]) -> dict[int, int]:
    """How many voxels of labels of any shape hold each value, background left out, in ascending order."""
    if not labels.size:
        return {}
    highest = int(labels.max())
    if highest <= np.iinfo(np.uint16).max and (labels.dtype.kind == "u" or int(labels.min()) >= 0):
        counts = np.zeros(highest + 1, dtype=np.int64)
        box = bounding_box(labels) if labels.ndim == 3 else None
        inside = labels if box is None else labels[box.slices]
        slab = max(1, _SLAB // inside[:1].size)  # bincount makes int64 of what it counts
        for start in range(0, len(inside), slab):
            part = inside[start : start + slab]
            counts += np.bincount(part[part != BACKGROUND], minlength=len(counts))
        found = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    else:
        values, numbers = np.unique(labels, return_counts=True)
        found = {int(value): int(number) for value, number in zip(values, numbers, strict=True)}
    found.pop(BACKGROUND, None)
    return found


def match_structures(
    own: Sequence[Structure], known: Sequence[Structure], *, by_value: bool
) -> tuple[dict[int, int], list[Structure]]:
    """Which known value each of a file's own structures stands for.

    A name that is known decides; of a structure with numbered pieces also one with the number, such as `femur_2`.
    Otherwise the value does where the file's name says nothing (`label_3`), or where `by_value` says that the format's
    values are its meaning.

    Returns:
        Own value → known value, and the own structures that are not known.
    """
    named = {structure.name: structure for structure in known}
    mapping: dict[int, int] = {}
    for structure in own:
        if (whole := named.get(structure.name)) is not None:
            meant = whole.values if whole.instances else repeat(whole.value)  # pieces keep their numbers, or are one
            mapping |= zip(structure.values, meant, strict=False)
    values = {value for structure in known for value in structure.values}
    unknown = []
    for structure in own:
        if structure.name in named:
            continue
        piece = value_of_piece(structure.name, named)
        if piece is not None and piece not in mapping.values():
            mapping[structure.value] = piece
            continue
        whole = named.get(piece_stem(structure.name))
        free = structure.value in values and structure.value not in mapping.values()
        if free and (by_value or is_placeholder(structure.name) or (whole and structure.value in whole.values)):
            mapping |= {value: value for value in structure.values if value in values}
        else:
            unknown.append(structure)
    return mapping, unknown


def value_of_piece(name: str, known: Mapping[str, Structure]) -> int | None:
    """The value of a numbered piece that is called after its structure and its number; None for any other name."""
    stem, number = split_number(name)
    whole = known.get(stem)
    if whole is None or not whole.instances or number is None or not 1 <= number <= len(whole.values):
        return None
    return whole.values[number - 1]


def match_layers(
    found: Segmentation, known: Sequence[Structure], name: str | Path
) -> tuple[npt.NDArray[np.integer], list[Structure]]:
    """Multi-hot labels in the order of `known`, by name, and the structures with voxels that are not known.

    An index map where some of `known` have numbered pieces. Raises LabelError, naming the file `name`, where then
    voxels are shared.
    """
    mapping, unknown = match_structures(found.structures, known, by_value=False)
    if any(structure.instances for structure in known):
        index, highest = to_index_map(found, name).array, max(s.values[-1] for s in known)
        strange = [s for s in unknown if (index == s.value).any()]
        return remap_values(index, mapping, smallest_uint(highest)), strange
    place = {structure.value: n for n, structure in enumerate(known)}
    layers = np.zeros((len(known), *found.geometry.shape), np.uint8)
    for structure in found.structures:
        if structure.value in mapping:
            layers[place[mapping[structure.value]]] |= found.mask(structure)
    return layers, [structure for structure in unknown if found.mask(structure).any()]


def make_index_map(
    labels: npt.NDArray[np.integer],
    own: Sequence[Structure],
    known: Sequence[Structure] | None,
    name: str | Path,
    *,
    by_value: bool,
) -> tuple[npt.NDArray[np.integer], tuple[Structure, ...]]:
    """An index map in the values of `known`, or in the file's own where `known` is None.

    Args:
        labels: `[i, j, k]` whole numbers as the file holds them.
        own: The structures that the file itself names; may be empty.
        known: The structures to be used; None takes the file's own and names the other values `label_<value>`.
        name: The file, for messages.
        by_value: See `match_structures`.

    Raises:
        LabelError: A value stands for no structure; the message lists values and voxel counts.
    """
    counts = value_counts(labels)
    if any(value < 0 for value in counts):
        raise _unknown_value_error({v: n for v, n in counts.items() if v < 0}, own, known or own, name)
    if known is None:
        named = {value for structure in own for value in structure.values if value in counts}
        extra = [value for value in counts if value not in named]
        if len(extra) > _MAX_UNNAMED:
            raise LabelError(
                f"{name}: holds {len(extra)} different values without names; it looks like an image, not labels",
                hint="check that image and label are not swapped, or name the structures (--labels NAME=VALUE,… or "
                "NAME=FIRST-LAST of numbered pieces)",
            )
        made = make_structures([f"label_{value}" for value in extra], extra)
        return labels, tuple(sorted((*own, *made), key=lambda s: s.value))
    mapping, unknown = match_structures(own, known, by_value=by_value)
    spoken_for = {value for s in own for value in s.values}
    values = {value for s in known for value in s.values}
    taken = set(mapping.values())  # a value without a name is not what a named one already stands for
    mapping |= {value: value for value in counts if value not in spoken_for and value in values - taken}
    strange = {value: number for value, number in counts.items() if value not in mapping}
    if strange:
        raise _unknown_value_error(strange, unknown, known, name)
    highest = max(mapping.values(), default=0)
    if all(mapping[value] == value for value in counts):
        return labels, tuple(known)
    return remap_values(labels, mapping, smallest_uint(highest)), tuple(known)


def read_index_map(
    volume: Volume, own: Sequence[Structure], known: Sequence[Structure] | None, path: Path
) -> Segmentation:
    """A file's voxels as an index map whose values are its meaning. Raises LabelError as `make_index_map`.

    Args:
        volume: `[1, i, j, k]`; floats are taken where all of them are whole numbers.
        own: As for `make_index_map`.
        known: Likewise.
        path: The file, for messages.
    """
    if len(volume.array) != 1:
        raise LabelError(
            f"{path}: {len(volume.array)} channels where an index map has one",
            hint="store overlapping structures as 3D Slicer's .seg.nrrd",
        )
    labels, named = make_index_map(to_integer_labels(volume.array[0], path), own, known, path, by_value=True)
    return Segmentation(labels, volume.geometry, named)


def _unknown_value_error(
    counts: Mapping[int, int], own: Sequence[Structure], known: Sequence[Structure], name: str | Path
) -> UnknownValueError:
    names = {s.value: f" ({s.name})" for s in own}
    first = dict(list(counts.items())[:_LISTED])
    listed = ", ".join(f"{value}{names.get(value, '')} in {number} voxels" for value, number in first.items())
    if len(counts) > len(first):
        listed += f", and {len(counts) - len(first)} more values"
    have = ", ".join(f"{s.name}={s.value}{f'-{s.last_value}' if s.instances else ''}" for s in known) or "none"
    return UnknownValueError(
        f"{name}: holds labels that no structure has: {listed} (structures: {have})",
        hint="add the missing structures (--labels NAME=VALUE,…), or correct the label file",
    )


def to_multi_hot(segmentation: Segmentation) -> Segmentation:
    """The same structures as multi-hot uint8 `[structure, i, j, k]`."""
    if segmentation.overlapping:
        return segmentation
    layers = np.stack([segmentation.mask(s) for s in segmentation.structures]).astype(np.uint8)
    return Segmentation(layers, segmentation.geometry, segmentation.structures)


def to_index_map(segmentation: Segmentation, name: str | Path) -> Segmentation:
    """The same structures as an index map `[i, j, k]`. Raises LabelError that says how many voxels structures share."""
    if not segmentation.overlapping:
        return segmentation
    shared = int(((segmentation.array > 0).sum(axis=0) > 1).sum())
    if shared:
        raise LabelError(
            f"{name}: structures overlap in {shared} voxels, but the dataset says that they exclude one another",
            hint="import the data again, or set `overlapping: true` in dataset.yaml",
        )
    highest = max((s.value for s in segmentation.structures), default=0)
    labels = np.zeros(segmentation.geometry.shape, dtype=smallest_uint(highest))
    for layer, structure in zip(segmentation.array, segmentation.structures, strict=True):
        labels[layer > 0] = structure.value
    return Segmentation(labels, segmentation.geometry, segmentation.structures)
