"""Opaque keys in place of patients: `p001`, `p002` …, and the table that leads back, beside the source.

The table is the user's own: it lies with the source, never in the dataset. Keys in it are kept, so that a patient who
comes later changes nobody's key.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path, PurePosixPath

from osteon.core.errors import FileError
from osteon.core.files import read_text, write_text
from osteon.core.spreadsheets import to_csv, unescape_cell
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.importing.source_forms import ConvertedCase

TABLE = "osteon-pseudonyms.csv"
_HEAD = ("key", "patient_id", "patient_name")
_MOST_PARTS = 4
"""Parts of a name (family, given, middle …) that are looked for in any order."""
_SHORTEST_PART = 3
_SHORT = 4
"""A name or id of fewer letters replaces a folder's name only where it is the whole of it."""


@dataclass(frozen=True)
class Patient:
    """Who a scan shows, as DICOM has it. Not to be written into a dataset."""

    id: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    dates: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Of birth and of the scan, as `YYYYMMDD`."""

    def __bool__(self) -> bool:
        return bool(self.id or self.name)


class Pseudonyms:
    """The keys of all patients of a source.

    Args:
        source: The folder that is imported; the table of an earlier import is read from it or from its parent.
        patients: In the order in which keys are given.
        keep_identity: Give no keys and hide nothing, as the user asks.
    """

    def __init__(self, source: Path, patients: Iterable[Patient], *, keep_identity: bool = False) -> None:
        self.source, self.keep_identity = source, keep_identity
        self.places = (source / TABLE, source.absolute().parent / TABLE)
        self.keys = {} if keep_identity else _read_table(self.places)
        highest = max((int(key[1:]) for key in self.keys.values() if re.fullmatch(r"p\d+", key)), default=0)
        for patient in patients:
            if patient and patient not in self.keys and not keep_identity:
                highest += 1
                self.keys[patient] = f"p{highest:03d}"

    def key(self, patient: Patient) -> str | None:
        """The patient's key; None where the scan does not say who it shows."""
        return self.keys.get(patient)

    def subject(self, patient: Patient) -> str | None:
        """What the dataset calls the patient; None where the scan does not say who it shows."""
        return (patient.id or patient.name or None) if self.keep_identity else self.key(patient)

    def hide_ids(self, ids: Sequence[str], patients: Sequence[Patient], warnings: list[str]) -> list[str]:
        """Case ids without names and dates; those that come to the same are numbered, with a line in `warnings`."""
        hidden = [self.hide(name, patient) for name, patient in zip(ids, patients, strict=True)]
        hidden = [safe_id(new) if new != old else old for new, old in zip(hidden, ids, strict=True)]
        return unique_ids([hidden], warnings)

    def without_names(
        self, convert: Callable[[], ConvertedCase], patient: Patient, files: Iterable[Path]
    ) -> ConvertedCase:
        """A converted case in which nothing says who the patient is; the table that leads back is written.

        Args:
            convert: Makes the case.
            patient: Whom it shows.
            files: All that it is made from: provenance names them, or their folders, relative to the source or not.
        """
        converted = convert()
        if self.key(patient) is None:
            return converted
        note = self.write()
        warnings = (*converted.warnings, *([note.removeprefix("warning: ")] if note.startswith("warning: ") else []))
        places = self._places_of(files)
        provenance = tuple(self.hide_in(line, patient, places) for line in converted.provenance)
        return replace(converted, provenance=provenance, warnings=warnings)

    def hide(self, text: str, patient: Patient) -> str:
        """The text with every folder or word that is the patient's name, id or date replaced by the key or `date`.

        A name is found as a whole in any order (`Doe^Jane`, `jane_doe`), and each of its parts where it stands alone.
        """
        key = self.key(patient)
        if key is None:
            return text
        names = [[patient.id], [patient.name]]
        parts = re.findall(r"[^\W_]+", patient.name)[:_MOST_PARTS]
        names += [list(order) for order in permutations(parts)]
        for whole in sorted(names, key=lambda words: len("".join(words)), reverse=True):
            text = _replace_words(text, " ".join(whole), key)
        for part in parts:
            if len(part) >= _SHORTEST_PART and part.isalpha():
                text = re.sub(rf"(?<![^\W_]){re.escape(part)}(?![^\W_])", key, text, flags=re.IGNORECASE)
        for date in patient.dates:
            year, month, day = date[:4], date[4:6], date[6:8]
            for order in ((year, month, day), (day, month, year), (month, day, year)):
                text = re.sub(r"(?<!\d)" + r"[\W_]?".join(order) + r"(?!\d)", "date", text)
        return text

    def hide_in(self, line: str, patient: Patient, places: Iterable[str]) -> str:
        """A sentence in which the places of files are hidden; its other words and numbers stay as they are.

        A place that is one word or number (the folder `12`) is one where a sentence ends, or a colon or comma follows.
        """
        for place in sorted((place for place in places if place in line), key=len, reverse=True):
            after = r"(?=$|[:;,])" if re.fullmatch(r"\w+", place) else r"(?![\w])"
            line = re.sub(rf"(?<![\w/.\-]){re.escape(place)}{after}", lambda found: self.hide(found[0], patient), line)
        return re.sub(r"\S*/\S*", lambda found: self.hide(found[0], patient), line)

    def _places_of(self, files: Iterable[Path]) -> set[str]:
        """How sentences may name files and their folders: relative to the source, and absolute."""
        found: set[str] = set()
        for file in files:
            with suppress(ValueError):
                place = PurePosixPath(file.relative_to(self.source).as_posix())
                found |= {part.as_posix() for part in (place, *place.parents)} - {"."}
            found |= {file.as_posix(), str(file), str(file.absolute())}
        return found

    def write(self) -> str:
        """Write the table beside the source; what was done, or a warning that it was not possible."""
        text = to_csv([_HEAD, *((key, patient.id, patient.name) for patient, key in self.keys.items())])
        for place in self.places:
            try:
                if not place.is_file() or place.read_text(encoding="utf-8") != text:
                    write_text(place, text)
            except (FileError, OSError, UnicodeError):
                continue
            return f"who is behind the keys stands in {place}"
        return "warning: the table of pseudonyms could not be written beside the source; note the order of patients"


def _replace_words(text: str, name: str, key: str) -> str:
    letters = re.findall(r"[^\W_]+", name)
    if not letters:
        return text
    pattern = r"[\W_]*".join(re.escape(part) for part in letters)
    if len("".join(letters)) < _SHORT:
        pattern = rf"(?<![^\W_]){pattern}(?![^\W_])"
    return re.sub(pattern, key, text, flags=re.IGNORECASE)


def _read_table(places: Iterable[Path]) -> dict[Patient, str]:
    for place in places:
        if place.is_file():
            rows = csv.DictReader(io.StringIO(read_text(place, "the table of pseudonyms")))
            if rows.fieldnames is None or not set(_HEAD) <= set(rows.fieldnames):
                raise FileError(f"{place}: is no table of pseudonyms", hint=f"its columns are {', '.join(_HEAD)}")
            return {
                Patient(
                    unescape_cell(row["patient_id"] or ""), unescape_cell(row["patient_name"] or "")
                ): unescape_cell(row["key"] or "")
                for row in rows
            }
    return {}
