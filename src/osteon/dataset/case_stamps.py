"""Whether a case still is what something was made from: its files' bytes, and what dataset.yaml says of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.core.file_stamps import content_stamp, refresh_stamp
from osteon.core.text import shorten_list
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case

logger = logging.getLogger(__name__)


class CaseStamp(BaseModel):
    """What a case was.

    Attributes:
        meaning: What the manifest says of its image and of what its labels mean.
        files: Each file, as the manifest names it, and its `core.file_stamps.content_stamp`.
    """

    model_config = ConfigDict(frozen=True)

    meaning: str
    files: dict[str, str]


NO_STAMP = CaseStamp(meaning="", files={})
"""Of a case that nobody has looked at: no case is still that."""


def stamp_case(dataset: Dataset, case: Case) -> CaseStamp:
    """The mark of a case as it is now; reads its files. To be taken before they are read for their content."""
    files = {name: content_stamp(dataset.resolve(name)) for name in _names(case)}
    return CaseStamp(meaning=_meaning(dataset, case), files=files)


def renew_stamp(dataset: Dataset, case: Case, before: CaseStamp) -> CaseStamp | None:
    """The mark with the files' times as they are now, where the case is what it was; None where it is not."""
    if before.meaning != _meaning(dataset, case) or list(before.files) != _names(case):
        return None
    files = {name: refresh_stamp(dataset.resolve(name), mark) for name, mark in before.files.items()}
    known = {name: mark for name, mark in files.items() if mark is not None}
    return CaseStamp(meaning=before.meaning, files=known) if len(known) == len(files) else None


def read_stamp(record: Any) -> CaseStamp | None:
    """The mark that a record (JSON) holds under `mark`; None where it holds none."""
    try:
        return CaseStamp.model_validate(record["mark"])
    except (KeyError, TypeError, ValidationError):
        return None


def warn_changed(dataset: Dataset, before: Mapping[str, CaseStamp], what: str) -> None:
    """Say which cases' files have other bytes than when they were last `what` (prepared, measured), if any."""
    changed = [
        f"{case.id} ({name})"
        for case in dataset.manifest.cases
        if case.id in before
        for name, mark in before[case.id].files.items()
        if name in _names(case) and refresh_stamp(dataset.resolve(name), mark) is None
    ]
    if changed:
        text = f"{what} again, since the files have changed: {shorten_list(changed)}"
        logger.warning(text)


def _names(case: Case) -> list[str]:
    """The files of a case, each once: channels may lie in one file."""
    return list(dict.fromkeys(name for name in (*case.images, case.segmentation) if name is not None))


def _meaning(dataset: Dataset, case: Case) -> str:
    meanings = sorted(f"{structure.value}={structure.name}" for structure in dataset.structures)
    return "|".join([case.content or "", f"overlapping {dataset.manifest.overlapping}", *meanings])
