"""Tables that name the values of one label map each: 3D Slicer's, ITK-SNAP's, and those of whole folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

import osteon
from dicom_writing import SERIES, series
from osteon.app.external_results import import_result
from osteon.core.errors import DatasetError, FileError, LabelError, OsteonError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.evaluating.evaluate import evaluate
from osteon.formats import read_geometry, read_segmentation, read_structures, write_segmentation, write_volume
from osteon.formats.label_tables import read_label_table, table_beside
from osteon.formats.labelmap import make_index_map
from osteon.importing.run import ImportReport, import_dataset

GRID = Geometry((6, 5, 4), np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]))
BONES = {"femur": (slice(0, 2), slice(1, 3)), "tibia": (slice(4, 6), slice(1, 3))}
BOTH = make_structures(["femur", "tibia"])

SLICER = "# Color table file\n# 3 values\n0 Background 0 0 0 0\n1 {0} 128 174 128 255\n2 {1} 241 214 145 255\n"
SNAP = '0 0 0 0 0 0 0 "Clear Label"\n1 255 0 0 1 1 1 "{0}"\n2 0 255 0 1 1 1 "{1}"\n'
KINDS = {
    "Slicer": ("_ColorTable.ctbl", SLICER),
    "Slicer's csv": ("_ColorTable.csv", "LabelValue,Name,Color_R\n1,{0},128\n2,{1},241\n"),
    "another .ctbl": (".ctbl", SLICER),
    "ITK-SNAP": (".label", SNAP),
    "ITK-SNAP's text": (".txt", SNAP),
    "BIDS": (".tsv", "index\tname\n1\t{0}\n2\t{1}\n"),
    "JSON": (".json", '{{"1": "{0}", "2": "{1}"}}'),
    "JSON with labels": ("_labels.json", '{{"labels": {{"{0}": 1, "{1}": 2}}}}'),
}


def labels(one: str, two: str) -> np.ndarray:
    """A label map in which the first structure is 1 and the second 2."""
    array = np.zeros(GRID.shape, np.uint8)
    array[BONES[one]], array[BONES[two]] = 1, 2
    return array


def write(path: Path, array: np.ndarray) -> Path:
    write_volume(path, Volume(array[None], GRID))
    return path


def scan(path: Path) -> None:
    write(path, np.random.default_rng(len(str(path)) + ord(path.parent.name[-1])).normal(size=GRID.shape))


def taken(source: Path, **options: object) -> tuple[ImportReport, Dataset]:
    report = import_dataset(source, source.parent / "set", overwrite=True, **options)  # type: ignore[arg-type]
    return report, Dataset.open(source.parent / "set")


def check(report: ImportReport, dataset: Dataset, cases: int = 2) -> None:
    """Every bone is where it was drawn, in every case."""
    assert not report.failed
    assert len(report.manifest.cases) == cases
    assert {s.name for s in report.manifest.structures} == set(BONES)
    for case in report.manifest.cases:
        found = dataset.load_segmentation(case)
        for structure in found.structures:
            expected = np.zeros(GRID.shape, bool)
            expected[BONES[structure.name]] = True
            np.testing.assert_array_equal(found.mask(structure), expected, err_msg=f"{case.id} {structure.name}")


def slicers(source: Path, kind: str = "Slicer", name: str = "Segmentation-label") -> Path:
    """p1 has femur 1 and tibia 2, p2 the other way round; each with its table."""
    ending, text = KINDS[kind]
    for case, names in (("p1", ("femur", "tibia")), ("p2", ("tibia", "femur"))):
        scan(source / case / "ct.nii.gz")
        write(source / case / f"{name}.nii.gz", labels(*names))
        (source / case / f"{name}{ending}").write_text(text.format(*names))
    return source


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["Segmentation-label", "bones", "p_seg"])
def test_a_table_beside_each_label_map_names_its_values(tmp_path: Path, kind: str, name: str) -> None:
    report, dataset = taken(slicers(tmp_path / "src", kind, name))
    check(report, dataset)
    first, second = report.manifest.cases
    assert first.segmentation == f"../src/p1/{name}.nii.gz"
    assert second.segmentation == "labels/p2.nii.gz"
    assert "names: 1 tibia, 2 femur" in " ".join(second.provenance)
    assert sum("p2" in line and "calls 1 tibia" in line for line in report.warnings) == 1


def test_what_the_user_says_is_told_where_tables_say_otherwise(tmp_path: Path) -> None:
    source = slicers(tmp_path / "src")
    report, dataset = taken(source, structures={"femur": 1, "tibia": 2})
    check(report, dataset)
    assert any("by --labels" in line for line in report.warnings)
    report, dataset = taken(source, structures={"femur": 4, "tibia": 3})
    check(report, dataset)
    assert {s.name: s.value for s in report.manifest.structures} == {"femur": 4, "tibia": 3}
    with pytest.raises(
        DatasetError, match=r"--labels calls the value 1 bone, but it is femur by .*p1.* and tibia by .*p2"
    ):
        taken(source, structures={"bone": 1, "other": 2})
    with pytest.raises(DatasetError, match="calls the value 2 tibia"):
        taken(_one_more(source), structures={"femur": 1, "tibia": 2})


def _one_more(source: Path) -> Path:
    """Two cases whose tables give the value 2 names that nobody else has."""
    for case, name in (("p3", "patella"), ("p4", "fibula")):
        scan(source / case / "ct.nii.gz")
        write(source / case / "Segmentation-label.nii.gz", labels("femur", "tibia"))
        (source / case / "Segmentation-label_ColorTable.ctbl").write_text(SLICER.format("femur", name))
    return source


def test_a_name_that_all_tables_share_may_be_changed(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for case in ("p1", "p2"):
        scan(source / case / "ct.nii.gz")
        write(source / case / "seg.nii.gz", labels("femur", "tibia"))
        (source / case / "seg_ColorTable.ctbl").write_text(SLICER.format("F", "T"))
    check(*taken(source, structures={"femur": 1, "tibia": 2}))


def test_names_are_one_however_they_are_written(tmp_path: Path) -> None:
    source = slicers(tmp_path / "src")
    table = source / "p2" / "Segmentation-label_ColorTable.ctbl"
    table.write_text(table.read_text().replace("femur", "Femur"))
    check(*taken(source))


def test_a_label_map_without_a_table_beside_some_that_have_one_is_refused(tmp_path: Path) -> None:
    source = slicers(tmp_path / "src")
    (source / "p2" / "Segmentation-label_ColorTable.ctbl").unlink()
    report, _ = taken(source)
    assert "nothing says which of femur, tibia" in str(report.failed["p2"])


@pytest.mark.parametrize("name", ["labels.json", "label.txt", "colours.ctbl", "descriptions.txt"])
def test_a_table_in_a_cases_folder_names_its_label_map(tmp_path: Path, name: str) -> None:
    source = slicers(tmp_path / "src")
    for case, names in (("p1", ("femur", "tibia")), ("p2", ("tibia", "femur"))):
        (source / case / "Segmentation-label_ColorTable.ctbl").unlink()
        text = json.dumps({"1": names[0], "2": names[1]}) if name.endswith("json") else SLICER.format(*names)
        text = KINDS["ITK-SNAP"][1].format(*names) if name == "descriptions.txt" else text
        (source / case / name).write_text(text)
    report, dataset = taken(source)
    check(report, dataset)
    (source / "p2" / name).write_text("{}")
    with pytest.raises(OsteonError):
        import_dataset(source, tmp_path / "set")  # no longer made from these files


def test_names_that_are_counted_beside_a_label_map_are_its_table(tmp_path: Path) -> None:
    source = slicers(tmp_path / "src")
    for case, names in (("p1", ("femur", "tibia")), ("p2", ("tibia", "femur"))):
        (source / case / "Segmentation-label_ColorTable.ctbl").unlink()
        (source / case / "Segmentation-label.json").write_text(json.dumps({names[0]: 1, names[1]: 2}))
    check(*taken(source))


@pytest.mark.parametrize(
    ("name", "text"), [("json", '{"femur": 1, "tibia": 2, "pelvis": 9}'), ("txt", "1 femur\n2 tibia\n")]
)
def test_what_may_be_a_table_and_is_not_read_is_told(tmp_path: Path, name: str, text: str) -> None:
    source = tmp_path / "src"
    scan(source / "p1" / "ct.nii.gz")
    write(source / "p1" / "seg.nii.gz", labels("femur", "tibia"))
    (source / "p1" / f"seg.{name}").write_text(text)
    report, _ = taken(source)
    assert [s.name for s in report.manifest.structures] == ["label_1", "label_2"]
    [line] = [line for line in report.warnings if "may be a table" in line]
    assert f"seg.{name}" in line
    assert f"seg_labels.{name}" in line
    (source / "p1" / f"seg.{name}").rename(source / "p1" / f"seg_labels.{name}")
    report, _ = taken(source)
    assert "femur" in {s.name for s in report.manifest.structures}
    assert not any("may be a table" in line for line in report.warnings)


def test_a_table_in_the_folder_of_label_maps_names_them_all(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for case in ("p1", "p2"):
        scan(source / "images" / f"{case}.nii.gz")
        write(source / "labels" / f"{case}.nii.gz", labels("femur", "tibia"))
    (source / "images" / "p2.nii.gz").unlink()
    scan(source / "images" / "p2.nii.gz")
    (source / "labels" / "labels.json").write_text('{"1": "femur", "2": "tibia"}')
    report = import_dataset(source, tmp_path / "set", form="masks")
    assert [s.name for s in report.manifest.structures] == ["femur", "tibia"]
    assert report.manifest.cases[0].segmentation == "../src/labels/p1.nii.gz"


def test_the_table_of_one_label_map_names_no_other(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for case, names in (("p1", ("femur", "tibia")), ("p2", ("tibia", "femur"))):
        scan(source / "images" / case / "ct.nii.gz")
        write(source / "labels" / f"{case}.nii.gz", labels(*names))
    (source / "labels" / "p1_ColorTable.ctbl").write_text(SLICER.format("femur", "tibia"))
    report, _ = taken(source, form="masks")
    assert "nothing says which of femur, tibia" in str(report.failed["p2"])


def test_tables_of_a_heap_belong_to_their_label_maps(tmp_path: Path) -> None:
    source = tmp_path / "src"
    slicers(tmp_path / "made")
    source.mkdir()
    for path in sorted((tmp_path / "made").rglob("*.*")):
        path.rename(source / f"{path.parent.name}_{path.name}")
    report, dataset = taken(source, form="masks")
    check(report, dataset)
    assert not any("not read" in line for line in report.warnings)


def test_tables_that_name_nothing_are_told(tmp_path: Path) -> None:
    source = tmp_path / "src"
    scan(source / "p1" / "ct.nii.gz")
    for n, name in enumerate(BONES, start=1):
        write(source / "p1" / f"{name}.nii.gz", (labels("femur", "tibia") == n).astype(np.uint8))
    (source / "p1" / "all.ctbl").write_text(SLICER.format("femur", "tibia"))
    report, dataset = taken(source)
    check(report, dataset, cases=1)
    assert any("all.ctbl names no label map" in line for line in report.warnings)


def test_masks_with_a_table_each_are_masks_of_what_it_names(tmp_path: Path) -> None:
    source = tmp_path / "src"
    scan(source / "p1" / "ct.nii.gz")
    for n, name in enumerate(BONES, start=1):
        write(source / "p1" / f"Segment_{n}.nii.gz", (labels("femur", "tibia") == n).astype(np.uint8) * n)
        (source / "p1" / f"Segment_{n}_ColorTable.ctbl").write_text(f"{n} {name} 1 2 3 255\n")
    check(*taken(source), cases=1)


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz"])
def test_names_in_headers_are_united_whatever_their_values(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "src"
    for case, names in (("p1", ["femur", "tibia"]), ("p2", ["tibia", "femur"])):
        scan(source / case / "ct.nii.gz")
        write_segmentation(source / case / f"seg{suffix}", Segmentation(labels(*names), GRID, make_structures(names)))
    report, dataset = taken(source)
    check(report, dataset)
    report, dataset = taken(source, structures={"femur": 1, "tibia": 2})
    check(report, dataset)
    assert any("calls 1 tibia" in line for line in report.warnings)


@pytest.mark.parametrize("form", ["pairs", "decathlon"])
def test_lists_read_each_label_map_by_its_table(tmp_path: Path, form: str) -> None:
    source = slicers(tmp_path / "src")
    pairs = [{"image": f"{c}/ct.nii.gz", "label": f"{c}/Segmentation-label.nii.gz"} for c in ("p1", "p2")]
    if form == "pairs":
        (source / "pairs.txt").write_text("".join(f"{','.join(pair.values())}\n" for pair in pairs))
    else:
        data = {"labels": {"femur": 1, "tibia": 2}, "modality": {"0": "CT"}, "training": pairs}
        (source / "dataset.json").write_text(json.dumps(data))
    report, dataset = taken(source, form=form)
    check(report, dataset)
    for table in source.rglob("*.ctbl"):
        table.unlink()  # what was written anew needs none
    second = next(case for case in report.manifest.cases if "p2" in case.id or case.id.endswith("2"))
    assert dataset.load_segmentation(second).mask(dataset.structures[0])[BONES[dataset.structures[0].name]].all()


def test_evaluating_goes_by_the_tables(tmp_path: Path) -> None:
    source = slicers(tmp_path / "src")
    for case in ("p1", "p2"):
        write_segmentation(tmp_path / "made" / f"{case}.nii.gz", Segmentation(labels("femur", "tibia"), GRID, BOTH))
        for path in (source / case).glob("Segmentation*"):
            target = tmp_path / "truth" / path.name.replace("Segmentation-label", case)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
    result = evaluate(tmp_path / "made", tmp_path / "truth", structures=BOTH)
    assert [score.dice for score in result.scores] == [1.0] * 4


def test_what_only_looks_like_a_table_names_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", labels("femur", "tibia"))
    for name, text in (
        ("a.json", '{"EchoTime": 5, "Rows": 512}'),
        ("a.csv", "visit,length\n2021,first visit\n"),
        ("a.tsv", "1\tfemur\t17.5\n2\ttibia\t3.5\n"),
        ("a.label", "#!ascii label\n2\n1 -10.5 2.0 3.0 0.0\n"),
        ("a.txt", "drawn by K.\n"),
        ("b.ctbl", SLICER.format("x", "y")),
    ):
        (tmp_path / name).write_text(text)
    assert read_structures(path) == ()
    assert [s.name for s in read_segmentation(path).structures] == ["label_1", "label_2"]
    (tmp_path / "a.ctbl").write_text("nothing\n")
    with pytest.raises(DatasetError, match=r"a\.ctbl"):
        read_structures(path)


def test_results_brought_into_the_app_keep_what_lies_beside_them(tmp_path: Path) -> None:
    report, dataset = taken(slicers(tmp_path / "src"))
    upload = tmp_path / "upload"
    upload.mkdir()
    image = SimpleITK.GetImageFromArray(labels("femur", "tibia").transpose(2, 1, 0))
    image.SetSpacing((2, 2, 3))
    image.SetOrigin((-10, -20, 30))
    SimpleITK.WriteImage(image, str(upload / "p1.mhd"))
    write(upload / "p2.nii.gz", labels("tibia", "femur"))
    (upload / "p2_ColorTable.ctbl").write_text(SLICER.format("tibia", "femur"))
    notes = ["p1.mhd: names no structures; its numbers are taken as the dataset's"]
    assert import_result(upload, dataset.folder, tmp_path / "result") == (["p1", "p2"], notes)
    for case in report.manifest.cases:
        found = read_segmentation(tmp_path / "result" / f"{case.id}.nii.gz", dataset.structures)
        np.testing.assert_array_equal(found.array, dataset.load_segmentation(case).array)


def test_an_import_sees_that_a_table_or_a_headers_voxels_have_changed(tmp_path: Path) -> None:
    source = slicers(tmp_path / "src")
    image = SimpleITK.GetImageFromArray(np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32))
    image.SetSpacing((2, 2, 3))
    image.SetOrigin((-10, -20, 30))
    (source / "p1" / "ct.nii.gz").unlink()
    SimpleITK.WriteImage(image, str(source / "p1" / "ct.mhd"))
    import_dataset(source, tmp_path / "set")
    assert import_dataset(source, tmp_path / "set").repeated
    for name, data in (("ct.raw", bytes(480)), ("Segmentation-label_ColorTable.ctbl", b"1 a 1 1 1 1\n2 b 1 1 1 1\n")):
        before = (source / "p1" / name).read_bytes()
        (source / "p1" / name).write_bytes(data)
        with pytest.raises(UsageError, match="was not made from these files"):
            import_dataset(source, tmp_path / "set")
        (source / "p1" / name).write_bytes(before)


def test_segments_of_dicom_are_united_by_name(tmp_path: Path) -> None:
    """Whatever numbers they have in each file."""
    source = tmp_path / "src"
    for n, (case, names) in enumerate((("p1", ["femur", "tibia"]), ("p2", ["tibia", "femur"])), start=1):
        places = [(0.0, 0.0, 3.0 * k) for k in range(3 + n)]
        ids = {name: f"{SERIES}.{n}.{m}" for m, name in enumerate(("SeriesInstanceUID", "FrameOfReferenceUID"))}
        series(source / case / "ct", places, PatientID=case, StudyInstanceUID=f"{SERIES}.{n}", **ids)
        geometry = read_geometry(source / case / "ct")
        array = np.zeros(geometry.shape, np.uint8)
        array[0], array[-1] = names.index("femur") + 1, names.index("tibia") + 1
        made = Segmentation(array, geometry, make_structures(names))
        write_segmentation(tmp_path / "made" / case / "seg.nii.gz", made)
        [file] = osteon.export(
            "dicom-seg", tmp_path / "made" / case / "seg.nii.gz", tmp_path / "out" / case, source=source / case / "ct"
        ).files
        file.rename(source / case / "seg.dcm")
    report, dataset = taken(source)
    assert [s.name for s in report.manifest.structures] == ["femur", "tibia"]
    for entry in report.manifest.cases:
        array = dataset.load_segmentation(entry).array
        assert [set(np.unique(array[plane])) for plane in (0, -1)] == [{1}, {2}]


def test_a_header_goes_before_a_table_and_a_table_before_made_up_names(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    (tmp_path / "a.ctbl").write_text(SLICER.format("tibia", "femur"))
    write_segmentation(path, Segmentation(labels("femur", "tibia"), GRID, BOTH))
    assert [s.name for s in read_structures(path)] == ["femur", "tibia"]
    generic = make_structures(["Segment_1", "Segment_2"])
    write_segmentation(path, Segmentation(labels("femur", "tibia"), GRID, generic))
    assert [s.name for s in read_structures(path)] == ["tibia", "femur"]
    swapped = read_segmentation(path, BOTH)
    np.testing.assert_array_equal(swapped.array, labels("tibia", "femur"))


def test_values_of_slicers_tables_that_stand_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.ctbl"
    path.write_text("0 none 0 0 0 0\n1 femur 1 2 3 255\n2 (none) 0 0 0 0\n3 (none) 0 0 0 0\n4 Tibia_left 1 2 3 255\n")
    assert {s.name: s.value for s in read_label_table(path)} == {"femur": 1, "Tibia_left": 4}
    assert table_beside(tmp_path / "b.nii.gz", "b") is None
    with pytest.raises(FileError):
        read_label_table(tmp_path / "gone.ctbl")


def test_a_value_without_a_name_is_not_what_a_named_one_stands_for(tmp_path: Path) -> None:
    """1 is called tibia, which is 2 in the dataset: a 2 without a name may be anything but the tibia."""
    with pytest.raises(LabelError, match="2 in 16 voxels"):
        make_index_map(labels("femur", "tibia"), make_structures(["tibia"], [1]), BOTH, tmp_path / "a", by_value=True)


@pytest.mark.parametrize(
    ("kind", "colours"),
    [
        ("Slicer", ["#80ae80", "#f1d691"]),
        ("ITK-SNAP", ["#ff0000", "#00ff00"]),
        ("Slicer's csv", [s.colour for s in BOTH]),
        ("BIDS", [s.colour for s in BOTH]),
    ],
)
def test_colours_of_a_table_are_taken(tmp_path: Path, kind: str, colours: list[str]) -> None:
    ending, text = KINDS[kind]
    table = tmp_path / f"seg{ending}"
    table.write_text(text.format("femur", "tibia"))
    assert [s.colour for s in read_label_table(table)] == colours
    write(tmp_path / "seg.nii.gz", labels("femur", "tibia"))
    assert [s.colour for s in read_segmentation(tmp_path / "seg.nii.gz").structures] == colours


def test_itk_snap_gets_names_and_colours_and_gives_them_back(tmp_path: Path) -> None:
    own = tuple(s.model_copy(update={"colour": c}) for s, c in zip(BOTH, ("#102030", "#fefdfc"), strict=True))
    own = (own[0], own[1].model_copy(update={"name": 'tibia "left", 2nd'}))
    array = labels("femur", "tibia")
    write_segmentation(tmp_path / "in/a.nii.gz", Segmentation(array, GRID, own))
    layers = np.stack([array == 1, array > 0]).astype(np.uint8)
    write_segmentation(tmp_path / "in/b.seg.nrrd", Segmentation(layers, GRID, own))
    report = osteon.export("itk-snap", tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in report.files) == ["a.label.txt", "a.nii.gz"]
    assert "overlap" in report.failed["b"].message
    assert (tmp_path / "out/a.label.txt").read_text().splitlines()[2:4] == [
        '0 0 0 0 0 0 0 "Clear Label"',
        '1 16 32 48 1 1 1 "femur"',
    ]
    drawn = SimpleITK.ReadImage(str(tmp_path / "out/a.nii.gz"))
    drawn[0, 0, 0] = 2
    SimpleITK.WriteImage(drawn, str(tmp_path / "out/a.nii.gz"))  # without a header's names, as ITK-SNAP saves it
    found = read_segmentation(tmp_path / "out/a.nii.gz")
    assert [(s.name, s.value, s.colour) for s in found.structures] == [
        ("femur", 1, "#102030"),
        ("tibia 'left', 2nd", 2, "#fefdfc"),
    ]
    assert found.array[0, 0, 0] == 2
