"""Files are given away without their patients: nothing of them is left in any byte, and nothing else is lost."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from dicom_writing import image, save, series
from osteon.archive.confidentiality import Stand, protect
from osteon.archive.deidentifying import DeidentifyReport, deidentify
from osteon.archive.description_words import keep_known_words
from osteon.archive.pseudonyms import open_table
from osteon.core.errors import FileError, OsteonError, UsageError
from osteon.formats import read_volume
from runs import command

BORN, SEEN, AGAIN = "19610412", "20260701", "20260915"
SECRETS = ("Quigley", "Esmeralda", "Zz-4711-X", "ACC90210", "Phantomberg", "Dr-Wuerzig", "19610412", "20260701", "4Zx")
STUDY = "1.2.826.0.1.3680043.8.498.77"


def patient(pixels: Any = None, **tags: Any) -> Dataset:
    """A slice of Esmeralda Quigley."""
    given: dict[str, Any] = {
        "PatientName": "Quigley^Esmeralda",
        "PatientID": "Zz-4711-X",
        "PatientBirthDate": BORN,
        "PatientSex": "F",
        "StudyDate": SEEN,
        "StudyTime": "101500",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": f"{STUDY}.1",
    }
    return image(np.arange(64, dtype=np.int16).reshape(8, 8) if pixels is None else pixels, **given | tags)


def taken(sources: Path | Sequence[Path], folder: Path, **options: Any) -> DeidentifyReport:
    paths = [sources] if isinstance(sources, Path) else sources
    return deidentify(paths, folder / "out", folder / "table.yaml", **options)


def only(report: DeidentifyReport) -> Dataset:
    [path] = report.written
    return pydicom.dcmread(path)


def planted() -> Dataset:
    """One whose every text attribute of the table, and many others, name the patient."""
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table

    dataset = patient()
    skip = {"PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientBirthDate"}
    values = {"DA": SEEN, "DT": f"{SEEN}101500+0200", "PN": "Quigley^Esmeralda", "UI": f"{STUDY}.5", "UR": "http://4Zx"}
    values |= dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), "Quigley 4Zx") | {"OB": b"Quigley "}
    for group, element, *mask in table.ALL_TAGS:
        tag = pydicom.tag.Tag(group, element)
        if mask or group in (0, 2) or pydicom.datadict.keyword_for_tag(tag) in {*skip, ""}:
            continue
        if (kind := dictionary_VR(tag)) in values:
            dataset.add_new(tag, kind, values[kind])
    dataset.SeriesDescription = "t1 knee Quigley"
    dataset.AccessionNumber, dataset.InstitutionName = "ACC90210", "Klinik Phantomberg"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SequenceName = "tse of Esmeralda"  # not in the table
    dataset.ManufacturerModelName = "Aera"
    dataset.ReferringPhysicianName = "Dr-Wuerzig"
    inner = patient()
    for tag in ("PixelData", "Rows", "Columns"):
        delattr(inner, tag)
    inner.OperatorsName = "Quigley"
    inner.SegmentLabel = "left of Zz-4711-X"
    outer = Dataset()
    outer.ReferencedInstanceSequence = [inner]  # none of the two is in the table
    dataset.SharedFunctionalGroupsSequence = [outer]
    block = dataset.private_block(0x29, "Phantomberg", create=True)
    block.add_new(1, "LO", "Quigley")
    block.add_new(2, "SQ", [inner])
    dataset.add_new(0x60000022, "LO", "Quigley")
    dataset.add_new(0x00091234, "UN", b"4Zx4Zx")
    dataset.add_new(0x00104444, "LO", "Quigley")  # an even group, and none of the standard's
    return dataset


def test_nothing_of_a_patient_is_left_in_any_byte_or_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = planted()
    path = tmp_path / "in" / "Quigley_Esmeralda" / "Zz-4711-X.dcm"
    made.file_meta.SourceApplicationEntityTitle = "Phantomberg"
    made.file_meta.PrivateInformationCreatorUID, made.file_meta.PrivateInformation = "1.2.3", b"Quigley!"
    save(made, path)
    raw = path.read_bytes()
    path.write_bytes(b"Quigley".ljust(128, b"\0") + raw[128:])
    assert all(secret.encode() in raw for secret in SECRETS)
    arguments = [tmp_path / "in", tmp_path / "out", "--table", tmp_path / "table.yaml"]
    assert command("archive", "deidentify", *arguments) == 0
    [written] = (tmp_path / "out").rglob("*.dcm")
    said = "".join(capsys.readouterr())
    uids = (STUDY, f"{STUDY}.1", str(made.SOPInstanceUID))
    for secret in (*SECRETS, *uids):
        assert secret.casefold().encode() not in written.read_bytes().lower(), secret
        assert secret not in f"{written}{said}"
    got = pydicom.dcmread(written)
    assert (got.SeriesDescription, got.PatientAge, got.PatientSex, got.StudyTime) == ("t1 knee", "065Y", "F", "101500")
    assert (got.PatientIdentityRemoved, got.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert [item.CodeValue for item in got.DeidentificationMethodCodeSequence] == [
        *("113100", "113104", "113105", "113107", "113108")
    ]
    assert got.PatientID == got.PatientName
    assert got.ManufacturerModelName == "Aera"
    assert not [element for element in got.iterall() if element.tag.is_private]
    assert got.file_meta.MediaStorageSOPInstanceUID == got.SOPInstanceUID == written.stem


def test_pixels_and_places_stay_and_labels_find_their_images(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "sts-limb-mr-dicom/STS_025/MR_T1"
    shown = pydicom.dcmread(source / "dicom/000000.dcm", specific_tags=["SOPInstanceUID"]).SOPInstanceUID
    contours = pydicom.dcmread(source / "rtstruct/RS.dcm")  # of a CT that is not here: as if it were of the MR
    for contour in contours.ROIContourSequence[0].ContourSequence:
        contour.ContourImageSequence[0].ReferencedSOPInstanceUID = shown
    (tmp_path / "contours").mkdir()
    contours.save_as(tmp_path / "contours/RS.dcm")
    report = taken([source / "dicom", tmp_path / "contours"], tmp_path)
    assert not report.failed
    read = {path: pydicom.dcmread(path) for path in report.written}
    images = [path for path, dataset in read.items() if dataset.Modality == "MR"]
    before, after = read_volume(source / "dicom"), read_volume(images[0].parent)
    assert np.array_equal(before.array, after.array)
    assert np.array_equal(before.geometry.affine_ras, after.geometry.affine_ras)
    [written] = (dataset for path, dataset in read.items() if path not in images)
    new, old = (one.ROIContourSequence[0].ContourSequence for one in (written, contours))
    assert [contour.ContourData for contour in new] == [contour.ContourData for contour in old]
    [referred] = {contour.ContourImageSequence[0].ReferencedSOPInstanceUID for contour in new}
    assert referred in {path.stem for path in images}
    assert written.StudyInstanceUID == read[images[0]].StudyInstanceUID


COMPRESSED = (
    "MR_small_RLE",
    "MR_small_jp2klossless",
    "MR_small_bigendian",
    "MR_small_implicit",
    "image_dfl",
    "ExplVR_LitEndNoMeta",
)


@pytest.mark.parametrize("name", [*COMPRESSED, "reportsi", "test-SR", "rtplan", "liver_1frame", "waveform_ecg"])
def test_objects_of_many_kinds_stay_as_valid_as_they_were(name: str, tmp_path: Path) -> None:
    source = Path(str(get_testdata_file(f"{name}.dcm", download=False)))
    report = taken(source, tmp_path, text_in_pixels=True)
    [path] = report.written
    before, after = pydicom.dcmread(source, force=True), pydicom.dcmread(path)
    if "PixelData" in before:
        assert before.PixelData == after.PixelData
        assert "NoMeta" in name or before.file_meta.TransferSyntaxUID == after.file_meta.TransferSyntaxUID
        if name in COMPRESSED[:4]:
            assert np.array_equal(read_volume(source).array, read_volume(path).array)
    if shutil.which("dciodvfy"):
        old, new = (_faults(each) for each in (source, path))
        assert sum(new.values()) <= sum(old.values()), new - old


def _faults(path: Path) -> Counter[str]:
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
    return Counter(line for line in said.splitlines() if line.startswith("Error"))


def test_times_between_visits_are_kept_and_a_later_run_goes_on(tmp_path: Path) -> None:
    first, second = f"{STUDY}.1", f"{STUDY}.2"
    save(patient(StudyInstanceUID=first, AcquisitionDateTime=f"{SEEN}101500.5+0200"), tmp_path / "a" / "1")
    save(patient(StudyInstanceUID=second, StudyDate=AGAIN, PatientID=" zz-4711-x "), tmp_path / "b" / "1")
    one = only(taken(tmp_path / "a", tmp_path))
    two = only(taken(tmp_path / "b", tmp_path))
    days = [date.fromisoformat(each.StudyDate) for each in (one, two)]
    assert days[1] - days[0] == date.fromisoformat(AGAIN) - date.fromisoformat(SEEN)
    table = yaml.safe_load((tmp_path / "table.yaml").read_text())
    [row] = table["patients"]
    assert days[0] - date.fromisoformat(SEEN) == timedelta(row["shift_days"]) < timedelta(0)
    assert one.AcquisitionDateTime == f"{days[0]:%Y%m%d}101500.5"
    assert one.PatientID == two.PatientID == row["pseudonym"]
    assert row["ids"] == ["Zz-4711-X", "zz-4711-x"]
    assert row["studies"] == {first: one.StudyInstanceUID, second: two.StudyInstanceUID}
    assert stat.S_IMODE((tmp_path / "table.yaml").stat().st_mode) == 0o600
    again = taken([tmp_path / "a", tmp_path / "b"], tmp_path)
    assert (again.written, len(again.present)) == ([], 2)
    shutil.rmtree(tmp_path / "out")
    assert [pydicom.dcmread(path) for path in taken(tmp_path / "a", tmp_path).written] == [one]


def test_patients_are_told_apart_and_doubts_are_said(tmp_path: Path) -> None:
    rows = [
        ("1", {"PatientID": ""}),
        ("2", {"PatientID": ""}),  # another study: another patient
        ("3", {}),
        ("4", {"PatientID": "4711"}),  # the same name and birth date
        ("5", {"PatientID": "4711", "PatientBirthDate": "19620412", "PatientName": "Quigley"}),
    ]
    for number, tags in rows:
        uids = {"StudyInstanceUID": f"{STUDY}.{number}", "SeriesInstanceUID": f"{STUDY}.{number}.1"}
        save(patient(**uids | tags), tmp_path / "in" / number)
    report = taken(tmp_path / "in", tmp_path)
    names = [pydicom.dcmread(path).PatientID for path in report.written]
    assert len(set(names)) == 4
    assert names[3] == names[4]
    assert report.doubts == [
        f"{', '.join(names[:4])} have the same name and birth date: one patient with several IDs?",
        f"{names[3]} has several birth dates: several patients with one ID?",
    ]


DOUBTFUL = {
    "says that there is text": {"BurnedInAnnotation": "YES"},
    "a Secondary Capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "ultrasound": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"},
    "photograph": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4"},
    "of the kind US": {"Modality": "US"},
    "of the kind CT": {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
    "in colour": {"PhotometricInterpretation": "PALETTE COLOR"},
}
OPAQUE = {
    "a document": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"},
    "presentation state": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"},
    "raw data": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66"},
    "manufacturer's own": {"SOPClassUID": "1.3.12.2.1107.5.9.1"},
}


@pytest.mark.parametrize("words", [*DOUBTFUL, *OPAQUE, "an overlay in the bits"])
def test_what_may_show_a_name_is_left_out_and_named(words: str, tmp_path: Path) -> None:
    made = patient(**(DOUBTFUL | OPAQUE).get(words, {}))
    if "overlay" in words:
        made.add_new(0x60000102, "US", 12)
    save(made, tmp_path / "in" / "1")
    report = taken(tmp_path / "in", tmp_path)
    [(uid, reason)] = report.left_out.items()
    assert uid == made.SOPInstanceUID
    assert words in reason
    assert not list(tmp_path.glob("out/**/*.dcm"))
    assert len(taken(tmp_path / "in", tmp_path, text_in_pixels=True).written) == (words not in OPAQUE)


def test_pictures_that_say_they_hold_no_text_are_taken(tmp_path: Path) -> None:
    save(patient(Modality="US", BurnedInAnnotation="NO"), tmp_path / "in" / "1")
    assert len(taken(tmp_path / "in", tmp_path).written) == 1


def test_files_that_fail_keep_no_others_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = series(tmp_path / "in" / "good", [(0.0, 0.0, float(z)) for z in range(3)])
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / "short").write_bytes(good[0].read_bytes()[:300])
    save(patient(StudyInstanceUID=None), tmp_path / "in" / "none")
    twin = pydicom.dcmread(good[1])
    twin.PixelData = bytes(len(twin.PixelData))
    save(twin, tmp_path / "in" / "twin")
    assert command("archive", "deidentify", tmp_path / "in", tmp_path / "out", "--table", tmp_path / "t.yaml") == 1
    said = capsys.readouterr()
    assert "3 files written" in said.out
    assert "1 file" in said.err
    for words in ("has no UID of its study", "has the same SOPInstanceUID and other contents", "3 cases not taken"):
        assert words in said.err
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3


def test_a_table_is_kept_safe(tmp_path: Path) -> None:
    save(patient(), tmp_path / "in" / "1")
    for folder, table, words in (
        (tmp_path / "out", tmp_path / "out" / "table.yaml", "which is given away"),
        (tmp_path / "in" / "out", tmp_path / "table.yaml", "is within"),
        (tmp_path, tmp_path.parent / "table.yaml", "is within"),
        (tmp_path / "strange", tmp_path / "table.yaml", "holds other, which is not from"),
    ):
        (tmp_path / "strange" / "other").mkdir(parents=True, exist_ok=True)
        with pytest.raises(UsageError, match=words):
            deidentify([tmp_path / "in"], folder, table)
    taken(tmp_path / "in", tmp_path)
    table = tmp_path / "table.yaml"
    with open_table(table), pytest.raises(UsageError, match="another command works with this table"):
        taken(tmp_path / "in", tmp_path)
    text = table.read_text()
    for damaged, words in (
        (text.replace("key: ", "key: x"), "is no re-identification table"),
        (text + text[text.index("- pseudonym") :], "is listed twice"),
        ("[", "not valid YAML"),
    ):
        table.write_text(damaged)
        with pytest.raises(FileError, match=words) as caught:
            taken(tmp_path / "in", tmp_path)
        assert "Quigley" not in str(caught.value)
    table.write_text(text)
    table.chmod(0o644)
    with pytest.raises(UsageError, match="others may read who is who"):
        taken(tmp_path / "in", tmp_path)


def test_a_table_is_on_disk_before_any_file_that_it_explains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(patient(), tmp_path / "in" / "1")

    def fail(*_: object, **__: object) -> None:
        raise OsteonError("killed", hint="")

    monkeypatch.setattr("osteon.archive.deidentifying.protect", fail)
    with pytest.raises(OsteonError, match="killed"):
        taken(tmp_path / "in", tmp_path)
    assert STUDY in (tmp_path / "table.yaml").read_text()
    assert not list((tmp_path / "out").rglob("*.dcm"))


@pytest.mark.parametrize(
    ("keyword", "before", "after"),
    [
        ("StudyDate", "2026.07.01", "20260621"),
        ("StudyDate", "20261399", ""),
        ("StudyDate", "00010103", ""),
        ("StudyDate", "", ""),
        ("AcquisitionDateTime", "20260701", "20260621"),
        ("AcquisitionDateTime", "202607", ""),
        ("DateOfSecondaryCapture", ["20260701", "20260702"], ["20260621", "20260622"]),
        ("PatientBirthDate", BORN, ""),
        ("DateOfManufacture", SEEN, None),
        ("PatientAge", "093Y", "090Y"),
        ("PatientAge", "18M", "018M"),
        ("FrameOfReferenceUID", "1.2.840.10008.1.4.1.1", "1.2.840.10008.1.4.1.1"),
        ("FrameOfReferenceUID", "1.2.3", "9.5"),
        ("ProtocolName", "Knie_li T1_tse cor 3mm Esmeralda", "Knie li T1 tse cor 3mm"),
        ("ProtocolName", "Meyer", "removed"),
        ("InstitutionName", "", ""),
        ("SegmentLabel", "femur", "femur"),
        ("SegmentLabel", "femur of 19610412", "ANONYMIZED"),
        ("SegmentLabel", "pat4711-Z1", "pat4711-Z1"),
        ("SegmentLabel", "scanzz-4711-x", "ANONYMIZED"),
        ("PatientWeight", "71.5", "71.5"),
        ("OtherPatientIDs", "5", None),
        ("DateOfGainCalibration", SEEN, None),  # not in the table; another could know it, and so the shift
        ("CalibrationDateTime", f"{SEEN}1200", "00010101010101.000000+0000"),
        ("PatientAge", "odd", "065Y"),
        ("SegmentDescription", "femur of Frau Meyer", "femur"),
        ("BodyPartExamined", "QUIGLEY", "ANONYMIZED"),
        ("BodyPartExamined", "KNEE", "KNEE"),
        ("RetrieveURL", "http://a", None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR (DA|AS|DT|CS)")
def test_each_attribute_by_its_rule(keyword: str, before: Any, after: Any) -> None:
    dataset = patient(**{keyword: before})
    protect(dataset, Stand("P1", -10, lambda uid: f"9.{len(uid)}"))
    value = dataset.get(keyword)
    assert (value if value is None else list(value) if isinstance(after, list) else str(value)) == after


def test_structured_content_is_gone_through() -> None:
    dataset = patient()
    name, born = Dataset(), Dataset()
    name.ValueType, name.TextValue = "TEXT", "fracture seen by Wuerzig"
    born.ValueType, born.Date = "DATE", BORN
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "121031", "DCM", "Subject Birth Date"
    born.ConceptNameCodeSequence = [code]
    dataset.ContentSequence = [name, born]
    protect(dataset, Stand("P1", -10, str))
    assert dataset.ContentSequence[0].TextValue == "removed"
    assert "Date" not in dataset.ContentSequence[1]


def test_of_descriptions_known_words_are_kept() -> None:
    text = "T2_TSE sag C-spine Br40 5.0mm L5 Knee, Hofmann 12345 Frau"
    assert keep_known_words(text, lambda word: word != "Knee") == "T2 TSE sag C-spine Br40 5.0mm L5"
