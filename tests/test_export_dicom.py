"""DICOM SEG and RTSTRUCT: read back onto their series by osteon, by highdicom and by pydicom, voxel for voxel."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

import osteon
from dicom_writing import SERIES, image, save
from osteon.core.errors import CaseError, GeometryError, LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.exporting.dicom_codes import _ABNORMAL, _WHOLE, codes_of
from osteon.exporting.outlines import outlines
from osteon.exporting.run import ExportReport
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.formats.dicom_references import read_references
from osteon.formats.dicom_seg import read_dicom_seg
from osteon.formats.dicom_series import find_series, read_series, series_geometry
from osteon.formats.rtstruct import fill_even_odd, read_rtstruct

STRUCTURES = (
    Structure(name="femur_left", value=3, colour="#ff8000", side="left"),
    Structure(name="fragment red", value=7, colour="#0040ff"),
    Structure(name="absent", value=9, colour="#00ff00"),
)
OBLIQUE = np.linalg.qr(np.array([[0.9, 0.2, 0.3], [-0.3, 1, 0.1], [0.1, -0.2, 1]]))[0] * [-1, -1, -1]


def scan(folder: Path, shape: tuple[int, int, int] = (9, 7, 5), *, uid: str = SERIES, **tags: object) -> Geometry:
    """An oblique series, its files in no order. Its grid."""
    row, column = OBLIQUE[:, 0], OBLIQUE[:, 1]
    normal = np.cross(row, column)
    for k in range(shape[2]):
        place = np.array([-40.0, 13, 7]) + normal * 2.5 * k
        pixels = np.full(shape[1::-1], k, np.int16)
        own = {
            "ImagePositionPatient": [f"{v:.8f}" for v in place],
            "ImageOrientationPatient": [f"{v:.8f}" for v in (*row, *column)],
            "PixelSpacing": [0.8, 0.6],
            "SeriesInstanceUID": uid,
            "SeriesNumber": 4,
            **tags,
        }
        save(image(pixels, **own), folder / f"im{(k * 7) % 10}")
    return series_geometry(find_series(folder).series[0])


def noise(geometry: Geometry, seed: int = 0) -> Segmentation:
    """Labels in no order, with holes and with voxels that touch in every way; the last slice is empty."""
    rng = np.random.default_rng(seed)
    array = rng.choice(np.array([0, 3, 7], np.uint8), geometry.shape, p=[0.4, 0.4, 0.2])
    array[:, :, -1] = 0
    return Segmentation(array, geometry, STRUCTURES)


def overlapping(geometry: Geometry) -> Segmentation:
    array = (np.random.default_rng(1).random((3, *geometry.shape)) < 0.5).astype(np.uint8)
    array[2] = 0
    return Segmentation(array, geometry, STRUCTURES)


def written(folder: Path, segmentation: Segmentation, name: str = "p1") -> Path:
    path = folder / f"{name}.seg.nrrd"
    write_segmentation(path, segmentation)
    return path


def same(found: Segmentation, expected: Segmentation, names: Sequence[str] = ("femur_left", "fragment red")) -> bool:
    assert [s.name for s in found.structures] == list(names)
    pairs = [(s, next(e for e in expected.structures if e.name == s.name)) for s in found.structures]
    return all(np.array_equal(found.mask(one), expected.mask(other)) for one, other in pairs)


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
def test_a_seg_lies_on_its_series(tmp_path: Path, encoding: str) -> None:
    geometry = scan(tmp_path / "scan")
    segmentation = noise(geometry)
    path = written(tmp_path, segmentation)
    report = osteon.export("dicom-seg", path, tmp_path / "out", source=tmp_path / "scan", encoding=encoding)
    assert report.notes == ["p1: without a voxel, and left out: absent"]
    (file,) = report.files
    assert same(read_dicom_seg(file, geometry), segmentation)
    assert read_references(file).series == {SERIES}
    assert read_references(file).frames == {SERIES + ".2"}
    dataset = pydicom.dcmread(file)
    assert dataset.SegmentationType == encoding.upper()
    assert (dataset.PatientID, dataset.StudyInstanceUID) == ("secret-id", SERIES + ".1")
    names = {item.SegmentLabel: item for item in dataset.SegmentSequence}
    kind = names["femur_left"].SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == (codes.SCT.Femur.value, "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == codes.SCT.Left.value
    assert names["fragment red"].SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99OSTEON"
    assert names["femur_left"].SegmentAlgorithmType == "SEMIAUTOMATIC"  # nobody says that it was predicted
    again = osteon.export("dicom-seg", path, tmp_path / "again", source=tmp_path / "scan", encoding=encoding)
    assert pydicom.dcmread(again.files[0]).SOPInstanceUID == dataset.SOPInstanceUID  # the same is the same


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
def test_highdicom_finds_the_same_frame_by_frame(tmp_path: Path, encoding: str) -> None:
    geometry = scan(tmp_path / "scan")
    segmentation = noise(geometry)
    path = written(tmp_path, segmentation)
    (file,) = osteon.export("dicom-seg", path, tmp_path / "out", source=tmp_path / "scan", encoding=encoding).files
    seg = hd.seg.segread(file)
    volume, _ = read_series(find_series(tmp_path / "scan").series[0])
    numbers = {seg.get_segment_description(n).segment_label: n for n in seg.segment_numbers}
    for source in (tmp_path / "scan").iterdir():
        header = pydicom.dcmread(source)
        k = int(np.flatnonzero(volume.array[0, 0, 0] == header.pixel_array[0, 0])[0])
        found = seg.get_pixels_by_source_instance(
            [header.SOPInstanceUID], segment_numbers=list(numbers.values()), assert_missing_frames_are_empty=True
        )[0]
        for n, name in enumerate(numbers):
            structure = next(s for s in STRUCTURES if s.name == name)
            assert np.array_equal(found[..., n] > 0, segmentation.mask(structure)[:, :, k].T)


def test_structures_that_overlap(tmp_path: Path) -> None:
    geometry = scan(tmp_path / "scan")
    segmentation = overlapping(geometry)
    path = written(tmp_path, segmentation)
    (file,) = osteon.export("dicom-seg", path, tmp_path / "seg", source=tmp_path / "scan").files
    assert same(read_dicom_seg(file, geometry), segmentation)
    report = osteon.export("dicom-seg", path, tmp_path / "map", source=tmp_path / "scan", encoding="labelmap")
    assert isinstance(report.failed["p1"], LabelError)
    assert report.failed["p1"].hint == "use --encoding binary"
    (file,) = osteon.export("rtstruct", path, tmp_path / "rt", source=tmp_path / "scan").files
    assert same(read_rtstruct(file, geometry), segmentation)


@pytest.mark.parametrize("target", ["dicom-seg", "rtstruct"])
def test_a_validator_finds_no_error(tmp_path: Path, target: str) -> None:
    """Of binary frames: the validator is older than label maps (Supplement 243), whose segment 0 it refuses."""
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is not installed (Debian's package dicom3tools)")
    geometry = scan(tmp_path / "scan")
    path = written(tmp_path, noise(geometry))
    (file,) = osteon.export(target, path, tmp_path / "out", source=tmp_path / "scan").files
    output = subprocess.run([validator, str(file)], capture_output=True, text=True, check=False)
    found = (output.stdout + output.stderr).splitlines()
    assert found
    assert [line for line in found if line.startswith("Error")] == []


def test_the_labels_may_be_stored_in_another_direction(tmp_path: Path) -> None:
    geometry = scan(tmp_path / "scan")
    segmentation = noise(geometry)
    affine = geometry.affine_ras.copy()
    affine[:3, 3] += affine[:3, 0] * 8
    affine[:3, 0] *= -1
    turned = Geometry((7, 9, 5), affine[:, [1, 0, 2, 3]])
    path = written(tmp_path, Segmentation(segmentation.array[::-1].transpose(1, 0, 2), turned, STRUCTURES))
    (file,) = osteon.export("dicom-seg", path, tmp_path / "out", source=tmp_path / "scan").files
    assert same(read_dicom_seg(file, geometry), segmentation)


def test_contours_lie_on_their_series(tmp_path: Path) -> None:
    geometry = scan(tmp_path / "scan")
    segmentation = noise(geometry)
    (file,) = osteon.export(
        "rtstruct", written(tmp_path, segmentation), tmp_path / "out", source=tmp_path / "scan"
    ).files
    assert same(read_rtstruct(file, geometry), segmentation)
    assert read_references(file).series == {SERIES}
    dataset = pydicom.dcmread(file)
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["femur_left", "fragment red"]
    assert [list(item.ROIDisplayColor) for item in dataset.ROIContourSequence] == [[255, 128, 0], [0, 64, 255]]
    images = {pydicom.dcmread(f).SOPInstanceUID: pydicom.dcmread(f) for f in (tmp_path / "scan").iterdir()}
    for item in dataset.ROIContourSequence:
        for contour in item.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            header = images[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            offset = points - np.array(header.ImagePositionPatient, float)
            orientation = np.array(header.ImageOrientationPatient, float)
            assert abs(offset @ np.cross(orientation[:3], orientation[3:])).max() < 1e-3  # in that image's plane


def test_a_hole_is_joined_to_the_outline_around_it() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[2:7, 2:7] = False  # a ring
    mask[4, 4] = True  # an island in it
    found = outlines(mask)
    assert len(found) == 2  # so a program that takes the union of outlines is right as well
    assert np.array_equal(fill_even_odd(found, mask.shape), mask)
    assert np.array_equal(fill_even_odd(found[:1], mask.shape) | fill_even_odd(found[1:], mask.shape), mask)
    assert len(outlines(np.ones((5, 4), bool))[0]) == 8  # corners are cut, straight lines have no corner
    for seed in range(30):
        mask = np.random.default_rng(seed).random((12, 11)) < (seed + 1) / 31
        assert np.array_equal(fill_even_odd(outlines(mask), mask.shape), mask)


def test_geometry_that_does_not_fit_is_shown(tmp_path: Path) -> None:
    geometry = scan(tmp_path / "scan")
    affine = geometry.affine_ras.copy()
    affine[:3, 3] += 3
    path = written(tmp_path, noise(Geometry(geometry.shape, affine)))
    error = osteon.export("dicom-seg", path, tmp_path / "out", source=tmp_path / "scan").failed["p1"]
    assert isinstance(error, GeometryError)
    assert "position of the first voxel 5.20 mm apart" in error.message
    assert error.message.count("9×7×5 voxels of 0.6×0.8×2.5 mm") == 2
    assert "--source" in error.hint
    scan(tmp_path / "more/a")
    scan(tmp_path / "more/b", (9, 7, 4), uid=SERIES + ".9")
    error = osteon.export("rtstruct", path, tmp_path / "out", source=tmp_path / "more").failed["p1"]
    assert "none of 2 series has its grid, 9×7×5 voxels" in error.message
    assert "9×7×4 voxels" in error.message


def test_of_two_series_with_one_grid_the_one_that_is_called_like_the_case(tmp_path: Path) -> None:
    geometry = scan(tmp_path / "study/p1/mr")
    scan(tmp_path / "study/p2", uid=SERIES + ".9")
    paths = [written(tmp_path / "labels", noise(geometry, n), f"p{n}") for n in (1, 2, 3)]
    report = osteon.export("dicom-seg", tmp_path / "labels", tmp_path / "out", source=tmp_path / "study")
    assert [read_references(file).series for file in report.files] == [{SERIES}, {SERIES + ".9"}]
    assert "2 series in" in report.failed["p3"].message
    assert len(paths) == 3


def hospital(folder: Path, *patients: str, own: bool = True) -> Geometry:
    """A series of each patient, all on one grid and, with `own`, each with voxels of its own."""
    for n, patient in enumerate(patients, start=1):
        study = f"{SERIES}.{n}.1"
        geometry = scan(
            folder / f"s{n}", uid=f"{SERIES}.{n}", StudyInstanceUID=study, PatientID=patient, SeriesNumber=n
        )
        for path in (folder / f"s{n}").iterdir() if own else ():
            header = pydicom.dcmread(path)
            pixels = np.random.default_rng([n, int(path.name[2:])]).integers(0, 99, (7, 9)).astype(np.int16)
            header.PixelData = pixels.tobytes()
            header.save_as(path)
    return geometry


def predicted(folder: Path, name: str, geometry: Geometry, scan_files: Sequence[Path]) -> Path:
    """A prediction of these files, with its record."""
    path = written(folder, noise(geometry), name)
    entries = {name: {"input": [[str(file), 1, 2] for file in scan_files], "output": path.name, "model": "abc"}}
    (folder / "predictions.json").write_text(json.dumps(entries))
    return folder


def person(report: ExportReport) -> tuple[str, str]:
    header = pydicom.dcmread(report.files[0])
    return str(header.PatientID), str(header.StudyInstanceUID)


@pytest.mark.parametrize("form", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("scale", [1, 2.5])
def test_the_voxels_of_the_scan_say_whose_it_is(tmp_path: Path, form: str, scale: float) -> None:
    """Two patients on one grid; the case is called like the folder of the wrong one."""
    geometry = hospital(tmp_path / "all", "anna", "bert")
    volume, _ = read_series(find_series(tmp_path / "all/s2").series[0])
    array = volume.array.astype(np.float32) * scale + (7 if scale != 1 else 0)
    write_volume(tmp_path / "x/s1.nii.gz", Volume(array, geometry))
    folder = predicted(tmp_path / "out", "s1", geometry, [tmp_path / "x/s1.nii.gz"])
    assert person(osteon.export(form, folder, tmp_path / "1", source=tmp_path / "all")) == ("bert", f"{SERIES}.2.1")
    error = osteon.export(form, folder, tmp_path / "2", source=tmp_path / "all/s1").failed["s1"]
    assert "whose voxels no series in" in error.message
    assert "series 1 in" in error.message
    report = osteon.export(form, folder, tmp_path / "3", source=tmp_path / "all/s1", ignore_references=True)
    assert person(report)[0] == "anna"


def test_of_several_segmentations_none_is_filed_for_its_grid_alone(tmp_path: Path) -> None:
    geometry = hospital(tmp_path / "all", "anna")
    for name in ("s1", "s2", "other"):
        written(tmp_path / "labels", noise(geometry), name)
    report = osteon.export("dicom-seg", tmp_path / "labels", tmp_path / "1", source=tmp_path / "all")
    assert person(report)[0] == "anna"
    assert (report.done, set(report.failed)) == (["s1"], {"s2", "other"})
    assert "a series has its grid, and nothing else says that it is its patient's" in report.failed["s2"].message
    alone = osteon.export("dicom-seg", tmp_path / "labels/s2.seg.nrrd", tmp_path / "2", source=tmp_path / "all")
    assert person(alone)[0] == "anna"
    taken = osteon.export(
        "dicom-seg", tmp_path / "labels", tmp_path / "3", source=tmp_path / "all", ignore_references=True
    )
    assert len(taken.done) == 3


def test_the_files_that_were_predicted_say_whose_it_is(tmp_path: Path) -> None:
    geometry = hospital(tmp_path / "all", "anna", "bert", own=False)
    folder = predicted(tmp_path / "out", "s1", geometry, list((tmp_path / "all/s2").iterdir()))
    assert person(osteon.export("dicom-seg", folder, tmp_path / "1", source=tmp_path / "all"))[0] == "bert"
    shutil.copytree(tmp_path / "all/s2", tmp_path / "copy/s2")  # the same images, filed under another name
    for path in (tmp_path / "copy/s2").iterdir():
        header = pydicom.dcmread(path)
        header.PatientID = "anonymous"
        header.save_as(path)
    assert person(osteon.export("dicom-seg", folder, tmp_path / "2", source=tmp_path / "copy"))[0] == "anonymous"
    assert person(osteon.export("dicom-seg", folder, tmp_path / "3", source=tmp_path))[0] == "bert"
    shutil.rmtree(tmp_path / "all/s2")
    error = osteon.export("dicom-seg", folder, tmp_path / "4", source=tmp_path / "all/s1").failed
    assert not error  # nothing is known of the scan any more, and the source is one patient's alone


def test_a_scan_is_filed_under_no_one_else_where_its_own_series_has_another_grid(tmp_path: Path) -> None:
    geometry = hospital(tmp_path / "all", "anna", "bert")
    scan(tmp_path / "all/s2", (9, 7, 4), uid=f"{SERIES}.2", PatientID="bert")
    (tmp_path / "all/s2/im8").unlink()
    folder = predicted(tmp_path / "out", "case", geometry, list((tmp_path / "all/s2").iterdir()))
    error = osteon.export("dicom-seg", folder, tmp_path / "1", source=tmp_path / "all").failed["case"]
    assert "which has another grid" in error.message
    (folder / "predictions.json").unlink()
    error = osteon.export("dicom-seg", folder, tmp_path / "2", source=tmp_path / "all").failed["case"]
    assert "of 2 series in" in error.message
    assert "nothing else says that it is its patient" in error.message
    assert person(osteon.export("dicom-seg", folder, tmp_path / "3", source=tmp_path / "all/s1"))[0] == "anna"
    report = osteon.export("dicom-seg", folder, tmp_path / "4", source=tmp_path / "all", ignore_references=True)
    assert person(report)[0] == "anna"


def test_a_day_is_not_filed_under_another_of_the_same_patient(tmp_path: Path) -> None:
    geometry = hospital(tmp_path / "all", "anna", "anna")
    scan(tmp_path / "all/s2", (9, 7, 4), uid=f"{SERIES}.2", PatientID="anna")
    (tmp_path / "all/s2/im8").unlink()
    path = written(tmp_path / "out", noise(geometry), "s2")
    error = osteon.export("dicom-seg", path, tmp_path / "1", source=tmp_path / "all").failed["s2"]
    assert "another is called like it" in error.message


def test_a_seg_goes_on_to_the_series_that_it_refers_to(tmp_path: Path) -> None:
    geometry = hospital(tmp_path / "all", "anna", "bert")
    array = noise(geometry).array
    array[0, 0] = 3  # in every slice: empty ones are left out of a SEG
    path = written(tmp_path, Segmentation(array, geometry, STRUCTURES), "s1")
    (seg,) = osteon.export("dicom-seg", path, tmp_path / "seg", source=tmp_path / "all/s2").files
    (tmp_path / "again").mkdir()
    again = seg.rename(tmp_path / "again/s1.dcm")
    assert person(osteon.export("rtstruct", again, tmp_path / "1", source=tmp_path / "all"))[0] == "bert"
    error = osteon.export("rtstruct", again, tmp_path / "2", source=tmp_path / "all/s1").failed["s1"]
    assert "refers to a series that is not there" in error.message


def test_a_dataset_made_of_series_goes_back_to_them(tmp_path: Path) -> None:
    """Its cases have ids of their own, and images that are the series' voxels."""
    geometry = hospital(tmp_path / "all", "anna", "bert")
    for n in (1, 2):
        array = (noise(geometry, n).array == 3).astype(np.uint8)
        write_volume(tmp_path / f"all/s{n}/femur.nii.gz", Volume(array[None], geometry))
    osteon.import_dataset(tmp_path / "all", tmp_path / "set", form="masks", case_pattern=r"s(\d)")
    dataset = Dataset.open(tmp_path / "set")
    entries = [case.model_copy(update={"id": f"s{3 - n}"}) for n, case in enumerate(dataset.manifest.cases, start=1)]
    write_manifest(tmp_path / "set", dataset.manifest.model_copy(update={"cases": entries}))
    report = osteon.export("dicom-seg", tmp_path / "set", tmp_path / "1", source=tmp_path / "all")
    found = {path.stem: pydicom.dcmread(path).PatientID for path in report.files}
    assert found == {"s2_seg": "anna", "s1_seg": "bert"}
    contours = osteon.export("rtstruct", tmp_path / "set", tmp_path / "1", source=tmp_path / "all")
    assert {path.name for path in contours.files} == {"s1_rtstruct.dcm", "s2_rtstruct.dcm"}, "both fit into one folder"
    assert all(path.is_file() for path in (*report.files, *contours.files))


