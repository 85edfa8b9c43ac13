"""3D Slicer's segmentations (.seg.nrrd): named, coloured structures, in one layer or in several where they overlap.

Reference: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html (segmentation file
format). Slicer packs structures that do not overlap into one layer; a segment says in which layer it lies and with
which value. Files of Slicer 4.10 and before have one layer of 0/1 for each segment and say neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, bounding_box
from osteon.core.errors import FileError, LabelError
from osteon.core.labels import Segmentation, Structure, make_structures, palette
from osteon.formats.header_limits import check_memory
from osteon.formats.labelmap import make_index_map, match_layers, smallest_uint, to_integer_labels
from osteon.formats.nrrd import load_nrrd, read_nrrd_header, store_nrrd

_SIDES: dict[str, Literal["left", "right"]] = {"left": "left", "right": "right"}


@dataclass(frozen=True)
class _Segment:
    """One segment of the file: what it is, its layer on the list axis, and its value there."""

    structure: Structure
    layer: int
    value: int


def read_seg_nrrd(path: Path, structures: Sequence[Structure] | None = None) -> Segmentation:
    """Read a segmentation: an index map where the file has one layer, multi-hot where it has several.

    Args:
        path: The file.
        structures: The structures to be read, found by name (by value where the file's name is made up, such as
            `Segment_1`). None takes the file's own.

    Raises:
        FileError: The file is missing, truncated or damaged.
        LabelError: A segment or value that voxels have is not among `structures`.
    """
    path = Path(path)
    header, array = load_nrrd(path)
    segments = _segments(header.keys, layers=len(array), path=path)
    labels = to_integer_labels(array, path)
    if len(labels) == 1:
        own = [segment.structure for segment in segments]
        index, named = make_index_map(labels[0], own, structures, path, by_value=not own)
        return Segmentation(index, header.geometry, named)
    if not segments:
        raise LabelError(
            f"{path}: {len(labels)} layers without the names of their segments",
            hint="save the segmentation again with 3D Slicer",
        )
    check_memory(path, max(len(segments), len(structures or ())) * labels[0].size * 2)
    masks = np.zeros((len(segments), *labels[0].shape), np.uint8)
    for mask, segment in zip(masks, segments, strict=True):
        np.equal(labels[segment.layer], segment.value, out=mask.view(np.bool_))
    found = Segmentation(masks, header.geometry, tuple(segment.structure for segment in segments))
    if structures is None:
        return found
    layers, unknown = match_layers(found, structures, path)
    if unknown:
        strange = ", ".join(f"{s.name} in {np.count_nonzero(found.mask(s))} voxels" for s in unknown)
        raise LabelError(
            f"{path}: holds segments that no structure is named after: {strange} "
            f"(structures: {', '.join(s.name for s in structures)})",
            hint="rename the segments in 3D Slicer, or the structures in dataset.yaml",
        )
    return Segmentation(layers, header.geometry, tuple(structures))


def read_seg_nrrd_structures(path: Path) -> tuple[Structure, ...]:
    """The segments that the header names; reads no voxels.

    Raises:
        FileError: As `read_seg_nrrd`.
        LabelError: Two segments share a name or a value.
    """
    path = Path(path)
    header = read_nrrd_header(path)
    layers = 1 if header.channel_axis is None else header.sizes[header.channel_axis]
    return tuple(segment.structure for segment in _segments(header.keys, layers=layers, path=path))


def write_seg_nrrd(path: Path, segmentation: Segmentation) -> None:
    """Write a segmentation with names, colours and sides: one layer for an index map, one for each structure else.

    Raises:
        FileError: The file cannot be written.
    """
    structures = segmentation.structures
    highest = max([s.value for s in structures], default=0)
    keys = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for n, structure in enumerate(structures):
        keys |= _keys(n, structure, n if segmentation.overlapping else 0, segmentation.mask(structure))
    if segmentation.overlapping:
        values = np.array([s.value for s in structures], dtype=smallest_uint(highest))

        def valued(piece: npt.NDArray[Any]) -> npt.NDArray[Any]:  # `[k, j, i, layer]`
            return np.asarray((piece > 0) * values)

        store_nrrd(path, segmentation.array, segmentation.geometry, keys, change=valued)
        return
    highest = max(highest, int(segmentation.array.max(initial=0)))
    array = segmentation.array.astype(smallest_uint(highest), copy=False)
    store_nrrd(path, array, segmentation.geometry, keys)


def _segments(keys: Mapping[str, str], *, layers: int, path: Path) -> list[_Segment]:
    numbers = sorted({int(m[1]) for key in keys if (m := re.match(r"Segment(\d+)_", key))})
    try:
        values = [int(keys.get(f"Segment{n}_LabelValue", 1 if layers > 1 else n + 1)) for n in numbers]
        planes = [int(keys.get(f"Segment{n}_Layer", n if layers > 1 else 0)) for n in numbers]
        if any(not 0 <= plane < layers for plane in planes):
            raise ValueError(f"a segment lies in layer {max(planes)} of {layers}")
        names = [keys.get(f"Segment{n}_Name") or keys.get(f"Segment{n}_ID") or f"Segment_{n + 1}" for n in numbers]
        usual = palette(len(numbers))
        colours = [_colour(keys.get(f"Segment{n}_Color"), usual[place]) for place, n in enumerate(numbers)]
        numbered = list(values) if len(set(values)) == len(values) else list(range(1, len(values) + 1))
        made = make_structures(names, numbered)
    except (OverflowError, ValueError) as error:
        raise FileError(f"{path}: its segments are damaged: {error}", hint="save it again with 3D Slicer") from error
    if len(set(names)) < len(names) or (layers == 1 and len(set(values)) < len(values)):
        raise LabelError(f"{path}: two segments share a name or a value", hint="rename one of them in 3D Slicer")
    found = []
    for n, structure, colour, plane, value in zip(numbers, made, colours, planes, values, strict=True):
        update: dict[str, Any] = {"colour": colour, **_sides(keys.get(f"Segment{n}_Tags", ""))}
        found.append(_Segment(structure.model_copy(update=update), plane, value))
    return found


def _keys(n: int, structure: Structure, layer: int, mask: npt.NDArray[np.bool_]) -> dict[str, str]:
    red, green, blue = (int(structure.colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    box = bounding_box(mask) or Box((0, 0, 0), (0, 0, 0))
    edges = [str(edge) for first, stop in zip(box.first, box.stop, strict=True) for edge in (first, stop - 1)]
    tags = f"Osteon.Side:{structure.side or ''}|Osteon.Counterpart:{quote(structure.counterpart or '')}|"
    return {
        f"Segment{n}_Color": f"{red:.6f} {green:.6f} {blue:.6f}",
        f"Segment{n}_Extent": " ".join(edges),
        f"Segment{n}_ID": f"Segment_{n + 1}",
        f"Segment{n}_LabelValue": str(structure.value),
        f"Segment{n}_Layer": str(layer),
        f"Segment{n}_Name": structure.name,
        f"Segment{n}_Tags": tags,
    }


def _colour(text: str | None, default: str) -> str:
    if text is None:
        return default
    red, green, blue = (min(max(round(255 * float(part)), 0), 255) for part in text.split())
    return f"#{red:02x}{green:02x}{blue:02x}"


def _sides(tags: str) -> dict[str, str | None]:
    """Side and counterpart where osteon wrote them; nothing otherwise, so that the name decides."""
    pairs = dict(tag.split(":", 1) for tag in tags.split("|") if ":" in tag)
    if "Osteon.Side" not in pairs:
        return {}
    other = unquote(pairs.get("Osteon.Counterpart", ""))
    return {"side": _SIDES.get(pairs["Osteon.Side"]), "counterpart": other or None}
