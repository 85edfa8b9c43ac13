"""What the numbers in a label mean that a viewer sends: by the names that it sends beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.errors import LabelError
from osteon.core.labels import BACKGROUND, Segmentation, Structure, make_structures
from osteon.dataset.checks import present_structures
from osteon.formats.annotation_fields import check_label
from osteon.formats.io import read_segmentation, read_structures
from osteon.formats.labelmap import is_placeholder, make_index_map, match_structures, value_counts
from osteon.web.http_errors import RejectedError

_NAME = "the label"


def read_label(path: Path, structures: Sequence[Structure], label_info: Any) -> tuple[Segmentation, set[str]]:
    """A label in a dataset's structures, on its own grid, and the names of those that it speaks of.

    Names in the file's header count first (3D Slicer's .seg.nrrd, osteon's NIfTI), then those of `label_info`, then
    the dataset's own numbers.

    Args:
        path: The file.
        structures: The dataset's.
        label_info: `[{"name": …, "idx": …}, …]`, as 3D Slicer sends; None: nothing was sent.

    Raises:
        RejectedError: 422, `label_info` makes no sense, or may be read in two ways.
        LabelError: It holds what is none of the structures, or nothing at all.
        FileError: It cannot be read.
    """
    own = read_structures(path)
    if label_info is None or not all(is_placeholder(structure.name) for structure in own):
        found = read_segmentation(path, structures, pieces=True)
    else:
        read = read_segmentation(path, None, pieces=True)
        if read.overlapping:
            raise LabelError(f"{_NAME}: layers without names", hint="name the segments, and save it again")
        own = _name_values(label_info, set(value_counts(read.array)))
        labels, named = make_index_map(read.array, own, structures, _NAME, by_value=False)
        found = Segmentation(labels, read.geometry, named)
    mapping, _ = match_structures(own, structures, by_value=False)
    values = set(mapping.values())
    spoken = {s.name for s in structures if values & set(s.values)} | set(present_structures(found.merged()))
    if not spoken:
        raise LabelError(f"{_NAME}: is empty, and names no structure", hint="draw something, then save it")
    return found, spoken


def keep_unnamed(label: Segmentation, before: Segmentation, named: Collection[str]) -> Segmentation:
    """A label with the structures that it does not name as they were before, where it is empty.

    Args:
        label: An index map, or multi-hot.
        before: Likewise, on the same grid and with the same structures.
        named: Those that the label speaks of.
    """
    array = label.array.astype(np.promote_types(label.array.dtype, before.array.dtype))
    for number, structure in enumerate(label.structures):
        if structure.name not in named and label.overlapping:
            array[number] = before.array[number]
        elif structure.name not in named:
            kept = before.mask(structure) & (label.array == BACKGROUND)
            array[kept] = before.array[kept]
    return Segmentation(array, label.geometry, label.structures)


def _name_values(label_info: Any, values: set[int]) -> tuple[Structure, ...]:
    """The structures of `label_info` by their values in the file.

    3D Slicer counts segments from 1 on in the file, and in `idx` also those that it leaves out of it. Where values
    fit both ways of counting and mean something else by each, none is believed.
    """
    entries = label_info if isinstance(label_info, list) else []
    pairs: list[tuple[str, int]] = []
    for entry in entries:
        name, index = (entry.get("name"), entry.get("idx")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or type(index) is not int or index < 1:
            raise RejectedError(422, "label_info: makes no sense", hint='send [{"name": "femur", "idx": 1}]')
        pairs.append((check_label(name, _NAME), index))
    by_index, by_place = {v: n for n, v in pairs}, {place: n for place, (n, _) in enumerate(pairs, 1)}
    if len(by_index) < len(pairs) or len(set(by_index.values())) < len(pairs):
        raise RejectedError(422, "label_info: a name or number is given twice", hint="give each segment its own name")
    fitting = [names for names in (by_index, by_place) if values <= names.keys()]
    if not fitting:
        raise LabelError(
            f"{_NAME}: holds the values {sorted(values)[:10]}, and label_info names {sorted(by_index)[:10]}",
            hint="save it again from the viewer",
        )
    if any(fitting[0][value] != fitting[-1][value] for value in values):
        raise RejectedError(
            422,
            "label_info: the numbers of the segments may be read in two ways",
            hint="remove the segments that are not saved (background, scribbles), or use .seg.nrrd as file extension",
        )
    return make_structures(list(fitting[0].values()), list(fitting[0]))