def test_a_prediction_knows_its_series(tmp_path: Path) -> None:
    geometry = scan(tmp_path / "scan")
    path = written(tmp_path / "out", noise(geometry))
    record = {"p1": {"input": [[str(f), 1, 2] for f in (tmp_path / "scan").iterdir()], "output": path.name}}
    (path.parent / "predictions.json").write_text(json.dumps({"p1": {**record["p1"], "model": "abc" * 20}}))
    (file,) = osteon.export("dicom-seg", path.parent, tmp_path / "seg").files
    segment = pydicom.dcmread(file).SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert "abcabc" in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion
    assert read_references(file).series == {SERIES}
    (path.parent / "predictions.json").unlink()
    error = osteon.export("dicom-seg", path.parent, tmp_path / "seg").failed["p1"]
    assert "nothing says which DICOM series it belongs to" in error.message


def test_what_an_anonymiser_took_away_is_made_up_and_said(tmp_path: Path) -> None:
    geometry = scan(
        tmp_path / "scan", StudyInstanceUID="", FrameOfReferenceUID=None, PatientName=None, SliceThickness=None
    )
    segmentation = noise(geometry)
    path = written(tmp_path, segmentation)
    for form, read in (("dicom-seg", read_dicom_seg), ("rtstruct", read_rtstruct)):
        report = osteon.export(form, path, tmp_path / form, source=tmp_path / "scan")
        assert "the series lacks StudyInstanceUID, FrameOfReferenceUID" in report.notes[0]
        assert same(read(report.files[0], geometry), segmentation)


