"""Numbered pieces in `osteon evaluate`, `osteon compare` and at the end of a training."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from helpers import spacing_affine, tiny_plan, write_dataset
from osteon.core.errors import LabelError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.instances import match_instances
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.evaluating.evaluate import evaluate
from osteon.evaluating.scores import MetricOptions
from osteon.formats import write_segmentation, write_volume
from osteon.formats.io import read_segmentation
from osteon.formats.label_meanings import read_named_labels
from osteon.networks.registry import build_network
from osteon.predicting.model import Model
from osteon.predicting.postprocessing import Postprocessing, PostprocessingStep
from osteon.reporting.compare import compare
from osteon.reporting.piece_pictures import colour_pieces
from osteon.runs import finish
from osteon.runs.final_validation import ValidationResult
from osteon.runs.options import TrainOptions
from osteon.runs.piece_scores import describe_piece_scores, score_predicted_pieces
from osteon.training.checkpoint import TrainingState
from runs import command

BONE = Structure(name="bone", value=1, colour="#c08040", instances=True, last_value=20)
METAL = Structure(name="metal", value=30, colour="#778899")
STRUCTURES = (BONE, METAL)
SHAPE = (12, 8, 6)
GRID = Geometry(SHAPE, spacing_affine(1, 1, 2))
Labels = npt.NDArray[np.uint8]
Captured = pytest.CaptureFixture[str]


def truth(*numbers: int) -> Labels:
    """Three bones of 4×4×4 voxels, and metal in a row of 8."""
    labels = np.zeros(SHAPE, np.uint8)
    for place, number in enumerate(numbers):
        labels[4 * place : 4 * place + 4, 0:4, 0:4] = number
    labels[0, :, 5] = 30
    return labels


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Two cases with three pieces each, numbered otherwise; c has metal alone, and nobody looked for bone in d."""
    image = np.random.default_rng(0).normal(0, 10, SHAPE).astype(np.float32)
    labels = {"a": truth(1, 2, 3), "b": truth(7, 2, 20), "c": truth(), "d": truth()}
    cases = {name: (image, own, GRID.affine_ras) for name, own in labels.items()}
    return write_dataset(tmp_path / "data", cases, STRUCTURES, annotated={"d": ["metal"]})


def predict(folder: Path, structures: tuple[Structure, ...] = STRUCTURES, **cases: Labels) -> Path:
    for name, labels in cases.items():
        write_segmentation(folder / f"{name}.nii.gz", Segmentation(labels, GRID, structures))
    return folder


def merged(labels: Labels) -> Labels:
    """The first two bones under one number."""
    labels = labels.copy()
    labels[4:8, 0:4, 0:4] = labels[0, 0, 0]
    return labels


def test_pieces_are_scored_beside_their_class(tmp_path: Path, data: Dataset) -> None:
    folder = predict(tmp_path / "p", a=truth(3, 1, 2), b=merged(truth(1, 2, 3)), c=truth(), d=truth(5))
    result = evaluate(folder, data.folder, tmp_path / "out")
    assert {(s.case, s.structure): s.dice for s in result.scores if s.case in "ab"} == {
        (case, name): 1.0 for case in "ab" for name in ("bone", "metal")
    }
    assert [(p.case, p.true_positives, p.false_positives, p.false_negatives, p.merges) for p in result.pieces] == [
        ("a", 3, 0, 0, 0),
        ("b", 1, 1, 2, 1),
        ("c", 0, 0, 0, 0),
    ]
    assert [(pair.predicted, pair.reference) for pair in result.pieces[0].pairs] == [(3, 1), (1, 2), (2, 3)]
    (summary,) = result.piece_summaries
    assert (summary.cases, summary.absent, summary.metrics["f1"].mean) == (2, 1, pytest.approx((1 + 2 / 5) / 2))
    assert summary.metrics["merges"].mean == 0.5
    assert summary.pair_metrics["dice"].mean == 1.0
    with (tmp_path / "out/pieces.csv").open(newline="") as text:
        rows = {row["case"]: row for row in csv.DictReader(text)}
    assert (rows["b"]["reference_pieces"], rows["b"]["predicted_pieces"], rows["b"]["f1"]) == ("3", "2", "0.4")
    assert (rows["a"]["dice"], rows["a"]["hd95_mm"], rows["c"]["f1"]) == ("1.0", "0.0", "")
    pieces = json.loads((tmp_path / "out/metrics.json").read_text())["pieces"]
    assert pieces["structures"]["bone"]["by_case"]["merges"]["mean"] == 0.5
    assert pieces["structures"]["bone"]["pooled_f1"] == pytest.approx(8 / 11)
    assert pieces["cases"]["a"]["bone"]["pairs"][0] == {
        "predicted": 3, "reference": 1, "iou": 1.0, "dice": 1.0, "hd_mm": 0.0, "hd95_mm": 0.0, "assd_mm": 0.0
    }  # fmt: skip


