"""Every case of a source read once, in as many processes as memory allows, and kept as it is read.

DATASET/.records/import/<case>.json   the result of a case: an import that was ended goes on after it
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from osteon.core.case_records import CaseRecords
from osteon.core.errors import OsteonError
from osteon.core.files import is_file
from osteon.core.labels import Structure
from osteon.core.parallel import for_each, worker_count
from osteon.dataset.manifest import Case
from osteon.importing.import_case import ImportedCase, ReadSettings, add_header_notes, import_case, user_files
from osteon.importing.source_forms import SourceCase

MANY_BYTES = 200e6
"""Of files: from here on, processes gain more than their start costs."""
_TIMES = {".gz": 16, ".jpg": 40, ".jpeg": 40, ".png": 40}
_TIMES_ELSE = 10
"""Memory that reading and checking an image takes, as a multiple of its file."""


def read_cases(
    settings: ReadSettings, cases: Sequence[SourceCase], workers: int | None = None
) -> tuple[list[ImportedCase], dict[str, OsteonError]]:
    """Read cases that were not read before.

    Returns:
        Those that passed, and the error of each that did not, in the order of `cases`.

    Raises:
        DiskFullError: What was read is kept.
    """
    records = _records(settings.folder)
    imported = {case.id: known for case in cases if (known := _from_record(settings, records.get(case.id))) is not None}
    left = [case for case in cases if case.id not in imported]
    worker = _Worker(settings, tuple(left), user_files(settings.found))
    count = (workers or _workers(left)) if left else 1
    packed = _pack(worker) if count > 1 else b""
    failed: dict[str, OsteonError] = {}
    for outcome in for_each(
        _import_in_process if packed else worker.run,
        range(len(left)),
        "Reading cases",
        name=lambda n: f"case {left[n].id}",
        workers=count if packed else 1,
        setup=partial(_unpack, packed) if packed else None,
    ):
        name = left[outcome.item].id
        if outcome.result is not None:
            imported[name] = outcome.result
        elif outcome.error is not None:
            failed[name] = outcome.error
    ids = [case.id for case in cases]
    return [imported[name] for name in ids if name in imported], {name: failed[name] for name in ids if name in failed}


def remove_records(folder: Path) -> None:
    """Remove what was kept of the cases: the dataset is whole."""
    records = _records(folder)
    shutil.rmtree(records.records_folder, ignore_errors=True)
    records.remove_empty()


@dataclass(frozen=True)
class _Worker:
    """All that a process needs to import any of the cases."""

    settings: ReadSettings
    cases: tuple[SourceCase, ...]
    protected: Collection[Path]

    def run(self, number: int) -> ImportedCase:
        """Import a case, and keep the result in its record."""
        case, settings = self.cases[number], self.settings
        try:
            imported = import_case(case, settings, self.protected)
        except OsteonError as error:
            if (explained := add_header_notes(error, case)) is error:
                raise
            raise explained from error
        kept = asdict(imported) | {
            "entry": imported.entry.model_dump(mode="json"),
            "structures": [structure.model_dump() for structure in imported.structures],
        }
        _records(settings.folder).write(case.id, {"made_from": settings.made_from, "taken": kept})
        return imported


_worker_here: list[_Worker] = []
"""What a process has to do that reads for another."""


def _pack(worker: _Worker) -> bytes:
    """The worker for another process; empty where a form's way of converting cannot be sent to one."""
    try:
        return pickle.dumps(worker)
    except (pickle.PicklingError, AttributeError, TypeError):
        return b""


def _unpack(packed: bytes) -> None:
    _worker_here[:] = [pickle.loads(packed)]


def _import_in_process(number: int) -> ImportedCase:
    return _worker_here[0].run(number)


def _records(folder: Path) -> CaseRecords:
    return CaseRecords(folder, "import.json")


def _from_record(settings: ReadSettings, record: Mapping[str, Any] | None) -> ImportedCase | None:
    """The result of an earlier import of a case, where it was made from the same and its files are there."""
    if record is None or record.get("made_from") != settings.made_from:
        return None
    try:
        kept = record["taken"]
        entry = Case.model_validate(kept["entry"])
        structures = tuple(Structure.model_validate(structure) for structure in kept["structures"])
        plain = {name: tuple(kept[name]) for name in ("present", "warnings")}
        imported = ImportedCase(
            entry,
            structures,
            overlaps=bool(kept["overlaps"]),
            highest=int(kept["highest"]),
            places=dict(kept["places"]),
            **plain,
        )
    except (KeyError, TypeError, ValidationError):
        return None
    files = [*entry.images, *([entry.segmentation] if entry.segmentation is not None else [])]
    return imported if all(is_file(settings.folder / file) for file in files) else None


def _workers(cases: Sequence[SourceCase]) -> int:
    """How many processes read, as the files' sizes tell."""
    files = [[path for path in case.images or case.parts if is_file(path)] for case in cases]
    if sum(path.stat().st_size for paths in files for path in paths) < MANY_BYTES:
        return 1
    return worker_count(len(cases), max(map(_memory_needed, files)))


def _memory_needed(files: Sequence[Path]) -> int:
    """Bytes of memory that a case's files take, at most: all of its channels, or its series, are held at once."""
    return sum(path.stat().st_size * _TIMES.get(path.suffix.lower(), _TIMES_ELSE) for path in files)
