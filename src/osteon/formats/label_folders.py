"""The label files of a folder, by the cases that they are called after."""

from __future__ import annotations

from pathlib import Path

from osteon.core.errors import UsageError, missing_file_error
from osteon.formats.registry import known_suffixes, stem_of, suffix_of


def find_label_files(path: Path, what: str) -> dict[str, Path]:
    """Label files by stem, sorted; links to what is not there among them: reading them says so."""
    if path.is_file():
        return {stem_of(path): path}
    if not path.is_dir():
        raise missing_file_error(path, what)
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        there = file.is_file() or (file.is_symlink() and not file.exists())
        if not there or file.name.startswith(".") or suffix_of(file) is None:
            continue
        stem = stem_of(file)
        if stem in found:
            raise UsageError(
                f"{path}: case {stem} is listed twice, as {found[stem].name} and {file.name}",
                hint="remove or rename one of them",
            )
        found[stem] = file
    if not found:
        raise UsageError(
            f"{path}: {what} holds no label files",
            hint=f"give a folder of files that end in {', '.join(known_suffixes())}",
        )
    return found
