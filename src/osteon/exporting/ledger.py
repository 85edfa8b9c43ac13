"""What an output folder's exports have written: `exports.json`. A file that is not in it is never replaced unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.errors import FileError
from osteon.core.files import file_state, is_file, read_json, write_error, write_json

FILE_NAME = "exports.json"
_WRITING = "being written"


@dataclass
class Ledger:
    """The record of a folder.

    Attributes:
        folder: The output folder.
        overwrite: Whether files of others may be replaced.
        entries: Form → case (empty for all cases' files) → file, relative → its state when it was written.
    """

    folder: Path
    overwrite: bool = False
    entries: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, *, overwrite: bool = False) -> Ledger:
        """The record of a folder; an empty one where there is none. Raises FileError where it is damaged."""
        path = Path(folder) / FILE_NAME
        data = read_json(path, "the record of exports") if is_file(path) else {}
        if not _is_record(data):
            raise FileError(f"{path}: is no record of exports", hint="move it away, or choose another output folder")
        return cls(Path(folder), overwrite, data)

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
            if there and not self.overwrite and not self._is_ours(form, file):
                raise FileError(
                    f"{target}: is there already, and {FILE_NAME} does not say that it was exported as {form}",
                    hint="choose another output folder, or --overwrite to replace the file",
                )

    def begin(self, form: str, case: str, files: Sequence[Path]) -> None:
        """Note which files are about to be written for a case (empty: about all): a killed export goes on then."""
        known = self.entries.setdefault(form, {}).setdefault(case, {})
        known.update({file.as_posix(): _WRITING for file in files})
        self._save()

    def end(self, form: str, case: str, files: Sequence[Path]) -> None:
        """Record what was written. What the case had before and has no more is removed, unless somebody changed it."""
        known = self.entries[form][case]
        for name in set(known) - {file.as_posix() for file in files}:
            if _state(self.folder / name) == known[name]:
                _remove(self.folder / name)
        self.entries[form][case] = {file.as_posix(): _state(self.folder / file) for file in files}
        self._save()

    def _is_ours(self, form: str, file: Path) -> bool:
        name, now = file.as_posix(), _state(self.folder / file)
        return any(files.get(name) in (now, _WRITING) for files in self.entries.get(form, {}).values())

    def _save(self) -> None:
        write_json(self.folder / FILE_NAME, self.entries)


def _is_record(data: Any) -> bool:
    def of_text(value: Any) -> bool:
        return isinstance(value, Mapping) and all(isinstance(state, str) for state in value.values())

    cases = list(data.values()) if isinstance(data, dict) else [None]
    return all(isinstance(value, dict) and all(map(of_text, value.values())) for value in cases)


def _state(path: Path) -> str:
    """Size and time of change; where a link leads to."""
    return f"link to {path.readlink()}" if path.is_symlink() else file_state(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