def test_an_empty_segmentation_is_none(tmp_path: Path) -> None:
    geometry = scan(tmp_path / "scan")
    path = written(tmp_path, Segmentation(np.zeros(geometry.shape, np.uint8), geometry, STRUCTURES))
    for form in ("dicom-seg", "rtstruct"):
        assert isinstance(osteon.export(form, path, tmp_path, source=tmp_path / "scan").failed["p1"], LabelError)


@pytest.mark.parametrize("size", [(16, 12), (17, 13)])  # frames of an odd number of bytes are not packed
def test_a_radiograph_has_a_seg_and_no_contours(tmp_path: Path, size: tuple[int, int]) -> None:
    tags = {"Modality": "DX", "ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    pixels = np.zeros(size[::-1], np.int16)
    save(
        image(pixels, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1", FrameOfReferenceUID=None, **tags), tmp_path / "x/x.dcm"
    )
    geometry = series_geometry(find_series(tmp_path / "x").series[0])
    segmentation = Segmentation(np.full((*size, 1), 3, np.uint8), geometry, STRUCTURES)
    path = written(tmp_path, segmentation)
    for encoding in ("binary", "labelmap"):
        (file,) = osteon.export("dicom-seg", path, tmp_path / encoding, source=tmp_path / "x", encoding=encoding).files
        assert same(read_dicom_seg(file, geometry), segmentation, ["femur_left"])
    assert isinstance(osteon.export("rtstruct", path, tmp_path / "rt", source=tmp_path / "x").failed["p1"], CaseError)


# Codes


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("femur_left", "Femur"),
        ("Left Femur", "Femur"),
        ("L1", "L1 vertebra"),
        ("vertebrae_T12", "T12 vertebra"),
        ("vertebra C7", "C7 vertebra"),
        ("rib_right_7", "Rib"),
        ("proximal humerus", "Proximal Humerus"),
        ("Radius", "Radius"),
        ("tumour", "Neoplasm"),
        ("hip_left", None),
        ("femur fragment", None),
        ("L9", None),
        ("radius and ulna", None),
    ],
)
def test_names_are_coded_where_they_are_sure(name: str, meaning: str | None) -> None:
    coded = codes_of(make_structures([name])[0])
    if meaning is None:
        assert (coded.kind.scheme_designator, coded.kind.meaning, len(coded.kind.value)) == ("99OSTEON", name, 16)
    else:
        assert (coded.kind.scheme_designator, coded.kind.meaning) == ("SCT", meaning)
    sides = {"left": codes.SCT.Left, "right": codes.SCT.Right}
    assert coded.side == next((code for side, code in sides.items() if side in name.lower()), None)


