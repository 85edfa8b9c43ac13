"""What lies in a heap of DICOM files: series, segmentations, contours, and what is none of these."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from osteon.core.errors import FileError
from osteon.formats.dicom_files import (
    DIRECTORY,
    SEGMENTATIONS,
    STRUCTURE_SET,
    element_number,
    element_text,
    file_errors,
    looks_like_dicom,
    read_dataset,
)
from osteon.formats.dicom_slices import PLANAR, Slice, slices_of
from osteon.formats.dicom_sorting import split_volumes

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SeriesKind = Literal["volume", "image"]

_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_LOCALIZER = re.compile(r"\b(locali[sz]ers?|scout|topogram|surview|scanogram)\b", re.IGNORECASE)
_MIN_ID_LENGTH = 3
"""Letters of a part of a patient's name that is looked for in a description."""
_LIST, _OTHER = "a list of files (DICOMDIR)", "not DICOM"
_MAX_DESCRIPTION_LENGTH = 120
"""Characters of a description; the standard allows 64."""


@dataclass(frozen=True)
class Series:
    """Images that make one volume or one picture.

    Attributes:
        files: In the order of their paths; `read_series` sorts by position.
        uid: SeriesInstanceUID. Many scanners write the date into it.
        modality: `CT`, `MR`, `CR`, `DX` …, as DICOM has it.
        description: SeriesDescription without the patient's name and id, and what tells the series from others of its
            UID (echo, time, orientation).
        number: SeriesNumber; None where there is none.
        frame_of_reference: FrameOfReferenceUID; empty where there is none.
        patient_key: `p001`, `p002` … in the order in which patients are found: stable in a run, says nothing.
        patient_id: The plain PatientID. Not to be written anywhere unless the user asks for it.
        folder: The common parent of the files.
        kind: `volume`, or `image` for a picture (radiograph, single slice).
        part: What tells it from the other parts of the same UID; empty where it is the only one.
        study: StudyInstanceUID; empty where there is none.
        slices: What the headers say, so that they are read once.
        picture: Whether it is a picture that lies nowhere in the patient.
    """

    files: tuple[Path, ...]
    uid: str
    modality: str
    description: str
    number: int | None
    frame_of_reference: str
    patient_key: str
    patient_id: str = field(repr=False)
    folder: Path
    kind: SeriesKind
    part: str = ""
    study: str = ""
    slices: tuple[Slice, ...] = field(default=(), repr=False)
    picture: bool = False


@dataclass(frozen=True)
class DicomInventory:
    """What lies below a folder.

    Attributes:
        series: Images, in the order of their folders and files.
        segmentations: DICOM SEG files.
        structure_sets: RTSTRUCT files.
        skipped: Files that are neither, and why: (path, reason).
        refused: Those of them that may be images, but cannot be read as such.
    """

    series: list[Series] = field(default_factory=list)
    segmentations: list[Path] = field(default_factory=list)
    structure_sets: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    refused: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def left_out(self) -> list[tuple[Path, str]]:
        """DICOM files that are no image of the body (localizers, doses, reports), and why."""
        refused = set(self.refused)
        return [entry for entry in self.skipped if entry not in refused and entry[1] not in (_LIST, _OTHER)]


def sort_dicom_files(files: Iterable[Path]) -> DicomInventory:
    """Sort files by what they hold; reads no pixels."""
    found = DicomInventory()
    heaps: dict[str, _SeriesFiles] = {}
    patients: dict[str, str] = {}
    for path in files:
        try:
            if path.name.upper() == "DICOMDIR":
                found.skipped.append((path, _LIST))
            elif not looks_like_dicom(path):
                found.skipped.append((path, _OTHER))
            else:
                _sort_file(path, found, heaps, patients)
        except FileError as error:
            found.refused.append((path, error.message.removeprefix(f"{path}: ")))
            found.skipped.append(found.refused[-1])
    for heap in heaps.values():
        found.series.extend(heap.series())
    return found


