"""CT and meshes: heaps sorted into cases, colours, units and worlds found out, labels as they should be."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dicom_writing import image, save
from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.exporting.export_form import ExportOptions
from osteon.exporting.run import export
from osteon.formats import read_segmentation, read_volume, write_segmentation, write_volume
from osteon.formats.stl import Mesh, MeshSpace, write_stl
from osteon.importing.meshes import form as meshes
from osteon.importing.meshes.colours import nearest_colour
from osteon.importing.meshes.folders import split_words
from osteon.importing.meshes.sorting import sort_files
from osteon.importing.options import ImportOptions
from osteon.importing.pseudonyms import TABLE
from osteon.importing.recognition import recognise
from osteon.importing.run import ImportReport, import_dataset
from osteon.importing.source_forms import Source
from test_mesh_voxelisation import box, ellipsoid

GRID = Geometry((48, 40, 32), np.array([[-1.0, 0, 0, 24], [0, -1, 0, 20], [0, 0, 1.5, -24], [0, 0, 0, 1]]))
"""LPS, the middle of the world in its midst, so that either world lies inside."""
CENTRE, RADII = np.array([8.0, -6.0, 3.0]), np.array([7.0, 9.0, 12.0])
BONE, FLESH = 600, 40


def inside(centre: npt.NDArray[np.float64] = CENTRE, grid: Geometry = GRID) -> npt.NDArray[np.bool_]:
    points = grid.to_world(np.indices(grid.shape).reshape(3, -1).T).reshape(*grid.shape, 3)
    return np.asarray((((points - centre) / RADII) ** 2).sum(axis=-1) <= 1)


def ct(path: Path, centre: npt.NDArray[np.float64] = CENTRE, seed: int = 0, grid: Geometry = GRID) -> Path:
    noise = np.random.default_rng(seed).normal(0, 15, grid.shape)
    array = np.where(inside(centre, grid), BONE, FLESH) + noise
    write_volume(path, Volume(array[None].astype(np.int16), grid))
    return path


def stl(
    path: Path, triangles: npt.NDArray[np.float64], colour: str | None = None, space: str = "LPS", mm: float = 1.0
) -> Path:
    """A surface given in RAS millimetres, written in another world and unit."""
    corners = triangles.reshape(-1, 3) / mm * ([-1, -1, 1] if space == "LPS" else [1, 1, 1])
    write_stl(path, Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3), colour))
    return path


def bone(path: Path, centre: npt.NDArray[np.float64] = CENTRE, **how: object) -> Path:
    return stl(path, ellipsoid(centre, RADII), **how)  # type: ignore[arg-type]


def halves(folder: Path, names: tuple[str, str], shared: float = 0.0, **how: object) -> None:
    """The bone's box in two blocks that meet at the height of 3 mm, or overlap there by `shared` mm."""
    low, high = CENTRE - RADII / 2, CENTRE + RADII / 2
    stl(folder / names[0], box(low, [high[0], high[1], 3 + shared]), **how)  # type: ignore[arg-type]
    stl(folder / names[1], box([low[0], low[1], 3], high), **how)  # type: ignore[arg-type]


def labels(report: ImportReport, number: int = 0) -> tuple[Case, dict[str, npt.NDArray[np.bool_]]]:
    case = report.manifest.cases[number]
    segmentation = Dataset.open(report.folder).load_segmentation(case)
    return case, {structure.name: segmentation.mask(structure) for structure in segmentation.structures}


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def found(source: Path, **options: object) -> Source:
    return meshes.read(source, ImportOptions(**options))  # type: ignore[arg-type]


# -- from a heap to a dataset ----------------------------------------------------------------------------------------


def test_a_folder_for_each_case(tmp_path: Path) -> None:
    for n in range(2):
        folder = tmp_path / "raw" / f"p{n}"
        ct(folder / "scan.nii.gz", seed=n)
        bone(folder / "fragments" / "Blue 1.STL")
    messages: list[str] = []
    report = import_dataset(tmp_path / "raw", tmp_path / "set", announce=messages.append)
    assert report.form == "meshes"
    assert messages[1:] == [
        "2 cases by folder: a CT with the meshes beside or below it",
        "structures by colour, from the names of 2: blue (2 meshes in 2 cases)",
        "a colour without a mesh in a case is taken as not there",
        messages[-1],
    ]
    assert messages[-1].startswith(
        "coordinates of the meshes: mm, LPS, found in 2 cases (case p0: inside the CT as mm, LPS"
    )
    assert [case.id for case in report.manifest.cases] == ["p0", "p1"]
    assert report.manifest.channels[0].modality == "ct"
    [structure] = report.manifest.structures
    assert (structure.name, structure.colour) == ("blue", "#3e7bfa")
    case, masks = labels(report)
    assert case.images == ["../raw/p0/scan.nii.gz"]
    assert case.segmentation == "labels/p0.nii.gz"
    assert case.provenance[:2] == ["meshes read as mm, LPS", "blue: filled from p0/fragments/Blue 1.STL"]
    assert dice(masks["blue"], inside()) > 0.995
    assert report.warnings == []
    assert import_dataset(tmp_path / "raw", tmp_path / "set").repeated
    bone(tmp_path / "raw" / "p1" / "red.stl")
    assert not import_dataset(tmp_path / "raw", tmp_path / "set", overwrite=True).repeated


