"""From what marks one picture to its segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from osteon.core.errors import LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.formats.labelmap import smallest_uint
from osteon.formats.registry import read_geometry
from osteon.importing.forms import Converted
from osteon.importing.radiograph_files import File
from osteon.importing.radiograph_marks import Marks

_LISTED = 6


def convert(
    picture: File, marks: Marks, structures: tuple[Structure, ...], priority: Sequence[str] | None
) -> Converted:
    """Draw what marks a picture onto its grid. Raises OsteonError."""
    geometry = read_geometry(picture.path)
    warnings: list[str] = []
    drawn = marks.draw((geometry.shape[1], geometry.shape[0]), warnings.append) if marks.draw is not None else iter(())
    layers = _layers(drawn, structures, geometry, picture)
    segmentation, overlap = _united(layers, structures, geometry, priority)
    sources = ", ".join(str(path.absolute()) for path in marks.parts[:_LISTED])
    more = f" and {len(marks.parts) - _LISTED} more" if len(marks.parts) > _LISTED else ""
    done = f"segmentation drawn from {marks.kind}: {sources}{more}{overlap}"
    return Converted(None, segmentation, marks.annotated, (done,), tuple(warnings))


def _layers(
    drawn: Iterator[tuple[str, npt.NDArray[np.bool_]]],
    structures: Sequence[Structure],
    geometry: Geometry,
    picture: File,
) -> npt.NDArray[np.uint8]:
    """Multi-hot `[structure, i, j, 1]` of masks `[rows, columns]`, those of one structure united."""
    layers = np.zeros((len(structures), *geometry.shape), dtype=np.uint8)
    place = {structure.name: n for n, structure in enumerate(structures)}
    for name, mask in drawn:
        if name not in place:
            raise LabelError(
                f"{picture.path}: {name} is marked, but no structure is called that (structures: {', '.join(place)})",
                hint="add it to --labels, or leave --labels out",
            )
        layers[place[name], :, :, 0] |= mask.T
    return layers


def _united(
    layers: npt.NDArray[np.uint8], structures: tuple[Structure, ...], geometry: Geometry, priority: Sequence[str] | None
) -> tuple[Segmentation, str]:
    """The layers as they are where structures share pixels; an index map where none do, or `priority` decides."""
    shared = int(np.count_nonzero(layers.sum(axis=0, dtype=np.uint16) > 1))
    if shared and priority is None:
        return Segmentation(layers, geometry, structures), f"; {shared} pixels belong to several structures"
    rank = {name: n for n, name in enumerate(priority or ())}
    labels = np.zeros(geometry.shape, dtype=smallest_uint(max((s.value for s in structures), default=0)))
    for layer, structure in sorted(
        zip(layers, structures, strict=True), key=lambda pair: rank.get(pair[1].name, len(rank)), reverse=True
    ):
        labels[layer > 0] = structure.value
    rule = (
        f"; in {shared} pixels that several claim, the first of {', '.join(priority or ())} has won" if shared else ""
    )
    return Segmentation(labels, geometry, structures), rule