def test_the_command_shows_them(tmp_path: Path, data: Dataset, capsys: Captured) -> None:
    folder = predict(tmp_path / "p", a=truth(3, 1, 2), b=merged(truth(1, 2, 3)))
    assert command("evaluate", folder, data.folder) == 0
    shown = capsys.readouterr().out
    assert "numbered pieces" in shown
    assert "0.700" in shown
    assert "0.50" in shown
    assert (folder / "pieces.csv").is_file()


def test_pieces_of_scans_that_were_trained_on_are_in_no_mean(tmp_path: Path, data: Dataset, capsys: Captured) -> None:
    folder = predict(tmp_path / "p", a=truth(3, 1, 2), b=merged(truth(1, 2, 3)))
    (folder / "predictions.json").write_text(json.dumps({"b": {"seen": "trained on", "output": "b.nii.gz"}}))
    result = evaluate(folder, data.folder, tmp_path / "out")
    assert result.piece_summaries[0].metrics["f1"].mean == 1.0
    with (tmp_path / "out/pieces.csv").open(newline="") as text:
        assert [(row["case"], row["seen"]) for row in csv.DictReader(text)] == [("a", ""), ("b", "trained on")]
    assert command("evaluate", folder, data.folder) == 0
    shown = capsys.readouterr().out
    assert shown.index("1.000", shown.index("numbered pieces")) < shown.index("numbered pieces, trained on: no test")
    assert "0.400" in shown


def test_pieces_have_a_summary_by_group(tmp_path: Path, data: Dataset, capsys: Captured) -> None:
    """Of scans that were not trained on, for each site with pieces."""
    manifest = read_manifest(data.folder)
    sites = {"a": "north", "b": "south", "c": "east"}
    cases = [case.model_copy(update={"site": sites.get(case.id)}) for case in manifest.cases]
    write_manifest(data.folder, manifest.model_copy(update={"cases": cases}))
    folder = predict(tmp_path / "p", a=truth(3, 1, 2), b=merged(truth(1, 2, 3)), c=truth(), d=truth())
    east, north, south, unknown = evaluate(folder, data.folder, folder, by="site").groups
    assert [summary.metrics["f1"].mean for group in (north, south) for summary in group.pieces] == [1.0, 0.4]
    assert [(summary.cases, summary.absent) for summary in east.pieces] == [(0, 1)]
    assert unknown.pieces == ()
    groups = json.loads((folder / "metrics.json").read_text())["groups"]
    assert groups["south"]["pieces"]["structures"]["bone"]["by_case"]["merges"]["mean"] == 1.0
    assert "pieces" not in groups["unknown"]
    assert command("evaluate", folder, data.folder, "--by", "site") == 0
    table = capsys.readouterr().out.split("numbered pieces")[-1]
    lines = [line.split() for line in table.splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["east"], ["north"], ["south"])] == [
        ["east", "–"], ["north", "1.000"], ["south", "0.400"]
    ]  # fmt: skip
    (folder / "predictions.json").write_text(json.dumps({"b": {"seen": "trained on", "output": "b.nii.gz"}}))
    assert [group.name for group in evaluate(folder, data.folder, by="site").groups if group.pieces] == [
        "east", "north"
    ]  # fmt: skip


def test_without_distances_pieces_are_counted_all_the_same(tmp_path: Path, data: Dataset) -> None:
    folder = predict(tmp_path / "p", a=truth(3, 1, 2))
    (score,) = evaluate(folder, data.folder, measures=MetricOptions(surfaces=False)).pieces
    assert [dict(pair.distances) for pair in score.pairs] == [{}] * 3


