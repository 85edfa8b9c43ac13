"""Records of a case that people change from a page: read whole, changed by one at a time, written whole.

FOLDER/annotations/<case>/….json   of a dataset, or of a folder of predictions
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from osteon.core.files import write_json
from osteon.core.locks import LOCK_NAME, exclusive_lock
from osteon.core.records import read_record
from osteon.dataset.case_history import FOLDER

Record = TypeVar("Record", bound=BaseModel)


def record_path(folder: Path, case_id: str, file: str) -> Path:
    """Where such a record of a case lies."""
    return folder / FOLDER / case_id / file


def read_saved(path: Path, shape: type[Record], what: str, hint: str) -> Record:
    """A record; an empty one where nothing was saved.

    Args:
        path: As `record_path` gives it.
        shape: Its model, all of whose keys have defaults.
        what: What it is, for people.
        hint: The way out where it is damaged.

    Raises:
        FileError: It is damaged.
    """
    return shape.model_validate(read_record(path, what, shape, hint)) if path.is_file() else shape()


@contextmanager
def change_saved(path: Path, shape: type[Record], what: str, hint: str) -> Iterator[Record]:
    """Nobody else changes it meanwhile; what is changed in the block is written unless it raises. See `read_saved`."""
    with exclusive_lock(path.with_name(LOCK_NAME)):
        saved = read_saved(path, shape, what, hint)
        yield saved
        write_json(path, saved.model_dump(mode="json"))
