"""Every case of a source read once, in as many processes as memory allows, and kept as it is read.

DATASET/.records/import/<case>.json   what came of a case: an import that was ended goes on after it
"""

from __future__ import annotations

import hashlib
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
from osteon.core.version import __version__
from osteon.dataset.manifest import Case
from osteon.importing.import_case import TakenCase, files_of, take_case, with_oddities
from osteon.importing.source_forms import Found, FoundCase

MANY_BYTES = 200e6
"""Of files: from here on, processes gain more than their start costs."""
_TIMES = {".gz": 16, ".jpg": 40, ".jpeg": 40, ".png": 40}
_TIMES_ELSE = 10
"""Memory that reading and checking an image takes, as a multiple of its file."""


@dataclass(frozen=True)
class Reading:
    """How the cases of a source are read.

    Attributes:
        found: What the source holds.
        folder: The dataset.
        made_from: Stands for the source's files, the options and osteon's version: what was read before counts where it
            is the same.
        repair_geometry: As for `take_case`.
        allow_empty: Likewise.
    """

    found: Found
    folder: Path
    made_from: str
    repair_geometry: bool
    allow_empty: bool


def made_from(place: str, told: Mapping[str, Any], inputs: str) -> str:
    """What stands for a source's place, the options and the source's files, of `repeat.inputs_digest`."""
    return hashlib.sha256(repr((place, sorted(told.items()), inputs, __version__)).encode()).hexdigest()


def read_cases(
    reading: Reading, cases: Sequence[FoundCase], workers: int | None = None
) -> tuple[list[TakenCase], dict[str, OsteonError]]:
    """Read cases that were not read before.

    Returns:
        Those that passed, and the error of each that did not, in the order of `cases`.

    Raises:
        DiskFullError: What was read is kept.
    """
    records = _records(reading.folder)
    taken = {case.id: known for case in cases if (known := _known(reading, records.get(case.id))) is not None}
    left = [case for case in cases if case.id not in taken]
    work = _Work(reading, tuple(left), files_of(reading.found))
    if left and (count := workers or _workers(left)) > 1:
        packed = _packed(work)
        function, setup = (_take_there, partial(_unpack, packed)) if packed else (work.take, None)
        count = count if packed else 1
    else:
        function, setup, count = work.take, None, 1
    failed: dict[str, OsteonError] = {}
    numbers = range(len(left))
    for outcome in for_each(
        function, numbers, "Reading cases", name=lambda n: f"case {left[n].id}", workers=count, setup=setup
    ):
        name = left[outcome.item].id
        if outcome.result is not None:
            taken[name] = outcome.result
        elif outcome.error is not None:
            failed[name] = outcome.error
    ids = [case.id for case in cases]
    return [taken[name] for name in ids if name in taken], {name: failed[name] for name in ids if name in failed}


def forget(folder: Path) -> None:
    """Remove what was kept of the cases: the dataset is whole."""
    records = _records(folder)
    shutil.rmtree(records.records_folder, ignore_errors=True)
    records.remove_empty()


@dataclass(frozen=True)
class _Work:
    """What a process needs to take any of the cases."""

    reading: Reading
    cases: tuple[FoundCase, ...]
    theirs: Collection[Path]

    def take(self, number: int) -> TakenCase:
        """Take a case, and keep what came of it."""
        case, how = self.cases[number], self.reading
        try:
            taken = take_case(
                case,
                how.found,
                how.folder,
                repair_geometry=how.repair_geometry,
                allow_empty=how.allow_empty,
                theirs=self.theirs,
            )
        except OsteonError as error:
            if (told := with_oddities(error, case)) is error:
                raise
            raise told from error
        kept = asdict(taken) | {
            "entry": taken.entry.model_dump(mode="json"),
            "structures": [structure.model_dump() for structure in taken.structures],
        }
        _records(how.folder).write(case.id, {"made_from": how.made_from, "taken": kept})
        return taken


_there: list[_Work] = []
"""The work of a process that reads for another."""


def _packed(work: _Work) -> bytes:
    """The work for another process; empty where a form's way of converting cannot be sent to one."""
    try:
        return pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError):
        return b""


def _unpack(packed: bytes) -> None:
    _there[:] = [pickle.loads(packed)]


def _take_there(number: int) -> TakenCase:
    return _there[0].take(number)


def _records(folder: Path) -> CaseRecords:
    return CaseRecords(folder, "import.json")


def _known(reading: Reading, record: Mapping[str, Any] | None) -> TakenCase | None:
    """What came of a case before, where it was made from the same and its files are there."""
    if record is None or record.get("made_from") != reading.made_from:
        return None
    try:
        told = record["taken"]
        entry = Case.model_validate(told["entry"])
        structures = tuple(Structure.model_validate(structure) for structure in told["structures"])
        plain = {name: tuple(told[name]) for name in ("present", "warnings", "lost")}
        taken = TakenCase(entry, structures, overlaps=bool(told["overlaps"]), **plain)
    except (KeyError, TypeError, ValidationError):
        return None
    files = [*entry.images, *([entry.segmentation] if entry.segmentation is not None else [])]
    return taken if all(is_file(reading.folder / file) for file in files) else None


def _workers(cases: Sequence[FoundCase]) -> int:
    """How many processes read, as the files' sizes tell."""
    files = [[path for path in case.images or case.parts if is_file(path)] for case in cases]
    if sum(path.stat().st_size for paths in files for path in paths) < MANY_BYTES:
        return 1
    return worker_count(len(cases), max(map(_needs, files)))


def _needs(files: Sequence[Path]) -> int:
    """Bytes of memory that a case's files take, at most: all of its channels, or its series, are held at once."""
    return sum(path.stat().st_size * _TIMES.get(path.suffix.lower(), _TIMES_ELSE) for path in files)
