"""One case measured: its files read, its scene made, its figures taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import GeometryError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.dataset.checks import reorient_array
from osteon.dataset.modality import Modality
from osteon.formats.io import read_scan, read_volume
from osteon.formats.label_meanings import read_named_labels
from osteon.formats.probabilities import LEVELS, read_probabilities
from osteon.measuring.cases import MeasureCase
from osteon.measuring.figure import Figure
from osteon.measuring.intervals import measure_scene
from osteon.measuring.measure import Measure
from osteon.measuring.reduction import write_reductions
from osteon.measuring.scene import Probabilities, make_scene
from osteon.measuring.templates import load_templates


def measure_case(
    case: MeasureCase,
    measures: Sequence[Measure],
    structures: Collection[str] | None = None,
    reductions: Path | None = None,
) -> list[Figure]:
    """The figures of a case.

    Args:
        case: Which.
        measures: Rows of the table.
        structures: Which are measured, by name; None: all.
        reductions: The folder below which the reduction of broken bones is written, if any.

    Raises:
        CaseError: A file cannot be read, or the image or a member lies on another grid.
    """
    segmentation = case.load()
    image, modality = _image(case, measures, segmentation.geometry)
    names = [structure.name for structure in segmentation.structures]
    scene = make_scene(
        case.id,
        segmentation,
        image=image,
        modality=modality,
        annotated=case.annotated,
        wanted=structures,
        members=[_member(case, number, segmentation.geometry) for number in range(len(case.members))],
        probability_of=_probabilities(case, segmentation.geometry),
        flags={name: case.flags(name) for name in names},
        broken=case.broken,
        templates=load_templates(case.templates),
    )
    figures = measure_scene(scene, measures)
    if reductions is not None:
        write_reductions(reductions, scene)
    return figures


def _image(case: MeasureCase, measures: Sequence[Measure], grid: Geometry) -> tuple[Volume | None, Modality | None]:
    """The image on the labels' grid, where a measure reads it."""
    if case.modality != "ct" or not case.scan or not any("ct" in row.needs for row in measures):
        return None, case.modality
    if case.dataset is not None and case.entry is not None and len(case.scan) > 1:
        volume = read_volume(case.scan[case.channel])
    else:
        volume = read_scan(case.scan)
    own = case.calibrate(volume.geometry)
    turned = reorient_array(volume.array, own, grid)
    if turned is None:
        differences = ", ".join(grid.explain_mismatch(own))
        raise GeometryError(
            f"{case}: {case.scan[0]} does not lie on the grid of {case.file}: {differences}",
            hint="measure labels that lie on the scan's own grid, or leave out what needs the CT: --what",
        )
    channel = case.channel if len(turned) > case.channel else 0
    return Volume(turned[channel : channel + 1], grid), case.modality


def _member(case: MeasureCase, number: int, grid: Geometry) -> Segmentation:
    path = case.members[number]
    found = read_named_labels(path, None, case.legend)
    own = case.calibrate(found.geometry)
    turned = reorient_array(found.array, own, grid)
    if turned is None:
        raise GeometryError(
            f"{case}: {path} does not lie on the grid of {case.file}: {', '.join(grid.explain_mismatch(own))}",
            hint="give members (--members) of the same scans",
        )
    return Segmentation(turned.astype(found.array.dtype, copy=False), grid, found.structures)


def _probabilities(case: MeasureCase, grid: Geometry) -> Probabilities | None:
    if case.probabilities is None:
        return None
    opened = read_probabilities(case.probabilities)
    if not grid.is_close(case.calibrate(opened.geometry)):
        return None  # labels that were changed since

    def probability(structure: str) -> npt.NDArray[np.floating] | None:
        values = opened.of(structure)
        return None if values is None else np.asarray(values / np.float32(LEVELS), dtype=np.float32)

    return probability
