"""A made-up cohort of fractured humeri, written as one would receive it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osteon.core.errors import UsageError
from osteon.core.files import write_json
from osteon.core.labels import Segmentation
from osteon.core.progress import track
from osteon.core.random_streams import item_generator
from osteon.core.volume import Volume
from osteon.formats.nifti import write_nifti
from osteon.phantoms.humerus import STRUCTURES, draw_humerus
from osteon.phantoms.record import make_description

NAME = "humerus"
FRAGMENTS = (4, 3, 2, 4, 3, 4)
"""Fragments of one case after the other, so that every part of a cohort holds all kinds, the difficult ones often."""
SHAPE = (44, 44, 60)
"""Voxels along R, A, S: small enough for a CPU to learn the cohort in minutes."""


@dataclass(frozen=True)
class CohortMember:
    """One made-up patient: an id, whether the case is for training, the scan and its fragments."""

    id: str
    training: bool
    volume: Volume
    segmentation: Segmentation


def make_cohort(*, cases: int = 24, unseen: int = 6, seed: int = 0) -> Iterator[CohortMember]:
    """Make `cases` humeri for training and `unseen` others, one at a time.

    Every case follows from the seed and its own number alone: a larger cohort begins with the smaller one.

    Raises:
        UsageError: A number is negative, or there is no case at all.
    """
    if min(cases, unseen, seed) < 0 or cases + unseen == 0:
        raise UsageError(
            f"a cohort of {cases} and {unseen} unseen cases with seed {seed} cannot be made",
            hint="give at least one case, and no negative number",
        )
    for number in range(cases + unseen):
        rng = item_generator(seed, number)
        humerus = draw_humerus(rng, fragments=FRAGMENTS[number % len(FRAGMENTS)], shape=SHAPE)
        volume, segmentation = humerus.scan(rng)
        yield CohortMember(f"{NAME}_{number + 1:03d}", number < cases, volume, segmentation)


def write_humerus_cohort(folder: Path, *, cases: int = 24, unseen: int = 6, seed: int = 0) -> Path:
    """Write a made-up cohort in the Medical Segmentation Decathlon's layout (Antonelli et al., Nat Commun 13, 2022).

    Args:
        folder: Where it goes; made if it does not exist.
        cases: Cases to train with.
        unseen: Further cases to test with; their references lie apart, in labelsTs.
        seed: The same seed gives the same voxels.

    Returns:
        What `osteon import` is to be given.

    Raises:
        UsageError: A number is negative.
        FileError: A file cannot be written.
    """
    members = make_cohort(cases=cases, unseen=unseen, seed=seed)
    training, test = [], []
    for member in track(members, "making humeri", total=cases + unseen):
        kind = "Tr" if member.training else "Ts"
        image, label = f"images{kind}/{member.id}.nii.gz", f"labels{kind}/{member.id}.nii.gz"
        write_nifti(folder / image, member.volume)
        write_nifti(folder / label, member.segmentation)
        if member.training:
            training.append({"image": f"./{image}", "label": f"./{label}"})
        else:
            test.append(f"./{image}")
    description = "Fractured humeri, made up by osteon: fragments named by colour"
    write_json(folder / "dataset.json", make_description(NAME, description, STRUCTURES, training, test))
    return folder
