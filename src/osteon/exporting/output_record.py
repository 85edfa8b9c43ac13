"""What an output folder's exports have written: `exports.json`. A file that is not in it is never replaced unasked.

Each form and case has a record of its own (`core.case_records`), so that several exports can write into one folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.case_records import RECORDS_FOLDER, CaseRecords
from osteon.core.errors import FileError
from osteon.core.file_stamps import modification_stamp
from osteon.core.files import is_file, remove_file, write_json
from osteon.core.records import read_record

FILE_NAME = "exports.json"
_EACH = Path(FILE_NAME).stem
_WRITING = "being written"


@dataclass
class OutputRecord:
    """The files that exports have written into a folder.

    Attributes:
        folder: The output folder.
        overwrite: Whether files that no export wrote may be replaced.
        entries: Form → case (empty for all cases' files) → file, relative → its state when it was written, as it was
            when the folder was opened, and what was written since by this record.
        states: Form → file → its states in `entries`.
    """

    folder: Path
    overwrite: bool = False
    entries: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    states: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, *, overwrite: bool = False) -> OutputRecord:
        """The record of a folder; an empty one where there is none. Raises FileError where it is damaged."""
        record = cls(Path(folder), overwrite, _entries(Path(folder)))
        for form, cases in record.entries.items():
            for files in cases.values():
                record._note(form, files)
        return record

    def check(self, form: str, files: Sequence[Path], kept: Sequence[Path] = ()) -> None:
        """Refuse to replace what is not known to be an export of this form as it was written, and what is read from.

        Args:
            form: Of the export.
            files: About to be written, relative to the folder.
            kept: Read from, wherever they are.

        Raises:
            FileError: The message names the file.
        """
        sources = {path.resolve() for path in kept}
        for file in files:
            target = self.folder / file
            if target.resolve() in sources and not target.is_symlink():
                raise FileError(f"{target}: is what is exported from", hint="choose another output folder")
            there = target.exists() or target.is_symlink()
            if there and not self.overwrite and not self._is_export(form, file):
                raise FileError(
                    f"{target}: is there already, and {FILE_NAME} does not say that it was exported as {form}",
                    hint="choose another output folder, or --overwrite to replace the file",
                )

    @contextmanager
    def claim(self, form: str, case: str) -> Iterator[None]:
        """Keep other exports from a case's files while the block runs; what they have written until now is known in it.

        Raises:
            FileError: The claim cannot be written.
        """
        records = self._records(form)
        try:
            with records.claim(case, wait=True):
                if (files := records.get(case)) is not None:
                    self.entries.setdefault(form, {})[case] = files
                    self._note(form, files)
                yield
        finally:
            records.remove_empty()  # a refused export leaves nothing

    def begin(self, form: str, case: str, files: Sequence[Path]) -> None:
        """Note which files are about to be written for a case (empty: about all): a killed export goes on then."""
        known = self.entries.setdefault(form, {}).setdefault(case, {})
        known.update({file.as_posix(): _WRITING for file in files})
        self._note(form, known)
        self._records(form).write(case, known)

    def end(self, form: str, case: str, files: Sequence[Path]) -> None:
        """Record what was written. What the case had before and has no more is removed, unless somebody changed it."""
        known = self.entries[form][case]
        for name in set(known) - {file.as_posix() for file in files}:
            if _state(self.folder / name) == known[name]:
                remove_file(self.folder / name)
        known = {file.as_posix(): _state(self.folder / file) for file in files}
        self.entries[form][case] = known
        self._note(form, known)
        self._records(form).write(case, known)

    def write_summary(self) -> None:
        """Write exports.json, of what all exports have recorded. Raises FileError, DiskFullError."""
        if entries := _entries(self.folder):
            write_json(self.folder / FILE_NAME, entries)

    def _records(self, form: str) -> CaseRecords:
        return CaseRecords(self.folder, f"{_EACH}/{form}")

    def _note(self, form: str, files: Mapping[str, str]) -> None:
        for name, state in files.items():
            self.states.setdefault(form, {}).setdefault(name, set()).add(state)

    def _is_export(self, form: str, file: Path) -> bool:
        known = self.states.get(form, {}).get(file.as_posix(), set())
        return not known.isdisjoint((_state(self.folder / file), _WRITING))


def _entries(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Form → case → file → its state, of all exports into a folder. Raises FileError where a record is damaged."""
    path, hint = folder / FILE_NAME, "move it away, or choose another output folder"
    shape = dict[str, dict[str, dict[str, str]]]
    found: dict[str, Any] = read_record(path, "the record of exports", shape, hint) if is_file(path) else {}
    for each in sorted((folder / RECORDS_FOLDER / _EACH).glob("*/")):
        records = CaseRecords(folder, f"{_EACH}/{each.name}", dict[str, str])
        found.setdefault(each.name, {}).update(records.read_records())
    return found


def _state(path: Path) -> str:
    """Size and time of change; where a link leads to."""
    return f"link to {path.readlink()}" if path.is_symlink() else modification_stamp(path)