def test_every_code_is_in_the_standard() -> None:
    for keyword in {*_WHOLE.values(), *_ABNORMAL.values()}:
        assert getattr(codes.SCT, keyword).value.isdigit()
    assert (codes.SCT.RadiusBone.value, codes.SCT.Ulna.value) == ("62413002", "23416004")


# Real series


REAL = [
    "totalsegmentator-example/ct_dicom",
    "sts-limb-mr-dicom/STS_002/MR_T1/dicom",
    "ibsi-lung-tumour-ct/dicom",
    "knee-mr/dicom-echo1",
    "awkward-dicom/multiframe",
    "awkward-dicom/series-only-two-slices",
]


@pytest.mark.parametrize("folder", REAL)
def test_real_series_take_any_labels(shared_data: Path, tmp_path: Path, folder: str) -> None:
    """Anonymised, oblique, big endian, multi-frame, without a frame of reference: all are referred to."""
    series = find_series(shared_data / folder).series[0]
    geometry = series_geometry(series)
    array = np.zeros(geometry.shape, np.uint8)
    array[20:60, 20:50] = 3
    array[30:40, 30:35] = np.random.default_rng(0).choice(np.array([0, 7], np.uint8), (10, 5, geometry.shape[2]))
    segmentation = Segmentation(array, geometry, STRUCTURES)
    path = written(tmp_path, segmentation)
    source = series.folder if len(series.files) > 1 else series.files[0]
    for encoding in ("binary", "labelmap"):
        (file,) = osteon.export("dicom-seg", path, tmp_path / encoding, source=source, encoding=encoding).files
        assert same(read_dicom_seg(file, geometry), segmentation)
        referenced = pydicom.dcmread(file).ReferencedSeriesSequence[0].ReferencedInstanceSequence
        images = {item.ReferencedSOPInstanceUID for item in referenced}
        assert len(images) == len(series.files)
        assert all(image.is_valid for image in images)
    (file,) = osteon.export("rtstruct", path, tmp_path / "rt", source=source).files
    assert same(read_rtstruct(file, geometry), segmentation)


