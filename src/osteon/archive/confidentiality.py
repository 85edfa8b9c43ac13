"""A dataset without its patient: the Basic Application Level Confidentiality Profile (PS3.15, Table E.1-1).

What is done with each attribute comes from dicom-anonymizer's copy of the table, and its dummy values. It applies the
table to a dataset alone; here all datasets below it are gone through, and what the profile's options ask for is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from osteon.archive.description_words import keep_known_words
from osteon.archive.identifiers import Identifiers, day_of, shifted, texts_of
from osteon.formats.dicom_files import element_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_EDITION = "2026c"
_METHODS = (
    "BasicApplicationConfidentialityProfile",
    "CleanStructuredContentOption",
    "CleanDescriptorsOption",
    "RetainLongitudinalTemporalInformationModifiedDatesOption",
    "RetainPatientCharacteristicsOption",
)
"""Of PS3.16, CID 7050."""
KEPT = ("PatientSex", "PatientSize", "PatientWeight")
"""Beside PatientAge, of the Retain Patient Characteristics Option."""
_DESCRIPTIONS = ("SeriesDescription", "StudyDescription", "ProtocolName")
"""Of which known words are kept, as of what people write at length and the table does not know."""
_AT_LENGTH = ("LT", "ST", "UT")
_NO_PROSE = re.compile("Code|CodingScheme|TrackingID|AlgorithmParameters")
_LABELS = ("ROIName", "BodyPartExamined")
"""Kept, unless the patient is in them, as other texts that the table does not know."""
_GONE_THROUGH = (
    *("ContentSequence", "VerifyingObserverSequence", "ReferencedPerformedProcedureStepSequence"),
    *("ReferencedImageSequence", "SourceImageSequence"),
)
"""Sequences that the table would replace: what is in them is cleaned instead."""
_NOT_OF_PATIENT = re.compile("Calibration|Manufacture|Installation|Version|Expiration|Ethics|Hanging|Issue|Strength")
"""Dates that others can find out, of devices and code tables: shifted, they would give the shift away."""
_KINDS = re.compile("SOPClass|TransferSyntaxUID|^(CodingScheme|Context|MappingResource)UID$")
"""UIDs that say what something is and not which."""
_STANDARD = "1.2.840.10008."
_TEXT = ("AE", "LO", "LT", "SH", "ST", "UC", "UN", "UT")
_BIRTH = "121031"
"""Subject Birth Date (PS3.16, CID 7455 and others): the concept of a DATE in structured content."""
_OLDEST = 90
"""Years: who is older is one of few."""


@dataclass(frozen=True)
class Stand:
    """What stands for a patient.

    Attributes:
        pseudonym: In the place of PatientID and PatientName.
        shift_days: Added to every date.
        uid: Gives the UID that stands for one.
    """

    pseudonym: str
    shift_days: int
    uid: Callable[[str], str]


def protect(dataset: Dataset, stand: Stand) -> None:
    """Take the patient out of a dataset, in place. Pixels and what places and scales them stay as they are.

    Args:
        dataset: Of one file; its file meta information is not touched.
        stand: For its patient.
    """
    from pydicom.sr.codedict import codes

    age = _age(dataset)
    _Profile(stand, Identifiers(dataset)).clean(dataset)
    dataset.PatientID = dataset.PatientName = stand.pseudonym
    if age:
        dataset.PatientAge = age  # those within sequences are removed
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    dataset.DeidentificationMethod = ["osteon", f"PS3.15 {_EDITION} Table E.1-1, of dicom-anonymizer"]
    dataset.DeidentificationMethodCodeSequence = [_code(getattr(codes.DCM, name)) for name in _METHODS]


class _Profile:
    """The profile for one patient's dataset."""

    def __init__(self, stand: Stand, identifiers: Identifiers) -> None:
        self.stand, self.identifiers = stand, identifiers

    def clean(self, dataset: Dataset) -> None:
        """A dataset, and those below it. Elements that are not changed are not decoded."""
        from pydicom.datadict import dictionary_keyword, dictionary_VR

        if element_text(dataset, "ValueType") == "DATE" and _concept(dataset) == _BIRTH:
            dataset.pop("Date", None)
        for tag in list(dataset.keys()):
            try:
                keyword, kind = dictionary_keyword(tag), dictionary_VR(tag)
            except KeyError:  # private, or none of the standard's
                keyword, kind = "", ""
            written = dataset.get_item(tag).VR
            if not keyword or tag.element == 0 or tag.group & 0xFF00 in (0x5000, 0x6000):  # curves and overlays, too
                del dataset[tag]
            elif kind == "SQ":
                self._clean_sequence(dataset, tag, keyword)
            elif written == "SQ":
                del dataset[tag]
            elif kind == "UI":
                self._replace_uids(dataset, tag, keyword)
            elif kind in ("DA", "DT") and keyword != "PatientBirthDate":
                self._clean_date(dataset, tag, keyword)
            elif kind == "TM" and keyword != "PatientBirthTime":
                continue  # times of day are kept
            elif keyword not in KEPT:
                self._clean_value(dataset, tag, keyword, {kind, written})

    def _clean_sequence(self, dataset: Dataset, tag: Any, keyword: str) -> None:
        action = _actions().get(tag)
        if action is None or keyword in _GONE_THROUGH:
            for item in dataset[tag].value or []:
                self.clean(item)
        elif action in ("empty", "delete_or_empty"):
            dataset[tag].value = []
        else:
            del dataset[tag]

    def _replace_uids(self, dataset: Dataset, tag: Any, keyword: str) -> None:
        if _KINDS.search(keyword):
            return
        new = [value if value.startswith(_STANDARD) else self.stand.uid(value) for value in texts_of(dataset[tag])]
        dataset[tag].value = new[0] if len(new) == 1 else new or None

    def _clean_date(self, dataset: Dataset, tag: Any, keyword: str) -> None:
        if not _NOT_OF_PATIENT.search(keyword):
            new = [shifted(value, self.stand.shift_days) for value in texts_of(dataset[tag])]
            dataset[tag].value = "" if not all(new) else new[0] if len(new) == 1 else new or ""
        elif (action := _actions().get(tag, "delete")) != "delete":
            _apply(action, dataset, tag)
        else:
            del dataset[tag]

    def _clean_value(self, dataset: Dataset, tag: Any, keyword: str, kinds: set[str | None]) -> None:
        action = _actions().get(tag)
        prose = action is None and not kinds.isdisjoint(_AT_LENGTH) and not _NO_PROSE.search(keyword)
        if keyword in _DESCRIPTIONS or prose:
            text = element_text(dataset, keyword)
            kept = keep_known_words(text, lambda word: not self.identifiers.are_in(word))
            dataset[tag].value = kept or ("removed" if text else "")
        elif action == "delete" or (action is None and "UR" in kinds and keyword != "URNCodeValue"):
            del dataset[tag]
        elif keyword == "PatientBirthDate":
            dataset[tag].value = ""
        elif keyword not in _LABELS and action is not None:
            _apply(action, dataset, tag)
        elif "PN" in kinds:
            dataset[tag].value = ""
        elif (keyword in _LABELS or not kinds.isdisjoint(_TEXT)) and self._names_patient(dataset[tag]):
            _apply("replace", dataset, tag)

    def _names_patient(self, element: Any) -> bool:
        return any(self.identifiers.are_in(value) for value in texts_of(element))