def test_nothing_of_it_where_no_structure_has_pieces(tmp_path: Path) -> None:
    plain = make_structures(["femur"], [1])
    folders = [predict(tmp_path / name, plain, a=np.minimum(truth(1), 1)) for name in ("p", "r")]
    result = evaluate(*folders, tmp_path / "out")
    assert (result.pieces, result.piece_summaries) == ((), ())
    assert not (tmp_path / "out/pieces.csv").exists()
    assert "pieces" not in json.loads((tmp_path / "out/metrics.json").read_text())


@pytest.mark.parametrize("names", [["bone_1", "bone_2", "bone_3"], ["bone 1", "bone-2", "bone 3"]])
def test_classes_that_are_called_after_pieces_are_pieces(tmp_path: Path, data: Dataset, names: list[str]) -> None:
    """A training on one class for each number is scored as what it found: pieces."""
    classes = make_structures([*names, "metal"], [4, 5, 6, 9])
    labels = truth(6, 4, 5)
    labels[labels == 30] = 9
    folder = predict(tmp_path / "p", classes, a=labels)
    result = evaluate(folder, data.folder)
    assert not result.failures
    assert [score.dice for score in result.scores] == [1.0, 1.0]
    assert [(p.predicted, p.reference) for p in result.pieces[0].pairs] == [(3, 1), (1, 2), (2, 3)]


def test_classes_without_names_are_the_pieces_that_their_numbers_are(tmp_path: Path, data: Dataset) -> None:
    placeholders = make_structures(["label_1", "label_2", "label_3", "label_30"], [1, 2, 3, 30])
    (score,) = evaluate(predict(tmp_path / "p", placeholders, a=truth(2, 3, 1)), data.folder).pieces
    assert score.f1 == 1.0


def test_classes_that_count_under_another_name_are_pieces_which_is_said(tmp_path: Path, data: Dataset) -> None:
    """Of a reference with one structure of numbered pieces, and predictions that do not have it."""
    classes = make_structures(["fragment_1", "fragment_2", "fragment_3", "metal"], [4, 5, 6, 30])
    labels = truth(6, 4, 5)
    folder = predict(tmp_path / "p", classes, a=labels, b=labels)
    result = evaluate(folder, data.folder)
    assert [score.f1 for score in result.pieces] == [1.0, 1.0]
    assert any("fragment taken as bone (bone 1=4, bone 2=5, bone 3=6)" in note for note in result.notes)
    made = compare([folder], data.folder, tmp_path / "out")
    assert not made.failures
    others = make_structures(["fragment_1", "plate_1", "metal"], [4, 5, 30])
    assert len(evaluate(predict(tmp_path / "q", others, a=truth(4, 5)), data.folder).failures) == 1
    both = make_structures(["fragment_1", "bone", "metal"], [4, 5, 30])
    assert len(evaluate(predict(tmp_path / "r", both, a=truth(4, 5)), data.folder).failures) == 1


def test_other_classes_become_pieces_on_demand(tmp_path: Path, data: Dataset) -> None:
    colours = make_structures(["red", "green", "blue", "metal"], [1, 2, 3, 30])
    folder = predict(tmp_path / "p", colours, a=truth(2, 3, 1))
    assert "red" in evaluate(folder, data.folder).failures[0].message
    (score,) = evaluate(folder, data.folder, labels={"bone_1": 1, "bone_2": 2, "bone_3": 3, "metal": 30}).pieces
    assert score.f1 == 1.0
    with pytest.raises(UsageError, match="no structure bone_21"):
        evaluate(folder, data.folder, labels={"bone_21": 1})


def test_pieces_in_layers_are_told_apart_or_refused(tmp_path: Path) -> None:
    classes = make_structures(["bone 1", "bone 2"])
    layers = np.stack([truth(1) == 1, truth(0, 2) == 2]).astype(np.uint8)
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, Segmentation(layers, GRID, classes))
    found = read_named_labels(path, STRUCTURES, pieces=True)
    assert {int(n) for n in np.unique(found.array)} == {0, 1, 2}
    layers[1, 0, 0, 0] = 1
    write_segmentation(path, Segmentation(layers, GRID, classes))
    with pytest.raises(LabelError, match="overlap in 1 voxel"):
        read_named_labels(path, STRUCTURES, pieces=True)


