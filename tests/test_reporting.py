"""Comparing: who takes part, the tables, the page, and tables of RLE as predictions."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import osteon
from helpers import box, spacing_affine, two_boxes, write_dataset
from osteon.core.errors import DatasetError, FileError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.dataset.dataset import Dataset
from osteon.formats import write_segmentation
from osteon.formats.rle import encode_rle, write_rle_csv
from osteon.reporting.compare import compare
from osteon.reporting.confusion import Confusion, count_confusion
from osteon.reporting.entries import find_submissions
from osteon.runs.fit import train
from runs import CPU, cohort, command, learning_plan

NAMES = make_structures(["femur", "tibia"], [3, 5])


def predictions(folder: Path, data: Dataset, shift: int, cases: int | None = None) -> Path:
    """The references, moved by some voxels."""
    for case in data.manifest.cases[:cases]:
        truth = data.load_segmentation(case)
        moved = np.roll(truth.array, shift, axis=1)
        write_segmentation(folder / f"{case.id}.nii.gz", Segmentation(moved, truth.geometry, truth.structures))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cohort(tmp_path_factory.mktemp("data"), cases=7)


def test_the_better_of_two_is_first_and_shown_to_be(data: Dataset, tmp_path: Path) -> None:
    worse, better = predictions(tmp_path / "worse", data, 2), predictions(tmp_path / "better", data, 1)
    made = compare([worse, better], data.folder, tmp_path / "out")
    assert [entry.name for entry in made.entries] == ["better", "worse"]
    assert made.ranking is not None
    assert made.ranking.places[0].better_than == ("worse",)
    assert made.against_best["worse"].overall.shown == "better"
    with (tmp_path / "out/comparison.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["name"] for row in rows] == ["better", "worse"]
    # A box of 6 voxels moved by 1 and by 2 shares 5 and 4 of them.
    assert float(rows[0]["mean_dice"]) == pytest.approx(5 / 6, abs=1e-6)
    assert float(rows[1]["mean_dice_femur"]) == pytest.approx(4 / 6, abs=1e-6)
    with (tmp_path / "out/cases.csv").open(newline="") as text:
        assert len(list(csv.DictReader(text))) == 2 * 7 * 2


def test_the_page_is_whole_and_says_what_was_found(data: Dataset, tmp_path: Path) -> None:
    runs = [predictions(tmp_path / name, data, shift) for name, shift in (("a<b", 1), ("c", 2))]
    compare(runs, data.folder, tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "2 compared on 7 cases that all have" in page
    assert "a&lt;b" in page
    assert "<b</" not in page
    assert page.count("<svg") == 3  # boxes, and volumes of each
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=.https?:", page)
    assert "Taken for another structure" in page


def test_cases_that_some_lack_are_left_out_and_listed(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few, all_ = predictions(tmp_path / "few", data, 1, cases=5), predictions(tmp_path / "all", data, 1)
    (few / "c0.nii.gz").write_text("broken")
    code = command("compare", few, all_, "--reference", data.folder, "--to", tmp_path / "out", "--overlap-only")
    assert code == 1
    output = capsys.readouterr()
    assert "left out, since not all have them: 3 cases" in output.err
    assert "few, c0: " in output.err
    assert "no difference shown between" in output.out
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "few: not scored" in page
    assert "c5: no prediction" in page


def test_a_run_stands_for_its_validation(data: Dataset, tmp_path: Path) -> None:
    train(data, learning_plan(), tmp_path / "run", CPU)
    (submission,) = find_submissions([tmp_path / "run"])
    assert (submission.name, submission.run) == ("run", tmp_path / "run")
    assert len(submission.curve()) == 2
    made = compare([tmp_path / "run"], data.folder, tmp_path / "out")
    validation = json.loads((tmp_path / "run/model/validation.json").read_text())
    assert made.entries[0].overall.dice.mean == pytest.approx(validation["dice"], abs=1e-4)
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Learning curves" in page
    shutil.rmtree(tmp_path / "run/predictions")
    with pytest.raises(UsageError, match="has validated no case"):
        find_submissions([tmp_path / "run"])


def test_confidence_is_set_against_what_came_true(data: Dataset, tmp_path: Path) -> None:
    folder = predictions(tmp_path / "p", data, 1)
    facts = {
        case.id: {"confidence": {"femur": 0.8, "tibia": 0.7 + n / 50}, "review": ["looks odd"] if n == 2 else []}
        for n, case in enumerate(data.manifest.cases)
    }
    (folder / "predictions.json").write_text(json.dumps(facts))
    compare([folder], data.folder, tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Did low confidence mean low Dice?" in page
    assert "p: 14 structures" in page
    assert "looks odd" in page


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a/held", "x/b/held"], ["a", "b"]),
        (["x/a/p", "y/a/p"], ["x", "y"]),
        (["x/a", "x/b", "y/b"], ["x/a", "x/b", "y/b"]),
        (["only/one"], ["one"]),
    ],
)
def test_names_are_what_tells_them_apart(tmp_path: Path, paths: list[str], names: list[str]) -> None:
    for path in paths:
        (tmp_path / path).mkdir(parents=True)
    assert [c.name for c in find_submissions([tmp_path / path for path in paths])] == names


def test_what_cannot_be_compared_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([], data.folder)
    with pytest.raises(FileError, match="does not exist"):
        compare([tmp_path / "none"], data.folder)
    folder = predictions(tmp_path / "p", data, 0)
    with pytest.raises(UsageError, match="is given twice"):
        compare([folder, folder], data.folder)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="no table of run-length codes"):
        compare([tmp_path / "notes.csv"], data.folder)
    one, other = predictions(tmp_path / "one", data, 0, cases=1), tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "c6.nii.gz", other)
    with pytest.raises(DatasetError, match="no case that all of them have"):
        compare([one, other], data.folder)


# -- mix-ups ------------------------------------------------------


def segmented(*boxes: tuple[int, tuple[slice, slice, slice]]) -> Segmentation:
    return Segmentation(box((10, 10, 10), *boxes), Geometry((10, 10, 10), spacing_affine(1, 1, 1)), tuple(NAMES))


ALL = slice(0, 10)


def test_what_was_taken_for_what() -> None:
    reference = segmented((3, (slice(0, 4), ALL, ALL)), (5, (slice(4, 8), ALL, ALL)))
    prediction = segmented((3, (slice(0, 5), ALL, ALL)), (5, (slice(5, 7), ALL, ALL)))
    table, sizes = count_confusion(prediction, reference, NAMES)
    assert table.tolist() == [[400, 0, 0], [100, 200, 100]]
    assert sizes.tolist() == [400, 400]
    confusion = Confusion.of(NAMES)
    confusion.add(table, sizes)
    confusion.add(table * 0 + [[400, 0, 0], [0, 400, 0]], sizes)
    (mix_up,) = confusion.mix_ups()
    assert (mix_up.structure, mix_up.predicted, mix_up.share, mix_up.cases) == ("tibia", "femur", 0.125, 1)


def test_what_overlaps_by_nature_is_no_mix_up() -> None:
    array = np.zeros((2, 4, 4, 1), dtype=np.uint8)
    array[0, :3], array[1, 1:] = 1, 1
    both = Segmentation(array, Geometry((4, 4, 1), spacing_affine(1, 1, 1)), tuple(NAMES))
    table, sizes = count_confusion(both, both, NAMES)
    assert table.tolist() == [[12, 0, 0], [0, 12, 0]]
    assert sizes.tolist() == [12, 12]


# -- tables of RLE ------------------------------------------------------


@pytest.fixture
def hands(tmp_path: Path) -> Dataset:
    cases = {}
    for n in range(3):
        image, labels, affine = two_boxes((12, 10, 1), seed=n)
        hot = np.stack([labels == 3, labels == 5]).astype(np.uint8)
        hot[:, 2 : 4 + n, 3:7] = 1
        cases[f"h{n}"] = (image, hot, affine)
    return write_dataset(tmp_path / "hands", cases, NAMES, overlapping=True, unit="px", modality="xray")


def rows_of(data: Dataset) -> list[tuple[str, str, str]]:
    rows = []
    for case in data.manifest.cases:
        truth = data.load_segmentation(case)
        rows += [(f"{case.id}.png", s.name, encode_rle(truth.mask(s)[:, :, 0].T)) for s in truth.structures]
    return rows


def test_a_table_of_the_truth_has_a_dice_of_one(hands: Dataset, tmp_path: Path) -> None:
    write_rle_csv(tmp_path / "true.csv", rows_of(hands))
    write_rle_csv(tmp_path / "half.csv", [row for row in rows_of(hands) if row[1] == "femur"])
    made = osteon.compare([tmp_path / "half.csv", tmp_path / "true.csv"], hands.folder, tmp_path / "out")
    assert [(entry.name, entry.overall.dice.mean) for entry in made.entries] == [("true", 1.0), ("half", 0.5)]
    assert not made.failures


def test_a_table_may_count_down_the_columns_where_it_says_so(hands: Dataset, tmp_path: Path) -> None:
    rows = []
    for case in hands.manifest.cases:
        truth = hands.load_segmentation(case)
        rows += [f"{case.id}.png,{s.name},{encode_rle(truth.mask(s)[:, :, 0])}" for s in truth.structures]
    for column in ("EncodedPixels", "rle"):
        (tmp_path / f"{column}.csv").write_text("\n".join([f"image_id,class,{column}", *rows]))
    made = osteon.compare([tmp_path / "EncodedPixels.csv"], hands.folder, tmp_path / "out")
    assert made.entries[0].overall.dice.mean == 1.0
    assert not made.failures
    made = osteon.compare([tmp_path / "rle.csv"], hands.folder, tmp_path / "out")
    assert "its runs go over the pictures' edges, along columns none does" in "".join(
        error.message for error in made.failures.values()
    )


def test_broken_rows_are_named_and_the_others_count(hands: Dataset, tmp_path: Path) -> None:
    rows = rows_of(hands)
    rows[1] = (*rows[1][:2], "1 3 x")
    rows[2] = (*rows[2][:2], "119 5")
    rows += [("h2.png", "skull", "1 2"), ("h2.png", "tibia", "1 2"), ("stranger.png", "femur", "1 2")]
    write_rle_csv(tmp_path / "p.csv", rows)
    made = compare([tmp_path / "p.csv"], hands.folder)
    failures = "\n".join(f"{name}: {error.message}" for name, error in made.failures.items())
    lines = ("line 3: `x`", "line 4: the run 119 5 ends behind", "line 8: there is no structure skull", "line 9: tibia")
    for message in lines:
        assert message in failures
    by = {(score.case, score.structure): score.dice for score in made.entries[0].scores}
    assert by["h2", "tibia"] == 1.0
    assert by["h0", "tibia"] == 0.0


def test_a_table_needs_a_dataset(hands: Dataset, tmp_path: Path) -> None:
    write_rle_csv(tmp_path / "p.csv", rows_of(hands))
    with pytest.raises(UsageError, match="needs a dataset"):
        compare([tmp_path / "p.csv"], hands.folder / "labels")
