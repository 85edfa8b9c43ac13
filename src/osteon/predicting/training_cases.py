"""Which scans a model has seen: what it finds in those that it was trained on says nothing of new ones.

The run's own split decides, not what a dataset holds out by now. Scans are told apart by the hash of their voxels; by
their id alone where one of the two has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from osteon.predicting.records import (
    SPLITS,
    VALIDATION,
    read_predictions,
    read_splits,
    read_validation,
    votes_in,
)

TrainingRole = str
TRAINED, VALIDATED, UNSEEN = "trained on", "validated on", "not seen"
"""A scan's part in a model's training."""
KEY = "seen"
"""Under which records have it."""

Subset = Literal["training", "validation", "before"]
SUBSETS: tuple[Subset, ...] = ("training", "validation", "before")
"""Of what a model has seen; see `SeenScans`."""
Contents = Mapping[str, str]
"""Case id → hash of the image (`dataset.checks.content_hash`); empty where nobody knows it."""


@dataclass(frozen=True)
class SeenScans:
    """What a model has seen.

    Attributes:
        training: Scans that it was trained on.
        validation: Scans that chose its epoch, its post-processing and its calibration.
        before: Scans that the model was trained on whose weights it began with (`--init`).
        known: Whether it says so: one that another program trained does not.
    """

    training: Contents = field(default_factory=dict)
    validation: Contents = field(default_factory=dict)
    before: Contents = field(default_factory=dict)
    known: bool = True

    @property
    def by_content(self) -> bool:
        """Whether a scan's hash can tell anything."""
        return any(self._contents.values())

    def role_of(self, case_id: str, content: str | None = None) -> TrainingRole | None:
        """A scan's part in the model's training; None: nobody knows.

        Args:
            case_id: Its id.
            content: Its hash, where it is known.
        """
        if self._holds("training", case_id, content):
            return TRAINED
        return self.role_in_run(case_id, content)

    def role_in_run(self, case_id: str, content: str | None = None) -> TrainingRole | None:
        """As `role_of`, of a prediction that the run itself made of a scan that this network was not trained on."""
        if self._holds("before", case_id, content):
            return TRAINED
        if self._holds("validation", case_id, content):
            return VALIDATED
        return UNSEEN if self.known else None

    @cached_property
    def _contents(self) -> dict[str, frozenset[str]]:
        """The hashes that are known of each part's scans."""
        return {part: frozenset(filter(None, getattr(self, part).values())) for part in SUBSETS}

    def _holds(self, part: Subset, case_id: str, content: str | None) -> bool:
        if content and content in self._contents[part]:
            return True
        scans: Contents = getattr(self, part)
        return case_id in scans and not (content and scans[case_id])

    def to_dict(self) -> dict[str, dict[str, str]]:
        """For validation.json."""
        return {part: dict(getattr(self, part)) for part in SUBSETS}


UNKNOWN = SeenScans(known=False)


def merge_seen_scans(parts: Iterable[SeenScans]) -> SeenScans:
    """What several models that are combined have seen together."""
    whole = SeenScans()
    for part in parts:
        training, validation = {**whole.training, **part.training}, {**whole.validation, **part.validation}
        whole = SeenScans(training, validation, {**whole.before, **part.before}, whole.known and part.known)
    return whole


def read_seen_scans(folder: Path, validation: Mapping[str, Any]) -> SeenScans:
    """What the model in a folder has seen: by its validation.json; one of an earlier osteon's by the run it lies in.

    Raises:
        FileError: The run's splits.yaml is damaged.
    """
    if (seen := validation.get(KEY)) is not None:
        return SeenScans(seen["training"], seen["validation"], seen["before"])  # a newer version may tell more
    if not (folder.parent / SPLITS).is_file():
        return UNKNOWN
    splits = read_splits(folder.parent)
    if "training" in splits:
        return SeenScans(dict.fromkeys(splits["training"], ""), dict.fromkeys(splits.get("validation", ()), ""))
    everyone = dict.fromkeys((case for fold in splits.values() for case in fold), "")
    return SeenScans(everyone, everyone)


def read_training_roles(folder: Path) -> dict[str, TrainingRole]:
    """What those who made the predictions in a folder had to do with each case; without those of which nobody knows.

    A prediction was made by a model, by a vote, or by a run in its own validation.

    Raises:
        FileError: The record of predictions or votes is damaged.
    """
    records = read_predictions(folder) or votes_in(folder)
    found = {case: entry[KEY] for case, entry in records.items() if entry.get(KEY)}
    model = folder.parent / "model"
    if records or folder.name != "predictions" or not (model / VALIDATION).is_file():
        return found
    validation = read_validation(model)
    seen = read_seen_scans(model, validation)
    roles = {case: seen.role_in_run(case) for case in validation.get("cases", {})}
    return {case: role for case, role in roles.items() if role is not None}


def worst(roles: Iterable[TrainingRole | None]) -> TrainingRole | None:
    """What holds of a vote: one member that was trained on a scan is enough; None where it hangs on one not known."""
    kinds = set(roles)
    for role in (TRAINED, None, VALIDATED):
        if role in kinds:
            return role
    return UNSEEN


def trained_on(roles: Mapping[str, str | None]) -> list[str]:
    """The cases among them that were trained on."""
    return [case for case, role in roles.items() if role == TRAINED]
