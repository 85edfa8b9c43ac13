"""Scans with one mask for each structure: which belongs to which, where it lies, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from osteon.core.errors import OsteonError, UsageError
from osteon.core.geometry import AxisPermutation, Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.formats import read_volume, write_segmentation, write_volume
from osteon.formats.label_tables import read_label_table
from osteon.formats.mask_names import case_name, classify_name, structure_name
from osteon.importing.masks import form as masks
from osteon.importing.options import ImportOptions
from osteon.importing.pseudonyms import TABLE, Patient, Pseudonyms
from osteon.importing.recognition import recognise
from osteon.importing.run import ImportReport, import_dataset
from osteon.importing.source_forms import ConvertedCase

GRID = Geometry((6, 5, 4), np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]))
OTHER = Geometry((6, 5, 5), GRID.affine_ras)


def scan(path: Path, seed: int = 0, grid: Geometry = GRID) -> np.ndarray:
    array = np.random.default_rng(seed).normal(size=(1, *grid.shape)).astype(np.float32)
    write_volume(path, Volume(array, grid))
    return array[0]


def box(*where: slice, value: float = 1, dtype: type = np.uint8, grid: Geometry = GRID) -> np.ndarray:
    array = np.zeros(grid.shape, dtype)
    array[where] = value
    return array


FEMUR = box(slice(0, 2), slice(1, 3))
TIBIA = box(slice(4, 6), slice(1, 3))


def mask(path: Path, array: np.ndarray, grid: Geometry = GRID, turn: AxisPermutation | None = None) -> None:
    if turn is not None:
        array, grid = turn.apply(array), turn.geometry(grid)
    write_volume(path, Volume(np.ascontiguousarray(array)[None], grid))


def taken(source: Path, **options: object) -> tuple[ImportReport, Dataset]:
    report = import_dataset(source, source.parent / "set", form="masks", overwrite=True, **options)  # type: ignore[arg-type]
    return report, Dataset.open(source.parent / "set")


def voxels(report: ImportReport, dataset: Dataset, case_id: str, structure: str) -> np.ndarray:
    [entry] = [case for case in report.manifest.cases if case.id == case_id]
    segmentation = dataset.load_segmentation(entry)
    [named] = [s for s in segmentation.structures if s.name == structure]
    return segmentation.mask(named)


LAYOUTS = {
    "a folder for each case": ("{c}/ct.nii.gz", "{c}/{s}.nii.gz"),
    "masks in a folder": ("{c}/{c}.nii.gz", "{c}/masks/{s}.nrrd"),
    "the scan named as its case": ("{c}/{c}.nii.gz", "{c}/{c}_{s}_mask.nii.gz"),
    "images and masks": ("images/{c}.nii.gz", "masks/{c}_{s}.nii.gz"),
    "images and masks with endings": ("images/{c}_ct.nii.gz", "masks/{c}-{s}-seg.nii.gz"),
    "a folder for each structure": ("images/{c}.nii.gz", "{s}/{c}.nii.gz"),
    "a folder of masks for each structure": ("images/{c}.nii.gz", "masks/{s}/{c}.nii.gz"),
    "one heap": ("{c}.nii.gz", "{c}_{s}.nii.gz"),
    "one heap, scans named": ("image_{c}.nii.gz", "label_{c}_{s}.nii.gz"),
    "names that say nothing": ("{c}/a.nii.gz", "{c}/{s}.nii.gz"),
    "a folder for each structure of each case": ("{c}/scan.nrrd", "{c}/{s}/mask.nrrd"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    image, label = LAYOUTS[layout]
    source = tmp_path / "legs"
    for n, case in enumerate(("c1", "c10", "c2")):
        scan(source / image.format(c=case), n)
        mask(source / label.format(c=case, s="femur_left"), np.roll(FEMUR, n, axis=1))
        mask(source / label.format(c=case, s="tibia_left"), np.roll(TIBIA, n, axis=2))
    assert recognise(source).name == "masks"
    report, dataset = taken(source)
    assert not report.failed
    assert [s.name for s in report.manifest.structures] == ["femur_left", "tibia_left"]
    assert [s.side for s in report.manifest.structures] == ["left", "left"]
    assert {case.id for case in report.manifest.cases} == {"c1", "c10", "c2"}
    for n, case in enumerate(("c1", "c10", "c2")):
        np.testing.assert_array_equal(voxels(report, dataset, case, "femur_left"), np.roll(FEMUR, n, axis=1) == 1)
        np.testing.assert_array_equal(voxels(report, dataset, case, "tibia_left"), np.roll(TIBIA, n, axis=2) == 1)
    assert all(case.annotated is None for case in report.manifest.cases)


def test_a_case_pattern_sorts_any_heap(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for number in "12":
        scan(source / f"scan-of-{number}-done.nii.gz", int(number))
        mask(source / "bones" / f"femur ({number}).nii.gz", FEMUR)
    report, _ = taken(source, case_pattern=r"(?:of-|\()(\d+)")
    assert [case.id for case in report.manifest.cases] == ["1", "2"]
    for pattern in ("(", "x"):
        with pytest.raises(UsageError, match="--case-pattern"):
            taken(source, case_pattern=pattern)


@pytest.mark.parametrize("flipped", [(True, True, False), (False, True, True), (False, False, False)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_mask_saved_mirrored_or_turned_lies_right_in_the_world(
    tmp_path: Path, flipped: tuple[bool, bool, bool], order: tuple[int, int, int]
) -> None:
    source = tmp_path / "legs"
    scan(source / "ct.nii.gz")
    mask(source / "femur.nii.gz", FEMUR, turn=AxisPermutation(order, flipped))
    report, dataset = taken(source)
    np.testing.assert_array_equal(voxels(report, dataset, "legs", "femur"), FEMUR == 1)


def test_a_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for case in ("a", "b"):
        scan(source / case / "ct.nii.gz", ord(case))
        mask(source / case / "femur.nii.gz", FEMUR)
    moved = GRID.affine_ras.copy()
    moved[0, 3] += 5
    mask(source / "b" / "femur.nii.gz", FEMUR, Geometry(GRID.shape, moved))
    report, _ = taken(source)
    assert "does not lie on the grid" in str(report.failed["b"])
    assert "--repair" not in str(report.failed["b"])


@pytest.mark.parametrize(("value", "dtype"), [(1, np.uint8), (255, np.uint8), (1.0, np.float32), (255.0, np.float64)])
def test_values_that_mean_the_structure(tmp_path: Path, value: float, dtype: type) -> None:
    source = tmp_path / "legs"
    scan(source / "ct.nii.gz")
    mask(source / "femur.nii.gz", box(slice(0, 2), value=value, dtype=dtype))
    report, dataset = taken(source)
    assert voxels(report, dataset, "legs", "femur").sum() == 40
    assert ("255" in " ".join(report.manifest.cases[0].provenance)) == (value == 255)


@pytest.mark.parametrize("value", [0.5, 128.0, -1.0, np.nan])
def test_other_values_are_refused_by_name(tmp_path: Path, value: float) -> None:
    source = tmp_path / "legs"
    scan(source / "ct.nii.gz")
    array = box(slice(0, 2), dtype=np.float32)
    array[3, 3, 3] = value
    mask(source / "femur.nii.gz", array)
    mask(source / "tibia.nii.gz", TIBIA)
    with pytest.raises(OsteonError, match=rf"femur.nii.gz: .*{value:g} in 1"):
        taken(source)


def test_a_missing_mask_is_not_an_empty_one(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for case in ("a", "b", "c"):
        scan(source / case / "ct.nii.gz", ord(case))
        mask(source / case / "femur.nii.gz", FEMUR)
    mask(source / "a" / "tibia.nii.gz", TIBIA)
    mask(source / "b" / "tibia.nii.gz", np.zeros_like(TIBIA))
    messages: list[str] = []
    report, _ = taken(source, announce=messages.append)
    annotated = {case.id: case.annotated for case in report.manifest.cases}
    assert annotated == {"a": None, "b": None, "c": ["femur"]}
    assert any("no mask of tibia in 1 case (c)" in line for line in messages)


@pytest.mark.parametrize("overlapping", [False, True])
def test_an_inverted_mask_is_told(tmp_path: Path, overlapping: bool) -> None:
    source = tmp_path / "legs"
    for case in ("a", "b"):
        scan(source / case / "ct.nii.gz", ord(case))
        mask(source / case / "femur.nii.gz", 1 - FEMUR)
        mask(source / case / "tibia.nii.gz", TIBIA if overlapping else 0 * TIBIA)
    report, _ = taken(source)
    [line] = [line for line in report.warnings if "inverted" in line]
    assert line.startswith("2 cases, such as a: femur covers more than half of the image and most of its sides")


def test_overlaps_are_counted_and_kept_or_resolved(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    scan(source / "ct.nii.gz")
    mask(source / "femur.nii.gz", box(slice(0, 3)))
    mask(source / "tumour.nii.gz", box(slice(2, 5)))
    report, dataset = taken(source)
    assert report.manifest.overlapping
    assert "case legs: femur and tumour share 20 voxels; kept as overlap" in report.warnings
    assert [voxels(report, dataset, "legs", name).sum() for name in ("femur", "tumour")] == [60, 60]
    for first, counts in (("tumour", [40, 60]), ("femur", [60, 40])):
        report, dataset = taken(source, priority=[first])
        assert not report.manifest.overlapping
        assert [voxels(report, dataset, "legs", name).sum() for name in ("femur", "tumour")] == counts
    with pytest.raises(UsageError, match="no structure is called skull"):
        taken(source, priority=["skull"])


def test_the_names_of_a_mask_are_one_however_they_are_written(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for case, name in (("a", "Femur_left"), ("b", "femur left"), ("c", "FEMUR-LEFT")):
        scan(source / case / "ct.nii.gz", ord(case))
        mask(source / case / f"{name}.nii.gz", FEMUR)
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["Femur_left"]


def test_scans_of_several_channels(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for case in ("a", "b"):
        images = [scan(source / case / f"{case}_{name}.nii.gz", ord(case) + n) for n, name in enumerate(("T2", "T1"))]
        mask(source / case / "femur.nii.gz", FEMUR)
    report, dataset = taken(source)
    assert [channel.name for channel in report.manifest.channels] == ["t1", "t2"]
    assert [channel.modality for channel in report.manifest.channels] == ["mr", "mr"]
    np.testing.assert_array_equal(dataset.load_image(report.manifest.cases[1]).array, np.stack(images[::-1]))


def test_a_vertebra_is_no_channel(tmp_path: Path) -> None:
    source = tmp_path / "spines"
    scan(source / "a" / "ct.nii.gz")
    mask(source / "a" / "T1.nii.gz", FEMUR)
    mask(source / "a" / "L1.nii.gz", TIBIA)
    report, dataset = taken(source)
    np.testing.assert_array_equal(voxels(report, dataset, "a", "T1"), FEMUR == 1)
    assert [channel.name for channel in report.manifest.channels] == ["ct"]


def test_several_scans_are_refused_with_their_names(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for name in ("first_scan", "second_scan"):
        scan(source / "a" / f"{name}.nii.gz")
    mask(source / "a" / "femur.nii.gz", FEMUR)
    scan(source / "b" / "scan.nii.gz", 1)
    mask(source / "b" / "femur.nii.gz", FEMUR)
    report, _ = taken(source)
    [error] = report.failed.values()
    assert "first_scan" in str(error)
    assert "second_scan" in str(error)


@pytest.mark.parametrize("folder", ["", "images"])
def test_of_several_scans_the_one_that_fits_is_taken(tmp_path: Path, folder: str) -> None:
    source = tmp_path / "legs"
    for case in ("a", "b"):
        scan(source / case / folder / "first_scan.nii.gz", ord(case))
        scan(source / case / folder / "second_scan.nii.gz", grid=OTHER)
        mask(source / case / "femur.nii.gz", FEMUR)
    report, _ = taken(source)
    assert [Path(case.images[0]).name for case in report.manifest.cases] == ["first_scan.nii.gz"] * 2
    assert sum("no mask of its folder fits" in line for line in report.lost) == 2


def test_masks_without_their_scan_go_to_no_other(tmp_path: Path) -> None:
    """A heap in which the scan of c lies nowhere, and one without masks fits its grid."""
    source = tmp_path / "legs"
    for case in ("a", "b"):
        scan(source / case / "ct.nii.gz", ord(case))
    mask(source / "a" / "femur.nii.gz", FEMUR)
    mask(source / "c" / "femur.nii.gz", TIBIA)
    report, _ = taken(source)
    assert {case.id: case.segmentation is not None for case in report.manifest.cases} == {"a": True, "b": False}
    assert any("c/femur.nii.gz" in line and "skipped" in line for line in report.lost)


@pytest.mark.parametrize(
    ("image", "own", "other"),
    [
        ("images/p1.nii.gz", "masks/p1_femur.nii.gz", "masks/p2_tibia.nii.gz"),
        ("images/p1.nii.gz", "masks/p1/femur.nii.gz", "masks/p2/tibia.nii.gz"),
        ("images/p1.nii.gz", "femur/p1.nii.gz", "tibia/p2.nii.gz"),
        ("p1_ct.nii.gz", "p1_femur.nii.gz", "p2_tibia.nii.gz"),
    ],
)
def test_a_single_scan_gets_no_mask_of_another_case(tmp_path: Path, image: str, own: str, other: str) -> None:
    source = tmp_path / "legs"
    scan(source / image)
    mask(source / own, FEMUR)
    mask(source / other, TIBIA)
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["femur"]
    assert any(other in line and "skipped" in line for line in report.lost)


def test_a_mask_of_another_case_goes_to_no_scan_for_its_grid_alone(tmp_path: Path) -> None:
    heap = tmp_path / "legs" / "all"
    scan(heap / "p1_ct.nii.gz")
    scan(heap / "p2_ct.nii.gz", 1, OTHER)
    for case, grid in (("p1", GRID), ("p2", OTHER)):
        mask(heap / f"{case}_femur.nii.gz", box(slice(0, 2), grid=grid), grid)
    mask(heap / "p9_tibia.nii.gz", TIBIA)
    report, _ = taken(tmp_path / "legs")
    assert [s.name for s in report.manifest.structures] == ["femur"]
    assert any("p9_tibia" in line and "skipped" in line for line in report.lost)


def test_a_mask_that_folder_and_name_give_to_two_cases_goes_to_none(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for n, case in enumerate(("L001", "L002")):
        scan(source / case / "ct.nii.gz", n)
        mask(source / case / "femur.nii.gz", FEMUR)
    mask(source / "L001" / "L001_tibia.nii.gz", TIBIA)
    mask(source / "L002" / "L001_patella.nii.gz", TIBIA)
    mask(source / "L002" / "L001.nii.gz", np.roll(TIBIA, 2, axis=1))  # may be a name, as C2 in the folder of case c1
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["L001", "femur", "tibia"]
    assert any("L001_patella" in line and "another case" in line for line in report.lost)


def test_label_maps_with_a_table(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for n in range(2):
        scan(source / "images" / f"p{n}.nii.gz", n)
        mask(source / "labels" / f"p{n}.nii.gz", FEMUR * 3 + TIBIA * 7)
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["label_3", "label_7"]
    (source / "labels.json").write_text(json.dumps({"3": "femur", "7": "tibia"}))
    report, dataset = taken(source)
    assert {s.name: s.value for s in report.manifest.structures} == {"femur": 3, "tibia": 7}
    assert report.manifest.cases[0].segmentation == "../legs/labels/p0.nii.gz"
    np.testing.assert_array_equal(voxels(report, dataset, "p1", "tibia"), TIBIA == 1)


def test_a_mask_without_a_name_beside_named_ones_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for case, name in (("a", "femur"), ("a", "tibia"), ("b", "mask")):
        scan(source / case / "ct.nii.gz", ord(case))
        mask(source / case / f"{name}.nii.gz", FEMUR)
    report, _ = taken(source, priority=["femur"])
    assert "nothing says which of femur, tibia" in str(report.failed["b"])


def test_names_of_the_user_must_be_those_of_the_masks(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    scan(source / "ct.nii.gz")
    for name in ("femur", "tibia"):
        mask(source / f"{name}.nii.gz", FEMUR)
    with pytest.raises(UsageError, match="masks of tibia"):
        taken(source, structures={"femur": 1})


def test_slicer_files_name_their_structures(tmp_path: Path) -> None:
    source = tmp_path / "legs"
    for case in ("a", "b"):
        scan(source / f"{case}.nrrd", ord(case))
        made = Segmentation(FEMUR + 2 * TIBIA, GRID, make_structures(["Femur", "Tibia"]))
        write_segmentation(source / f"{case}.seg.nrrd", made)
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["Femur", "Tibia"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.json", '{"1": "femur", "4": "tibia"}'),
        ("labels.json", '{"labels": {"background": 0, "femur": 1, "tibia": 4}}'),
        ("labels.csv", "value,name\n0,background\n1,femur\n4,tibia\n"),
        ("labels.txt", '# ITK-SNAP\n 0 0 0 0 0 0 0 "Clear Label"\n 1 255 0 0 1 1 1 "femur"\n 4 0 1 0 1 1 1 "tibia"\n'),
        ("label.ctbl", "# Color table\n1 femur 255 0 0 255\n4 tibia 0 255 0 255\n"),
    ],
)
def test_tables_of_labels(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert {s.name: s.value for s in read_label_table(path)} == {"femur": 1, "tibia": 4}


@pytest.mark.parametrize(
    "text", ['{"99999999999999999999": "femur"}', '{"1": "fe\\nmur"}', '{"1": "' + "x" * 999 + '"}']
)
def test_tables_of_what_is_no_label_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(OsteonError, match=r"labels\.json"):
        read_label_table(path)


@pytest.mark.parametrize("name", [b"fe\nmur", b"femur\xff"])
def test_a_mask_whose_name_is_no_text_fails_its_case_alone(tmp_path: Path, name: bytes) -> None:
    source = tmp_path / "legs"
    for n, case in enumerate("ab"):
        scan(source / case / "ct.nii.gz", n)
        mask(source / case / "femur.nii.gz", FEMUR)
    (source / "b" / "femur.nii.gz").rename(source / "b" / f"{os.fsdecode(name)}.nii.gz")
    report, _ = taken(source)
    assert "is no label" in str(report.failed["b"])
    assert [s.name for s in report.manifest.structures] == ["femur"]


def test_what_names_say() -> None:
    from pathlib import PurePosixPath as P

    kinds = {
        "p1/ct.nii.gz": "scan",
        "p1_ct_seg.nii.gz": "mask",
        "masks/vertebrae_T1.nii.gz": "mask",
        "images/p1.nii.gz": "scan",
        "p1/femur.nii.gz": "unclear",
        "labels_of_july/p1/ct.nii.gz": "scan",
        "p1.seg.nrrd": "mask",
        "image_01.nrrd": "scan",
    }
    assert {place: classify_name(P(place)) for place in kinds} == kinds
    assert (case_name("t2_07_image"), case_name("image_001"), case_name("ct")) == ("t2_07", "001", "")
    assert structure_name(P("p1_mask_femur_left.nii.gz"), ["p1"]) == "femur_left"
    assert structure_name(P("p10_femur.nii.gz"), ["p1"]) == "p10_femur"
    assert structure_name(P("MR_T1_mask.nii.gz"), ["MR_T1"]) is None


def test_pseudonyms_stay_and_hide_names(tmp_path: Path) -> None:
    doe, roe = Patient("4711", "DOE^JANE"), Patient("12", "Roe")
    first = Pseudonyms(tmp_path, [roe, doe])
    assert [first.key(roe), first.key(doe), first.key(Patient())] == ["p001", "p002", None]
    assert str(tmp_path / TABLE) in first.write()
    later = Pseudonyms(tmp_path, [Patient("9", "Aaron"), doe, roe])
    assert [later.key(roe), later.key(doe), later.key(Patient("9", "Aaron"))] == ["p001", "p002", "p003"]
    assert first.hide("scans/Doe_Jane/4711 knee", doe) == "scans/p002/p002 knee"
    assert first.hide("knee120/12/x", roe) == "knee120/p001/x"


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("DICOM series of 12 files in 12", "DICOM series of 12 files in p001"),
        ("DICOM series of 12 files in 12/ct", "DICOM series of 12 files in p001/ct"),
        ("12 files that are copies of others were left out", "12 files that are copies of others were left out"),
        ("femur from 12/femur 12.nii.gz: its value 12 taken", "femur from p001/femur p001.nii.gz: its value 12 taken"),
        ("12: shows the same, in 12 of 12 voxels", "p001: shows the same, in 12 of 12 voxels"),
        ("series from /mnt/12/x on may 3", "series from /mnt/p001/x on may 3"),
        ("Series May Dates in may/ct", "Series May Dates in p001/ct"),
    ],
)
def test_a_patients_number_or_name_leaves_other_words_as_they_are(tmp_path: Path, line: str, hidden: str) -> None:
    patient = Patient("12", "May^Files")
    files = [tmp_path / name for name in ("12/ct/im1", "12/femur 12.nii.gz", "12/ct/12", "may/ct/im1")]
    hider = Pseudonyms(tmp_path, [patient])
    made = hider.without_names(lambda: ConvertedCase(provenance=(line,)), patient, files)
    assert made.provenance == (hidden,)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Doe^Jane/ct", "p001/ct"),
        ("jane_doe", "p001"),
        ("JaneDoe.nii", "p001.nii"),
        ("scans of Doe/2019-03-12/ct", "scans of p001/date/ct"),
        ("12.03.2019", "date"),
        ("doeskin_120190312", "doeskin_120190312"),
    ],
)
def test_names_and_dates_are_hidden_however_they_are_written(tmp_path: Path, text: str, hidden: str) -> None:
    patient = Patient("secret", "Doe^Jane", ("20190312",))
    assert Pseudonyms(tmp_path, [patient]).hide(text, patient) == hidden


def test_what_is_no_such_heap_says_why(tmp_path: Path) -> None:
    assert masks.explain_mismatch(tmp_path) == "no scan (a DICOM series, .nii.gz, .nrrd or .mha)"
    scan(tmp_path / "a.nii.gz")
    assert "no mask file" in str(masks.explain_mismatch(tmp_path))
    mask(tmp_path / "a_femur.nii.gz", FEMUR)
    assert masks.explain_mismatch(tmp_path) is None
    (tmp_path / "pairs.txt").write_text("a.nii.gz,a_femur.nii.gz\n")
    assert "lists the cases" in str(masks.explain_mismatch(tmp_path))


def test_the_bones_of_a_real_ct(tmp_path: Path, shared_data: Path) -> None:
    source = tmp_path / "ct_sm"
    source.symlink_to(shared_data / "totalsegmentator-example" / "ct_sm", target_is_directory=True)
    found = masks.read(source, ImportOptions())
    assert [case.id for case in found.cases] == ["example_ct_sm"]
    assert found.structures is not None
    assert len(found.structures) == 54
    report, _ = taken(source)
    assert len(report.present["example_ct_sm"]) == 16
    assert report.manifest.cases[0].annotated is None


def linked(folder: Path, target: Path) -> None:
    """The files of `target` as links below `folder`: what an import writes beside its source stays here."""
    for path in target.rglob("*"):
        if path.is_file():
            place = folder / path.relative_to(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)


def test_humeri_of_a_real_dicom_series_are_bone(tmp_path: Path, shared_data: Path) -> None:
    """The masks are stored mirrored: by index they lie in the air (mean −1000 HU)."""
    real = shared_data / "totalsegmentator-example"
    source = tmp_path / "arms"
    linked(source / "p" / "dicom", real / "ct_dicom")
    labels = read_volume(real / "ct_dicom_seg" / "example_ct_dicom_seg.nii.gz")
    for name, value in (("humerus_left", 69), ("humerus_right", 70)):
        mask(source / "p" / f"{name}.nii.gz", (labels.array[0] == value).astype(np.uint8), labels.geometry)
    report, dataset = taken(source)
    scan_read = dataset.load_image(report.manifest.cases[0]).array[0]
    for name in ("humerus_left", "humerus_right"):
        assert 500 < scan_read[voxels(report, dataset, "p", name)].mean() < 750
    assert report.manifest.channels[0].modality == "ct"


def test_contours_and_masks_of_a_tumour_agree_and_nobody_is_named(tmp_path: Path, shared_data: Path) -> None:
    source = tmp_path / "limbs"
    for number in ("025", "008"):
        linked(source / f"STS_{number}", shared_data / "sts-limb-mr-dicom" / f"STS_{number}")
    report, _ = taken(source, structures={"tumour": 1})
    assert [(case.id, case.subject) for case in report.manifest.cases] == [
        ("p001_MR_T1", "p001"),
        ("p002_MR_T1", "p002"),
    ]
    assert "is ct, while most scans here are mr" in str(report.failed["p001_CT"])
    for case in report.manifest.cases:
        [line] = [line for line in case.provenance if "Dice" in line]
        assert float(line.partition("Dice ")[2].partition(";")[0]) > 0.95
    written = (source.parent / "set" / "dataset.yaml").read_text()
    assert "STS_0" not in written
    assert (source / TABLE).read_text().splitlines()[1:] == ["p001,STS_008,STS_008", "p002,STS_025,STS_025"]
    report, _ = taken(source, structures={"tumour": 1}, keep_identity=True)
    assert report.manifest.cases[0].subject == "STS_008"


def test_contours_alone_are_labels(tmp_path: Path, shared_data: Path) -> None:
    source = tmp_path / "lung"
    linked(source, shared_data / "sts-limb-mr-dicom" / "STS_025")
    next(source.rglob("*.nii.gz")).unlink()
    report, dataset = taken(source)
    [structure] = report.manifest.structures
    assert structure.name == "GTV_Mass_MR_T1"
    reference = read_volume(next((shared_data / "sts-limb-mr-dicom" / "STS_025").rglob("*.nii.gz"))).array.sum()
    assert voxels(report, dataset, report.manifest.cases[0].id, structure.name).sum() == pytest.approx(
        reference, rel=0.05
    )
