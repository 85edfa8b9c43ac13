"""Which cases a run trains on and which it validates on, and whether each structure is among those to train on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from osteon.core.errors import DatasetError
from osteon.core.labels import Structure
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import make_folds, structures_without_cases
from osteon.plan.schema import Plan
from osteon.preparing.cache import CachedCase
from osteon.runs.options import TrainOptions

Present = Mapping[str, Collection[str]]
"""Case id → names of the structures that have a voxel there."""


@dataclass(frozen=True)
class CaseContents:
    """What the cases have shown when they were read; empty before that.

    Attributes:
        present: What each shows, on its own grid.
        content: The hash of each image, for cases of which the manifest has none.
    """

    present: Present = field(default_factory=dict)
    content: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_cache(cls, cached: Mapping[str, CachedCase]) -> CaseContents:
        """The structures that prepared cases have a voxel of, and the hashes of their images."""
        return cls(
            {case_id: case.structures for case_id, case in cached.items()},
            {case_id: case.content for case_id, case in cached.items()},
        )


NO_CONTENTS = CaseContents()


def make_run_folds(dataset: Dataset, options: TrainOptions, contents: CaseContents = NO_CONTENTS) -> list[list[str]]:
    """The folds of a dataset's trainable cases, by ids; those of a run once the cases have been seen.

    Raises:
        DatasetError: There are too few cases.
    """
    hashed = [
        case.model_copy(update={"content": case.content or contents.content.get(case.id)})
        for case in dataset.manifest.cases
    ]
    manifest = dataset.manifest.model_copy(update={"cases": hashed})
    return make_folds(manifest, options.folds, seed=0, by=options.folds_by, present=contents.present)


def split_cases(
    dataset: Dataset,
    options: TrainOptions,
    contents: CaseContents = NO_CONTENTS,
    folds: Sequence[Collection[str]] | None = None,
) -> tuple[list[str], list[str]]:
    """Ids of the cases to train on and to validate on.

    Args:
        dataset: The cases.
        options: Which fold validates.
        contents: As `make_run_folds` takes it.
        folds: From `make_run_folds`; made when None.

    Raises:
        DatasetError: There are too few cases.
    """
    ids = [case.id for case in dataset.manifest.trainable]
    if not isinstance(options.fold, int):
        if not ids:
            raise DatasetError(f"{dataset.folder}: no labelled case to train on", hint="import cases that have a label")
        return ids, []
    held = set((folds or make_run_folds(dataset, options, contents))[options.fold])
    return [i for i in ids if i not in held], [i for i in ids if i in held]


def structures_on_grid(plan: Plan, cached: Mapping[str, CachedCase]) -> Present:
    """What each prepared case shows on the plan's grid."""
    return {i: [plan.structures[number].name for number in case.present] for i, case in cached.items()}


def check_structures(
    dataset: Dataset, structures: Sequence[Structure], present: Present, training: Mapping[int, Collection[str]]
) -> None:
    """Refuse a training that would never see a structure.

    Args:
        dataset: For messages.
        structures: That it should see.
        present: What each case shows that can be used.
        training: For each fold (0 where there is but one) the ids of the cases to train on.

    Raises:
        DatasetError: In some fold no case is left, or a structure occurs in none; structure and cases are named.
    """
    lacking: dict[str, list[int]] = {}
    for fold, ids in training.items():
        present_here = {i: present[i] for i in ids if i in present}
        if not present_here:
            raise DatasetError(f"{dataset.folder}: no case is left to train on", hint="see the reasons above")
        for name in structures_without_cases(structures, present_here):
            lacking.setdefault(name, []).append(fold)
    if not lacking:
        return
    several = len(training) > 1
    listed = ", ".join(_describe_structure(name, present, folds if several else []) for name, folds in lacking.items())
    raise DatasetError(
        f"{dataset.folder}: structures that occur in no training case{' of a fold' * several}: {listed}",
        hint="label them in cases of other subjects too; "
        f"{'use --fold none, which holds nothing back' if several else 'choose another --fold, or none'}; "
        "or take them out of `structures` in plan.yaml: they are background then",
    )


def _describe_structure(name: str, present: Present, folds: Sequence[int]) -> str:
    """A structure, the cases that show it, and the folds that hold all of them back."""
    cases = [case_id for case_id, names in present.items() if name in names]
    held_back = f", which fold {', '.join(map(str, folds))} holds back" if folds else ""
    return f"{name} (only in {', '.join(cases)}{held_back})" if cases else f"{name} (in no case)"
