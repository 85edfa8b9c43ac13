"""The records of a folder of results: one small file for each case, so that any number of processes can write.

OUT/predictions.json                    the summary, for people and other programs; made of
OUT/.records/predictions/<case>.json    {case: its record}, written whole by whoever works on the case
OUT/.records/predictions/<case>.lock    who works on it now: a lease, as in `locks`
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias
from typing import Any

from osteon.core.files import remove_file, write_json
from osteon.core.locks import exclusive_lock
from osteon.core.records import read_record

RECORDS_FOLDER = ".records"
_MAX_NAME_BYTES = 200
"""Bytes of a case's name that its file's name takes as they are: systems allow 255."""


@dataclass(frozen=True)
class CaseRecords:
    """The records of one kind in a folder.

    Attributes:
        folder: Where the results lie.
        name: Of the summary, such as `predictions.json`. A record that stands only there counts, too: earlier versions
            wrote nothing else, and people copy results without hidden folders.
        shape: The type of a case's record, as `core.records` takes it.
    """

    folder: Path
    name: str
    shape: Any = dict[str, Any]

    @property
    def path(self) -> Path:
        """The summary of all cases."""
        return self.folder / self.name

    @property
    def records_folder(self) -> Path:
        """The folder that holds a file for each case."""
        return self.folder / RECORDS_FOLDER / Path(self.name).with_suffix("")

    def get(self, case: str) -> dict[str, Any] | None:
        """The record in the case's file; None where there is no such file. Raises FileError where it is damaged."""
        path = self._file(case)
        return self._read(path).get(case) if path.is_file() else None

    def read(self) -> dict[str, dict[str, Any]]:
        """Case → its record, from the summary and, first of all, the cases' files. Raises FileError: one is damaged."""
        return (self._read(self.path) if self.path.is_file() else {}) | self.read_records()

    def read_records(self) -> dict[str, dict[str, Any]]:
        """Case → its record, from the cases' files alone. Raises FileError where one is damaged."""
        records: dict[str, dict[str, Any]] = {}
        for path in sorted(self.records_folder.glob("[!.]*.json")):
            records |= self._read(path)
        return records

    def write(self, case: str, record: Mapping[str, Any]) -> None:
        """Record a case. Raises FileError, DiskFullError."""
        write_json(self._file(case), {case: dict(record)})

    def remove(self, case: str) -> None:
        """Remove a case's file; what the summary says of it stays. Raises FileError."""
        remove_file(self._file(case))

    def write_summary(self) -> None:
        """Write the summary, where it lacks a record. Raises FileError, DiskFullError."""
        records = self.read()
        if records != (self._read(self.path) if self.path.is_file() else {}):
            write_json(self.path, records)

    def claim(self, case: str, *, wait: bool) -> AbstractContextManager[None]:
        """Keep everybody else, on any machine, from working on a case while the block runs.

        Raises:
            BlockingIOError: Somebody does, and `wait` is false.
            FileError: The claim cannot be written.
        """
        return exclusive_lock(self._file(case).with_suffix(".lock"), wait=wait)

    def remove_empty(self) -> None:
        """Remove the folders of records where they are empty."""
        with suppress(OSError):
            for folder in (self.records_folder, *self.records_folder.parents):
                if folder == self.folder:
                    break
                with suppress(FileNotFoundError):
                    folder.rmdir()

    def _read(self, path: Path) -> dict[str, Any]:
        hint = "move it away; its cases are worked on again"
        return read_record(path, "the record", GenericAlias(dict, (str, self.shape)), hint)

    def _file(self, case: str) -> Path:
        name = case.encode()
        if not name or len(name) > _MAX_NAME_BYTES:
            case = f"{name[: _MAX_NAME_BYTES // 2].decode(errors='ignore')}-{hashlib.sha256(name).hexdigest()[:32]}"
        return self.records_folder / f"{case}.json"


def has_records(folder: Path, name: str) -> bool:
    """Whether there are records of this kind in a folder."""
    records = CaseRecords(folder, name)
    return records.path.is_file() or records.records_folder.is_dir()