@pytest.mark.parametrize("names", [["bone_1", "bone_2", "bone_3"], ["label_1", "label_2", "label_3"]])
def test_files_may_be_the_reference(tmp_path: Path, names: list[str]) -> None:
    reference = predict(tmp_path / "r", STRUCTURES, a=truth(1, 2, 3))
    folder = predict(tmp_path / "p", make_structures([*names, "metal"], [1, 2, 3, 30]), a=truth(2, 3, 1))
    result = evaluate(folder, reference)
    assert result.structures == STRUCTURES
    assert [score.f1 for score in result.pieces] == [1.0]


def trained(structures: tuple[Structure, ...] = STRUCTURES) -> Model:
    plan = tiny_plan({"structures": [s.model_dump(exclude_none=True) for s in structures]})
    return Model(build_network(plan).eval(), plan, {}, "")


def test_the_end_of_a_training_scores_pieces_and_keeps_them(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, run = trained(), tmp_path / "run"
    speck = merged(truth(1, 2, 3))
    speck[9, 6, 2] = 4
    predict(run / "predictions", a=truth(2, 1, 3), b=speck)
    small = PostprocessingStep(structure="bone", step="least_size", amount=0.01)
    monkeypatch.setattr(finish, "choose_steps", lambda *_: Postprocessing(steps=[small]))
    validation = ValidationResult({"a": {}, "b": {}}, {})
    written = finish.write_model(data, model, validation, None, run, TrainingState(), TrainOptions())
    assert written["structures"] == {"bone": 1.0, "metal": 1.0}
    assert written["pieces"]["structures"] == {"bone": {"f1": 0.7, "merges": 0.5, "splits": 0.0, "cases": 2}}
    assert written["pieces"]["cases"]["b"] == {"bone": {"f1": 0.4, "merges": 1, "splits": 0}}
    assert "pieces of bone: F1 0.700, merges 0.50 and splits 0.00 a case" in (run / "model/card.md").read_text()
    kept = read_segmentation(run / "predictions/b.nii.gz", pieces=True)
    assert np.array_equal(kept.array, merged(truth(1, 2, 3)))


def test_without_pieces_nothing_is_said(tmp_path: Path, data: Dataset) -> None:
    plain = (Structure(name="bone", value=1, colour="#c08040"), METAL)
    assert score_predicted_pieces(data, trained(plain).plan, ["a"], tmp_path) == {}
    assert describe_piece_scores({}) == []


def test_a_case_without_a_piece_on_either_side_counts_nowhere(tmp_path: Path, data: Dataset) -> None:
    predict(tmp_path, c=truth(), d=truth(5))
    found = score_predicted_pieces(data, trained().plan, ["c", "d"], tmp_path)
    assert found == {"structures": {"bone": {"f1": None, "merges": None, "splits": None, "cases": 0}}, "cases": {}}
    assert describe_piece_scores(found) == []


@pytest.fixture
def contest(tmp_path: Path) -> tuple[Dataset, Path, Path]:
    """Seven cases; one finds every piece but for a voxel, the other takes two pieces for one, and has classes."""
    image = np.random.default_rng(0).normal(0, 10, SHAPE).astype(np.float32)
    labels = {f"c{n}": truth(1 + n, 9 - n, 10 + n) for n in range(4)} | {f"d{n}": truth(1, 2 + n, 20) for n in range(3)}
    data = write_dataset(tmp_path / "data", {n: (image, own, GRID.affine_ras) for n, own in labels.items()}, STRUCTURES)
    good, classes = truth(3, 1, 2), make_structures(["bone_1", "bone_2", "bone_3", "metal"], [1, 2, 3, 30])
    good[8, 0, 0] = 0
    right = predict(tmp_path / "right", **dict.fromkeys(labels, good))
    return data, right, predict(tmp_path / "wrong", classes, **dict.fromkeys(labels, merged(good)))


def test_pieces_are_compared_and_tested(
    tmp_path: Path, contest: tuple[Dataset, Path, Path], capsys: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    data, right, wrong = contest
    made = compare([wrong, right], data.folder, tmp_path / "out")
    assert made.structures == STRUCTURES
    loser = next(entry.name for entry in made.entries if entry is not made.entries[0])
    assert made.pieces_against_best[loser].metric == "f1"
    assert {entry.name: entry.piece_summaries[0].metrics["f1"].mean for entry in made.entries} == {
        "right": 1.0, "wrong": pytest.approx(0.4)
    }  # fmt: skip
    test = made.pieces_against_best[loser].structures[0]
    assert (test.n, test.shown) == (7, "right")
    with (tmp_path / "out/comparison.csv").open(newline="") as text:
        rows = {row["name"]: row for row in csv.DictReader(text)}
    assert (rows["right"]["mean_f1_bone"], rows["wrong"]["mean_merges_bone"]) == ("1.0", "1.0")
    assert float(rows["right"]["mean_pair_dice_bone"]) == pytest.approx((1 + 1 + 126 / 127) / 3, abs=1e-6)
    with (tmp_path / "out/pieces.csv").open(newline="") as text:
        assert len(list(csv.DictReader(text))) == 2 * 7
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Numbered pieces of bone" in page
    assert "right better" in page
    assert "(F1 of pieces)" in page
    assert "<metric" not in page
    assert not any("taken as" in record.message for record in caplog.records)  # bone_1 is a piece of bone by its name
    assert command("compare", right, wrong, "--reference", data.folder, "--to", tmp_path / "again") == 0
    assert "right: bone" in capsys.readouterr().out


def test_pictures_show_a_match_in_one_colour() -> None:
    reference = Segmentation(truth(2, 5, 7), GRID, STRUCTURES)
    prediction = Segmentation(truth(9, 9, 2), GRID, STRUCTURES)  # two pieces under one number, and one under another
    scores = match_instances("a", "bone", prediction.pieces(BONE), reference.pieces(BONE))
    shown, drawn = colour_pieces(prediction, reference, {"bone": scores})
    assert shown.structures == drawn.structures
    names = {s.value: s.name for s in shown.structures}
    colours = {s.name: s.colour for s in shown.structures}
    assert [names[value] for value in drawn.array[[0, 4, 8], 0, 0]] == ["bone 2", "bone 5", "bone 7"]
    assert [names[value] for value in shown.array[[0, 4, 8], 0, 0]] == ["bone 8", "bone 8", "bone 7"]
    assert names[int(shown.array[0, 0, 5])] == "metal"
    assert len(set(colours.values())) == len(colours) == 5


PELVIS = (
    Structure(name="sacrum", value=1, colour="#c08040", instances=True, last_value=99),
    Structure(name="left_hip", value=101, colour="#40c080", instances=True, last_value=199),
)
RANGES: dict[str, int | str] = {"sacrum": "1-10", "left_hip": "11-20", "metal": 30}


def numbered(folder: Path, *rows: tuple[int, ...]) -> Path:
    """Label files that name nothing."""
    for case, row in zip("abcd", rows, strict=False):
        write_volume(folder / f"{case}.nii.gz", Volume(truth(*row)[None], GRID))
    return folder


def pelves(folder: Path, *rows: tuple[int, ...]) -> Path:
    structures = (*PELVIS, METAL.model_copy(update={"value": 200}))
    labels = [truth(*row).astype(np.uint8) for row in rows]
    for each in labels:
        each[each == 30] = 200
    return predict(folder, structures, **dict(zip("abcd", labels, strict=False)))


def test_ranges_say_what_the_numbers_of_references_are(tmp_path: Path, capsys: Captured) -> None:
    """As PENGWIN numbers the pieces of a pelvis; the model has numbers of its own."""
    reference = numbered(tmp_path / "r", (1, 2, 11), (3, 12, 11))
    for folder in (
        pelves(tmp_path / "p", (2, 1, 101), (1, 101, 102)),
        numbered(tmp_path / "q", (2, 1, 12), (3, 11, 12)),
    ):
        result = evaluate(folder, reference, labels=RANGES)
        assert [(s.name, s.values[0], s.values[-1]) for s in result.structures] == [
            ("sacrum", 1, 10), ("left_hip", 11, 20), ("metal", 30, 30)
        ]  # fmt: skip
        assert [(p.case, p.structure, p.f1) for p in result.pieces] == [
            (case, name, 1.0) for case in "ab" for name in ("sacrum", "left_hip")
        ]
        assert [s.dice for s in result.scores] == [1.0] * 6
    assert not compare([tmp_path / "p", tmp_path / "q"], reference, labels=RANGES).failures
    assert command("evaluate", tmp_path / "p", reference, "--labels", "sacrum=1-10,left_hip=11-20,metal=30") == 0
    assert command("evaluate", tmp_path / "p", reference, "--labels", "sacrum=1-10,left_hip=10-20") == 2
    assert "--labels: structures share numbers" in capsys.readouterr().err


def test_references_without_names_are_taken_as_the_predictions_which_is_said(tmp_path: Path) -> None:
    result = evaluate(predict(tmp_path / "p", a=truth(2, 3, 1)), numbered(tmp_path / "r", (1, 2, 3)))
    assert [structure.name for structure in result.structures] == ["bone", "metal"]
    assert [score.f1 for score in result.pieces] == [1.0]
    assert "(bone=1-20, metal=30); --labels NAME=VALUE or NAME=FIRST-LAST,… says otherwise" in result.notes[0]


@pytest.mark.parametrize("turned", [False, True], ids=["reference", "prediction"])
def test_files_of_pieces_and_of_classes_that_count_them(tmp_path: Path, turned: bool) -> None:
    classes = make_structures(["fragment_1", "fragment_2", "fragment_3", "metal"], [1, 2, 3, 30])
    sides = predict(tmp_path / "pieces", a=truth(2, 3, 1)), predict(tmp_path / "classes", classes, a=truth(1, 2, 3))
    prediction, reference = sides[::-1] if turned else sides
    with pytest.raises(LabelError, match="label 1 is") as caught:
        evaluate(prediction, reference)
    assert "--labels bone=1-20,…" in caught.value.hint
    for labels in ({"bone": "1-20"}, {"bone": "1-3"}):
        result = evaluate(prediction, reference, labels=labels)
        assert [structure.name for structure in result.structures] == ["bone", "metal"]
        assert [score.f1 for score in result.pieces] == [1.0]


def test_pieces_are_one_structure_where_the_reference_has_none(tmp_path: Path) -> None:
    plain = (Structure(name="bone", value=7, colour="#c08040"), METAL)
    reference = predict(tmp_path / "r", plain, a=np.where(truth(1, 2, 3) % 30 > 0, 7, truth(1, 2, 3)).astype(np.uint8))
    folder = predict(tmp_path / "p", a=truth(2, 3, 1))
    result = evaluate(folder, reference)
    assert [(s.structure, s.dice) for s in result.scores] == [("bone", 1.0), ("metal", 1.0)]
    unnamed = evaluate(numbered(tmp_path / "q", (2, 3, 1)), reference, labels={"bone": "1-9", "metal": 30})
    assert [(s.structure, s.dice) for s in unnamed.scores] == [("bone", 1.0), ("metal", 1.0)]


def test_names_that_count_a_structure_are_its_pieces_on_either_side(tmp_path: Path) -> None:
    classes = make_structures(["bone_1", "bone_2", "bone_3", "metal"], [4, 5, 6, 30])
    reference = predict(tmp_path / "r", classes, a=truth(4, 5, 6))
    result = evaluate(predict(tmp_path / "p", a=truth(2, 3, 1)), reference)
    assert [structure.name for structure in result.structures] == ["bone", "metal"]
    assert [score.f1 for score in result.pieces] == [1.0]


def test_more_pieces_than_a_range_has_fail_their_case_alone(tmp_path: Path) -> None:
    reference = numbered(tmp_path / "r", (1, 2, 3), (1, 2, 3))
    folder = predict(tmp_path / "p", a=truth(2, 3, 1), b=truth(2, 3, 4))
    result = evaluate(folder, reference, labels={"bone": "1-3", "metal": 30})
    assert [failure.case for failure in result.failures] == ["b"]
    assert [score.f1 for score in result.pieces] == [1.0]


def test_ranges_count_the_pieces_of_predictions_against_a_dataset(tmp_path: Path, data: Dataset) -> None:
    folder = numbered(tmp_path / "p", (12, 13, 11))
    result = evaluate(folder, data.folder, labels={"bone": "11-20", "metal": 30})
    assert [score.f1 for score in result.pieces] == [1.0]
    assert [score.dice for score in result.scores] == [1.0, 1.0]
