"""The names of structures that somebody looked for, in the histories of cases: kept true where a dataset's change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from osteon.core.files import write_json
from osteon.core.locks import LOCK_NAME, exclusive_lock
from osteon.dataset.case_history import LabelVersion, history_path, read_histories, read_history


def keep_known(folder: Path, names: Sequence[str]) -> None:
    """Before a structure is added: what was looked for in every older version is `names`, where that was all there was.

    Raises:
        FileError: A history is damaged, or cannot be written.
    """
    _change(folder, lambda version: list(names) if version.annotated is None else version.annotated)


def rename_annotated(folder: Path, new_names: Mapping[str, str]) -> None:
    """Give structures their new names in every version and reading. Raises FileError as `keep_known`."""

    def rename(version: LabelVersion) -> list[str] | None:
        return None if version.annotated is None else [new_names.get(name, name) for name in version.annotated]

    _change(folder, rename, new_names)


def _change(
    folder: Path,
    annotated: Callable[[LabelVersion], list[str] | None],
    new_names: Mapping[str, str] = MappingProxyType({}),
) -> None:
    for case_id in read_histories(folder):
        path = history_path(folder, case_id)
        with exclusive_lock(path.with_name(LOCK_NAME)):
            before = read_history(folder, case_id)
            versions = [version.model_copy(update={"annotated": annotated(version)}) for version in before.versions]
            readings = [
                reading.model_copy(update={"agreement": {new_names.get(n, n): d for n, d in reading.agreement.items()}})
                for reading in before.readings
            ]
            changed = before.model_copy(update={"versions": versions, "readings": readings})
            if changed != before:
                write_json(path, changed.model_dump(exclude_none=True))
