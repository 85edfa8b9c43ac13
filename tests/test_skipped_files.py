"""Links, pointers and formats that are not read: followed, or told with their number and name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from osteon.core.errors import FileError, OsteonError, UsageError
from osteon.core.folders import files_below, missing_files_below
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import read_volume, write_volume
from osteon.formats.registry import known_suffixes
from osteon.formats.unsupported import UNSUPPORTED_FORMATS, describe_unsupported
from osteon.importing.meshes import form as meshes
from osteon.importing.options import ImportOptions
from osteon.importing.recognition import recognise
from osteon.importing.run import ImportReport, import_dataset
from osteon.predicting.scans import find_scans

GRID = Geometry((6, 5, 4), np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]))
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 123456\n".format("0" * 64)
ANNEX = "/annex/objects/SHA256E-s123456--{}.nii.gz\n".format("0" * 64)


def case(folder: Path, names: tuple[str, ...] = ("femur", "tibia"), suffix: str = ".nii.gz", seed: int = 0) -> None:
    """A scan with a mask for each structure."""
    rng = np.random.default_rng(seed)
    arrays = {"ct": rng.normal(size=GRID.shape).astype(np.float32)}
    arrays |= {name: (rng.random(GRID.shape) > 0.5).astype(np.uint8) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if suffix == ".mha":
            image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
            image.SetSpacing((2, 2, 3))
            image.SetOrigin((-10, -20, 30))
            SimpleITK.WriteImage(image, str(folder / f"{name}.mha"), True)
        else:
            write_volume(folder / f"{name}{suffix}", Volume(array[None], GRID))


def taken(source: Path, form: str | None = None) -> ImportReport:
    return import_dataset(source, source.parent / "set", form=form, overwrite=True)


def ids(report: ImportReport) -> list[str]:
    return sorted(entry.id for entry in report.manifest.cases)


def test_links_are_followed_and_each_folder_is_read_once(tmp_path: Path) -> None:
    top, away = tmp_path / "top", tmp_path / "away"
    for path in (
        top / "p1" / "a",
        away / "p2" / "b",
        away / "p3" / "c",
        top / ".kept" / "p4" / "d",
        top / "made" / "e",
    ):
        path.parent.mkdir(parents=True)
        path.touch()
    (top / "made" / "dataset.yaml").touch()
    links: dict[str, str | Path] = {
        "p2": away / "p2",
        "p2-again": "../away/p2",
        "all": "p1",
        "up": "..",
        "self": ".",
        "p4": ".kept/p4",
        "p1/back": "..",
        "gone": "nowhere",
        "one": away / "p3" / "c",
    }
    for link, target in links.items():
        (top / link).symlink_to(target)
    (away / "p2" / "up").symlink_to(away)
    (away / "p2" / "home").symlink_to(top)
    (away / "p2" / "loop").symlink_to("loop")
    found = [path.relative_to(top).as_posix() for path in files_below(top, hidden=False, skip_with="dataset.yaml")]
    assert found == ["one", "p1/a", "p2/b", "p4/d"]
    assert [path.name for path in files_below(top)] == ["one", "d", "dataset.yaml", "e", "a", "b"]
    assert {path.name for path, _ in missing_files_below(top)} == {"gone", "loop"}


def test_patients_that_are_links_are_cases(tmp_path: Path) -> None:
    source = tmp_path / "src"
    case(source / "p1")
    for n, name in enumerate(("p2", "p3"), start=1):
        case(tmp_path / "nas" / name, seed=n)
        (source / name).symlink_to(f"../nas/{name}")
    (source / "latest").symlink_to("p1")
    report = taken(source)
    assert ids(report) == ["p1", "p2", "p3"]
    assert report.lost == []


def test_a_mask_that_several_cases_link_to_serves_each(tmp_path: Path) -> None:
    """As git-annex keeps files of the same content once: nothing was found in both."""
    source = tmp_path / "src"
    for n, name in enumerate(("p1", "p2")):
        case(source / name, ("femur",), seed=n)
    empty = tmp_path / "empty.nii.gz"
    write_volume(empty, Volume(np.zeros((1, *GRID.shape), np.uint8), GRID))
    for name in ("p1", "p2"):
        (source / name / "tibia.nii.gz").symlink_to(empty)
    assert [entry.annotated for entry in taken(source).manifest.cases] == [None, None]


@pytest.mark.parametrize("kind", ["link", "lfs", "annex"])
@pytest.mark.parametrize("name", ["femur.nii.gz", "femur.mha", "femur.seg.nrrd", "dicom", "IM0001"])
def test_what_is_not_there_is_lost_with_its_name(tmp_path: Path, kind: str, name: str) -> None:
    source = tmp_path / "src"
    case(source / "p1")
    case(source / "p3", ("tibia",), seed=1)
    absent = source / "p3" / name
    if kind == "link":
        absent.symlink_to("../../.git/annex/objects/x")
    else:
        absent.write_text(LFS if kind == "lfs" else ANNEX)
    (source / "p1" / "notes.txt").symlink_to("nowhere")
    report = taken(source)
    assert ids(report) == ["p1", "p3"]
    [line] = report.lost
    assert f"p3/{name} is a {'link' if kind == 'link' else 'pointer'}" in line
    assert any("notes.txt is a link to nowhere" in line for line in report.warnings)
    assert report.manifest.inputs is None


def test_a_scan_that_is_not_there_costs_its_masks_and_says_why(tmp_path: Path) -> None:
    source = tmp_path / "src"
    case(source / "p1")
    case(source / "p3", seed=1)
    (source / "p3" / "ct.nii.gz").write_text(LFS)
    report = taken(source)
    assert ids(report) == ["p1"]
    assert any("p3/ct.nii.gz is a pointer" in line for line in report.lost)


@pytest.mark.parametrize("part", ["imagesTr/b_0000.nii.gz", "labelsTr/b.nii.gz"])
@pytest.mark.parametrize("form", ["nnunet", "pairs", "decathlon"])
def test_lists_name_what_they_lead_to_in_vain(tmp_path: Path, form: str, part: str) -> None:
    source = tmp_path / "src"
    for n, name in enumerate("ab"):
        case(tmp_path / "made" / name, ("femur",), seed=n)
        for folder, own, called in (("imagesTr", "ct", f"{name}_0000"), ("labelsTr", "femur", name)):
            target = source / folder / f"{called}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((tmp_path / "made" / name / f"{own}.nii.gz").read_bytes())
    data = {"labels": {"background": 0, "femur": 1}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    if form == "pairs":
        (source / "pairs.txt").write_text("".join(f"imagesTr/{n}_0000.nii.gz,labelsTr/{n}.nii.gz\n" for n in "ab"))
    else:
        entries = [{"image": f"imagesTr/{n}_0000.nii.gz", "label": f"labelsTr/{n}.nii.gz"} for n in "ab"]
        (source / "dataset.json").write_text(json.dumps(data | ({"training": entries} if form == "decathlon" else {})))
    (source / part).unlink()
    (source / part).symlink_to("nowhere")
    report = taken(source, form)
    assert len(report.manifest.cases) == 1
    assert "a link to nowhere" in "".join([*report.lost, *map(str, report.failed.values())])
    (source / part).unlink()
    (source / part).write_text(LFS)
    assert "pointer of Git LFS" in "".join([*report.lost, *map(str, taken(source, form).failed.values())])


def test_labels_and_images_that_nnunets_names_do_not_bring_together_are_lost(tmp_path: Path) -> None:
    source = tmp_path / "src"
    case(source / "made", ("femur",))
    for part, own, name in (("imagesTr", "ct", "a_0000"), ("labelsTr", "femur", "a"), ("labelsTr", "femur", "b")):
        (source / part).mkdir(exist_ok=True)
        (source / part / f"{name}.nii.gz").write_bytes((source / "made" / f"{own}.nii.gz").read_bytes())
    (source / "imagesTr" / "c_0000.mha").touch()
    (source / "imagesTr" / "readme.txt").touch()
    data = {"labels": {"background": 0, "femur": 1}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    (source / "dataset.json").write_text(json.dumps(data))
    report = taken(source, "nnunet")
    assert [line.partition(":")[0].rpartition("/")[2] for line in report.lost] == ["c_0000.mha", "b.nii.gz"]
    assert any("readme.txt" in line for line in report.warnings)


def test_images_that_a_list_leaves_out_are_noted(tmp_path: Path) -> None:
    source = tmp_path / "src"
    case(source / "imagesTr", ("femur", "other"))
    (source / "labelsTr").mkdir()
    (source / "imagesTr" / "femur.nii.gz").rename(source / "labelsTr" / "a.nii.gz")
    entry = {"image": "./imagesTr/ct.nii.gz", "label": "./labelsTr/a.nii.gz"}
    (source / "dataset.json").write_text(json.dumps({"labels": {"femur": 1}, "training": [entry]}))
    assert [line for line in taken(source).warnings if "1 images, such as" in line and "other.nii.gz" in line]


def test_meta_images_are_cases(tmp_path: Path) -> None:
    source = tmp_path / "src"
    case(source / "p1")
    case(source / "p2", suffix=".mha", seed=1)
    report = taken(source)
    assert ids(report) == ["p1", "p2"]
    assert [s.name for s in report.manifest.structures] == ["femur", "tibia"]
    assert report.lost == []
    assert [scan.id for scan in find_scans([source / "p2"])] == ["ct", "femur", "tibia"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["ct.hdr", "ct.img", "femur.hdr", "femur.img"], "2 images are not read (Analyze or a NIfTI pair)"),
        (["ct.img"], "1 image is not read (Analyze or a NIfTI pair)"),
        (["ct.mgz", "femur.mgz"], "2 images are not read (FreeSurfer's MGH)"),
        (["ct.mnc"], "MINC"),
        (["ct.gipl.gz"], "GIPL"),
        (["ct.nhdr"], "unu save"),
        (["ct.nii.bz2"], "unpack it"),
        (["ct.nii.xz"], "unpack it"),
        (["ct.vtk"], "VTK"),
        (["CT.AM"], "Amira"),
        (["scan.ISQ"], "Scanco"),
    ],
)
def test_images_that_are_not_read_are_lost_with_their_number(tmp_path: Path, files: list[str], says: str) -> None:
    source = tmp_path / "src"
    case(source / "p1")
    (source / "p2").mkdir()
    for name in files:
        (source / "p2" / name).touch()
    report = taken(source)
    assert ids(report) == ["p1"]
    [line] = report.lost
    assert says in line
    assert str(source / "p2" / files[0]) in line


def test_what_may_hold_no_scan_is_noted(tmp_path: Path) -> None:
    source = tmp_path / "src"
    case(source / "p1")
    for name in ("p2.zip", "features.npy", "preview.png", "readme.txt", ".hidden.mgz", "surface.ply"):
        (source / name).touch()
    report = taken(source)
    assert report.lost == []
    messages = [line for line in report.warnings if "not read" in line]
    assert [line.partition(" (")[2].partition(")")[0] for line in messages] == [
        "an array without a place in the world",
        "an archive",
    ]


def test_no_suffix_is_both_read_and_unread() -> None:
    unread = [suffix for row in UNSUPPORTED_FORMATS for suffix in row.suffixes]
    assert len(set(unread)) == len(unread)
    assert not set(unread) & set(known_suffixes())
    assert describe_unsupported(map(Path, ("a.nii.gz", "a.nii.gz.txt", "b.dcm")), ["images", "anything"]) == []


def test_a_folder_of_nothing_else_says_the_way_out(tmp_path: Path) -> None:
    for name in ("ct.mgz", "femur.mgz"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"2 \.mgz") as caught:
        recognise(tmp_path)
    assert "mri_convert" in caught.value.hint
    with pytest.raises(FileError, match="FreeSurfer"):
        find_scans([tmp_path])[0].load()
    with pytest.raises(FileError, match="FreeSurfer") as refused:
        read_volume(tmp_path / "ct.mgz")
    assert "mri_convert" in refused.value.hint
    (tmp_path / "pairs.txt").write_text("ct.mgz,femur.mgz\n")
    with pytest.raises(OsteonError, match=r"ct\.mgz: is not read"):
        taken(tmp_path)


def test_predicting_fails_by_name_what_it_does_not_read(tmp_path: Path) -> None:
    case(tmp_path / "scans", ())
    for name in ("p2.mgz", "p3.hdr", "p3.img", ".p4.mgz", "p5.zip"):
        (tmp_path / "scans" / name).touch()
    (tmp_path / "scans" / "p6.nii.gz").symlink_to("nowhere")
    (tmp_path / "scans" / "p7.nii.gz").write_text(LFS)
    (tmp_path / "scans" / "p8").symlink_to("nowhere")  # a folder, or DICOM without a suffix
    (tmp_path / "scans" / "notes.txt").symlink_to("nowhere")
    scans = {scan.id: scan for scan in find_scans([tmp_path / "scans"])}
    assert list(scans) == ["ct", "p2", "p3", "p6", "p7", "p8"]
    reasons = {"p2": "FreeSurfer", "p3": "Analyze", "p6": "link to nowhere", "p7": "pointer", "p8": "link to nowhere"}
    for name, says in reasons.items():
        with pytest.raises(FileError, match=says):
            scans[name].load()
        with pytest.raises(FileError, match=says):
            scans[name].fingerprint()


def test_radiographs_and_meshes_follow_links_and_tell_what_they_do_not_read(tmp_path: Path) -> None:
    hands = tmp_path / "hands"
    for n, name in enumerate("ab"):
        folder = hands / name if n else tmp_path / "nas" / name
        folder.mkdir(parents=True)
        picture = np.random.default_rng(n).integers(0, 255, (20, 30), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{name}.png")
        shape = {"annotations": [{"label": "Ulna", "points": [[2, 2], [20, 2], [20, 15]]}]}
        (folder / f"{name}.json").write_text(json.dumps(shape))
    (hands / "a").symlink_to(tmp_path / "nas" / "a")
    (hands / "b" / "c.webp").touch()
    (hands / "b" / "d.png").symlink_to("nowhere")
    report = taken(hands)
    assert ids(report) == ["a", "b"]
    assert [line.partition(" not read")[0] for line in report.lost[:1]] == ["1 file is"]
    assert "d.png is a link to nowhere" in report.lost[1]
    bones = tmp_path / "bones"
    case(tmp_path / "nas" / "p1", ())
    corners = np.array([[0, 14, 33], [6, 14, 33], [0, 18, 33], [0, 14, 39]])
    faces = [corners[[0, 2, 1]], corners[[0, 1, 3]], corners[[0, 3, 2]], corners[[1, 2, 3]]]
    text = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in face)
        + "endloop\nendfacet\n"
        for face in faces
    )
    (tmp_path / "nas" / "p1" / "red.stl").write_text(f"solid a\n{text}endsolid a\n")
    bones.mkdir()
    (bones / "p1").symlink_to(tmp_path / "nas" / "p1")
    (tmp_path / "nas" / "p1" / "blue.ply").touch()
    found = meshes.read(bones, ImportOptions(mesh_unit="mm", mesh_space="RAS"))
    assert [one.id for one in found.cases] == ["p1"]
    assert ["1 file is not read (a mesh)" in line for line in found.lost] == [True]