@dataclass
class _SeriesFiles:
    """All images of one SeriesInstanceUID: what is the same for all, and the slices."""

    shared: Series
    planar: bool
    slices: list[Slice] = field(default_factory=list)

    def series(self) -> list[Series]:
        """One series for each volume, and one for each picture."""
        loose = [s for s in self.slices if not s.has_position]
        placed = split_volumes([s for s in self.slices if s.has_position]) if len(loose) < len(self.slices) else []
        flat, rest = (loose, []) if self.planar else ([], loose)
        # Slices that say nothing about their place stay together, so that reading them says so.
        pictures = [([s], f"image {n}" if len(flat) > 1 else "") for n, s in enumerate(flat, start=1)]
        heaps = [*placed, *pictures, *([(rest, "without positions" if placed else "")] if rest else [])]
        return [self._one(slices, part) for slices, part in heaps]

    def _one(self, slices: list[Slice], part: str) -> Series:
        files = tuple(dict.fromkeys(slice_.path for slice_ in slices))
        return replace(
            self.shared,
            files=files,
            description=", ".join(filter(None, [self.shared.description, part])),
            folder=Path(os.path.commonpath([path.parent for path in files])),
            kind="image" if len(slices) == 1 else "volume",
            part=part,
            slices=tuple(slices),
            picture=self.planar and len(slices) == 1 and not slices[0].has_position,
        )


def _sort_file(path: Path, found: DicomInventory, heaps: dict[str, _SeriesFiles], patients: dict[str, str]) -> None:
    dataset = read_dataset(path, pixels=False)
    with file_errors(path, "its header is damaged"):
        kind, modality = str(dataset.SOPClassUID), element_text(dataset, "Modality")
        person = (
            element_text(dataset, "PatientID")
            or element_text(dataset, "PatientName")
            or element_text(dataset, "StudyInstanceUID")
        )
        if kind in SEGMENTATIONS:
            found.segmentations.append(path)
        elif kind == STRUCTURE_SET:
            found.structure_sets.append(path)
        elif reason := _no_image(dataset, kind):
            found.skipped.append((path, reason))
        else:
            slices = slices_of(dataset, path)
            frame = element_text(dataset, "FrameOfReferenceUID")
            uid = element_text(dataset, "SeriesInstanceUID")
            # One UID for the images of several patients is what careless anonymisers leave behind.
            key = "\n".join([uid or str(path.parent), modality, frame, element_text(dataset, "PatientID")])
            if key not in heaps:
                counted = element_number(dataset, "SeriesNumber")
                patient = patients.setdefault(person, f"p{len(patients) + 1:03d}")
                shared = Series(
                    files=(),
                    uid=uid,
                    modality=modality,
                    description=_description(dataset),
                    number=None if counted is None else int(counted),
                    frame_of_reference=frame,
                    patient_key=patient,
                    patient_id=element_text(dataset, "PatientID"),
                    folder=path.parent,
                    kind="volume",
                    study=element_text(dataset, "StudyInstanceUID"),
                )
                heaps[key] = _SeriesFiles(shared, modality in PLANAR or kind.startswith(_SECONDARY_CAPTURE))
            heaps[key].slices.extend(slices)


def _description(dataset: Dataset) -> str:
    """SeriesDescription without the patient's id and the parts of the name: it is shown to people."""
    names = [word for word in re.split(r"[\W_]+", element_text(dataset, "PatientName")) if len(word) >= _MIN_ID_LENGTH]
    patient_words = "|".join(re.escape(word) for word in [element_text(dataset, "PatientID"), *names] if word)
    description = element_text(dataset, "SeriesDescription")[:_MAX_DESCRIPTION_LENGTH]
    return re.sub(rf"(?<![^\W_])(?:{patient_words})(?![^\W_])", "", description, flags=re.IGNORECASE).strip()


def _no_image(dataset: Dataset, kind: str) -> str:
    """Why a file is no image of the body; empty where it is one."""
    from pydicom.uid import UID

    types = element_text(dataset, "ImageType").upper().split("\\")
    if kind == DIRECTORY:
        return _LIST
    if kind == _DOSE:
        return "a dose, no image"
    if "Rows" not in dataset or "Columns" not in dataset:
        return f"no image ({UID(kind).name if UID(kind).is_valid else 'of unknown kind'})"
    if "LOCALIZER" in types or "SCOUT" in types or _LOCALIZER.search(element_text(dataset, "SeriesDescription")):
        return "a localizer"
    if kind.startswith(_SECONDARY_CAPTURE) and int(dataset.get("SamplesPerPixel") or 1) > 1:
        return "a screen capture in colour"
    return ""
