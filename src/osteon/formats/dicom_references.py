"""Which images a DICOM SEG or RTSTRUCT says that it was drawn on, and which series these are.

A SEG names them in its ReferencedSeriesSequence, and for each frame in the DerivationImageSequence; an RTSTRUCT for
each frame of reference, and for each contour in the ContourImageSequence (PS3.3 C.8.20, C.12.1.1, C.8.8.5, C.8.8.6).
What is said of a frame or contour is nearer to what was drawn than the list of all that an object has to do with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.formats.dicom_files import element_text, file_errors, read_dataset

if TYPE_CHECKING:
    from osteon.formats.dicom_inventory import Series


_FRAME = "FrameOfReferenceUID"


@dataclass(frozen=True)
class ImageReferences:
    """What a SEG or RTSTRUCT says about the images that it was drawn on; UIDs, nothing where it says nothing.

    Attributes:
        series: SeriesInstanceUIDs.
        frames: FrameOfReferenceUIDs of what was drawn.
        drawn: SOPInstanceUIDs that frames or contours name.
        listed: SOPInstanceUIDs that the object lists as a whole.
        studies: StudyInstanceUIDs, that of the object itself among them.
        patient_id: The plain PatientID. Not to be written anywhere.
        regions: FrameOfReferenceUIDs that regions with contours give as theirs; `frames` are these where there are any.
    """

    series: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()
    drawn: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    studies: frozenset[str] = frozenset()
    patient_id: str = field(default="", repr=False)
    regions: frozenset[str] = frozenset()

    @property
    def any(self) -> bool:
        """Whether images are named at all."""
        return bool(self.series or self.drawn or self.listed)

    def named(self, among: Sequence[Series]) -> list[Series]:
        """Those series whose images are named: by frames and contours, else by the object's list, else as a series.

        Where careless anonymisers left several patients with one UID, those of the object's own patient are meant.
        """
        for images in (self.drawn, self.listed):
            found = [one for one in among if not images.isdisjoint(slice_.instance for slice_ in one.slices)]
            if found:
                return [one for one in found if not self.of_another_patient(one)] or found
        found = [one for one in among if one.uid in self.series]
        own = [one for one in found if not self.of_another_patient(one)]
        return own if self.drawn or self.listed else own or found

    def of_another_patient(self, series: Series) -> bool:
        """Whether both say whom they show, and say it differently."""
        return bool(self.patient_id and series.patient_id) and self.patient_id != series.patient_id

    def frame_of(self, series: Series) -> bool | None:
        """Whether it lies in the series' frame of reference; None where one of them does not say."""
        if not self.frames or not series.frame_of_reference:
            return None
        return series.frame_of_reference in self.frames

    def study_of(self, series: Series) -> bool | None:
        """Whether it belongs to the series' study; None where one of them does not say."""
        return series.study in self.studies if self.studies and series.study else None


def read_references(path: Path) -> ImageReferences:
    """Which images a SEG or RTSTRUCT belongs to. Raises FileError where the file cannot be read."""
    dataset = read_dataset(Path(path), pixels=False)
    with file_errors(Path(path), "its references are damaged"):
        studies = {element_text(dataset, "StudyInstanceUID")}
        others = _items(dataset, "StudiesContainingOtherReferencedInstancesSequence")
        studies |= _texts(others, "StudyInstanceUID")
        listed_series = [item for place in (dataset, *others) for item in _items(place, "ReferencedSeriesSequence")]
        listed = {
            uid
            for item in listed_series
            for keyword in ("ReferencedInstanceSequence", "ReferencedSOPSequence")
            for uid in _images(item, keyword)
        }
        series = _texts(listed_series, "SeriesInstanceUID")
        listed |= _images(dataset, "SourceImageSequence")
        drawn, frames, regions = _of_frames(dataset), _texts([dataset], _FRAME), set[str]()
        if "ROIContourSequence" in dataset:
            drawn, regions = _of_contours(dataset)
            frames = regions or frames | _texts(_items(dataset, "ReferencedFrameOfReferenceSequence"), _FRAME)
        for frame in _items(dataset, "ReferencedFrameOfReferenceSequence"):
            for study in (
                _items(frame, "RTReferencedStudySequence") if element_text(frame, _FRAME) in frames | {""} else ()
            ):
                studies.add(element_text(study, "ReferencedSOPInstanceUID"))
                for item in _items(study, "RTReferencedSeriesSequence"):
                    series.add(element_text(item, "SeriesInstanceUID"))
                    listed |= _images(item, "ContourImageSequence")
    sets = (series, frames, drawn, listed, studies)
    of_series, of_frames, of_sources, of_list, of_studies = (frozenset(uids - {""}) for uids in sets)
    patient_id = element_text(dataset, "PatientID")
    return ImageReferences(of_series, of_frames, of_sources, of_list, of_studies, patient_id, frozenset(regions))


def _of_frames(dataset: Any) -> set[str]:
    """The images that the frames of a SEG are derived from."""
    groups = (*_items(dataset, "SharedFunctionalGroupsSequence"), *_items(dataset, "PerFrameFunctionalGroupsSequence"))
    derived = [item for group in groups for item in _items(group, "DerivationImageSequence")]
    return {uid for item in derived for uid in _images(item, "SourceImageSequence")}


def _of_contours(dataset: Any) -> tuple[set[str], set[str]]:
    """The images that contours of an RTSTRUCT name, and the frames of reference of the regions that have contours."""
    regions = [item for item in _items(dataset, "ROIContourSequence") if _items(item, "ContourSequence")]
    contours = [contour for region in regions for contour in _items(region, "ContourSequence")]
    drawn = {uid for contour in contours for uid in _images(contour, "ContourImageSequence")}
    numbers = _texts(regions, "ReferencedROINumber")
    rois = [roi for roi in _items(dataset, "StructureSetROISequence") if element_text(roi, "ROINumber") in numbers]
    return drawn, _texts(rois, "ReferencedFrameOfReferenceUID") - {""}


def _items(place: Any, keyword: str) -> Sequence[Any]:
    return place.get(keyword) or ()


def _images(place: Any, keyword: str) -> set[str]:
    return _texts(_items(place, keyword), "ReferencedSOPInstanceUID")


def _texts(items: Iterable[Any], keyword: str) -> set[str]:
    return {element_text(item, keyword) for item in items}
