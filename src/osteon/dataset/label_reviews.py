"""What people say of a label beside drawing it: which structures somebody looked for, which of two readings counts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from osteon.core.dice import count_overlap, dice
from osteon.core.errors import ConflictError, UsageError
from osteon.core.text import shorten_list
from osteon.dataset.case_history import CaseHistory, LabelVersion, SettledReading, read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import (
    changing,
    find_version,
    load_version,
    now,
    repeat_version,
    write_history,
    write_version,
)


def set_annotated(dataset: Dataset, case_id: str, names: Collection[str], *, author: str) -> LabelVersion | None:
    """Say which structures somebody looked for in the label that counts; the others are unknown there.

    Nothing else changes: what was said of the label stays. An imported label is copied into a version of its own.

    Args:
        dataset: Where the case is.
        case_id: The case.
        names: Of the structures.
        author: Who says so.

    Returns:
        The new version; None where that was known.

    Raises:
        UsageError: There is no such case or structure, none is named, or the case has no label.
        FileError: It cannot be read or written.
    """
    known = [structure.name for structure in dataset.structures]
    if unknown := sorted(set(names).difference(known)):
        raise UsageError(f"there is no structure {shorten_list(unknown)}", hint="dataset.yaml lists them")
    if not names:
        raise UsageError(f"case {case_id}: no structure is annotated", hint="name one, or reject the case")
    annotated = None if set(names) == set(known) else [name for name in known if name in names]
    with changing(dataset, case_id) as before:
        imported, version = dataset.imported.case(case_id), before.version
        if version is None and imported.segmentation is None:
            raise UsageError(f"case {case_id}: has no label", hint="draw one, or take a prediction")
        if annotated == (imported.annotated if version is None else version.annotated):
            return None
        what = f"annotated: {'all structures' if annotated is None else shorten_list(annotated)}"
        if version is None:
            number = len(before.versions) + 1
            file = write_version(dataset, case_id, number, load_version(dataset, case_id, 0))
            new = LabelVersion(number=number, file=file, author=author, at=now(), what=what, content=imported.content)
        else:
            new = repeat_version(before, version, author, what)
        new = new.model_copy(update={"annotated": annotated})
        write_history(dataset, case_id, before, None, versions=[*before.versions, new], current=new.number)
    return new


def reader_agreement(dataset: Dataset, case_id: str) -> dict[str, float | None] | None:
    """Dice of each structure between two readers; None where there is no second reading.

    Between the label that counts and the last second reading, or as it was when somebody said which of them counts.

    Raises:
        DatasetError: No label counts.
        FileError: A file is missing or damaged.
    """
    history = read_history(dataset.folder, case_id)
    if (second := history.open_reading) is not None:
        return _agreement(dataset, case_id, history, second)
    return history.readings[-1].agreement if history.readings else None


def agreement_between(folder: Path, case_id: str) -> dict[str, float | None] | None:
    """`reader_agreement` of a case in a dataset's folder, for another process. Raises as both it and `Dataset.open`."""
    return reader_agreement(Dataset.open(folder), case_id)


def settle_reading(dataset: Dataset, case_id: str, number: int, *, accept: bool, author: str) -> CaseHistory:
    """Say which of two readings counts; how far they agree is kept.

    Args:
        dataset: Where the case is.
        case_id: The case.
        number: The version that is the second reading.
        accept: It counts from now on, as a new version; else what counted counts on.
        author: Who says so.

    Raises:
        UsageError: There is no such second reading, or this was said of it already.
        ConflictError: Another label counts meanwhile. Nothing is written.
        DatasetError: No label counts.
        FileError: A file cannot be read or written.
    """
    seen = read_history(dataset.folder, case_id)
    second = find_version(seen, case_id, number)
    if seen.open_reading != second:
        raise UsageError(
            f"case {case_id}: version {number} is no second reading to be decided", hint="look at it again"
        )
    agreement = _agreement(dataset, case_id, seen, second)
    with changing(dataset, case_id) as before:
        if (before.current, before.open_reading) != (seen.current, second):
            raise ConflictError(
                f"case {case_id}: the label was changed since the readings were compared",
                hint="nothing was replaced: compare them again",
            )
        reading = SettledReading(
            number=number, against=before.current, agreement=agreement, accepted=accept, by=author, at=now()
        )
        changes: dict[str, Any] = {"readings": [*before.readings, reading]}
        if accept:
            again = repeat_version(before, second, author, f"the second reading, version {number}")
            changes |= {"versions": [*before.versions, again], "current": again.number, "judged": None}
        return write_history(dataset, case_id, before, author, **changes)


def _agreement(dataset: Dataset, case_id: str, history: CaseHistory, second: LabelVersion) -> dict[str, float | None]:
    first, other = (
        load_version(dataset, case_id, number).merged().array for number in (history.current, second.number)
    )
    counts = count_overlap(other, first, dataset.structures)
    known = second.annotated or list(counts)
    return {name: dice(count) for name, count in counts.items() if name in known}
