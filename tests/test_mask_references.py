"""DICOM labels and the series that they refer to: whose is whose, and what contradicts itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import osteon
from dicom_writing import image, save, series
from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset as OsteonDataset
from osteon.dataset.folds import describe_main_subject, make_folds
from osteon.dataset.manifest import Case
from osteon.formats import write_segmentation, write_volume
from osteon.formats.dicom_series import find_series, series_geometry
from osteon.importing.run import ImportReport, import_dataset

PLACES = [(0.0, 0.0, float(k)) for k in range(4)]


def ct(folder: Path, uid: str, level: int = 0, **tags: object) -> Geometry:
    """A series of 4×3×4 voxels whose values begin at `level`; all have one grid, each its own UIDs."""
    plain = {
        "SeriesInstanceUID": f"1.2.{uid}",
        "StudyInstanceUID": f"1.3.{uid}",
        "FrameOfReferenceUID": f"1.4.{uid}",
        "PatientID": f"patient-{uid}",
        "PatientName": f"Person^{uid}",
        "RescaleIntercept": level,
    }
    series(folder, PLACES, **{**plain, **tags})
    return series_geometry(find_series(folder).series[0])


def drawn(
    path: Path, source: Path, form: str = "dicom-seg", *, names: tuple[str, ...] = ("femur",), at: int = 1
) -> Path:
    """A DICOM SEG or RTSTRUCT drawn on the series in `source`: in row `at`, so that labels are told apart."""
    geometry = series_geometry(find_series(source).series[0])
    array = np.zeros(geometry.shape, np.uint8)
    for n in range(len(names)):
        array[n, at, 1:3] = n + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.parent / ".work"
    work.mkdir(exist_ok=True)
    write_segmentation(work / "x.seg.nrrd", Segmentation(array, geometry, make_structures(list(names))))
    [made] = osteon.export(form, work / "x.seg.nrrd", work, source=source, overwrite=True).files
    made.rename(path)
    shutil.rmtree(work)
    return path


def changed(path: Path, **tags: Any) -> None:
    """Set elements of a DICOM file; None removes."""
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def unreferenced(path: Path, **tags: Any) -> None:
    """Take all that a SEG says about its images from it, but the frame of reference and the patient."""
    dataset = pydicom.dcmread(path)
    for keyword in ("ReferencedSeriesSequence", "SourceImageSequence"):
        if keyword in dataset:
            delattr(dataset, keyword)
    for group in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
    dataset.save_as(path)
    changed(path, **tags)


def taken(source: Path, **options: Any) -> ImportReport:
    return import_dataset(source, source.parent / "set", form="masks", overwrite=True, **options)


def rows(report: ImportReport) -> dict[int, int | None]:
    """Lowest voxel of each image → the row in which its label lies; None where it has none."""
    dataset = OsteonDataset.open(report.folder)
    found = {}
    for case in report.manifest.cases:
        lowest = int(dataset.load_image(case).array.min())
        labels = dataset.load_segmentation(case).array if case.segmentation else None
        found[lowest] = None if labels is None else int(np.argwhere(labels)[0][-2])
    return found


# Which scan


def test_of_two_series_on_one_grid_the_one_that_is_named(tmp_path: Path) -> None:
    source = tmp_path / "tcia"
    for n in (1, 2):
        tags = {"StudyInstanceUID": f"1.3.{n}", "FrameOfReferenceUID": f"1.4.{n}", "PatientID": f"LIMB-{n}"}
        for number, name in ((2, "SOFT"), (3, "BONE")):
            folder = source / f"LIMB-{n}/CT/{number}.000-{name}"
            ct(folder, f"{n}{number}", 1000 * n + number, SeriesNumber=number, SeriesDescription=name, **tags)
        drawn(source / f"LIMB-{n}/CT/100.000-SEG/1-1.dcm", source / f"LIMB-{n}/CT/3.000-BONE", at=n)
    report = taken(source)
    assert rows(report) == {1003: 1, 2003: 2}
    assert not report.lost
    assert sum("2.000-SOFT (4 CT images, series 2, SOFT): no label of its folder" in w for w in report.warnings) == 2


@pytest.mark.parametrize("form", ["dicom-seg", "rtstruct"])
def test_two_patients_in_one_folder_have_their_own(tmp_path: Path, form: str) -> None:
    source = tmp_path / "all"
    for n in (1, 2):
        ct(tmp_path / f"from{n}", str(n), 100 * n)
        drawn(source / f"label{n}.dcm", tmp_path / f"from{n}", form, at=n)
        for path in (tmp_path / f"from{n}").iterdir():
            path.rename(source / f"{n}{path.name}")
    assert rows(taken(source)) == {100: 1, 200: 2}


def test_two_days_of_one_patient_have_their_own(tmp_path: Path) -> None:
    source = tmp_path / "all"
    for n in (1, 2):
        ct(source / f"p/day{n}", str(n), 100 * n, PatientID="p")
        drawn(source / f"p/SEG/{n}.dcm", source / f"p/day{n}", at=n)
    assert rows(taken(source)) == {100: 1, 200: 2}


def test_labels_in_a_tree_of_their_own(tmp_path: Path) -> None:
    source = tmp_path / "all"
    for n in (1, 2, 3):
        ct(source / f"images/series-{n}", str(n), 100 * n)
    for n in (1, 2):
        drawn(source / f"other/x{n}.dcm", source / f"images/series-{n}", at=n)
    assert rows(taken(source)) == {100: 1, 200: 2, 300: None}


def test_a_label_in_the_folder_of_another_case_is_its_own_scans(tmp_path: Path) -> None:
    source = tmp_path / "all"
    for n in (1, 2):
        ct(source / f"p{n}/ct", str(n), 100 * n)
        drawn(source / f"p{n}/seg.dcm", source / f"p{n}/ct", at=n)
    drawn(source / "p1/more.dcm", source / "p2/ct", names=("tibia",), at=0)
    report = taken(source)
    assert [case.annotated for case in report.manifest.cases] == [["femur"], None]
    assert any("p1/more.dcm: taken for" in line and "p2/ct" in line for line in report.warnings)


def test_two_labels_of_one_scan_come_together(tmp_path: Path) -> None:
    source = tmp_path / "all"
    ct(source / "ct", "1")
    drawn(source / "a/femur.dcm", source / "ct", names=("femur",))
    drawn(source / "b/tibia.dcm", source / "ct", names=("tibia",), at=2)
    report = taken(source)
    assert [sorted(report.present[case.id]) for case in report.manifest.cases] == [["femur", "tibia"]]


def test_a_localizer_of_the_same_series_gets_nothing(tmp_path: Path) -> None:
    source = tmp_path / "all"
    ct(source / "ct", "1", 100)
    drawn(source / "seg.dcm", source / "ct")
    pixels = np.full((5, 6), 7, np.int16)
    for k in range(3):  # across the others, three of them: a volume by itself
        tags: dict[str, Any] = {"SeriesInstanceUID": "1.2.1", "StudyInstanceUID": "1.3.1", "PatientID": "patient-1"}
        tags |= {"FrameOfReferenceUID": "1.4.1", "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
        save(image(pixels + k, ImagePositionPatient=[float(k), 0, 0], **tags), source / "ct" / f"loc{k}")
    report = taken(source)
    assert rows(report)[100] == 1
    assert len([case for case in report.manifest.cases if case.segmentation]) == 1


def test_an_enhanced_image_is_named_as_a_whole(tmp_path: Path) -> None:
    source = tmp_path / "all"
    for n in (1, 2):
        frames = []
        for k in range(4):
            frame, position = Dataset(), Dataset()
            position.ImagePositionPatient = [0.0, 0.0, float(k)]
            frame.PlanePositionSequence = [position]
            frames.append(frame)
        shared, plane, measures = Dataset(), Dataset(), Dataset()
        plane.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
        pixels = np.tile(np.arange(100 * n, 100 * n + 4, dtype=np.int16), (4, 3, 1))
        tags: dict[str, Any] = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
        tags |= {"SeriesInstanceUID": f"1.2.{n}", "PatientID": "p", "FrameOfReferenceUID": "1.4"}
        tags |= {"NumberOfFrames": 4, "SharedFunctionalGroupsSequence": [shared]}
        tags |= {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1", "PerFrameFunctionalGroupsSequence": frames}
        save(image(pixels, **tags), source / f"p/ct{n}/x.dcm")
    drawn(source / "p/seg.dcm", source / "p/ct2")
    changed(source / "p/seg.dcm", ReferencedSeriesSequence=None)  # the frames' own references are left
    assert rows(taken(source)) == {200: 1}


def test_a_label_of_two_series_on_one_grid_is_told_and_series_chooses(tmp_path: Path) -> None:
    source = tmp_path / "all"
    tags = {"StudyInstanceUID": "1.3", "FrameOfReferenceUID": "1.4", "PatientID": "p"}
    for n in (1, 2):
        ct(source / f"p/ct{n}", str(n), 100 * n, SeriesNumber=n, **tags)
    drawn(source / "p/rs.dcm", source / "p/ct2", "rtstruct")
    dataset = pydicom.dcmread(source / "p/rs.dcm")
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    other = Dataset()
    other.SeriesInstanceUID = "1.2.1"
    study.RTReferencedSeriesSequence.append(other)
    dataset.save_as(source / "p/rs.dcm")
    assert rows(taken(source)) == {200: 1}  # its contours name their images
    for item in dataset.ROIContourSequence:
        for contour in item.ContourSequence:
            del contour.ContourImageSequence
    del study.RTReferencedSeriesSequence[0].ContourImageSequence
    dataset.save_as(source / "p/rs.dcm")
    with pytest.raises(OsteonError, match=r"ct1 \(4 CT images, series 1\).*ct2 \(4 CT images, series 2\)"):
        taken(source)
    assert rows(taken(source, series="2")) == {200: 1}


def test_a_case_pattern_and_references(tmp_path: Path) -> None:
    source = tmp_path / "all"
    for n in (1, 2):
        for k in (1, 2):
            ct(source / f"ct-{n}/{k}", f"{n}{k}", 100 * n + 10 * k, PatientID=f"p{n}")
        drawn(source / f"seg-{n}.dcm", source / f"ct-{n}/2", at=n)
    drawn(source / "seg-2b.dcm", source / "ct-1/1", names=("tibia",))
    report = taken(source, case_pattern=r"-(\d)")
    assert rows(report) == {120: 1, 220: 2}
    assert any("seg-2b.dcm" in line and "refers to" in line for line in report.lost)


# What contradicts itself


@pytest.mark.parametrize("form", ["dicom-seg", "rtstruct"])
def test_another_frame_of_reference_is_refused(tmp_path: Path, form: str) -> None:
    source = tmp_path / "all"
    for n in (1, 2):
        ct(source / f"p{n}/ct", str(n), 100 * n)
        drawn(source / f"p{n}/seg.dcm", source / f"p{n}/ct", form, at=n)
    ct(tmp_path / "elsewhere", "9", PatientID="patient-2", StudyInstanceUID="1.3.2")
    drawn(source / "p2/seg.dcm", tmp_path / "elsewhere", form, at=0)
    report = taken(source)
    assert rows(report) == {100: 1, 200: None}
    [line] = report.lost
    assert "p2/seg.dcm: lies beside" in line
    assert "another frame of reference" in line
    report = taken(source, ignore_references=True)
    assert rows(report) == {100: 1, 200: 0}
    assert not report.lost


def test_regions_in_several_frames_of_reference_are_refused(tmp_path: Path) -> None:
    """Drawn on a fusion: what lies on the other image must not be drawn on this one."""
    source = tmp_path / "all"
    ct(source / "p/ct", "1")
    drawn(source / "p/rs.dcm", source / "p/ct", "rtstruct", names=("femur", "tibia"))
    dataset = pydicom.dcmread(source / "p/rs.dcm")
    dataset.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.4.77"
    dataset.save_as(source / "p/rs.dcm")
    with pytest.raises(OsteonError, match="regions in several frames of reference"):
        taken(source)
    assert taken(source, ignore_references=True).manifest.labelled


def test_a_named_series_in_another_frame_of_reference_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "all"
    ct(source / "ct", "1")
    drawn(source / "seg.dcm", source / "ct")
    changed(source / "seg.dcm", FrameOfReferenceUID="1.4.7")
    with pytest.raises(OsteonError, match="another frame of reference"):
        taken(source)


def test_images_that_are_not_here_are_told_where_the_frame_of_reference_agrees(tmp_path: Path) -> None:
    """Drawn on another reconstruction of the same scan: the coordinates are right."""
    source = tmp_path / "all"
    ct(source / "p/soft", "1", 100)
    ct(tmp_path / "bone", "2", StudyInstanceUID="1.3.1", FrameOfReferenceUID="1.4.1", PatientID="patient-1")
    drawn(source / "p/seg.dcm", tmp_path / "bone")
    report = taken(source)
    assert rows(report) == {100: 1}
    assert any("refers to images that are not here" in line and "p/seg.dcm" in line for line in report.warnings)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [({"PatientID": "somebody"}, "another PatientID"), ({"StudyInstanceUID": "1.3.9"}, "another study")],
)
def test_without_a_frame_of_reference_patient_and_study_decide(
    tmp_path: Path, tags: dict[str, str], reason: str
) -> None:
    source = tmp_path / "all"
    ct(source / "p/ct", "1", 100, FrameOfReferenceUID="")
    ct(tmp_path / "other", "2", StudyInstanceUID="1.3.1", PatientID="patient-1")
    drawn(source / "p/seg.dcm", tmp_path / "other")
    assert any("not here" in line for line in taken(source).warnings)
    changed(source / "p/seg.dcm", **tags)
    with pytest.raises(OsteonError, match=reason) as refused:
        taken(source)
    assert "somebody" not in str(refused.value)


def test_a_label_that_is_named_but_of_another_patient_is_told(tmp_path: Path) -> None:
    source = tmp_path / "all"
    ct(source / "ct", "1", 100)
    drawn(source / "seg.dcm", source / "ct")
    changed(source / "seg.dcm", PatientID="anon-7")
    report = taken(source)
    assert rows(report) == {100: 1}
    assert any("another PatientID; the reference counts" in line for line in report.warnings)
    assert not any("anon-7" in line for line in report.warnings)


def test_a_label_that_refers_to_nothing_goes_by_place_and_grid(tmp_path: Path) -> None:
    source = tmp_path / "all"
    ct(source / "p1/ct", "1", 100)
    ct(source / "p2/ct", "2", 200)
    for n in (1, 2):
        drawn(source / f"p{n}/seg.dcm", source / f"p{n}/ct", at=n)
        unreferenced(source / f"p{n}/seg.dcm", PatientID="", FrameOfReferenceUID="")
    report = taken(source)
    assert rows(report) == {100: 1, 200: 2}
    assert not report.warnings


def test_the_frame_of_reference_links_where_nothing_else_does(tmp_path: Path) -> None:
    source = tmp_path / "all"
    for n in (1, 2):
        ct(source / f"p/ct{n}", str(n), 100 * n)
        drawn(source / f"p/seg{n}.dcm", source / f"p/ct{n}", at=n)
        unreferenced(source / f"p/seg{n}.dcm")
    assert rows(taken(source)) == {100: 1, 200: 2}


# One PatientID for all


def test_one_patient_id_for_all_is_told_with_the_way_out(tmp_path: Path) -> None:
    source = tmp_path / "all"
    for n in (1, 2):
        ct(source / f"case{n}/ct", str(n), 100 * n, PatientID="ANON", PatientName="ANON")
        drawn(source / f"case{n}/seg.dcm", source / f"case{n}/ct", at=n)
    [messages] = [line for line in taken(source).warnings if "one subject" in line]
    assert messages.startswith("all 2 cases are one subject, p001, and stay in one fold; import with --subject")
    with pytest.raises(DatasetError, match=r"--hold-out: .*one subject"):
        taken(source, hold_out="0.5")
    with pytest.raises(DatasetError, match="one subject, p001") as refused:
        make_folds(OsteonDataset.open(tmp_path / "set").manifest)
    assert "--subject" in refused.value.hint
    report = taken(source, subject_pattern="(.+)", hold_out="0.5")
    assert [case.held_out for case in report.manifest.cases].count(True) == 1
    assert not report.warnings


def test_two_knees_of_one_of_many_are_no_fault() -> None:
    cases = [Case(id=f"c{n}", images=["x"], subject=who) for n, who in enumerate("aab")]
    assert describe_main_subject(cases) == ""
    assert describe_main_subject(cases[2:]) == ""
    assert describe_main_subject([*cases, *cases]) == "4 cases are one subject, a"


# Several series


def two_series(folder: Path, **tags: object) -> None:
    """SOFT (2) and BONE (3) of one study in one folder, and a mask that fits both."""
    for n, name in ((2, "SOFT"), (3, "BONE")):
        plain = {"StudyInstanceUID": "1.3", "FrameOfReferenceUID": "1.4", "PatientID": "p", "SeriesNumber": n}
        uid = f"{n}{tags.get('StudyInstanceUID', '')}"
        geometry = ct(folder / "new", uid, 100 * n, SeriesDescription=name, **{**plain, **tags})
        for path in (folder / "new").iterdir():
            path.rename(folder / f"{n}{path.name}")
    mask = np.zeros((1, *geometry.shape), np.uint8)
    mask[0, 0, 1] = 1
    write_volume(folder.parent / "femur.nii.gz", Volume(mask, geometry))


@pytest.mark.parametrize("where", ["p1", ""])
def test_several_series_are_told_by_number_and_description(tmp_path: Path, where: str) -> None:
    two_series(tmp_path / "all/p1/dicom")
    source = tmp_path / "all" / where
    with pytest.raises(OsteonError, match=r"series 2, SOFT\), .*series 3, BONE\)") as refused:
        taken(source)
    assert "--series" in str(refused.value.message) + refused.value.hint
    for which in ("3", "bone", "1.2.3"):
        report = taken(source, series=which)
        assert rows(report) == {300: 1}
        assert any(f"not --series {which}: 1 series" in line for line in report.warnings)
    with pytest.raises(UsageError, match="--series 7: no series has this number") as unknown:
        taken(source, series="7")
    assert "2 (SOFT), 3 (BONE)" in unknown.value.hint


def test_a_study_without_that_series_is_lost_and_a_lone_series_stays(tmp_path: Path) -> None:
    source = tmp_path / "all"
    two_series(source / "p1/dicom")
    two_series(source / "p2/dicom", StudyInstanceUID="1.33")
    for path in (source / "p2/dicom").glob("3*"):
        changed(path, SeriesNumber=4, SeriesDescription="LUNG")
    geometry = ct(source / "p3/dicom", "8", 800, SeriesNumber=9)
    write_volume(source / "p3/femur.nii.gz", Volume(np.ones((1, *geometry.shape), np.uint8), geometry))
    report = taken(source, series="BONE")
    assert rows(report) == {300: 1, 800: 0}
    assert any("p2/dicom" in line and "none of these is --series BONE" in line for line in report.lost)


def test_a_label_of_the_series_that_was_not_chosen_is_lost(tmp_path: Path) -> None:
    source = tmp_path / "all"
    two_series(source / "p1/dicom")
    ct(tmp_path / "copy", "2", StudyInstanceUID="1.3", FrameOfReferenceUID="1.4", PatientID="p")
    drawn(source / "p1/seg.dcm", tmp_path / "copy")
    report = taken(source, series="3")
    assert rows(report) == {300: 1}
    assert any("seg.dcm: refers to" in line and "series 2" in line for line in report.lost)


def test_what_is_no_volume_is_told(tmp_path: Path) -> None:
    source = tmp_path / "all"
    ct(source / "p/ct", "1", 100)
    drawn(source / "p/seg.dcm", source / "p/ct")
    for n in range(2):
        tags = {"SeriesInstanceUID": "1.9", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
        save(image(np.zeros((3, 4), np.int16), **tags), source / "p/scout" / f"{n}.dcm")
    save(image(np.zeros((3, 4), np.int16), SeriesInstanceUID="1.8", SeriesNumber=5), source / "p/one/x.dcm")
    broken = save(image(np.zeros((3, 4), np.int16), SeriesInstanceUID="1.7", Rows=0), source / "p/bad/x.dcm")
    report = taken(source)
    assert rows(report) == {100: 1}
    assert f"{source / 'p/scout'}: 2 files left out: a localizer" in report.warnings
    assert any("p/one (1 CT images, series 5): a single picture" in line for line in report.warnings)
    assert any(line.startswith(f"{broken}: ") for line in report.lost)
