"""Saving what people do to the labels of a dataset (`case_history`): a correction never replaces what it corrects."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Required, TypedDict

from osteon.core.errors import ConflictError, UsageError
from osteon.core.files import write_json
from osteon.core.labels import Segmentation
from osteon.core.locks import LOCK_NAME, exclusive_lock
from osteon.dataset.case_history import (
    FOLDER,
    CaseHistory,
    Kind,
    LabelVersion,
    StateChange,
    apply_history,
    history_path,
    read_history,
)
from osteon.dataset.checks import align_segmentation
from osteon.dataset.dataset import Dataset
from osteon.formats.io import read_segmentation, write_segmentation


class WorkKeywords(TypedDict, total=False):
    """The fields of `LabelWork`, as keywords."""

    author: Required[str]
    kind: Kind
    seconds: float
    what: str
    annotated: Collection[str] | None


@dataclass(frozen=True)
class LabelWork:
    """Who made a label, and how.

    Attributes:
        author: A person, or a model.
        kind: What it is.
        seconds: How long the work on it took; 0 where nobody has counted.
        what: What was done, in words.
        annotated: The structures that somebody looked for; None: all of them. What was known before stays known.
    """

    author: str
    kind: Kind = "correction"
    seconds: float = 0.0
    what: str = ""
    annotated: Collection[str] | None = None


def save_label(
    dataset: Dataset, case_id: str, segmentation: Segmentation, work: LabelWork, *, base: int
) -> LabelVersion:
    """Save a case's label as a new version; where it is no second reading it counts from now on.

    Args:
        dataset: Where the case is.
        case_id: The case.
        segmentation: On the image's grid, its axes in any order and direction; with the dataset's structures.
        work: Who made it, and how.
        base: The version that it was made from; 0: the imported label, or none.

    Raises:
        UsageError: There is no such case; the structures are not the dataset's.
        ConflictError: Somebody has saved another version meanwhile, so that `base` counts no more. Nothing is written.
        GeometryError: It does not lie on the image's grid.
        FileError: It cannot be written.
    """
    case = dataset.case(case_id)
    if segmentation.structures != dataset.structures:
        raise UsageError(
            f"case {case_id}: the label's structures are not those of the dataset",
            hint="read it with the dataset's structures, or add the new one to the dataset first",
        )
    names = [structure.name for structure in dataset.structures]
    image = str(dataset.resolve(case.images[0]))
    aligned = align_segmentation(
        segmentation, dataset.geometry(case), name=f"case {case_id}: the label to be saved", image_name=image
    )
    with changing(dataset, case_id) as before:
        if work.kind != "second reading" and base != before.current:
            raise _conflict(case_id, before, base)
        looked_for = set(names if work.annotated is None else work.annotated) | _known_before(
            dataset, case_id, before, work.kind
        )
        known = None if looked_for >= set(names) else [name for name in names if name in looked_for]
        number = len(before.versions) + 1
        file = write_version(dataset, case_id, number, aligned)
        version = LabelVersion(
            number=number,
            file=file,
            kind=work.kind,
            author=work.author,
            at=now(),
            base=base,
            seconds=round(work.seconds, 1),
            what=work.what,
            annotated=known,
            content=case.content,
        )
        changes: dict[str, Any] = {"versions": [*before.versions, version]}
        if work.kind != "second reading":
            changes |= {"current": number, "judged": None}
        write_history(dataset, case_id, before, work.author, **changes)
    return version


def restore_label(dataset: Dataset, case_id: str, number: int, *, author: str) -> LabelVersion | None:
    """Let an older version count again, as the newest one; 0 is the imported label.

    Raises:
        UsageError: There is no such version.
        FileError: It cannot be written.
    """
    with changing(dataset, case_id) as before:
        if number == 0:
            write_history(dataset, case_id, before, author, current=0, judged=None)
            return None
        again = repeat_version(before, find_version(before, case_id, number), author, f"version {number} again")
        versions = [*before.versions, again]
        write_history(dataset, case_id, before, author, versions=versions, current=again.number, judged=None)
    return again


def judge_label(dataset: Dataset, case_id: str, verdict: str, *, note: str = "", author: str = "") -> CaseHistory:
    """Approve or reject the label that counts, or (`open`) take that back; who did it is noted with the time.

    Raises:
        UsageError: There is no label to approve; it is rejected without a reason; there is no such verdict.
        FileError: It cannot be written.
    """
    if verdict not in ("approved", "rejected", "open"):
        raise UsageError(f"a label is not {verdict}", hint="say approved, rejected or open")
    with changing(dataset, case_id) as before:
        imported = dataset.imported.case(case_id)
        if verdict == "approved" and before.version is None and imported.segmentation is None:
            raise UsageError(f"case {case_id}: has no label to approve", hint="draw one, or take a prediction")
        if verdict == "rejected" and not note:
            raise UsageError(f"case {case_id}: is rejected without a reason", hint="say why in a note")
        judged = None if verdict == "open" else verdict
        return write_history(dataset, case_id, before, author, judged=judged, note=note)


def assign_case(dataset: Dataset, case_id: str, owner: str) -> CaseHistory:
    """Give a case to somebody to work on; empty: to nobody. Raises UsageError: no such case; FileError."""
    with changing(dataset, case_id) as before:
        return write_history(dataset, case_id, before, None, owner=owner)


def load_version(dataset: Dataset, case_id: str, number: int) -> Segmentation:
    """A version of a case's label as it was saved; 0 is the imported label, and pieces keep their values.

    Raises:
        UsageError: There is no such case or version.
        DatasetError: The imported label is asked for, and there is none.
        FileError: It is missing or damaged.
    """
    if number == 0:
        imported = dataset.imported
        return imported.load_segmentation(imported.case(case_id), pieces=True)
    dataset.case(case_id)
    version = find_version(read_history(dataset.folder, case_id), case_id, number)
    return read_segmentation(version_path(dataset, case_id, version), dataset.structures, pieces=True)


def version_path(dataset: Dataset, case_id: str, version: LabelVersion) -> Path:
    """The file of a version."""
    return dataset.folder / FOLDER / case_id / version.file


def now() -> str:
    """The time as histories have it: `2026-01-31T14:05:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextmanager
def changing(dataset: Dataset, case_id: str) -> Iterator[CaseHistory]:
    """Nobody else changes the case meanwhile; its history as it is. Raises UsageError where there is no such case."""
    dataset.case(case_id)
    with exclusive_lock(history_path(dataset.folder, case_id).with_name(LOCK_NAME)):
        yield read_history(dataset.folder, case_id)


def _known_before(dataset: Dataset, case_id: str, history: CaseHistory, kind: Kind) -> set[str]:
    """The structures that somebody has looked for in the label that is corrected."""
    case = apply_history(dataset.imported.case(case_id), history)
    if kind != "correction" or case.segmentation is None:
        return set()
    return {s.name for s in dataset.structures} if case.annotated is None else set(case.annotated)


def write_history(
    dataset: Dataset, case_id: str, before: CaseHistory, author: str | None, **changes: Any
) -> CaseHistory:
    """Write what was changed while `changing` holds the case.

    Args:
        dataset: Where the case is.
        case_id: The case.
        before: Its history.
        author: Who changed its state, which is noted; None: nothing that is changed concerns it.
        **changes: Fields of `CaseHistory`.
    """
    history = CaseHistory.model_validate(before.model_dump() | changes | {"changes": before.changes + 1})
    if author is not None:
        imported = dataset.imported.case(case_id)
        state = history.state(imported)
        if "judged" in changes and (state != before.state(imported) or history.judged):
            change = StateChange(at=now(), by=author, state=state, note=history.note if history.judged else "")
            history = history.model_copy(update={"log": [*history.log, change]})
    write_json(history_path(dataset.folder, case_id), history.model_dump(exclude_none=True))
    return history


def write_version(dataset: Dataset, case_id: str, number: int, segmentation: Segmentation) -> str:
    """Write the file of a new version; its name. Raises FileError."""
    file = f"{number}{'.seg.nrrd' if dataset.manifest.overlapping else '.nii.gz'}"
    write_segmentation(dataset.folder / FOLDER / case_id / file, segmentation)
    return file


def repeat_version(history: CaseHistory, old: LabelVersion, author: str, what: str) -> LabelVersion:
    """An older version as the newest one, with the same file; a second reading becomes a correction."""
    number, kind = len(history.versions) + 1, "correction" if old.kind == "second reading" else old.kind
    changes = {"number": number, "kind": kind, "author": author, "at": now(), "base": history.current, "what": what}
    return old.model_copy(update=changes | {"seconds": 0.0})


def find_version(history: CaseHistory, case_id: str, number: int) -> LabelVersion:
    """A version by its number. Raises UsageError where there is none."""
    if not 1 <= number <= len(history.versions):
        raise UsageError(
            f"case {case_id}: has no version {number}", hint=f"it has {len(history.versions)}; 0 is the imported label"
        )
    return history.versions[number - 1]


def _conflict(case_id: str, history: CaseHistory, base: int) -> ConflictError:
    version = history.version
    who = "the imported label counts again" if version is None else f"{version.author or 'somebody'} saved another one"
    return ConflictError(
        f"case {case_id}: the label was changed since it was opened (version {base}; now {history.current}): {who}",
        hint="nothing was replaced: look at the newer version, and save yours as a second reading or on top of it",
    )