@cache
def _actions() -> dict[int, str]:
    """The table: tag → name of the library's function."""
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    rows = initialize_actions(f"dicomfields_{_EDITION}").items()
    return {group << 16 | element: action.__name__ for (group, element, *mask), action in rows if not mask}


def _apply(action: str, dataset: Dataset, tag: Any) -> None:
    """The library's function on an element that is not empty; what it cannot do is to remove the element."""
    from dicomanonymizer import simpledicomanonymizer

    if dataset[tag].is_empty:
        return
    try:
        getattr(simpledicomanonymizer, action)(dataset, (tag.group, tag.element))
    except NotImplementedError:
        del dataset[tag]


def _age(dataset: Dataset) -> str:
    """PatientAge, of the birth date where it is not given; all from 90 years on are one."""
    given = re.fullmatch(r"(\d{1,3})([DWMY])", element_text(dataset, "PatientAge"))
    if given:
        return f"{min(int(given[1]), _OLDEST):03d}Y" if given[2] == "Y" else f"{int(given[1]):03d}{given[2]}"
    born, seen = (day_of(element_text(dataset, keyword)) for keyword in ("PatientBirthDate", "StudyDate"))
    if born is None or seen is None or seen < born:
        return ""
    months = 12 * (seen.year - born.year) + seen.month - born.month - (seen.day < born.day)
    return f"{min(months // 12, _OLDEST):03d}Y" if months >= 24 else f"{months:03d}M"


def _concept(dataset: Dataset) -> str:
    names = dataset.get("ConceptNameCodeSequence")
    return element_text(names[0], "CodeValue") if names else ""


def _code(code: Any) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
