"""`osteon export`: what it takes, what it refuses, and that it replaces nothing of others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import osteon
from children import finish, python
from helpers import two_boxes, write_dataset
from osteon.cli.option_values import Encoding, ExportForm, MaskShape
from osteon.core.case_records import RECORDS_FOLDER
from osteon.core.errors import FileError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.exporting import export_form
from osteon.exporting.masks import crop_masks
from osteon.exporting.mesh_files import unique_stems
from osteon.exporting.output_record import FILE_NAME
from osteon.exporting.registry import FORMS, MODEL_FORMS
from osteon.formats import write_segmentation
from runs import command

STRUCTURES = make_structures(["femur", "tibia"], [3, 5])
Captured = pytest.CaptureFixture[str]


def labels(folder: Path, *names: str) -> Path:
    for name in names:
        _, array, affine = two_boxes()
        segmentation = Segmentation(array, Geometry(array.shape, affine), STRUCTURES)
        write_segmentation(folder / f"{name}.nii.gz", segmentation)
    return folder


def test_choices_are_the_table() -> None:
    assert list(get_args(ExportForm)) == [*(form.name for form in FORMS), *MODEL_FORMS]
    assert get_args(Encoding) == get_args(export_form.Encoding)
    assert get_args(MaskShape) == get_args(export_form.Shapes)
    assert set(export_form.FLAGS) == set(export_form.ExportOptions.__dataclass_fields__)


def test_the_command(tmp_path: Path, capsys: Captured) -> None:
    assert command("export", "stl", labels(tmp_path / "in", "a", "b"), tmp_path / "out", "--space", "RAS") == 0
    assert capsys.readouterr().out == f"2 cases exported, 4 files: {tmp_path / 'out'}\n"
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.stl")) == [
        "a/femur.stl",
        "a/tibia.stl",
        "b/femur.stl",
        "b/tibia.stl",
    ]


def test_a_case_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: Captured) -> None:
    labels(tmp_path / "in", "a", "b", "c")
    (tmp_path / "in/b.nii.gz").write_bytes(b"\x1f\x8bno")
    assert command("export", "table", tmp_path / "in", tmp_path / "out") == 1
    output = capsys.readouterr()
    assert "2 cases exported, 1 file" in output.out
    assert "1 case failed" in output.err
    assert "b.nii.gz: truncated" in output.err
    rows = (tmp_path / "out/volumes.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["case", "a", "a", "c", "c"]


def test_a_link_to_what_is_not_there_fails_by_name(tmp_path: Path) -> None:
    folder = labels(tmp_path / "made", "p1", "p2")
    (folder / "p3.nii.gz").symlink_to("nowhere")
    report = osteon.export("stl", folder, tmp_path / "out")
    assert (report.done, list(report.failed)) == (["p1", "p2"], ["p3"])
    assert "p3.nii.gz: the NIfTI file is a link to nowhere" in report.failed["p3"].message


def test_where_all_fail_nothing_is_written(tmp_path: Path) -> None:
    labels(tmp_path / "in", "a")
    report = osteon.export("coco", tmp_path / "in", tmp_path / "out")
    assert list(report.failed) == ["a"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stl", "in"], "a source and an output folder are needed"),
        (["stl", "nowhere", "out"], "the segmentation does not exist"),
        (["stl", "empty", "out"], "holds no label files"),
        (["stl", "in", "in/a.nii.gz"], "the output is a folder, and this is a file"),
        (["stl", "in", "in/a.nii.gz", "out"], "two segmentations are called a"),
        (["table", "in", "out", "--fragments"], "--fragments: means nothing for table"),
        (["stl", "in", "out", "--link"], "it takes --labels, --space, --fragments, --smallest-mm3"),
        (["nnunet", "set", "out", "--labels", "a=1"], "--labels: means nothing for nnunet"),
        (["stl", "set", "out", "--labels", "a=1"], "is a dataset, which says what its labels mean"),
        (["stl", "in", "out", "--labels", "a=1,b=1"], "each structure has a value of its own"),
        (["stl", "unlabelled", "out"], "none of its cases has labels"),
        (["nnunet", "in", "out"], "nnunet takes one dataset"),
    ],
)
def test_wrong_use_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, arguments: list[str], message: str
) -> None:
    labels(tmp_path / "in", "a")
    (tmp_path / "empty").mkdir()
    write_dataset(tmp_path / "set", {"c": two_boxes()})
    write_dataset(tmp_path / "unlabelled", {"c": two_boxes()})
    manifest = tmp_path / "unlabelled/dataset.yaml"
    manifest.write_text(manifest.read_text().replace("  segmentation: labels/c.nii.gz\n", ""))
    monkeypatch.chdir(tmp_path)
    assert command("export", *arguments) == (1 if "nowhere" in arguments else 2)
    output = " ".join(capsys.readouterr().err.split())
    assert message in output
    assert not (tmp_path / "out").exists()


def test_names_given_on_the_way(tmp_path: Path) -> None:
    report = osteon.export("stl", labels(tmp_path / "in", "a"), tmp_path / "out", labels={"L1": 3, "L2": 5})
    assert [file.name for file in report.files] == ["L1.stl", "L2.stl"]


def test_files_of_others_stay(tmp_path: Path) -> None:
    labels(tmp_path / "in", "a", "b")
    (tmp_path / "out/a").mkdir(parents=True)
    (tmp_path / "out/a/femur.stl").write_text("mine")
    report = osteon.export("stl", tmp_path / "in", tmp_path / "out")
    assert report.done == ["b"]
    assert isinstance(report.failed["a"], FileError)
    assert "--overwrite" in report.failed["a"].hint
    assert (tmp_path / "out/a/femur.stl").read_text() == "mine"
    assert not (tmp_path / "out/a/tibia.stl").exists()  # a case is written whole or not at all
    report = osteon.export("stl", tmp_path / "in", tmp_path / "out", overwrite=True)
    assert report.failed == {}
    assert (tmp_path / "out/a/femur.stl").read_bytes().startswith(b"osteon")
    assert osteon.export("stl", tmp_path / "in", tmp_path / "out").failed == {}  # its own are replaced


def test_an_export_that_somebody_changed_is_theirs(tmp_path: Path) -> None:
    labels(tmp_path / "in", "a")
    osteon.export("table", tmp_path / "in", tmp_path / "out")
    time.sleep(0.01)
    (tmp_path / "out/volumes.csv").write_text("mine")
    with pytest.raises(FileError, match="is there already"):
        osteon.export("table", tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out/volumes.csv").read_text() == "mine"


def test_what_another_form_wrote_stays(tmp_path: Path) -> None:
    labels(tmp_path / "in", "a")
    osteon.export("seg-nrrd", tmp_path / "in", tmp_path / "out")
    record = json.loads((tmp_path / "out" / FILE_NAME).read_text())
    shutil.rmtree(tmp_path / "out" / RECORDS_FOLDER)
    (tmp_path / "out" / FILE_NAME).write_text(json.dumps({"stl": record["seg-nrrd"]}))
    assert "is there already" in osteon.export("seg-nrrd", tmp_path / "in", tmp_path / "out").failed["a"].message


def test_a_refused_export_leaves_nothing(tmp_path: Path) -> None:
    labels(tmp_path / "in", "a")
    labels(tmp_path / "out", "a").rename(tmp_path / "out2")
    (tmp_path / "out2" / "a.seg.nrrd").write_text("somebody's")
    there = sorted((tmp_path / "out2").iterdir())
    assert "is there already" in osteon.export("seg-nrrd", tmp_path / "in", tmp_path / "out2").failed["a"].message
    assert sorted((tmp_path / "out2").iterdir()) == there


def test_the_source_is_never_replaced(tmp_path: Path) -> None:
    write_segmentation(
        tmp_path / "a.seg.nrrd", Segmentation(two_boxes()[1], Geometry((12, 10, 8), np.eye(4)), STRUCTURES)
    )
    before = (tmp_path / "a.seg.nrrd").read_bytes()
    report = osteon.export("seg-nrrd", tmp_path / "a.seg.nrrd", tmp_path, overwrite=True)
    assert "is what is exported from" in report.failed["a"].message
    assert (tmp_path / "a.seg.nrrd").read_bytes() == before


def test_a_killed_export_goes_on(tmp_path: Path) -> None:
    """A file that was being written when the process ended is the export's own."""
    labels(tmp_path / "in", "a")
    code = (
        "import os, osteon\nfrom osteon.exporting.output_record import OutputRecord\n"
        "OutputRecord.end = lambda *_: os._exit(9)\n"
        f"osteon.export('stl', {str(tmp_path / 'in')!r}, {str(tmp_path / 'out')!r})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert (tmp_path / "out/a/femur.stl").is_file()
    assert osteon.export("stl", tmp_path / "in", tmp_path / "out").failed == {}


def test_no_record_is_lost_where_two_exports_write_into_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = []
    for name in "ab":
        labels(tmp_path / name, *(f"{name}{number}" for number in range(10)))
        code = (
            "import sys, osteon\nfrom osteon.exporting import run\nprint('ready', flush=True)\nsys.stdin.readline()\n"
            f"print(len(osteon.export('stl', {str(tmp_path / name)!r}, {str(out)!r}).failed))"
        )
        both.append(python(code, stdin=subprocess.PIPE))
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [finish(process) for process in both] == ["0\n", "0\n"]
    assert len(json.loads((out / FILE_NAME).read_text())["stl"]) == 20
    assert osteon.export("stl", [tmp_path / "a", tmp_path / "b"], out).failed == {}  # all are known to be its own


def test_a_damaged_record_is_said(tmp_path: Path) -> None:
    labels(tmp_path / "in", "a")
    for text in ("[]", '{"stl": 3}', '{"stl": {"a": {"f": 3}}}', "no"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / FILE_NAME).write_text(text)
        with pytest.raises(FileError, match=FILE_NAME):
            osteon.export("stl", tmp_path / "in", tmp_path / "out")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    labels(tmp_path / "in", "a", "b")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("a file where a folder is needed")
    report = osteon.export("stl", tmp_path / "in", tmp_path / "out")
    assert report.done == ["b"]
    assert isinstance(report.failed["a"], FileError)


def test_names_of_files() -> None:
    assert unique_stems(["Femur", "femur", "../up", "a/b", "a b", "…"]) == [
        "Femur",
        "femur-2",
        "up",
        "a_b",
        "a b",
        "case",
    ]


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_masks_are_cut_to_what_they_fill(kind: type) -> None:
    array = np.zeros((6, 5, 4), kind)
    array[2:4, 1:3, 3] = 5
    geometry = Geometry((6, 5, 4), np.diag([2.0, 1, 1, 1]))
    femur, tibia = crop_masks(Segmentation(array, geometry, STRUCTURES))
    assert femur.mask.size == 0
    assert tibia.mask.shape == (2, 2, 1)
    assert tibia.mask.all()
    assert tibia.geometry.affine_ras[:3, 3].tolist() == [4, 1, 3]
    high = make_structures(["femur", "tibia"], [3, 70000])
    if np.iinfo(kind).max > 70000:
        array[array == 5] = 70000
        _, tibia = crop_masks(Segmentation(array, geometry, high))
        assert tibia.mask.shape == (2, 2, 1)


def test_the_command_starts_quickly() -> None:
    """Neither torch nor Lightning is needed to export."""
    code = "import sys, osteon.exporting.run\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_form(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pdf: no form of export") as refused:
        osteon.export("pdf", tmp_path, tmp_path / "out")
    assert "stl, ply" in refused.value.hint
