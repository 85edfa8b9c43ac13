"""Labels from other programs taken into a dataset, and `osteon labels`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import osteon
from helpers import two_boxes, write_dataset
from osteon.cli.main import app
from osteon.core.boxes import Box
from osteon.core.errors import FileError, UsageError
from osteon.core.labels import Segmentation
from osteon.dataset.case_history import read_history
from osteon.dataset.dataset import Dataset
from osteon.formats.io import read_geometry, write_segmentation


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "d", {name: two_boxes() for name in ("a", "b")})


def correct(dataset: Dataset, path: Path, box: Box | None = None, case: str = "a") -> np.ndarray:
    """A file of the case's label without one plane, cropped to a box; the whole new label."""
    label = dataset.load_segmentation(dataset.case(case))
    array = label.array.copy()
    array[:, :, 2] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = Segmentation(array, label.geometry, label.structures)
    write_segmentation(path, whole if box is None else replace(whole, **_cropped(whole, box)))
    return array


def _cropped(label: Segmentation, box: Box) -> dict:
    return {"array": label.array[box.slices], "geometry": label.geometry.crop(box)}


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["labels", *map(str, words)])


@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd"])
def test_a_corrected_file_becomes_the_label(dataset: Dataset, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out/a{suffix}"
    array = correct(dataset, path)
    report = osteon.add_labels(dataset.folder, [path], author="Ada", seconds=12)
    assert (list(report.added), report.failed, report.added["a"].seconds) == (["a"], {}, 12)
    again = Dataset.open(dataset.folder)
    np.testing.assert_array_equal(again.load_segmentation(again.case("a")).array, array)
    assert osteon.add_labels(dataset.folder, [path], author="Ada").same == ["a"]
    assert len(read_history(dataset.folder, "a").versions) == 1


def test_what_3d_slicer_cropped_is_laid_on_the_scan(dataset: Dataset, tmp_path: Path) -> None:
    label = dataset.load_segmentation(dataset.case("a"))
    where = np.argwhere(label.array)
    first, stop = where.min(0), where.max(0) + 1
    box = Box(tuple(first.tolist()), tuple(stop.tolist()))
    array = correct(dataset, tmp_path / "a.nii.gz", box)
    report = osteon.add_labels(dataset.folder, [tmp_path / "a.nii.gz"], author="Ada")
    assert "case a" in report.notes[0]
    again = Dataset.open(dataset.folder)
    np.testing.assert_array_equal(again.load_segmentation(again.case("a")).array, array)


def test_a_bad_file_does_not_stop_the_others(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    correct(dataset, folder / "a.nii.gz")
    (folder / "b.nii.gz").write_bytes(b"nothing")
    correct(dataset, folder / "zebra.nii.gz")
    result = run("add", dataset.folder, folder, "--author", "Ada")
    assert result.exit_code == 1
    assert "a: version 1" in result.output
    assert "no case is called zebra" in result.output
    assert not read_history(dataset.folder, "b").versions


def test_a_project_from_the_command_line(dataset: Dataset, tmp_path: Path) -> None:
    correct(dataset, tmp_path / "mine.nii.gz")
    correct(dataset, tmp_path / "b.nii.gz", case="b")
    assert "2 labelled" in run("list", dataset.folder).output
    add = run("add", dataset.folder, tmp_path / "mine.nii.gz", "--case", "a", "--author", "Ada", "--time", "2min")
    assert add.exit_code == 0, add.output
    second = run("add", dataset.folder, tmp_path / "b.nii.gz", "--author", "Bo", "--second-reading")
    assert second.exit_code == 0, second.output
    assert run("assign", dataset.folder, "Bo", "b").exit_code == 0
    assert run("approve", dataset.folder, "a").exit_code == 0
    assert run("reject", dataset.folder, "b").exit_code == 1
    listed = run("list", dataset.folder).output
    assert "1 labelled, 1 approved" in listed
    assert "2:00" in listed
    assert run("list", dataset.folder, "--owner", "Bo", "--state", "labelled").output.splitlines()[1].startswith("b ")
    shown = run("show", dataset.folder, "b").output
    assert "second reading" in shown
    assert "Dice between the readers, femur: 0." in shown
    assert "version 2, which is version 1 again" in run("restore", dataset.folder, "a", "1").output
    assert "the imported label counts" in run("restore", dataset.folder, "a", "0").output
    assert run("reopen", dataset.folder, "a").exit_code == 0
    assert "2 labelled" in run("list", dataset.folder).output


def test_wrong_use(dataset: Dataset, tmp_path: Path) -> None:
    correct(dataset, tmp_path / "out/a.nii.gz")
    correct(dataset, tmp_path / "out/a.seg.nrrd")
    with pytest.raises(UsageError, match="both are of the case a"):
        osteon.add_labels(dataset.folder, [tmp_path / "out"], author="Ada")
    with pytest.raises(UsageError, match="--case belongs to one file"):
        osteon.add_labels(dataset.folder, [tmp_path / "out"], author="Ada", case_id="a")
    with pytest.raises(UsageError, match="no structure patella"):
        osteon.add_labels(dataset.folder, [tmp_path / "out"], author="Ada", annotated=["patella"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no label file"):
        osteon.add_labels(dataset.folder, [tmp_path / "empty"], author="Ada")
    with pytest.raises(FileError, match="does not exist"):
        osteon.add_labels(dataset.folder, [tmp_path / "nowhere"], author="Ada")
    assert run("list", dataset.folder, "--state", "fine").exit_code != 0
    assert run("add", dataset.folder, tmp_path, "--prediction", "--second-reading").exit_code != 0


def test_another_grid_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    label = dataset.load_segmentation(dataset.case("a"))
    moved = label.geometry.affine_ras.copy()
    moved[0, 3] += 0.4
    write_segmentation(
        tmp_path / "a.nii.gz", replace(label, geometry=type(label.geometry)(label.geometry.shape, moved))
    )
    report = osteon.add_labels(dataset.folder, [tmp_path / "a.nii.gz"], author="Ada")
    assert "a.nii.gz" in report.failed["a"].message
    assert read_geometry(tmp_path / "a.nii.gz").shape == label.geometry.shape
