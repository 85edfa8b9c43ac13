"""The re-identification table: which patient has which pseudonym, and the key from which UIDs follow.

key: 8f…                     # UIDs follow from it and the original ones
patients:
- pseudonym: P5A31C07F
  shift_days: -412           # added to every date of the patient's
  ids: ["0815", "0815-A"]    # PatientIDs, as they were; capitals and spaces around do not count
  names: [Doe^Jane]
  births: ["19610412"]
  studies: {1.2.840…: 2.25…}
  left_out: {1.2.840…: 3}    # series → instances that were left out
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osteon.archive.confidentiality import Stand
from osteon.archive.settings import refuse_shared_file
from osteon.core.errors import FileError, UsageError
from osteon.core.file_names import name_key
from osteon.core.files import atomic_write, read_yaml
from osteon.core.locks import exclusive_lock
from osteon.dataset.manifest import describe_errors

_HEAD = "# Who is who: keep it where nobody else can read it, and never give it away with the images.\n"
_KEY_BYTES = 32
MOST_DAYS = 1826
"""Dates are shifted into the past by up to five years."""


class Patient(BaseModel):
    """A patient of the table; see the head of this module."""

    model_config = ConfigDict(extra="forbid")

    pseudonym: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    shift_days: int
    ids: list[str] = []
    names: list[str] = []
    births: list[str] = []
    studies: dict[str, str] = {}
    left_out: dict[str, int] = {}


class _Contents(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * _KEY_BYTES}}}$")]
    patients: list[Patient] = []


class ReidentificationTable:
    """A table on disk, which only this process writes.

    Attributes:
        path: Of it.
    """

    def __init__(self, path: Path, contents: _Contents) -> None:
        self.path, self._contents = path, contents
        self._changed = not path.exists()
        self._by_id = {name_key(one.strip()): patient for patient in self.patients for one in patient.ids}
        self._by_study = {study: patient for patient in self.patients for study in patient.studies}

    @property
    def patients(self) -> list[Patient]:
        """All, in the order in which they came."""
        return self._contents.patients

    def patient_of(self, patient_id: str, study_uid: str, name: str, birth: str) -> Patient:
        """The patient of a study, entered where it is new. Without PatientID each study is a patient of its own."""
        key = name_key(patient_id.strip())
        patient = self._by_id.get(key) if key else self._by_study.get(study_uid)
        if patient is None:
            patient = Patient(pseudonym=self._new_pseudonym(), shift_days=-1 - secrets.randbelow(MOST_DAYS))
            self.patients.append(patient)
            self._changed = True
        if key:
            self._by_id[key] = patient
        self._by_study.setdefault(study_uid, patient)
        for values, value in ((patient.ids, patient_id), (patient.names, name), (patient.births, birth)):
            if value.strip() and value not in values:
                values.append(value)
                self._changed = True
        if study_uid not in patient.studies:
            patient.studies[study_uid] = self.uid(study_uid)
            self._changed = True
        return patient

    def stand_for(self, patient: Patient) -> Stand:
        """What stands for a patient in the files."""
        return Stand(patient.pseudonym, patient.shift_days, self.uid)

    def uid(self, original: str) -> str:
        """The UID that stands for one: always the same, and not to be found from it without the key."""
        digest = hmac.new(bytes.fromhex(self._contents.key), original.encode(), hashlib.sha256).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"

    def left_out(self, series_uid: str) -> int:
        """How many instances of a series were left out."""
        return sum(patient.left_out.get(series_uid, 0) for patient in self.patients)

    def note_left_out(self, patient: Patient, series_uid: str, count: int) -> None:
        """Remember how many instances of a series were left out."""
        if patient.left_out.get(series_uid, 0) != count:
            patient.left_out[series_uid] = count
            self._changed = True

    def save(self) -> None:
        """Write it, readable for its owner alone, where something has changed. Raises FileError."""
        if not self._changed:
            return
        text = yaml.safe_dump(self._contents.model_dump(), sort_keys=False, allow_unicode=True)
        with atomic_write(self.path) as temporary:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(_HEAD + text)
        self._changed = False

    def doubts(self) -> list[str]:
        """Patients that may be one, and such as may be several, by their pseudonyms."""
        alike: dict[tuple[str, str], list[str]] = {}
        for patient in self.patients:
            for name in {" ".join(name_key(name).replace("^", " ").split()) for name in patient.names}:
                for birth in patient.births:
                    alike.setdefault((name, birth), []).append(patient.pseudonym)
        one = {", ".join(names) for names in alike.values() if len(names) > 1}
        return [
            *(f"{names} have the same name and birth date: one patient with several IDs?" for names in sorted(one)),
            *(
                f"{patient.pseudonym} has several birth dates: several patients with one ID?"
                for patient in self.patients
                if len(patient.births) > 1
            ),
        ]

    def _new_pseudonym(self) -> str:
        taken = {patient.pseudonym for patient in self.patients}
        return next(name for name in iter(lambda: f"P{secrets.token_hex(4).upper()}", "") if name not in taken)


@contextmanager
def open_table(path: Path) -> Iterator[ReidentificationTable]:
    """Hold a table, which begins where there is none, for one command alone.

    Raises:
        UsageError: Another process has it, or others may read it.
        FileError: It cannot be read or written, or holds something else.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        with exclusive_lock(lock, wait=False):
            yield ReidentificationTable(path, _read(path) if path.exists() else _new())
    except BlockingIOError:
        raise UsageError(f"{path}: another command works with this table", hint="wait until it has ended") from None


def _new() -> _Contents:
    return _Contents(key=secrets.token_hex(_KEY_BYTES))


def _read(path: Path) -> _Contents:
    refuse_shared_file(path, "who is who")
    try:
        contents = _Contents.model_validate(read_yaml(path, "the re-identification table"))
    except ValidationError as error:
        raise FileError(
            f"{path}: is no re-identification table ({describe_errors(error)})",
            hint="name another file, or take back what was changed in this one",
        ) from None
    ids = [one for patient in contents.patients for one in {name_key(each.strip()) for each in patient.ids}]
    names = [patient.pseudonym for patient in contents.patients]
    if len(ids) > len(set(ids)) or len(names) > len(set(names)):
        raise FileError(f"{path}: an ID or a pseudonym is listed twice", hint="take one of the two out")
    return contents
