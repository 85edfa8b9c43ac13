"""Which file is a scan, which a mask, and whose: trees, names and vertebrae as people and public datasets have them."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

import dicom_writing as dicom
from osteon.core.errors import DatasetError, OsteonError
from osteon.core.geometry import Geometry
from osteon.importing.masks import form as masks
from osteon.importing.options import ImportOptions
from osteon.importing.recognition import recognise
from test_masks import FEMUR, GRID, OTHER, TIBIA, mask, scan, taken, voxels

MAP = FEMUR + 2 * TIBIA
FAR = Geometry((6, 5, 7), np.diag([1.0, 1.0, 1.0, 1.0]))
Form = Literal["NFC", "NFD"]


def spread(source: Path, image: str, label: str, cases: tuple[str, ...], structures: tuple[str, ...]) -> None:
    """Scans on one grid, and for each case and structure a mask that lies elsewhere in every one of them."""
    for n, case in enumerate(cases):
        scan(source / image.format(c=case), n)
        for k, structure in enumerate(structures):
            mask(source / label.format(c=case, s=structure), np.roll((FEMUR, TIBIA)[k % 2], n + k, axis=1))


TREES = {
    "name and folder": ("scans/{c}/{c}_ct.nii.gz", "masks/{c}/{c}_{s}.nii.gz"),
    "folders alone": ("scans/{c}/ct.nii.gz", "masks/{c}/{s}.nii.gz"),
    "a tree within": ("cohort/scans/{c}/ct.nii.gz", "cohort/masks/{c}/{s}.nii.gz"),
    "scans in their folders": ("{c}/ct.nii.gz", "annotations/{c}/{s}.nii.gz"),
    "names in a tree of folders": ("a/{c}/scan/{c}.nii.gz", "b/{c}/bones/{c}_{s}.nii.gz"),
    "a structure's folder in the case's": ("images/{c}/{c}.nii.gz", "labels/{c}/{s}/{c}.nii.gz"),
    "the case's folder in a structure's": ("images/{c}.nii.gz", "labels/{s}/{c}/{c}.nii.gz"),
    "TotalSegmentator": ("{c}/ct.nii.gz", "{c}/segmentations/{s}.nii.gz"),
    "TotalSegmentator's MR": ("{c}/mri.nii.gz", "{c}/segmentations/{s}.nii.gz"),
    "scans and masks called alike": ("images/{c}_ct.nii.gz", "{s}/{c}_ct.nii.gz"),
    "the structure first": ("images/x{c}.nii.gz", "masks/{s}_x{c}.nii.gz"),
    "the structure first, in the case's folder": ("{c}/{c}_ct.nii.gz", "{c}/{s}_{c}_mask.nii.gz"),
    "dataset": ("data/{c}/{c}_data.nii.gz", "data/{c}/{s}.nii.gz"),
    "initials that are a channel": ("{c}/PD/scan.nii.gz", "{c}/PD/{s}.nii.gz"),
}


@pytest.mark.parametrize("cases", [("p1", "p2", "p10"), ("01", "02", "10")], ids=["p1", "01"])
@pytest.mark.parametrize("tree", TREES)
def test_trees(tmp_path: Path, tree: str, cases: tuple[str, ...]) -> None:
    source = tmp_path / "legs"
    spread(source, *TREES[tree], cases, ("femur", "tibia"))
    assert recognise(source).name == "masks"
    report, dataset = taken(source)
    assert not report.failed
    assert not report.lost
    assert len(report.manifest.cases) == 3
    assert [s.name for s in report.manifest.structures] == ["femur", "tibia"]
    for n, case in enumerate(cases):
        [own] = [entry.id for entry in report.manifest.cases if case in entry.id.removeprefix("x").split("_")]
        np.testing.assert_array_equal(voxels(report, dataset, own, "femur"), np.roll(FEMUR, n, axis=1) == 1)
        np.testing.assert_array_equal(voxels(report, dataset, own, "tibia"), np.roll(TIBIA, n + 1, axis=1) == 1)


def verse(case: str, more: str = "", part: str = "dataset-01training") -> tuple[str, str]:
    folder = f"sub-{case}/sub-{case}{more}"
    return f"{part}/rawdata/{folder}_ct", f"{part}/derivatives/{folder}_seg-vert_msk"


def bids(subject: str, session: str, end: str) -> str:
    return f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_T2w{end}"


VISITS = [(subject, session) for subject in ("01", "02") for session in ("01", "02")]
PUBLIC: dict[str, list[tuple[str, str]]] = {
    "VerSe": [
        verse("verse004"),
        verse("gl003", "_dir-ax"),
        verse("verse401", "_split-verse253", "dataset-02validation"),
        verse("verse401", "_split-verse260", "dataset-02validation"),
    ],
    "VerSe, flat": [("verse004", "verse004_seg"), ("verse005", "verse005_seg")],
    "SPIDER": [
        (f"images/{name}", f"masks/{name}") for name in ("1_t1", "1_t2", "1_t2_SPACE", "2_t2", "10_t1", "10_t2")
    ],
    "SPIDER, a patient's folder": [(f"{c}/{c}_{s}", f"{c}/{c}_{s}_seg") for c in ("1", "2") for s in ("t1", "t2")],
    "CTPelvic1K, 6": [
        (
            f"CTPelvic1K_dataset6_data/dataset6_CLINIC_{n}_data",
            f"ipcai2021_dataset6_Anonymized/dataset6_CLINIC_{n}_mask_4label",
        )
        for n in ("0001", "0002", "0031")
    ],
    "CTPelvic1K, 7": [
        (
            f"CTPelvic1K_dataset7_data/dataset7_CLINIC_metal_{n}_data",
            f"CTPelvic1K_dataset7_mask/CLINIC_metal_{n}_mask_4label",
        )
        for n in ("0000", "0001")
    ],
    "CTPelvic1K, volumes": [
        (f"dataset6_volume/dataset6_CLINIC_{n}_data", f"dataset6_labels/dataset6_CLINIC_{n}_labels")
        for n in ("0001", "0002")
    ],
    "CTPelvic1K, 1": [(f"RawData/img/img00{n}", f"RawData/mask/dataset1_img00{n}_mask_4label") for n in (21, 22)],
    "CTSpine1K": [
        (f"data/COLONOG/1.3.6.1.4.1.9328.50.4.{n}", f"label/COLONOG/1.3.6.1.4.1.9328.50.4.{n}_seg")
        for n in ("0001", "0002", "0003")
    ],
    "BIDS": [(bids(*visit, ""), f"derivatives/labels/{bids(*visit, '_dseg')}") for visit in VISITS],
    "BIDS, masks in folders": [
        (f"rawdata/{bids(*visit, '')}", "derivatives/sub-{}/ses-{}/bones".format(*visit)) for visit in VISITS
    ],
    "nnU-Net without its list": [(f"imagesTr/knee_{n}_0000", f"labelsTr/knee_{n}") for n in ("001", "002")],
    "crops with a number": [(f"images/roi_{n}", f"masks/roi_{n}") for n in ("01", "02")],
    "crops of patients": [(f"images/p{n}_roi_01", f"masks/p{n}_roi_01") for n in (1, 2)],
    "crops in folders": [(f"roi_{n}/image", f"roi_{n}/mask") for n in ("01", "02")],
}
SUBJECTS = {
    "VerSe": {"sub-verse004", "sub-gl003", "sub-verse401"},
    "SPIDER": {"1", "2", "10"},
    "SPIDER, a patient's folder": {"1", "2"},
    "BIDS": {"sub-01", "sub-02"},
    "BIDS, masks in folders": {"sub-01", "sub-02"},
}


@pytest.mark.parametrize("name", PUBLIC)
def test_label_maps_of_public_datasets(tmp_path: Path, name: str) -> None:
    source = tmp_path / "spines"
    pairs = PUBLIC[name]
    for n, (image, label) in enumerate(pairs):
        scan(source / f"{image}.nii.gz", n)
        mask(source / f"{label}.nii.gz", MAP)
    assert recognise(source).name == "masks"
    messages: list[str] = []
    report, _ = taken(source, modality="mr", structures={"femur": 1, "tibia": 2}, announce=messages.append)
    assert not report.failed
    assert not report.lost
    assert (f"names tell {len(SUBJECTS.get(name, ()))} subjects" in "".join(messages)) == (name in SUBJECTS)
    found = {case.images[0]: case.segmentation for case in report.manifest.cases}
    assert found == {f"../spines/{image}.nii.gz": f"../spines/{label}.nii.gz" for image, label in pairs}
    assert {case.subject for case in report.manifest.cases} == SUBJECTS.get(name, {None})


def test_verse_with_its_pictures_and_centroids_is_one_form(tmp_path: Path) -> None:
    for n, (image, label) in enumerate(PUBLIC["VerSe"]):
        scan(tmp_path / f"{image}.nii.gz", n)
        mask(tmp_path / f"{label}.nii.gz", MAP)
        beside = (tmp_path / label).parent
        (beside / "sub_seg-vb_ctd.json").write_text(
            '[{"direction": ["P", "I", "R"]}, {"label": 18, "X": 1, "Y": 2, "Z": 3}]'
        )
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(beside / "sub_seg-vert_snp.png")
    assert recognise(tmp_path).name == "masks"


# -- vertebrae, and what channels are called ---------------------------------------------------------------------------


VERTEBRAE = {
    "beside": ("{c}/ct.nii.gz", "{c}/{s}.nii.gz"),
    "in a folder": ("{c}/ct.nii.gz", "{c}/masks/{s}.nii.gz"),
    "called masks": ("{c}/ct.nii.gz", "{c}/{s}_mask.nii.gz"),
    "called masks first": ("{c}/ct.nii.gz", "{c}/mask_{s}.nii.gz"),
    "with the case": ("images/{c}.nii.gz", "masks/{c}_{s}.nii.gz"),
    "a folder for each": ("images/{c}.nii.gz", "{s}/{c}.nii.gz"),
    "folders of both": ("scans/{c}/{c}_ct.nii.gz", "masks/{c}/{c}_{s}_seg.nii.gz"),
    "one heap": ("{c}_ct.nii.gz", "{c}_{s}.nii.gz"),
    "within another folder": ("{c}/ct.nii.gz", "{c}/bones/{s}.nii.gz"),
    "of an MR": ("{c}/mr.nii.gz", "{c}/masks/{s}.nii.gz"),
    "of an MR that is called T2": ("{c}/t2.nii.gz", "{c}/masks/{s}.nii.gz"),
    "of an MR that is called T2w": ("{c}/{c}_T2w.nii.gz", "{c}/{c}_{s}.nii.gz"),
    "below a folder of images": ("images/{c}/ct.nii.gz", "images/{c}/{s}.nii.gz"),
    "long names": ("{c}/ct.nii.gz", "{c}/vertebrae_{s}.nii.gz"),
}


@pytest.mark.parametrize("cases", [("p1", "p2"), ("c1", "c2")], ids=["p1", "c1"])
@pytest.mark.parametrize("names", [("C1", "L1", "T1", "T2"), ("t1", "t2", "t12"), ("T1", "T2")], ids=" ".join)
@pytest.mark.parametrize("layout", VERTEBRAE)
def test_vertebrae_are_masks(tmp_path: Path, layout: str, names: tuple[str, ...], cases: tuple[str, ...]) -> None:
    source = tmp_path / "spines"
    image, label = VERTEBRAE[layout]
    if (layout, names) == ("of an MR that is called T2", ("T1", "T2")):
        pytest.skip("these may be masks of T1 and T2, and are refused")
    if layout == "a folder for each" and {"C1", "c1"} <= {*names, *cases}:
        pytest.skip("C1/c2 may be C1 of c2, and C2 of c1, and is skipped and told")
    spread(source, image, label, cases, names)
    assert recognise(source).name == "masks"
    report, dataset = taken(source)
    assert not report.failed
    assert not report.lost
    prefix = "vertebrae_" * (layout == "long names")
    assert {s.name for s in report.manifest.structures} == {prefix + name for name in names}
    assert [case.id for case in report.manifest.cases] == [*cases]
    assert len(report.manifest.channels) == 1
    for n, case in enumerate(cases):
        for k, name in enumerate(names):
            expected = np.roll((FEMUR, TIBIA)[k % 2], n + k, axis=1) == 1
            np.testing.assert_array_equal(voxels(report, dataset, case, prefix + name), expected)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("{c}/{c}.nii.gz", "{c}/{c}_{s}.nii.gz"),
        ("images/{c}.nii.gz", "masks/{c}_{s}.nii.gz"),
        ("images/{c}.nii.gz", "{s}/{c}.nii.gz"),
    ],
)
@pytest.mark.parametrize("cases", [("T1", "T2", "T3"), ("C1", "C2"), ("0000", "0001"), ("case_0000", "case_0001")])
def test_cases_that_are_called_like_channels_or_vertebrae(
    tmp_path: Path, image: str, label: str, cases: tuple[str, ...]
) -> None:
    source = tmp_path / "legs"
    spread(source, image, label, cases, ("femur", "tibia"))
    report, dataset = taken(source)
    assert [case.id for case in report.manifest.cases] == [*cases]
    assert not any(case.subject for case in report.manifest.cases)
    for n, case in enumerate(cases):
        np.testing.assert_array_equal(voxels(report, dataset, case, "femur"), np.roll(FEMUR, n, axis=1) == 1)


def test_one_vertebra_is_one_where_others_have_more(tmp_path: Path) -> None:
    source = tmp_path / "spines"
    spread(source, "{c}.nii.gz", "{c}_{s}.nii.gz", ("a", "b"), ("T1", "L5"))
    (source / "b_L5.nii.gz").unlink()
    report, _ = taken(source)
    assert {case.id: case.annotated for case in report.manifest.cases} == {"a": None, "b": ["T1"]}


def test_an_empty_mask_of_a_vertebra_is_one(tmp_path: Path) -> None:
    source = tmp_path / "spines"
    for case in "ab":
        scan(source / case / "ct.nii.gz", ord(case))
        mask(source / case / "T2.nii.gz", FEMUR)
        mask(source / case / "T1.nii.gz", FEMUR if case == "a" else np.zeros_like(FEMUR))
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["T1", "T2"]
    assert all(case.annotated is None for case in report.manifest.cases)


@pytest.mark.parametrize("folder", ["", "dicom"])
def test_vertebrae_beside_a_dicom_series(tmp_path: Path, folder: str) -> None:
    source = tmp_path / "spines"
    for case in "ab":
        pixels = np.random.default_rng(ord(case)).integers(-99, 99, (4, 5, 6)).astype(np.int16)
        for k in range(4):
            slice_ = dicom.image(
                pixels[k], ImagePositionPatient=[0.0, 0.0, 3.0 * k], SeriesInstanceUID=f"1.2.{ord(case)}"
            )
            dicom.save(slice_, source / case / folder / f"{k}.dcm")
    grid = Geometry((6, 5, 4), np.diag([-1.0, -1.0, 3.0, 1.0]))
    for name, voxels_ in (("a/T1", FEMUR), ("a/T2", TIBIA), ("b/T1", FEMUR), ("b/T2", np.zeros_like(FEMUR))):
        mask(source / f"{name}.nii.gz", voxels_, grid)
    assert recognise(source).name == "masks"
    report, dataset = taken(source)
    assert not report.failed
    assert [channel.name for channel in report.manifest.channels] == ["ct"]
    np.testing.assert_array_equal(voxels(report, dataset, report.manifest.cases[0].id, "T2"), TIBIA == 1)


@pytest.mark.parametrize("names", [("T1", "T2"), ("T1w", "T1"), ("t1", "flair"), ("CT", "PET"), ("PD", "DWI")])
@pytest.mark.parametrize("label", ["{c}/femur.nii.gz", "{c}/masks/femur.nii.gz", "{c}/mask.nii.gz"])
def test_scans_called_like_channels_are_channels(tmp_path: Path, names: tuple[str, str], label: str) -> None:
    source = tmp_path / "legs"
    for n, case in enumerate(("p1", "p2")):
        for k, name in enumerate(names):
            scan(source / case / f"{name}.nii.gz", 2 * n + k)
        mask(source / label.format(c=case), FEMUR)
    report, _ = taken(source, modality="mr", structures={"femur": 1})
    assert not report.failed
    assert [channel.name for channel in report.manifest.channels] == sorted(name.lower() for name in names)


@pytest.mark.parametrize("name", ["CT", "PET", "T1", "PD", "scan", "volume", "p1_0000"])
def test_a_file_of_two_values_is_no_scan_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    source = tmp_path / "legs"
    scan(source / "p1" / "image.nii.gz")
    mask(source / "p1" / f"{name}.nii.gz", FEMUR)
    [case] = masks.read(source, ImportOptions()).cases
    assert [path.name for path in case.images] == ["image.nii.gz"]
    assert case.labelled


def test_a_file_of_two_values_is_a_scan_in_a_folder_of_scans(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for case in ("p1", "p2"):
        mask(source / "images" / f"{case}_ct.nii.gz", FEMUR)
        mask(source / "masks" / f"{case}_femur.nii.gz", TIBIA)
    report, _ = taken(source, modality="ct")
    assert [case.id for case in report.manifest.cases] == ["p1", "p2"]


def test_a_damaged_scan_is_no_mask(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for case in ("p1", "p2"):
        scan(source / case / "ct.nii.gz", ord(case[1]))
        mask(source / case / "femur.nii.gz", FEMUR)
    damaged = source / "p2" / "ct.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:200])
    report, _ = taken(source)
    assert "p2/ct.nii.gz" in str(report.failed["p2"])


def test_masks_that_are_channels_or_vertebrae_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "spines"
    for name in ("T1", "T2"):
        scan(source / "p1" / f"{name}.nii.gz", int(name[1]))
        mask(source / "p1" / "masks" / f"{name}.nii.gz", FEMUR)
    with pytest.raises(OsteonError, match=r"(?s)several files that may all be its labels.*vertebra_T1"):
        taken(source, modality="mr")
    for name in ("T1", "T2"):
        path = source / "p1" / "masks" / f"{name}.nii.gz"
        path.rename(path.with_name(f"vertebra_{name}.nii.gz"))
    report, _ = taken(source, modality="mr")
    assert [s.name for s in report.manifest.structures] == ["vertebra_T1", "vertebra_T2"]
    assert len(report.manifest.channels) == 2


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{c}.nii.gz", "{s}/{c}.nii.gz"),
        ("{c}/ct.nii.gz", "{c}/{s}.nii.gz"),
        ("{c}/ct.nii.gz", "{c}/{s}/mask.nii.gz"),
        ("{c}.nii.gz", "{c}_{s}.nii.gz"),
        ("scans/{c}/{c}_ct.nii.gz", "rois/{c}/{c}_{s}.nii.gz"),
    ],
)
def test_structures_called_by_a_number(tmp_path: Path, image: str, label: str) -> None:
    source = tmp_path / "pieces"
    spread(source, image, label, ("p1", "p2"), ("roi_01", "roi_02"))
    assert recognise(source).name == "masks"
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["roi_01", "roi_02"]
    assert [case.id for case in report.manifest.cases] == ["p1", "p2"]
    assert not report.lost


@pytest.mark.parametrize(("image", "label"), [("{c}/ct.nii.gz", "{c}/{s}.nii.gz"), ("{c}_ct.nii.gz", "{c}_{s}.nii.gz")])
def test_cases_called_by_a_number(tmp_path: Path, image: str, label: str) -> None:
    source = tmp_path / "pieces"
    spread(source, image, label, ("roi_01", "roi_02"), ("femur", "tibia"))
    assert recognise(source).name == "masks"
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["femur", "tibia"]
    assert [case.id for case in report.manifest.cases] == ["roi_01", "roi_02"]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_one_in_both_forms_of_unicode(tmp_path: Path, forms: tuple[Form, Form]) -> None:
    source = tmp_path / "legs"
    for n, case in enumerate(("Jörg", "Zoë")):
        first, second = (unicodedata.normalize(form, case) for form in forms)
        scan(source / "images" / f"{first}.nii.gz", n)
        mask(source / "masks" / f"{second}_fémur.nii.gz", FEMUR)
        mask(source / "masks" / f"{first}_{unicodedata.normalize(forms[n], 'tibía')}.nii.gz", TIBIA)
    report, _ = taken(source)
    assert [case.id for case in report.manifest.cases] == ["Jörg", "Zoë"]
    assert [s.name for s in report.manifest.structures] == ["fémur", "tibía"]
    assert not report.lost


# -- what belongs to nothing, and the way out --------------------------------------------------------------------------


def heap(source: Path, scans: list[str], labels: list[str], grids: tuple[Geometry, Geometry] = (GRID, GRID)) -> Path:
    for n, name in enumerate(scans):
        scan(source / f"{name}.nii.gz", n, grids[n % 2])
    for name in labels:
        mask(source / f"{name}.nii.gz", FEMUR)
    return source


def refused(source: Path, **options: object) -> DatasetError:
    with pytest.raises(DatasetError) as error:
        masks.read(source, ImportOptions(**options))  # type: ignore[arg-type]
    return error.value


PATTERNS = {
    "numbers apart": (["scans/knee7ct", "scans/knee12ct"], ["masks/femur-7", "masks/femur-12"]),
    "the last number": (["scans/2020_7", "scans/2020_12"], ["masks/2021_7_femur", "masks/2021_12_femur"]),
    "a number behind the structure": (["images/01", "images/02"], ["masks/femur_01", "masks/femur_02"]),
    "in the middle": (["scans/a-p07-x", "scans/a-p12-x"], ["masks/femur.p07", "masks/femur.p12"]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_proposed_that_sorts_their_names(tmp_path: Path, name: str) -> None:
    scans, labels = PATTERNS[name]
    source = heap(tmp_path / "legs", scans, labels)
    error = refused(source)
    assert "no mask belongs to a scan (2 scans, 2 masks):\n  2 files, such as masks/" in error.message
    assert error.hint is not None
    hint, _, pattern = error.hint.partition("--case-pattern ")
    assert f"if {labels[0]}.nii.gz belongs to {scans[0]}.nii.gz" in hint or labels[1] in hint
    report, _ = taken(source, case_pattern=pattern.strip("'"))
    assert not report.lost
    assert {Path(case.images[0]).name for case in report.manifest.labelled} == {
        f"{Path(scan).name}.nii.gz" for scan in scans
    }


def test_a_folder_of_another_case_contradicts_a_name(tmp_path: Path) -> None:
    source = heap(
        tmp_path / "legs", ["scans/p1/pre/ct", "scans/p2/post/ct"], ["masks/p1/pre/femur", "masks/p1/post/femur"]
    )
    report, _ = taken(source)
    assert [case.segmentation is None for case in report.manifest.cases] == [False, True]
    assert report.lost == [f"{source}/masks/p1/post/femur.nii.gz: is named after two cases; skipped"]


def test_names_are_proposed_where_no_pattern_sorts_them(tmp_path: Path) -> None:
    source = heap(tmp_path / "legs", ["images/anna", "images/bert"], ["masks/left", "masks/right"])
    error = refused(source)
    assert "2 files, such as masks/left.nii.gz: is named after no scan, and its grid fits several: " in error.message
    assert error.hint == (
        "call masks after their scan, such as anna_left.nii.gz where masks/left.nii.gz belongs to images/anna.nii.gz"
    )
    for scan_name, name in (("anna", "left"), ("bert", "right")):
        (source / "masks" / f"{name}.nii.gz").rename(source / "masks" / f"{scan_name}_{name}.nii.gz")
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["left", "right"]


def test_grids_that_fit_no_scan_are_shown(tmp_path: Path) -> None:
    source = heap(tmp_path / "legs", ["images/anna", "images/bert"], ["masks/left", "masks/right"], (FAR, FAR))
    error = refused(source)
    assert "is named after no scan, and its grid fits none" in error.message
    assert "6×5×7" in str(error.hint)
    assert "6×5×4" in str(error.hint)
    assert "anna_left.nii.gz" in str(error.hint)


def test_a_grid_alone_is_no_proof(tmp_path: Path) -> None:
    source = heap(tmp_path / "legs", ["images/anna", "images/bert"], ["masks/left"], (GRID, OTHER))
    assert "its grid alone is no proof among many: " in refused(source).message


def test_several_causes_are_told_apart(tmp_path: Path) -> None:
    source = heap(
        tmp_path / "legs", ["images/p1", "images/p2"], ["masks/p1/p2_femur", "masks/p9_tibia", "masks/a", "masks/b"]
    )
    lines = refused(source).message.splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "  2 files, such as masks/a.nii.gz",
        "  1 file, such as masks/p1/p2_femur.nii.gz",
        "  1 file, such as masks/p9_tibia.nii.gz",
    ]
    for cause in ("grid fits several", "named after two cases", "like another case, which has no scan"):
        assert cause in "".join(lines)


def test_what_is_lost_is_told_and_named(tmp_path: Path) -> None:
    source = heap(tmp_path / "legs", ["images/p1", "images/p2"], ["masks/p1_femur", "masks/p1/p2_tibia", "masks/x"])
    report, _ = taken(source)
    assert [line.removeprefix(f"{source}/masks/") for line in report.lost] == [
        "p1/p2_tibia.nii.gz: is named after two cases; skipped",
        f"x.nii.gz: is named after no scan, and its grid fits several: {source}/images/p1.nii.gz, "
        f"{source}/images/p2.nii.gz; skipped",
    ]
    beside = heap(tmp_path / "arms", ["p1/ct"], ["p1/masks/ulna", "p1/radius"])
    report, _ = taken(beside)
    assert report.lost == [f"{beside}/p1/radius.nii.gz: lies beside the case's folder of masks; skipped"]


def test_a_heap_of_masks_alone_says_which_and_why(tmp_path: Path) -> None:
    source = heap(tmp_path / "legs", [], ["p1_ct", "p1_femur_mask", "p2_ct", "p2_femur_mask"])
    error = refused(source)
    assert error.message.endswith(
        "no scan among 4 files; all are taken for masks: 2 by their names, such as p1_femur_mask.nii.gz; "
        "2 hold one value beside 0, such as p1_ct.nii.gz"
    )
    assert error.hint == "put the scans into a folder called `images`"
    for case in ("p1", "p2"):
        (source / "images").mkdir(exist_ok=True)
        (source / f"{case}_ct.nii.gz").rename(source / "images" / f"{case}_ct.nii.gz")
    report, _ = taken(source, modality="ct")
    assert [case.id for case in report.manifest.cases] == ["p1", "p2"]


def test_a_heap_of_scans_alone_says_which_and_why(tmp_path: Path) -> None:
    source = heap(tmp_path / "legs", ["a/p1_ct", "b/bones"], [])
    assert refused(source).message.endswith(
        "no mask among 2 files; all are taken for scans: 1 by their names, such as a/p1_ct.nii.gz; "
        "1 hold more than one value beside 0, such as b/bones.nii.gz"
    )


def test_a_pattern_that_brings_nothing_together_shows_both_paths(tmp_path: Path) -> None:
    source = heap(tmp_path / "legs", ["images/p1", "images/p2"], ["masks/p1_femur", "masks/p2_femur"])
    error = refused(source, case_pattern=r"images/(\w+)")
    assert "2 files, such as masks/p1_femur.nii.gz: --case-pattern finds no case in its path" in error.message
    assert "such as images/p1.nii.gz and masks/p1_femur.nii.gz" in str(error.hint)


def test_a_pattern_does_not_mind_capitals(tmp_path: Path) -> None:
    source = heap(tmp_path / "legs", ["images/P1", "images/P2"], ["masks/femur p1", "masks/femur p2", "masks/femur p3"])
    report, _ = taken(source, case_pattern=r"(?i)(p\d)")
    assert [case.id for case in report.manifest.labelled] == ["P1", "P2"]
    assert report.lost == [f"{source}/masks/femur p3.nii.gz: --case-pattern finds no scan of its case, p3; skipped"]


@pytest.mark.parametrize(
    ("image", "label"),
    [("scan{n}_image", "scan{n}_label"), ("scan_image{n}", "scan_label{n}"), ("p1_ct{n}", "p1_mask{n}")],
)
def test_copies_that_are_numbered_keep_their_labels(tmp_path: Path, image: str, label: str) -> None:
    """`scan (1)_image` beside `scan_image`; a browser's `p1_mask (1)` to `p1_ct (1)`."""
    source = tmp_path / "legs"
    for n, copy in enumerate(("", " (1)", " (2)")):
        scan(source / f"{image.format(n=copy)}.nii.gz", n)
        mask(source / f"{label.format(n=copy)}.nii.gz", np.roll(MAP, n, axis=1))
    report, dataset = taken(source)
    assert (report.failed, report.lost) == ({}, [])
    assert len(report.manifest.labelled) == 3
    for case in report.manifest.cases:
        n = next((n for n in (1, 2) if f"({n})" in case.images[0]), 0)
        np.testing.assert_array_equal(dataset.load_segmentation(case).array, np.roll(MAP, n, axis=1))
