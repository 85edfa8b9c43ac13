"""Label files that name nothing: who is believed about what their numbers mean."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import osteon
from helpers import box, spacing_affine, two_boxes, write_dataset
from osteon.app.external_results import import_result
from osteon.core.errors import DatasetError, FileError, LabelError, UnknownValueError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.formats import read_segmentation, read_structures, read_volume, write_segmentation, write_volume
from osteon.formats.label_meanings import find_label_meanings, label_meanings_for, read_named_labels
from runs import command

GRID = Geometry((6, 4, 3), np.eye(4))
NAMES = ("L1", "L2", "L3")


def nameless(path: Path, *values: int) -> Path:
    """A label file of others: a plane of each value, and no names."""
    array = np.zeros((1, *GRID.shape), np.uint8)
    for plane, value in enumerate(values):
        array[0, plane] = value
    write_volume(path, Volume(array, GRID))
    return path


def write_legend(folder: Path, labels: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


def spine(folder: Path, *values: int, cases: int = 3) -> Dataset:
    """Three bones side by side in each case, of these values."""
    made = {}
    for n in range(cases):
        boxes = [(value, np.s_[1 + 4 * i : 4 + 4 * i, 2:8, 1:7]) for i, value in enumerate(values)]
        image, _, affine = two_boxes((14, 10, 8), seed=n)
        made[f"c{n}"] = (image, box((14, 10, 8), *boxes), affine)
    return write_dataset(folder, made, make_structures(NAMES, values))


def as_others_write(raw: Path, predictions: Path) -> Path:
    """A perfect nnU-Net: its masks have its numbers and no names; dataset.json lies beside them."""
    for label in sorted((raw / "labelsTr").iterdir()):
        write_volume(predictions / label.name, read_volume(label))
        assert read_structures(predictions / label.name) == ()
    shutil.copyfile(raw / "dataset.json", predictions / "dataset.json")
    return predictions


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "L1": 3, "L2": 2, "L3": 1},
        {"0": "background", "3": "L1", "2": "L2", "1": "L3"},
        {"background": 0, "L1": [3], "L2": "2", "L3": 1, "ignore": 4},
    ],
)
def test_numbers_mean_what_dataset_json_says(tmp_path: Path, labels: dict[str, Any]) -> None:
    write_legend(tmp_path, labels)
    path = nameless(tmp_path / "a.nii.gz", 1, 2, 3)
    legend = find_label_meanings(tmp_path)
    known = make_structures(NAMES, [1, 2, 3])
    found = read_named_labels(path, known, legend)
    assert found.structures == known
    assert found.array[:4, 0, 0].tolist() == [3, 2, 1, 0]
    own = read_named_labels(path, None, legend)
    assert {s.name: s.value for s in own.structures} == {"L1": 3, "L2": 2, "L3": 1}
    with pytest.raises(UnknownValueError, match=r"holds 7; .*dataset.json does not say what that is"):
        read_named_labels(nameless(tmp_path / "b.nii.gz", 1, 7), known, legend)
    with pytest.raises(LabelError, match=r"holds labels that no structure has: 1 \(L3\) in 12 voxels"):
        read_named_labels(path, known[:2], legend)


def test_regions_are_structures_that_share_voxels(tmp_path: Path) -> None:
    write_legend(tmp_path, {"background": 0, "bone": [1, 2, 3], "lesion": [2, 3], "core": [3]})
    path = nameless(tmp_path / "a.nii.gz", 1, 2, 3)
    known = make_structures(["core", "plate", "bone", "lesion"])
    found = read_named_labels(path, known, find_label_meanings(tmp_path))
    planes = {s.name: np.flatnonzero(found.mask(s)[:, 0, 0]).tolist() for s in found.structures}
    assert planes == {"core": [2], "plate": [], "bone": [0, 1, 2], "lesion": [1, 2]}
    with pytest.raises(LabelError, match="holds core, which no structure is called"):
        read_named_labels(path, known[1:], find_label_meanings(tmp_path))


def test_names_in_a_header_win(tmp_path: Path) -> None:
    write_legend(tmp_path, {"L1": 3, "L2": 2, "L3": 1})
    segmentation = Segmentation(
        read_volume(nameless(tmp_path / "x.nii.gz", 1, 2, 3)).array[0], GRID, make_structures(NAMES)
    )
    for name in ("a.nii.gz", "a.seg.nrrd"):
        write_segmentation(tmp_path / name, segmentation)
        found = read_named_labels(tmp_path / name, make_structures(NAMES), find_label_meanings(tmp_path))
        assert found.array[:3, 0, 0].tolist() == [1, 2, 3]


def test_a_name_that_is_not_known_is_not_guessed_by_its_number(tmp_path: Path) -> None:
    hip = Segmentation(np.full(GRID.shape, 2, np.uint8), GRID, make_structures(["femur", "hip"]))
    write_segmentation(tmp_path / "a.nii.gz", hip)
    known = make_structures(["femur", "tibia"])
    assert read_segmentation(tmp_path / "a.nii.gz", known).array.max() == 2  # at import numbers may be given names
    with pytest.raises(LabelError, match=r"2 \(hip\)"):
        read_named_labels(tmp_path / "a.nii.gz", known)
    meant = read_named_labels(tmp_path / "a.nii.gz", known, label_meanings_for((), {"tibia": 2}))
    assert meant.mask(known[1]).all()


def test_where_dataset_json_lies_and_what_it_may_be(tmp_path: Path) -> None:
    write_legend(tmp_path, {"L1": 1})
    for name in ("labelsTr", "labelsTs", "fold_0/validation"):
        (tmp_path / name).mkdir(parents=True)
        legend = find_label_meanings(tmp_path / name)
        assert legend is not None
        assert (legend.source, dict(legend.numbers)) == (str(tmp_path / "dataset.json"), {"L1": (1,)})
    (tmp_path / "predictions").mkdir()
    assert find_label_meanings(tmp_path / "predictions") is None
    (tmp_path / "predictions/dataset.json").write_text('{"name": "no labels"}')
    assert find_label_meanings(tmp_path / "predictions") is None
    write_legend(tmp_path / "predictions", {"L1": {"value": 1}})
    with pytest.raises(DatasetError, match="`labels` does not give each structure a whole number"):
        find_label_meanings(tmp_path / "predictions")
    (tmp_path / "predictions/dataset.json").write_text("{")
    with pytest.raises(FileError, match="is not valid JSON"):
        find_label_meanings(tmp_path / "predictions")


# -- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(3, 2, 1), (1, 2, 3), (30, 10, 20), (2, 3, 10)])
def test_a_perfect_nnunet_is_perfect(tmp_path: Path, values: tuple[int, int, int]) -> None:
    dataset = spine(tmp_path / "set", *values)
    report = osteon.export("nnunet", dataset.folder, tmp_path / "raw")
    labels = json.loads((tmp_path / "raw/dataset.json").read_text())["labels"]
    assert sorted(labels.values()) == [0, 1, 2, 3]
    kept = set(values) == {1, 2, 3}
    assert kept == (labels == {"background": 0, **dict(zip(NAMES, values, strict=True))})
    assert kept == (report.notes == [])
    predictions = as_others_write(tmp_path / "raw", tmp_path / "predictions")
    result = osteon.evaluate(predictions, dataset.folder)
    assert result.failures == ()
    assert {score.dice for score in result.scores} == {1.0}
    assert "3 predictions name no structures: the numbers mean what" in result.notes[0]
    out = tmp_path / "out" if values == (30, 10, 20) else None  # the page has pictures, of the masks as they are meant
    compared = osteon.compare([predictions, tmp_path / "set/labels"], dataset.folder, out)
    assert {entry.overall.dice.mean for entry in compared.entries} == {1.0}
    voted = osteon.vote([predictions, tmp_path / "set/labels"], tmp_path / "voted")
    assert voted.failed == {}
    assert {s.dice for s in osteon.evaluate(tmp_path / "voted", dataset.folder).scores} == {1.0}
    osteon.export("seg-nrrd", predictions, tmp_path / "slicer")
    assert {s.name for s in read_structures(tmp_path / "slicer/c0.seg.nrrd")} == set(NAMES)
    assert {s.dice for s in osteon.evaluate(tmp_path / "slicer", dataset.folder).scores} == {1.0}


def test_the_ways_of_the_decathlon_and_of_a_raw_folder(tmp_path: Path) -> None:
    dataset = spine(tmp_path / "set", 30, 10, 20)
    for form in ("decathlon", "nnunet"):
        osteon.export(form, dataset.folder, tmp_path / form)
        predictions = as_others_write(tmp_path / form, tmp_path / f"{form}-predictions")
        for reference in (dataset.folder, tmp_path / form / "labelsTr"):
            result = osteon.evaluate(predictions, reference)
            assert {(s.structure, s.dice) for s in result.scores} == {(name, 1.0) for name in NAMES}


def test_a_perfect_nnunet_of_regions_is_perfect(tmp_path: Path) -> None:
    array = np.zeros((3, 14, 10, 6), np.uint8)
    array[0, 1:9, 1:9, 1:5] = 1
    array[1, 2:7, 2:7, 2:4] = 1
    array[2, 3:5, 3:5, 2:4] = 1
    image = np.random.default_rng(0).integers(0, 99, array.shape[1:]).astype(np.int16)
    structures = make_structures(["bone", "lesion", "core"])
    dataset = write_dataset(
        tmp_path / "set", {"c0": (image, array, spacing_affine(1, 1, 2))}, structures, overlapping=True
    )
    osteon.export("nnunet", dataset.folder, tmp_path / "raw")
    predictions = as_others_write(tmp_path / "raw", tmp_path / "predictions")
    result = osteon.evaluate(predictions, dataset.folder)
    assert {(s.structure, s.dice) for s in result.scores} == {("bone", 1.0), ("lesion", 1.0), ("core", 1.0)}


def test_names_that_nnunet_keeps_for_itself_are_refused(tmp_path: Path) -> None:
    image, labels, affine = two_boxes()
    write_dataset(tmp_path / "set", {"c0": (image, labels, affine)}, make_structures(["femur", "ignore"], [3, 5]))
    with pytest.raises(UsageError, match="nnU-Net keeps the name ignore for itself"):
        osteon.export("nnunet", tmp_path / "set", tmp_path / "raw")


# -- where nobody says it ---------------------------------------------------------------------------------------------


def test_that_numbers_are_taken_as_the_datasets_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = spine(tmp_path / "set", 3, 2, 1)
    osteon.export("nnunet", dataset.folder, tmp_path / "raw")
    predictions = as_others_write(tmp_path / "raw", tmp_path / "predictions")
    (predictions / "dataset.json").unlink()
    assert command("evaluate", predictions, dataset.folder, "--overlap-only") == 0
    message = "3 predictions name no structures: the numbers are taken as those of"
    assert f"{message} {dataset.folder} (L1=3, L2=2, L3=1)" in capsys.readouterr().err
    assert json.loads((predictions / "metrics.json").read_text())["notes"][0].startswith(message)
    assert command("compare", predictions, "--reference", dataset.folder, "--to", tmp_path / "out") == 0
    assert f"predictions: {message}" in capsys.readouterr().err
    assert command("evaluate", tmp_path / "set/labels", dataset.folder, "--overlap-only", "--to", tmp_path / "x") == 0
    assert "name no structures" not in capsys.readouterr().err
    osteon.vote([predictions, tmp_path / "set/labels"], tmp_path / "voted", dataset=dataset.folder)
    assert "no structures: the numbers are taken as those of" in capsys.readouterr().err


def test_labels_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = spine(tmp_path / "set", 3, 2, 1)
    turned = spine(tmp_path / "turned", 1, 2, 3)
    osteon.export("nnunet", turned.folder, tmp_path / "raw")
    predictions = as_others_write(tmp_path / "raw", tmp_path / "predictions")
    write_legend(predictions, {"L1": 3, "L2": 2, "L3": 1})  # a lie
    options = ("--labels", "L1=1,L2=2,L3=3")
    assert command("evaluate", predictions, dataset.folder, "--overlap-only", *options) == 0
    found = json.loads((predictions / "metrics.json").read_text())
    assert found["overall"]["dice"]["mean"] == 1.0
    compared = osteon.compare([predictions], dataset.folder, labels={"L1": 1, "L2": 2, "L3": 3})
    assert compared.entries[0].overall.dice.mean == 1.0
    capsys.readouterr()
    assert command("evaluate", predictions, dataset.folder, "--labels", "hip=1") == 2
    assert "has no structure hip" in capsys.readouterr().err


def test_a_number_that_the_dataset_does_not_have_puts_all_in_doubt(tmp_path: Path) -> None:
    """What nnU-Net numbers 1, 2, 3 is 2, 3, 10 in the dataset: a case without 1 would pass, each bone as another."""
    dataset = spine(tmp_path / "set", 2, 3, 10)
    predictions = tmp_path / "predictions"
    for name, values in (("c0", (1, 2, 3)), ("c1", (2, 3))):
        array = np.zeros((14, 10, 8), np.uint8)
        for plane, value in enumerate(values):
            array[plane] = value
        geometry = dataset.load_image(dataset.case(name)).geometry
        write_volume(predictions / f"{name}.nii.gz", Volume(array[None], geometry))
    write_segmentation(predictions / "c2.nii.gz", dataset.load_segmentation(dataset.case("c2")))  # has names
    result = osteon.evaluate(predictions, dataset.folder)
    assert {score.case for score in result.scores} == {"c2"}
    assert [failure.case for failure in result.failures] == ["c0", "c1"]
    assert "c0.nii.gz beside it holds numbers that the reference does not have" in result.failures[1].message
    assert "--labels NAME=VALUE" in result.failures[1].hint
    write_legend(predictions, {"L1": 1, "L2": 2, "L3": 3})
    assert osteon.evaluate(predictions, dataset.folder).failures == ()


def test_the_app_keeps_what_dataset_json_said(tmp_path: Path) -> None:
    dataset = spine(tmp_path / "set", 30, 10, 20)
    osteon.export("nnunet", dataset.folder, tmp_path / "raw")
    predictions = as_others_write(tmp_path / "raw", tmp_path / "predictions")
    added, notes = import_result(predictions, dataset.folder, tmp_path / "result")
    assert (added, notes) == (["c0", "c1", "c2"], [])
    assert {s.dice for s in osteon.evaluate(tmp_path / "result", dataset.folder).scores} == {1.0}
