"""What a cohort of phantoms is asked to be, and what is true of its cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.files import write_text
from osteon.core.labels import Segmentation, Structure
from osteon.core.random_streams import item_generator
from osteon.core.volume import Volume
from osteon.formats.nifti import write_nifti
from osteon.formats.nrrd import write_nrrd
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
        variants: A row of the kind's `variants`; empty for the kind itself.
    """

    kind: str
    cases: int
    seed: int
    size: int
    layout: str = ""
    variants: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the sidecar has it: variants are left out where none were asked for."""
        return {key: value for key, value in asdict(self).items() if value or key != "variants"}

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
        variants: Rows that take this one's place, by what `--variants` calls them.
    """

    name: str
    what: str
    size: int
    make: Callable[[Path, int, CohortRequest], CaseTruth]
    finish: Callable[[Path, Sequence[CaseTruth]], None] | None = None
    options: str = ""
    source: str = SOURCE
    layouts: tuple[str, ...] = ()
    variants: Mapping[str, PhantomKind] = field(default_factory=dict)


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


def write_pair(folder: Path, case: str, volume: Volume, segmentation: Segmentation, suffix: str) -> None:
    """Write an image and its label map beside each other, as NRRD or NIfTI. Raises FileError."""
    write = write_nrrd if suffix == "nrrd" else write_nifti
    write(folder / SOURCE / f"images/{case}_image.{suffix}", volume)
    label = Volume(segmentation.array[None], segmentation.geometry)
    write(folder / SOURCE / f"labels/{case}_label.{suffix}", label)


def write_pairs(folder: Path, cases: Sequence[CaseTruth], *, suffix: str) -> None:
    """Write the list of what `write_pair` wrote. Raises FileError."""
    lines = [f"images/{case.id}_image.{suffix},labels/{case.id}_label.{suffix}\n" for case in cases]
    write_text(folder / SOURCE / "pairs.txt", "".join(lines))


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
