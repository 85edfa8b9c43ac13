"""Which series a DICOM SEG or RTSTRUCT names, by all the ways in which it may name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_writing import image, save, series
from osteon.formats.dicom import series_titles
from osteon.formats.dicom_inventory import Series
from osteon.formats.dicom_references import read_references
from osteon.formats.dicom_series import find_series

PLACES = [(0.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
SEG, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"


def item(**tags: object) -> Dataset:
    made = Dataset()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def images(*uids: str) -> list[Dataset]:
    return [item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=uid) for uid in uids]


def label(path: Path, kind: str = SEG, **tags: object) -> Path:
    """A DICOM label without any reference but those that are given; its pixels mean nothing."""
    plain = {"PatientID": "a", "StudyInstanceUID": "1.5", "FrameOfReferenceUID": None, "SOPClassUID": kind}
    return save(image(np.zeros((2, 2), np.uint8), **{**plain, **tags}), path)


@pytest.fixture
def two(tmp_path: Path) -> list[Series]:
    """Two series of one patient, one study and one grid."""
    for uid in ("1.7", "1.8"):
        series(
            tmp_path / uid,
            PLACES,
            SeriesInstanceUID=uid,
            PatientID="a",
            StudyInstanceUID="1.5",
            FrameOfReferenceUID="1.6",
        )
    return find_series(tmp_path).series


def rtstruct(uids: list[str], *, frame: str = "1.6", drawn: str = "", listed: tuple[str, ...] = ()) -> dict[str, Any]:
    """References as an RTSTRUCT has them: the series, the images of each, and the image of its one contour."""
    named = [item(SeriesInstanceUID=uid, ContourImageSequence=images(*listed)) for uid in uids]
    study = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.5", RTReferencedSeriesSequence=named)
    contour = item(ContourGeometricType="CLOSED_PLANAR", ContourImageSequence=images(drawn) if drawn else [])
    return {
        "ReferencedFrameOfReferenceSequence": [item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])],
        "StructureSetROISequence": [item(ROINumber=1, ROIName="femur", ReferencedFrameOfReferenceUID=frame)],
        "ROIContourSequence": [item(ReferencedROINumber=1, ContourSequence=[contour])],
    }


def test_a_seg_names_its_series_in_each_of_the_standards_ways(tmp_path: Path, two: list[Series]) -> None:
    bone = two[1]
    instance = bone.slices[0].instance
    source = item(SourceImageSequence=images(instance))
    ways: list[dict[str, Any]] = [
        {"ReferencedSeriesSequence": [item(SeriesInstanceUID=bone.uid)]},
        {"ReferencedSeriesSequence": [item(SeriesInstanceUID="9", ReferencedInstanceSequence=images(instance))]},
        {"SourceImageSequence": images(instance)},
        {"PerFrameFunctionalGroupsSequence": [item(DerivationImageSequence=[source])]},
        {"SharedFunctionalGroupsSequence": [item(DerivationImageSequence=[source])]},
        {
            "StudiesContainingOtherReferencedInstancesSequence": [
                item(StudyInstanceUID="1.5", ReferencedSeriesSequence=[item(SeriesInstanceUID=bone.uid)])
            ]
        },
    ]
    for n, tags in enumerate(ways):
        references = read_references(label(tmp_path / "labels" / f"{n}.dcm", **tags))
        assert references.any
        assert references.named(two) == [bone]
    assert not read_references(label(tmp_path / "labels" / "none.dcm")).any


def test_an_rtstruct_names_its_series_in_each_of_the_standards_ways(tmp_path: Path, two: list[Series]) -> None:
    soft, bone = two
    ways = [
        rtstruct([bone.uid]),
        rtstruct(["9"], listed=(bone.slices[0].instance,)),
        rtstruct([soft.uid, bone.uid], drawn=bone.slices[0].instance),  # fused with another, drawn on this one
    ]
    for n, tags in enumerate(ways):
        assert read_references(label(tmp_path / f"labels/{n}.dcm", RTSTRUCT, **tags)).named(two) == [bone]
    both = read_references(label(tmp_path / "labels/both.dcm", RTSTRUCT, **rtstruct([soft.uid, bone.uid])))
    assert both.named(two) == [soft, bone]


def test_the_frame_of_reference_is_that_of_what_was_drawn(tmp_path: Path, two: list[Series]) -> None:
    """An RTSTRUCT of a fusion lists two frames of reference; its regions say in which of them they lie."""
    tags = rtstruct(["1.7"])
    other = rtstruct(["3.3"], frame="3.2")
    tags["ReferencedFrameOfReferenceSequence"] += other["ReferencedFrameOfReferenceSequence"]
    references = read_references(label(tmp_path / "labels/a.dcm", RTSTRUCT, **tags, FrameOfReferenceUID="3.2"))
    assert (references.frames, references.series) == ({"1.6"}, {"1.7"})
    assert references.frame_of(two[0]) is True
    del tags["StructureSetROISequence"]
    references = read_references(label(tmp_path / "labels/b.dcm", RTSTRUCT, **tags))
    assert (references.frames, references.series) == ({"1.6", "3.2"}, {"1.7", "3.3"})
    alone = read_references(label(tmp_path / "labels/c.dcm", FrameOfReferenceUID="4"))
    assert alone.frame_of(two[0]) is False
    assert read_references(label(tmp_path / "labels/d.dcm")).frame_of(two[0]) is None


def test_one_uid_for_two_patients_means_that_of_the_label(tmp_path: Path) -> None:
    for patient in "ab":
        series(tmp_path / patient, PLACES, SeriesInstanceUID="1.7", PatientID=patient)
    found = find_series(tmp_path).series
    references = read_references(
        label(tmp_path / "x.dcm", PatientID="b", ReferencedSeriesSequence=[item(SeriesInstanceUID="1.7")])
    )
    assert [one.patient_id for one in references.named(found)] == ["b"]
    assert references.of_another_patient(found[0])
    assert "'b'" not in repr(references)


def test_series_are_called_by_number_and_description(tmp_path: Path) -> None:
    tags = {"PatientName": "Doe^Jane", "PatientID": "L7", "SeriesNumber": 3}
    for n, description in enumerate(("BONE of Jane DOE, L7", "BONE", "BONE")):
        series(tmp_path / str(n), PLACES, SeriesInstanceUID=f"1.{n}", SeriesDescription=description, **tags)
    assert series_titles(find_series(tmp_path).series) == [
        "2 CT images, series 3, BONE of  ,",
        "2 CT images, series 3, BONE, SeriesInstanceUID 1.1",
        "2 CT images, series 3, BONE, SeriesInstanceUID 1.2",
    ]