def test_all_cases_heaped_in_one_folder(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for n in (7, 8, 17):
        ct(raw / f"p{n:02d}_ct.nii.gz", seed=n)
    ct(raw / "p99_ct.nii.gz", seed=99)
    halves(raw, ("p07_red_1.stl", "P07-Blue.stl"))
    halves(raw, ("p08_red.stl", "p08_red_17.stl"))
    halves(raw, ("p17YellowFrag.stl", "p17 green.stl"))
    bone(raw / "lonely_red.stl")
    report = import_dataset(raw, tmp_path / "set", mesh_space="LPS")
    assert {c.id: {line.partition(":")[0] for line in c.provenance[1:-1]} for c in report.manifest.cases} == {
        "p07": {"red", "blue"},
        "p08": {"red"},
        "p17": {"green", "yellow"},
        "p99": set(),
    }
    assert [(s.name, s.value) for s in report.manifest.structures] == [
        ("red", 1),
        ("green", 2),
        ("blue", 3),
        ("yellow", 4),
    ]
    assert report.lost == ["lonely_red.stl: fits no case"]
    assert "no meshes, so taken without labels: p99" in report.warnings
    assert report.manifest.cases[3].segmentation is None
    _, masks = labels(report)
    assert masks["red"].sum() == masks["blue"].sum() == 7 * 9 * 4
    assert not (masks["red"] & masks["blue"]).any()
    assert labels(report, 1)[1]["red"].sum() == 7 * 9 * 8  # two meshes of one colour are one structure
    lines = found(raw, mesh_space="LPS").summary
    assert lines[0] == "3 cases by what names share: p07 is p07_ct.nii.gz with P07-Blue.stl, p07_red_1.stl"
    assert lines[1].startswith("the same as --case-pattern '")
    proposed = lines[1].split("'")[1]
    assert [c.id for c in found(raw, mesh_space="LPS", case_pattern=proposed).cases if c.labels] == [
        "p07",
        "p08",
        "p17",
    ]


def test_a_dataset_made_among_the_files_is_not_read_again(tmp_path: Path) -> None:
    ct(tmp_path / "p1" / "ct.nii.gz")
    bone(tmp_path / "p1" / "red.stl")
    import_dataset(tmp_path, tmp_path / "set")
    assert import_dataset(tmp_path, tmp_path / "set").repeated
    assert recognise(tmp_path).name == "meshes"


def test_files_of_the_user_stay_as_they_are(tmp_path: Path) -> None:
    ct(tmp_path / "raw" / "ct.nii.gz")
    bone(tmp_path / "raw" / "red.stl")
    before = {path: path.read_bytes() for path in (tmp_path / "raw").iterdir()}
    import_dataset(tmp_path / "raw", tmp_path / "set")
    assert {path: path.read_bytes() for path in (tmp_path / "raw").iterdir()} == before


def test_the_form_is_recognised_and_says_what_it_misses(tmp_path: Path) -> None:
    assert meshes.explain_mismatch(tmp_path) == "no .stl file"
    bone(tmp_path / "red.stl")
    assert meshes.explain_mismatch(tmp_path / "red.stl") == "not a folder"
    assert meshes.explain_mismatch(tmp_path) == "no CT (NIfTI, NRRD, MetaImage or DICOM) beside the .stl files"
    ct(tmp_path / "ct.nii.gz")
    assert recognise(tmp_path).name == "meshes"


# -- sorting ---------------------------------------------------------------------------------------------------------


def sorted_(folder: Path, *names: str, pattern: str | None = None) -> dict[str, list[str] | str]:
    """What becomes of empty files of these names: case → meshes, or its problem."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    heap = sort_files(folder, pattern)
    return {
        case_id: case.problem.message if case.problem else [str(mesh) for mesh in case.meshes]
        for case_id, case in zip(heap.ids, heap.cases, strict=True)
    } | ({"stray": messages} if (messages := [*heap.warnings, *heap.lost]) else {})


def test_meshes_beside_and_below_the_ct(tmp_path: Path) -> None:
    names = ["a/ct/x.nii", "a/stl/red.stl", "b/x.nrrd", "b/red.stl", "b/deep/er/blue.stl", "b/._red.stl"]
    assert sorted_(tmp_path, *names) == {"a": ["a/stl/red.stl"], "b": ["b/deep/er/blue.stl", "b/red.stl"]}


def test_scans_and_meshes_in_folders_of_their_own(tmp_path: Path) -> None:
    names = ["scans/p1.nii.gz", "scans/p10.nii.gz", "stl/p10_red.stl", "stl/p1_red.stl", "stl/p2_red.stl"]
    matches = sorted_(tmp_path / "1", *names)
    assert matches["p1"] == ["stl/p1_red.stl"]
    assert matches["p10"] == ["stl/p10_red.stl"]
    assert matches["stl"] == "case stl: meshes without a CT: stl/p2_red.stl"
    matches = sorted_(tmp_path / "2", "cts/p1/scan.nii", "cts/p2/scan.nii", "stl/p1/red.stl", "stl/p2/red.stl")
    assert matches == {"p1": ["stl/p1/red.stl"], "p2": ["stl/p2/red.stl"]}


def test_meshes_whose_ct_is_missing_go_to_no_other(tmp_path: Path) -> None:
    matches = sorted_(tmp_path, "p1/ct.nii", "p1/red.stl", "p2/red.stl", "p3/ct.nii")
    assert matches == {
        "p1": ["p1/red.stl"],
        "p2": "case p2: meshes without a CT: p2/red.stl",
        "p3": [],
        "stray": ["no meshes, so taken without labels: p3"],
    }


def test_numbers_that_mean_other_things(tmp_path: Path) -> None:
    """The longest run of shared words decides; then the first."""
    scans = [f"humerus_{n}_ct.nii.gz" for n in (1, 2, 12)]
    matches = sorted_(tmp_path / "1", *scans, "humerus_1_red_2.stl", "humerus_12_red.stl", "humerus_2_red_1.stl")
    assert matches == {
        "humerus_1": ["humerus_1_red_2.stl"],
        "humerus_12": ["humerus_12_red.stl"],
        "humerus_2": ["humerus_2_red_1.stl"],
    }
    matches = sorted_(tmp_path / "2", "0001.nii", "0002.nii", "0001_red_0002.stl", "0002red.stl")
    assert matches == {"0001": ["0001_red_0002.stl"], "0002": ["0002red.stl"]}


def test_two_scans_in_one_case(tmp_path: Path) -> None:
    matches = sorted_(tmp_path / "1", "p1/a.nii", "p1/b.nii", "p1/red.stl")
    assert "2 scans, and nothing says to which the meshes belong" in matches["p1"]
    matches = sorted_(tmp_path / "2", "p1/a.nii", "p1/a_ct.nii", "p1/red.stl", "p1/mask.nii")
    assert matches["p1"] == ["p1/red.stl"]
    assert matches["stray"] == [
        "p1/mask.nii: is a label file, and the meshes are the labels",
        f"{tmp_path}/2/p1/a.nii: p1/a_ct.nii is the CT",
    ]


def test_of_several_series_the_one_that_is_chosen(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    for p in (1, 2):
        for n, name in ((2, "SOFT"), (3, "BONE")):
            tags = {"SeriesInstanceUID": f"1.2.{p}{n}", "SeriesNumber": n, "SeriesDescription": name}
            for k in range(12):
                pixels = np.random.default_rng(p).integers(100 * n, 100 * n + 50, (20, 24), dtype=np.int16)
                path = heap / f"p{p}/dicom/{n}{k}"
                save(image(pixels, ImagePositionPatient=[0.0, 0.0, 2.0 * k], PatientID=f"{p}", **tags), path)
        stl(heap / f"p{p}/red.stl", ellipsoid(np.array([-12.0, -10, 11]), np.array([6.0, 6, 8])))
    how: dict[str, Any] = {"mesh_unit": "mm", "mesh_space": "LPS"}
    with pytest.raises(OsteonError, match=r"series 2, SOFT\), .*series 3, BONE\)"):
        import_dataset(heap, tmp_path / "set", **how)
    for which, pattern in (("bone", None), ("3", r"p(\d)/")):
        report = import_dataset(heap, tmp_path / "set", overwrite=True, series=which, case_pattern=pattern, **how)
        dataset = Dataset.open(tmp_path / "set")
        assert [dataset.load_image(case).array.min() >= 300 for case in report.manifest.cases] == [True, True]
        assert not report.lost
    with pytest.raises(UsageError, match="no series has this number"):
        import_dataset(heap, tmp_path / "set", overwrite=True, series="LUNG", **how)


def test_the_users_pattern(tmp_path: Path) -> None:
    names = ["K1/scan.nii", "x/k1a.stl", "x/k1b.stl", "k2.nii", "K2.stl", "other.stl"]
    matches = sorted_(tmp_path, *names, pattern=r"(?i)(k\d)")
    assert matches["K1"] == ["x/k1a.stl", "x/k1b.stl"]
    assert matches["k2"] == ["K2.stl"]
    assert matches["stray"] == ["other.stl: fits no case"]
    for pattern, message in (("(", "not a regular"), ("k", "has no group"), ("(nothing)", "brings no CT and mesh")):
        with pytest.raises(UsageError, match=message):
            sort_files(tmp_path, pattern)


def test_words_of_a_name() -> None:
    assert split_words("P07-BlueFragment_2b") == ["p", "07", "blue", "fragment", "2", "b"]
    assert split_words("CTscan Höhe.x") == ["ctscan", "höhe", "x"]


# -- structures ------------------------------------------------------------------------------------------------------


def test_colours_from_the_header_and_from_facets(tmp_path: Path) -> None:
    ct(tmp_path / "ct.nii.gz")
    halves(tmp_path, ("a.stl", "b.stl"), colour="#d01010")
    raw = bytearray((tmp_path / "b.stl").read_bytes())
    raw[:80] = b" " * 80
    for start in range(84, len(raw), 50):
        raw[start + 48 : start + 50] = struct.pack("<H", 0x8000 | 3 << 10 | 5 << 5 | 29)  # blue, as VisCAM has it
    (tmp_path / "b.stl").write_bytes(raw)
    read = found(tmp_path, mesh_unit="mm", mesh_space="LPS")
    assert [s.name for s in read.structures or ()] == ["red", "blue"]
    assert "structures by colour, from the files of 2: red (1 mesh in 1 case), blue (1 mesh in 1 case)" in (
        read.summary
    )


@pytest.mark.parametrize(
    ("shade", "name"),
    [("#fe0102", "red"), ("#f5c542", "yellow"), ("#202080", "blue"), ("#00aa33", "green"), ("#777777", "grey")],
)
def test_shades_have_names(shade: str, name: str) -> None:
    assert nearest_colour(shade).name == name


def test_a_mesh_without_colour_needs_another_grouping(tmp_path: Path) -> None:
    ct(tmp_path / "raw" / "p1_ct.nii.gz")
    halves(tmp_path / "raw", ("p1_shaft.stl", "p1_head left.stl"))
    with pytest.raises(UsageError, match="no mesh has a colour") as caught:
        found(tmp_path / "raw")
    assert "--group all" in caught.value.hint
    report = import_dataset(tmp_path / "raw", tmp_path / "all", group="all", mesh_space="LPS")
    assert [s.name for s in report.manifest.structures] == ["bone"]
    assert labels(report)[1]["bone"].sum() == 7 * 9 * 8
    report = import_dataset(tmp_path / "raw", tmp_path / "none", group="none", mesh_space="LPS")
    assert [(s.name, s.side) for s in report.manifest.structures] == [("head left", "left"), ("shaft", None)]
    assert report.manifest.cases[0].annotated == ["head left", "shaft"]
    report = import_dataset(
        tmp_path / "raw", tmp_path / "named", group="none", mesh_space="LPS", structures={"shaft": 7, "head left": 3}
    )
    assert {s.name: s.value for s in report.manifest.structures} == {"shaft": 7, "head left": 3}
    with pytest.raises(UsageError, match="--labels: does not name shaft"):
        found(tmp_path / "raw", group="none", structures={"head left": 3})


def test_one_mesh_without_colour_fails_its_case_alone(tmp_path: Path) -> None:
    for n in (1, 2):
        ct(tmp_path / "raw" / f"p{n}" / "ct.nii.gz", seed=n)
        bone(tmp_path / "raw" / f"p{n}" / "red.stl")
    bone(tmp_path / "raw" / "p2" / "other.stl")
    bone(tmp_path / "raw" / "p1" / "red or blue.stl")
    with pytest.raises(DatasetError, match=r"p1: red or blue: the name says red and blue(.|\n)*has no colour"):
        import_dataset(tmp_path / "raw", tmp_path / "set")


def test_overlaps_are_kept_or_resolved(tmp_path: Path) -> None:
    ct(tmp_path / "raw" / "ct.nii.gz")
    halves(tmp_path / "raw", ("red.stl", "blue.stl"), shared=3.0)
    report = import_dataset(tmp_path / "raw", tmp_path / "kept", mesh_space="LPS")
    assert report.manifest.overlapping
    _, masks = labels(report)
    shared = int((masks["red"] & masks["blue"]).sum())
    assert shared == 7 * 9 * 2
    assert any(f"red and blue share {shared} voxels; kept as overlap (--priority" in line for line in report.warnings)
    report = import_dataset(tmp_path / "raw", tmp_path / "first", mesh_space="LPS", priority=["blue"])
    assert not report.manifest.overlapping
    _, first = labels(report)
    np.testing.assert_array_equal(first["blue"], masks["blue"])
    np.testing.assert_array_equal(first["red"], masks["red"] & ~masks["blue"])
    with pytest.raises(UsageError, match="no structure is called teal"):
        found(tmp_path / "raw", priority=("teal",))


def test_an_open_mesh_is_filled_and_reported(tmp_path: Path) -> None:
    ct(tmp_path / "raw" / "ct.nii.gz")
    surface = ellipsoid(CENTRE, RADII)
    stl(tmp_path / "raw" / "red.stl", surface[surface[:, :, 2].max(axis=1) < CENTRE[2] + 11])  # the top is missing
    report = import_dataset(tmp_path / "raw", tmp_path / "set")
    [line] = report.warnings
    assert "red.stl: the surface is open;" in line
    assert dice(labels(report)[1]["red"], inside()) > 0.98


# -- unit and world --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["LPS", "RAS"])
@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("cm", 10.0), ("m", 1000.0)])
def test_unit_and_world_are_found(tmp_path: Path, space: str, unit: str, mm: float) -> None:
    ct(tmp_path / "raw" / "ct.nii.gz")
    bone(tmp_path / "raw" / "red.stl", space=space, mm=mm)
    report = import_dataset(tmp_path / "raw", tmp_path / "set")
    case, masks = labels(report)
    assert case.provenance[0] == f"meshes read as {unit}, {space}"
    assert dice(masks["red"], inside()) > 0.995
    assert not report.warnings


def test_the_field_of_view_alone_can_tell(tmp_path: Path) -> None:
    """No modality but CT has a known edge of bone."""
    affine = GRID.affine_ras.copy()
    affine[:3, 3] += [100, 50, 300]
    grid = Geometry(GRID.shape, affine)
    centre = CENTRE + np.array([100, 50, 300])
    ct(tmp_path / "raw" / "ct.nii.gz", centre, grid=grid)
    bone(tmp_path / "raw" / "red.stl", centre, mm=10)
    case, masks = labels(import_dataset(tmp_path / "raw", tmp_path / "set", modality="mr"))
    assert case.provenance[0] == "meshes read as cm, LPS"
    assert dice(masks["red"], inside(centre, grid)) > 0.995


def test_what_is_unclear_is_asked_for(tmp_path: Path) -> None:
    ct(tmp_path / "ct.nii.gz")
    bone(tmp_path / "red.stl")
    with pytest.raises(UsageError, match=r"is unclear: case .*: inside the CT as mm, LPS and as mm, RAS") as caught:
        found(tmp_path, modality="mr")
    assert "--mesh-space LPS or RAS" in caught.value.hint
    assert "as told" in found(tmp_path, modality="mr", mesh_unit="mm", mesh_space="LPS").summary[-1]
    bone(tmp_path / "red.stl", np.array([4000.0, 0, 0]))
    with pytest.raises(UsageError, match="no unit puts the meshes into the CT"):
        found(tmp_path)


def test_what_the_user_says_goes_before_what_is_found(tmp_path: Path) -> None:
    ct(tmp_path / "raw" / "ct.nii.gz")
    bone(tmp_path / "raw" / "red.stl")
    report = import_dataset(tmp_path / "raw", tmp_path / "set", mesh_unit="mm", mesh_space="RAS")
    assert dice(labels(report)[1]["red"], inside(CENTRE * [-1, -1, 1])) > 0.995
    assert any("read as mm, RAS as told, fit better as mm, LPS" in line for line in report.warnings)
    assert any("falls by only" in line for line in report.warnings)
    with pytest.raises(DatasetError, match="outside its CT or are too small to see"):
        import_dataset(tmp_path / "raw", tmp_path / "other", mesh_unit="m", mesh_space="RAS")


def test_cases_that_contradict_each_other_are_never_mixed(tmp_path: Path) -> None:
    for n in range(12):
        ct(tmp_path / "raw" / f"p{n:02d}" / "ct.nii.gz", seed=n)
        bone(tmp_path / "raw" / f"p{n:02d}" / "red.stl", space="RAS" if n == 11 else "LPS")
    report = import_dataset(
        tmp_path / "raw", tmp_path / "set"
    )  # three that agree settle it; the last is looked at later
    assert len(report.manifest.cases) == 11
    assert "its meshes are meant as mm, RAS, those of the dataset as mm, LPS" in report.failed["p11"].message
    for n in range(6):
        bone(tmp_path / "raw" / f"p{n:02d}" / "red.stl", space="RAS" if n % 2 else "LPS")
    with pytest.raises(DatasetError, match="cases contradict each other"):
        found(tmp_path / "raw")


def write_bone(path: Path, header: str, space: str, mm: float = 1.0, *, text: bool = False) -> None:
    """The bone in some world and unit, under a header that says what it will."""
    triangles = ellipsoid(CENTRE, RADII) / mm * ([-1, -1, 1] if space == "LPS" else [1, 1, 1])
    path.parent.mkdir(parents=True, exist_ok=True)
    if text:
        corners = "".join(
            "facet normal 0 0 0\nouter loop\n"
            + "".join(f"vertex {x:.7g} {y:.7g} {z:.7g}\n" for x, y, z in facet)
            + "endloop\nendfacet\n"
            for facet in triangles
        )
        path.write_text(f"solid {header}\n{corners}endsolid\n")
        return
    facets = b"".join(struct.pack("<12fH", 0, 0, 0, *corners.ravel(), 0) for corners in triangles)
    path.write_bytes(header.encode().ljust(80) + struct.pack("<I", len(triangles)) + facets)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_the_world_that_slicer_wrote_decides(tmp_path: Path, space: str, text: bool) -> None:
    """Also where no image could tell (no CT), and where the field of view says otherwise."""
    header = f"3D Slicer output. SPACE={space}"
    ct(tmp_path / "raw" / "ct.nii.gz")
    write_bone(tmp_path / "raw" / "red.stl", header, space, text=text)
    report = import_dataset(tmp_path / "raw", tmp_path / "set", modality="mr")
    case, masks = labels(report)
    assert case.provenance[0] == f"meshes read as mm, {space}, as their headers say"
    assert dice(masks["red"], inside()) > 0.995
    assert report.warnings == []
    assert found(tmp_path / "raw").summary[-1] == f"coordinates of the meshes: mm, {space}, as their headers say"


def test_a_world_that_is_written_goes_before_the_field_of_view(tmp_path: Path) -> None:
    """The CT is cut so that a part of the bone lies outside, and the mirror image of it does not."""
    cut = Geometry((34, 40, 32), GRID.affine_ras - np.array([[0, 0, 0, 15.0], [0] * 4, [0] * 4, [0] * 4]))
    ct(tmp_path / "raw" / "ct.nii.gz", grid=cut)
    write_bone(tmp_path / "raw" / "red.stl", "3D Slicer output. SPACE=LPS", "LPS")
    report = import_dataset(tmp_path / "raw", tmp_path / "set")
    assert dice(labels(report)[1]["red"], inside(grid=cut)) > 0.99
    assert any("as their headers say, fit better as mm, RAS" in line for line in report.warnings)
    assert any("of the meshes' corners lie outside the CT" in line for line in report.warnings)


def test_a_world_that_is_written_and_cannot_be_is_told(tmp_path: Path) -> None:
    away = GRID.affine_ras.copy()
    away[:3, 3] += [200, 100, 0]
    ct(tmp_path / "raw" / "ct.nii.gz", grid=Geometry(GRID.shape, away))
    write_bone(tmp_path / "raw" / "red.stl", "3D Slicer output. SPACE=RAS", "LPS")
    with pytest.raises(DatasetError, match="read as mm, RAS, as their headers say, lie outside its CT"):
        import_dataset(tmp_path / "raw", tmp_path / "set")


def test_each_mesh_has_the_world_that_it_says(tmp_path: Path) -> None:
    """One case as LPS, one as RAS, one that says nothing, one mixed, one in centimetres."""
    for name, header, space, mm in (
        ("a", "SPACE=LPS", "LPS", 1),
        ("b", "SPACE=RAS", "RAS", 1),
        ("c", "", "RAS", 1),
        ("d", "", "RAS", 1),
        ("e", "SPACE=LPS UNIT=cm", "LPS", 10),
    ):
        ct(tmp_path / "raw" / name / "ct.nii.gz", seed=ord(name))
        write_bone(tmp_path / "raw" / name / "red.stl", header, space, mm)
    write_bone(tmp_path / "raw" / "d" / "blue.stl", "SPACE=LPS", "LPS")
    report = import_dataset(tmp_path / "raw", tmp_path / "set", priority=["red"])
    assert report.failed == {}
    assert all(dice(labels(report, number)[1]["red"], inside()) > 0.995 for number in range(5))
    report = import_dataset(tmp_path / "raw", tmp_path / "other", priority=["blue"])
    assert dice(labels(report, 3)[1]["blue"], inside()) > 0.995


def test_an_option_goes_before_a_header_and_says_so(tmp_path: Path) -> None:
    ct(tmp_path / "raw" / "ct.nii.gz")
    write_bone(tmp_path / "raw" / "red.stl", "SPACE=RAS UNIT=mm", "LPS")
    report = import_dataset(tmp_path / "raw", tmp_path / "set", mesh_space="LPS")
    assert dice(labels(report)[1]["red"], inside()) > 0.995
    assert report.warnings == ["red.stl: its header says SPACE=RAS; read as LPS, as told (1 mesh like it)"]
    assert report.lost == []
    assert labels(import_dataset(tmp_path / "raw", tmp_path / "same", mesh_space="RAS"))[0].provenance[0] == (
        "meshes read as mm, RAS, as their headers say"
    )


@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_what_osteon_exports_comes_back_without_an_option(tmp_path: Path, space: MeshSpace) -> None:
    """In an MR image whose middle is the world's: no field of view and no bone's edge can tell."""
    (tmp_path / "raw").mkdir()
    ct(tmp_path / "raw" / "p_ct.nii.gz")
    kind = make_structures(["red", "blue"])
    low = np.zeros(GRID.shape, bool)
    low[:, :, 16:] = True
    array = np.where(inside(), np.where(low, 1, 2), 0).astype(np.uint8)
    write_segmentation(tmp_path / "p.nii.gz", Segmentation(array, GRID, kind))
    export("stl", [tmp_path / "p.nii.gz"], tmp_path / "raw", ExportOptions(space=space))
    report = import_dataset(tmp_path / "raw", tmp_path / "set", modality="mr")
    _, masks = labels(report)
    assert all(np.array_equal(masks[s.name], array == s.value) for s in kind)
    assert report.warnings == []


def test_a_ct_without_millimetres_holds_no_mesh(tmp_path: Path) -> None:
    ct(tmp_path / "raw" / "ct.nii.gz", grid=Geometry(GRID.shape, GRID.affine_ras, "px"))
    bone(tmp_path / "raw" / "red.stl")
    with pytest.raises(DatasetError, match="does not say how large its voxels are"):
        import_dataset(tmp_path / "raw", tmp_path / "set", mesh_space="LPS")


# -- the world's -----------------------------------------------------------------------------------------------------


def bones_as_stl(shared_data: Path, folder: Path, *, space: str, mm: float, least_ml: float = 5.0) -> Geometry:
    """The bones of the TotalSegmentator CT as marching cubes finds them, one STL each, beside the CT."""
    from skimage.measure import marching_cubes

    real = shared_data / "totalsegmentator-example"
    segmentation = read_segmentation(real / "ct" / "example_ct_seg.nii.gz")
    geometry = segmentation.geometry
    tables = json.loads((real / "labels.json").read_text())
    for value, name in tables["ct_bone_classes"].items():
        mask = segmentation.array == int(value)
        if mask.sum() * geometry.voxel_volume_mm3 < least_ml * 1000:
            continue
        low = np.argwhere(mask).min(axis=0)
        crop = np.pad(mask[tuple(slice(a, b + 1) for a, b in zip(low, np.argwhere(mask).max(axis=0), strict=True))], 1)
        corners, faces, _, _ = marching_cubes(crop.astype(np.float32), 0.5)
        stl(folder / f"pelvis_{name}.stl", geometry.to_world(corners + low - 1)[faces], space=space, mm=mm)
    write_volume(folder / "pelvis_ct.nii.gz", read_volume(real / "ct" / "example_ct.nii.gz"))
    return geometry


@pytest.mark.parametrize(("space", "unit", "mm"), [("LPS", "mm", 1.0), ("RAS", "cm", 10.0)])
def test_real_bones_come_back(shared_data: Path, tmp_path: Path, space: str, unit: str, mm: float) -> None:
    bones_as_stl(shared_data, tmp_path / "raw", space=space, mm=mm)
    messages: list[str] = []
    report = import_dataset(tmp_path / "raw", tmp_path / "set", group="none", announce=messages.append)
    assert f"coordinates of the meshes: {unit}, {space}, found in 1 case" in messages[-1]
    truth = read_segmentation(shared_data / "totalsegmentator-example" / "ct" / "example_ct_seg.nii.gz").array
    tables = json.loads((shared_data / "totalsegmentator-example" / "labels.json").read_text())
    value = {name: int(number) for number, name in tables["ct_bone_classes"].items()}
    _, masks = labels(report)
    scores = {name: dice(mask, truth == value[name]) for name, mask in masks.items()}
    assert len(scores) >= 15
    assert min(scores.values()) >= 0.97
    assert import_dataset(tmp_path / "raw", tmp_path / "set", group="none").repeated


def test_nobody_is_named_in_a_dataset_of_dicom_and_meshes(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    for n, name in enumerate(("Doe^Jane", "Roe^Richard")):
        family, given = name.split("^")
        folder = heap / f"{given} {family}"
        tags = {"PatientName": name, "PatientID": f"id-{n}", "StudyDate": "20190312", "SeriesInstanceUID": f"1.2.{n}"}
        for k in range(12):
            pixels = np.random.default_rng(k).integers(0, 99, (20, 24), dtype=np.int16)
            save(image(pixels, ImagePositionPatient=[0.0, 0.0, 2.0 * k], **tags), folder / "2019-03-12" / f"{k}")
        stl(folder / f"{family}_red.stl", ellipsoid(np.array([-12.0, -10, 11]), np.array([6.0, 6, 8])))
    how = {"mesh_unit": "mm", "mesh_space": "LPS"}
    report = import_dataset(heap, tmp_path / "set", **how)  # type: ignore[arg-type]
    assert [(case.id, case.subject) for case in report.manifest.cases] == [("p001", "p001"), ("p002", "p002")]
    made = (tmp_path / "set" / "dataset.yaml").read_text() + str(list((tmp_path / "set").rglob("*")))
    assert not [word for word in ("Jane", "Doe", "Roe", "Richard", "id-", "2019") if word in made]
    assert len((heap / TABLE).read_text().splitlines()) == 3
    report = import_dataset(heap, tmp_path / "named", keep_identity=True, **how)  # type: ignore[arg-type]
    assert [case.id for case in report.manifest.cases] == ["Jane Doe", "Richard Roe"]
    assert [case.subject for case in report.manifest.cases] == ["id-0", "id-1"]


def test_a_mesh_of_another_case_is_not_filled_into_this_one(tmp_path: Path) -> None:
    for n in (1, 2):
        ct(tmp_path / "heap" / f"p{n}" / "ct.nii.gz", seed=n)
        bone(tmp_path / "heap" / f"p{n}" / f"p{n}_red.stl")
    bone(tmp_path / "heap" / "p2" / "p1_blue.stl")
    report = import_dataset(tmp_path / "heap", tmp_path / "set")
    assert [case.id for case in report.manifest.cases] == ["p1"]
    assert "p1_blue.stl lies with it, but is named after p1" in str(report.failed["p2"])


def test_the_only_ct_gets_no_mesh_of_a_case_whose_ct_is_missing(tmp_path: Path) -> None:
    matches = sorted_(tmp_path, "scans/p1.nii.gz", "stl/p1_red.stl", "stl/p2_blue.stl")
    assert matches == {"p1": ["stl/p1_red.stl"], "stray": ["stl/p2_blue.stl: fits no case"]}


@pytest.mark.parametrize(
    "options",
    [
        ImportOptions(ignore_references=True),
        ImportOptions(between_slices="leave"),
        ImportOptions(rle_order="columns"),
        ImportOptions(rle_base=0),
        ImportOptions(mask_marks="dark"),
    ],
)
def test_options_that_mean_nothing_for_meshes_are_refused(options: ImportOptions) -> None:
    with pytest.raises(UsageError, match="means nothing for the form meshes"):
        meshes.FORM.check(options)
