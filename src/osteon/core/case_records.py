"""What is known of each case of a folder, in a small file of its own, so that any number of processes can write.

OUT/predictions.json                    what is known of all of them, for people and other programs; made of
OUT/.records/predictions/<case>.json    {case: what is known of it}, written whole by whoever works on the case
OUT/.records/predictions/<case>.lock    who works on it now: a lease, as in `locks`
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias
from typing import Any

from osteon.core.files import remove_file, write_error, write_json
from osteon.core.locks import lock_everywhere
from osteon.core.records import read_record

FOLDER = ".records"
_LONGEST = 200
"""Bytes of a case's name that its file's name takes as they are: systems allow 255."""


@dataclass(frozen=True)
class CaseRecords:
    """The records of one kind in a folder.

    Attributes:
        folder: Where the results lie.
        name: The file for all, such as `predictions.json`. What stands there and in no file of its own counts, too:
            earlier versions wrote nothing else, and people copy results without hidden folders.
        shape: What a case's record is, as `core.records` takes it.
    """

    folder: Path
    name: str
    shape: Any = dict[str, Any]

    @property
    def path(self) -> Path:
        """The file for all."""
        return self.folder / self.name

    @property
    def each(self) -> Path:
        """The folder of the files of each."""
        return self.folder / FOLDER / Path(self.name).with_suffix("")

    def get(self, case: str) -> dict[str, Any] | None:
        """What the case's own file says; None where there is none."""
        path = self._file(case)
        return self._read(path).get(case) if path.is_file() else None

    def read(self) -> dict[str, dict[str, Any]]:
        """What is known of each case. Raises FileError where a file is damaged."""
        return (self._read(self.path) if self.path.is_file() else {}) | self.each_record()

    def each_record(self) -> dict[str, dict[str, Any]]:
        """What the cases' own files say. Raises FileError where one is damaged."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.each.glob("[!.]*.json")):
            found |= self._read(path)
        return found

    def write(self, case: str, record: Mapping[str, Any]) -> None:
        """Record a case. Raises FileError, DiskFullError."""
        write_json(self._file(case), {case: dict(record)})

    def remove(self, case: str) -> None:
        """Forget a case, unless the file for all has it. Raises FileError."""
        remove_file(self._file(case))

    def sum_up(self) -> None:
        """Write the file for all, where it does not say all that is recorded. Raises FileError, DiskFullError."""
        records = self.read()
        if records != (self._read(self.path) if self.path.is_file() else {}):
            write_json(self.path, records)

    @contextmanager
    def claim(self, case: str, *, wait: bool) -> Iterator[None]:
        """Keep everybody else, on any machine, from working on a case while the block runs.

        Raises:
            BlockingIOError: Somebody does, and `wait` is false.
            FileError: The claim cannot be written.
        """
        path = self._file(case).with_suffix(".lock")
        with ExitStack() as held:
            try:
                while True:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with suppress(FileNotFoundError):  # tidied away in between
                        held.enter_context(lock_everywhere(path, wait=wait))
                        break
            except BlockingIOError:
                raise
            except OSError as error:
                raise write_error(path, error) from error
            yield

    def tidy(self) -> None:
        """Remove the folders for records where none came of the work."""
        with suppress(OSError):
            for folder in (self.each, *self.each.parents):
                if folder == self.folder:
                    break
                with suppress(FileNotFoundError):
                    folder.rmdir()

    def _read(self, path: Path) -> dict[str, Any]:
        hint = "move it away; what it stood for is done again"
        found: dict[str, Any] = read_record(path, "the record", GenericAlias(dict, (str, self.shape)), hint)
        return found

    def _file(self, case: str) -> Path:
        name = case.encode()
        if not name or len(name) > _LONGEST:
            case = f"{name[: _LONGEST // 2].decode(errors='ignore')}-{hashlib.sha256(name).hexdigest()[:32]}"
        return self.each / f"{case}.json"


def is_recorded(folder: Path, name: str) -> bool:
    """Whether there are records of this kind in a folder."""
    records = CaseRecords(folder, name)
    return records.path.is_file() or records.each.is_dir()
