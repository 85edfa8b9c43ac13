"""Drafts: drawings that are not yet saved as a version, kept so that no closed tab and no killed server loses them.

DATASET/annotations/<case>/drafts/<author>.json      what it is, and the name of the file beside it
DATASET/annotations/<case>/drafts/<author>-N.gz      the drawing as it travels (`transfer`)

The record is written when the drawing is whole, and the older drawing removed after it.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from pydantic import BaseModel, Field

from osteon.app.drawing.transfer import Entry
from osteon.core.errors import FileError
from osteon.core.files import link_or_copy, remove_file, write_json
from osteon.core.records import read_record
from osteon.dataset.case_history import FOLDER

DRAFTS = "drafts"


class Draft(BaseModel):
    """What is known of a draft.

    Attributes:
        author: Whose it is.
        at: When it was kept: `2026-01-31T14:05:00Z`.
        base: The version that it was made from.
        seconds: How long the work on it took.
        entries: What its numbers or bits stand for: name and value.
        body: The file with the drawing.
        number: Of the drafts that this author kept.
        what: From what it was begun, in words.
    """

    author: str
    at: str
    base: int = Field(ge=0)
    seconds: float = 0.0
    entries: list[list[str | int]]
    body: str
    number: int
    what: str = ""


def read_draft(dataset: Path, case_id: str, author: str) -> Draft | None:
    """An author's draft of a case; None where there is none, or its record is damaged."""
    path = _record(dataset, case_id, author)
    if not path.is_file():
        return None
    try:
        draft = Draft.model_validate(read_record(path, "the draft", Draft, "remove it"))
    except FileError:
        return None
    return draft if body_of(dataset, case_id, draft).is_file() and Path(draft.body).name == draft.body else None


def list_drafts(dataset: Path, case_id: str) -> list[Draft]:
    """All drafts of a case, the newest first."""
    found = []
    for path in (dataset / FOLDER / case_id / DRAFTS).glob("*.json"):
        try:
            found.append(Draft.model_validate(read_record(path, "the draft", Draft, "remove it")))
        except FileError:
            continue
    return sorted(found, key=lambda draft: draft.at, reverse=True)


def body_of(dataset: Path, case_id: str, draft: Draft) -> Path:
    """The file with a draft's drawing."""
    return dataset / FOLDER / case_id / DRAFTS / draft.body


def keep_draft(
    dataset: Path,
    case_id: str,
    body: Path,
    entries: tuple[Entry, ...],
    *,
    author: str,
    base: int,
    seconds: float,
    what: str = "",
) -> Draft:
    """Keep a drawing as its author's draft, in place of the one before. Raises FileError where it cannot be written."""
    before, record = read_draft(dataset, case_id, author), _record(dataset, case_id, author)
    number = 1 if before is None else before.number + 1
    name = f"{record.stem}-{number}.gz"
    link_or_copy(body, record.with_name(name))
    draft = Draft(
        author=author,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        base=base,
        seconds=round(seconds, 1),
        entries=[[entry.name, entry.value] for entry in entries],
        body=name,
        number=number,
        what=what,
    )
    write_json(record, draft.model_dump())
    for path in record.parent.glob(f"{record.stem}-*.gz"):
        if path.name != name:
            remove_file(path)
    return draft


def remove_draft(dataset: Path, case_id: str, author: str) -> None:
    """Remove an author's draft of a case, where there is one. Raises FileError."""
    record = _record(dataset, case_id, author)
    remove_file(record)
    for path in record.parent.glob(f"{record.stem}-*.gz"):
        remove_file(path)


def _record(dataset: Path, case_id: str, author: str) -> Path:
    name = hashlib.sha256(author.encode()).hexdigest()[:16]
    return dataset / FOLDER / case_id / DRAFTS / f"{name}.json"
