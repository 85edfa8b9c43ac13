"""What a cohort of phantoms is asked to be, and what is true of its cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.labels import Segmentation, Structure
from osteon.core.random_streams import item_generator
from osteon.formats.nifti import write_nifti
from osteon.formats.seg_nrrd import write_seg_nrrd

SOURCE, TRUTH = "source", "truth"
"""Folders of a cohort: what a hospital would hand over, and the label maps that only the examiner has."""


@dataclass(frozen=True)
class CohortRequest:
    """A cohort as it was asked for.

    Attributes:
        kind: A row of `kinds.KINDS`.
        cases: How many.
        seed: Each case follows from the seed and its own number alone.
        size: Voxels or pixels along the longest axis; the field of view does not depend on it.
        layout: How the files lie, where the kind knows several ways; empty elsewhere.
    """

    kind: str
    cases: int
    seed: int
    size: int
    layout: str = ""

    def rng(self, number: int) -> np.random.Generator:
        """Where the randomness of case `number` (from 0) comes from."""
        return item_generator(self.seed, number)


@dataclass(frozen=True)
class CaseTruth:
    """One case: its id, its label map below the cohort's folder, the sizes of its structures, and what else is said."""

    id: str
    labels: str
    sizes: dict[str, float]
    unit: str
    more: dict[str, Any]


@dataclass(frozen=True)
class PhantomKind:
    """One kind of cohort.

    Attributes:
        name: As the command line has it.
        what: One line for people.
        size: Voxels or pixels along the longest axis where nothing is asked for.
        make: Writes case `number` below a folder, and says what is true of it.
        finish: Writes what belongs to all cases together, if anything does.
        options: Options of `osteon import` beside the source.
        source: What `osteon import` is to be given, below the cohort's folder.
        layouts: The ways in which the files may lie, the usual one first; none where there is one way.
    """

    name: str
    what: str
    size: int
    make: Callable[[Path, int, CohortRequest], CaseTruth]
    finish: Callable[[Path, Sequence[CaseTruth]], None] | None = None
    options: str = ""
    source: str = SOURCE
    layouts: tuple[str, ...] = ()


def write_truth(folder: Path, case: str, segmentation: Segmentation, **more: Any) -> CaseTruth:
    """Write a case's true label map and measure it: cm³ for each structure, px for pictures.

    Raises:
        FileError: The file cannot be written.
    """
    suffix = "seg.nrrd" if segmentation.overlapping else "nii.gz"
    labels = f"{TRUTH}/{case}.{suffix}"
    (write_seg_nrrd if segmentation.overlapping else write_nifti)(folder / labels, segmentation)
    picture = segmentation.geometry.unit == "px"
    voxel = 1.0 if picture else segmentation.geometry.voxel_volume_mm3 / 1000
    counts = {s.name: int(np.count_nonzero(segmentation.mask(s))) for s in segmentation.structures}
    sizes = {name: round(count * voxel, 4) for name, count in counts.items() if count}
    return CaseTruth(case, labels, sizes, "area_px" if picture else "volume_cm3", more)


def make_description(
    name: str,
    description: str,
    structures: Sequence[Structure],
    training: Sequence[dict[str, str]],
    test: Sequence[str] = (),
) -> dict[str, Any]:
    """The Decathlon's dataset.json (Antonelli et al., Nat Commun 13, 2022) of CTs, with its entries."""
    return {
        "name": name,
        "description": description,
        "reference": "osteon.phantoms",
        "licence": "CC0-1.0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(s.value): s.name for s in structures}},
        "numTraining": len(training),
        "numTest": len(test),
        "training": list(training),
        "test": list(test),
    }