def test_real_bones_on_their_real_series(shared_data: Path, tmp_path: Path) -> None:
    """Labels that are stored in another direction than the series, by which they were made."""
    folder = shared_data / "totalsegmentator-example"
    path = folder / "ct_dicom_seg/example_ct_dicom_seg.nii.gz"
    geometry = series_geometry(find_series(folder / "ct_dicom").series[0])
    expected = read_segmentation(path)
    mirrored = expected.array[:, ::-1]  # LAS against LPS
    for form, read in (("dicom-seg", read_dicom_seg), ("rtstruct", read_rtstruct)):
        (file,) = osteon.export(form, path, tmp_path / form, source=folder / "ct_dicom").files
        found = read(file, geometry)
        for structure in found.structures:
            value = int(structure.name.removeprefix("label_"))
            assert np.array_equal(found.mask(structure), mirrored == value)
        assert len(found.structures) == len(np.unique(mirrored)) - 1


def test_names_in_any_script(tmp_path: Path) -> None:
    """The patient's in the source's characters (Latin 1), the structure's in others."""
    geometry = scan(tmp_path / "scan", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    structures = make_structures(["Fußknochen 骨", "x" * 100], [1, 2])
    segmentation = Segmentation(noise(geometry).array // 3, geometry, structures)
    path = written(tmp_path, segmentation)
    for form, read in (("dicom-seg", read_dicom_seg), ("rtstruct", read_rtstruct)):
        (file,) = osteon.export(form, path, tmp_path / form, source=tmp_path / "scan").files
        assert str(pydicom.dcmread(file).PatientName) == "Müller^Jörg"
        assert [s.name for s in read(file, geometry).structures] == [
            "Fußknochen 骨",
            "x" * 64,
        ]  # as long as DICOM has it
