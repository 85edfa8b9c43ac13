"""From what marks one picture to its segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.text import shorten_list
from osteon.core.volume import Volume
from osteon.formats.dicom_inventory import sort_dicom_files
from osteon.formats.dicom_series import read_series
from osteon.formats.io import read_geometry
from osteon.formats.labelmap import smallest_uint
from osteon.importing.radiographs.annotations import Annotation
from osteon.importing.radiographs.files import SourceFile
from osteon.importing.source_forms import ConvertedCase

_LISTED = 6


def convert_picture(
    picture: SourceFile,
    annotation: Annotation | None,
    structures: tuple[Structure, ...],
    priority: Sequence[str] | None,
) -> ConvertedCase:
    """Read a picture where it is DICOM, and draw what marks it onto its grid. Raises OsteonError."""
    volume, provenance, warnings = _read_dicom(picture.path) if picture.dicom else (None, [], [])
    geometry = volume.geometry if volume is not None else read_geometry(picture.path)
    if annotation is None or annotation.draw is None:
        return ConvertedCase(volume, provenance=tuple(provenance), warnings=tuple(warnings))
    drawn = annotation.draw((geometry.shape[1], geometry.shape[0]), warnings.append)
    segmentation, overlap = _unite_layers(_layers(drawn, structures, geometry, picture), structures, geometry, priority)
    sources = shorten_list([str(path.absolute()) for path in annotation.parts], _LISTED)
    provenance.append(f"segmentation drawn from {annotation.kind}: {sources}{overlap}")
    return ConvertedCase(volume, segmentation, annotation.annotated, tuple(provenance), tuple(warnings))


def _read_dicom(path: Path) -> tuple[Volume, list[str], list[str]]:
    """A radiograph in DICOM, from what it was made, and what a person should look at. Raises FileError."""
    found = sort_dicom_files([path])
    if len(found.series) != 1:
        reason = found.skipped[0][1] if found.skipped else f"{len(found.series)} series"
        raise FileError(f"{path}: no single DICOM image ({reason})", hint="give the radiograph itself")
    volume, notes = read_series(found.series[0])
    if volume.geometry.shape[2] != 1:
        raise FileError(
            f"{path}: holds {volume.geometry.shape[2]} slices where a radiograph has one",
            hint="give volumes with one mask file for each structure (--form masks)",
        )
    return volume, [f"image from {path.absolute()}", *notes], []


def _layers(
    drawn: Iterator[tuple[str, npt.NDArray[np.bool_]]],
    structures: Sequence[Structure],
    geometry: Geometry,
    picture: SourceFile,
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


def _unite_layers(
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
