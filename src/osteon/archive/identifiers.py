"""What identifies a patient in a dataset, looked for in every text; and dates, read and shifted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SHORTEST = 3
"""Letters of a name's part, or characters of an ID, of which shorter ones are in too many texts."""
_WITHIN = 6
"""Characters of an ID that is looked for within words, too."""
_FIRST = date(1000, 1, 1).toordinal()
_IDENTIFYING = (
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "InstitutionName", "InstitutionAddress"),
    *("PatientAddress", "PatientTelephoneNumbers", "RequestedProcedureID", "AdmissionID", "DeviceSerialNumber"),
    *("StationName", "InstitutionalDepartmentName", "MedicalRecordLocator"),
)
_INSTANCE_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


class Identifiers:
    """What must not be left in any text: the names, IDs, dates and UIDs of a dataset, before it is cleaned."""

    def __init__(self, dataset: Dataset) -> None:
        self.words: set[str] = set()
        parts: set[str] = set()
        for element in _elements_below(dataset):
            values = texts_of(element)
            if element.VR == "PN":
                self.words.update(_words(" ".join(values)))
            elif element.VR == "DA":
                parts.update(text for value in values if (day := day_of(value)) for text in _spellings(day))
            elif element.keyword in _IDENTIFYING or element.keyword in _INSTANCE_UIDS:
                parts.update(value.casefold() for value in values)
        within = [re.escape(part) for part in parts if len(part) >= _WITHIN]
        alone = [rf"(?<!\w){re.escape(part)}(?!\w)" for part in parts if _SHORTEST <= len(part) < _WITHIN]
        self.parts = re.compile("|".join([*within, *alone]) or "(?!)")

    def are_in(self, text: str) -> bool:
        """Whether a text holds one of them."""
        return self.parts.search(text.casefold()) is not None or not self.words.isdisjoint(_words(text))


def _elements_below(dataset: Dataset) -> Iterator[Any]:
    """Elements of a dataset and of those below it, but for private ones and the pixels."""
    for tag in list(dataset.keys()):
        if not tag.is_private and tag.group < 0x7FE0:
            element = dataset[tag]
            yield element
            if element.VR == "SQ":
                for item in element.value or []:
                    yield from _elements_below(item)


def texts_of(element: Any) -> list[str]:
    """As texts, the empty ones left out."""
    value = element.value
    values = value if element.VM > 1 else [value]
    return [text for each in values if (text := str("" if each is None else each).strip(" \0"))]


def _words(text: str) -> set[str]:
    return {word for word in re.split(r"[\W_]+", text.casefold()) if len(word) >= _SHORTEST}


def day_of(text: str) -> date | None:
    """Of DA or the beginning of DT; None where it is no day."""
    digits = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", text[:10] if "." in text[:8] else text[:8])
    try:
        return date(*map(int, digits.groups())) if digits else None
    except ValueError:
        return None


def _spellings(day: date) -> tuple[str, ...]:
    return f"{day:%Y%m%d}", f"{day:%Y-%m-%d}", f"{day:%d.%m.%Y}", f"{day:%m/%d/%Y}"


def shifted(text: str, days: int) -> str:
    """A DA or DT, the time kept and the zone left out; empty where it has no day, or none that can be shifted."""
    day = day_of(text)
    if day is None or not _FIRST <= day.toordinal() + days <= date.max.toordinal():
        return ""
    return f"{day + timedelta(days):%Y%m%d}{re.sub(r'[+-].*', '', text[8:] if '.' not in text[:8] else '')}"
