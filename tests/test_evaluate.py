"""Evaluating files: pairing by name, geometry in the world, what fails and what is missing."""

import csv
import json
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest

from osteon.core.errors import DatasetError, FileError, LabelError, OsteonError, UsageError
from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.manifest import Case, Channel, Manifest, read_manifest, write_manifest
from osteon.evaluating.evaluate import evaluate
from osteon.evaluating.pairing import match_predictions, structures_in_files
from osteon.evaluating.scores import MetricOptions, Score, score_case
from osteon.formats import write_segmentation, write_volume
from osteon.formats.label_meanings import label_meanings_for

RED = Structure(name="red", value=1, colour="#ff0000")
GREEN = Structure(name="green", value=2, colour="#00ff00")
BOTH = (RED, GREEN)
GRID = Geometry((8, 6, 4), np.array([[-2.0, 0, 0, 30], [0, -2, 0, 20], [0, 0, 5, -7], [0, 0, 0, 1]]))  # LPS, 20 mm³


def labels(red: int, green: int = 0, geometry: Geometry = GRID) -> Segmentation:
    """`red` and `green` planes of 24 voxels (0.48 cm³) from either end."""
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[:red] = 1
    if green:
        array[-green:] = 2
    return Segmentation(array, geometry, BOTH)


def in_ras(segmentation: Segmentation) -> Segmentation:
    turn = reorient_to_ras(segmentation.geometry)
    array = np.ascontiguousarray(turn.apply(segmentation.array))
    return Segmentation(array, turn.geometry(segmentation.geometry), segmentation.structures)


def overlapping(segmentation: Segmentation) -> Segmentation:
    """Multi-hot with one voxel in both structures, so that it cannot be stored as an index map."""
    array = np.stack([segmentation.mask(s) for s in BOTH]).astype(np.uint8)
    array[:, 0, 0, 0] = 1
    return Segmentation(array, segmentation.geometry, BOTH)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    cases = []
    plan = {"a": (4, 2, None), "b": (4, 0, None), "c": (4, 2, ["red"]), "d": (4, 2, None), "e": None}
    for case, made in plan.items():
        write_volume(folder / f"{case}.nii.gz", Volume(np.ones((1, *GRID.shape), dtype=np.int16), GRID))
        if made is not None:
            write_segmentation(folder / f"{case}-label.nii.gz", labels(*made[:2]))
        cases.append(
            Case(
                id=case,
                images=[f"{case}.nii.gz"],
                segmentation=f"{case}-label.nii.gz" if made else None,
                annotated=made[2] if made else None,
            )
        )
    channels = [Channel(name="ct", modality="ct")]
    write_manifest(folder, Manifest(name="test", channels=channels, structures=list(BOTH), cases=cases))
    return folder


def states(result) -> dict[tuple[str, str], tuple[str, float | None]]:
    return {(s.case, s.structure): (s.state, s.dice) for s in result.scores}


def test_against_a_dataset(dataset: Path, tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    write_segmentation(predictions / "a.nii.gz", in_ras(labels(5, 2)))
    write_segmentation(predictions / "b.nii.gz", labels(4, 1))
    write_segmentation(predictions / "c.seg.nrrd", labels(4, 1))
    write_segmentation(predictions / "e.nii.gz", labels(1))
    result = evaluate(predictions, dataset, tmp_path / "out")
    assert states(result) == {
        ("a", "red"): ("both", pytest.approx(8 / 9)),
        ("a", "green"): ("both", 1.0),
        ("b", "red"): ("both", 1.0),
        ("b", "green"): ("invented", 0.0),
        ("c", "red"): ("both", 1.0),
        ("c", "green"): ("not annotated", None),
    }
    assert (result.missing, result.unmatched, result.failures) == (("d",), ("e",), ())
    red = next(s for s in result.scores if s.case == "a" and s.structure == "red")
    assert (red.reference_cm3, red.predicted_cm3) == (pytest.approx(4 * 0.48), pytest.approx(5 * 0.48))
    assert red.volume_error_percent == pytest.approx(25.0)
    assert result.overall.dice.mean == pytest.approx((26 / 27 + 0.5) / 2)

    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[0]["case"] == "a"
    assert float(rows[0]["dice"]) == pytest.approx(8 / 9, abs=1e-6)
    assert rows[5]["dice"] == ""
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["missing"] == ["d"]
    assert record["unmatched"] == ["e"]
    assert record["overall"]["dice"]["mean"] == pytest.approx(result.overall.dice.mean, abs=1e-6)
    assert record["structures"]["green"]["invented"] == 1
    assert record["cases"]["c"]["green"]["dice"] is None


def test_a_case_that_fails_does_not_stop_the_others(dataset: Path, tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    moved = GRID.affine_ras.copy()
    moved[0, 3] += 1.0  # half a voxel
    write_segmentation(predictions / "a.nii.gz", labels(4, 2, Geometry(GRID.shape, moved)))
    write_segmentation(predictions / "b.nii.gz", labels(4))
    strange = Segmentation(np.full(GRID.shape, 9, dtype=np.uint8), GRID, ())
    write_segmentation(predictions / "c.nii.gz", strange)
    whole = (predictions / "b.nii.gz").read_bytes()
    (predictions / "d.nii.gz").write_bytes(whole[: len(whole) // 2])
    result = evaluate(predictions, dataset, tmp_path / "out")
    assert [f.case for f in result.failures] == ["a", "c", "d"]
    geometry = result.failures[0]
    assert "1.00 mm apart" in geometry.message
    assert geometry.message.count("8×6×4") == 2  # both grids are described
    assert "very scan" in geometry.hint  # not --repair-geometry, which importing alone has
    assert all(f.hint for f in result.failures)
    assert states(result) == {("b", "red"): ("both", 1.0), ("b", "green"): ("absent", None)}
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [f["case"] for f in record["failures"]] == ["a", "c", "d"]


def test_a_link_to_no_prediction_is_a_failure(dataset: Path, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "made" / "a.nii.gz", labels(4))
    (tmp_path / "made" / "b.nii.gz").symlink_to("nowhere")
    [failure] = evaluate(tmp_path / "made", dataset).failures
    assert (failure.case, "is a link to nowhere" in failure.message) == ("b", True)


def test_a_resampled_prediction_is_refused_though_its_shape_fits(dataset: Path, tmp_path: Path) -> None:
    wider = Geometry(GRID.shape, GRID.affine_ras @ np.diag([1.1, 1, 1, 1]))
    write_segmentation(tmp_path / "a.nii.gz", labels(4, 2, wider))
    result = evaluate(tmp_path / "a.nii.gz", dataset)
    assert "spacing" in result.failures[0].message
    assert result.scores == ()
    assert result.overall.dice.mean is None


def test_folders_of_files_and_names_from_their_headers(tmp_path: Path) -> None:
    for name, red in (("a", 4), ("b", 2)):
        write_segmentation(tmp_path / "reference" / f"{name}.nii.gz", labels(red, 1))
        write_segmentation(tmp_path / "prediction" / f"{name}.nii.gz", labels(4, 1))
    write_segmentation(tmp_path / "prediction" / "x.nii.gz", labels(4))
    (tmp_path / "prediction" / "readme.txt").write_text("not a label file")
    result = evaluate(tmp_path / "prediction", tmp_path / "reference")
    assert states(result)["b", "red"] == ("both", pytest.approx(4 / 6))
    assert result.structures == BOTH
    assert (result.missing, result.unmatched) == ((), ("x",))


def test_two_files_without_names(tmp_path: Path) -> None:
    write_volume(tmp_path / "one.nrrd", Volume(labels(3, 0).array[None], GRID))
    write_volume(tmp_path / "two.nrrd", Volume(labels(4, 2).array[None], GRID))
    result = evaluate(tmp_path / "one.nrrd", tmp_path / "two.nrrd")
    assert states(result) == {
        ("one", "label_1"): ("both", pytest.approx(6 / 7)),
        ("one", "label_2"): ("missed", 0.0),
    }
    named = evaluate(tmp_path / "one.nrrd", tmp_path / "two.nrrd", structures=BOTH)
    assert [s.structure for s in named.scores] == ["red", "green"]


@pytest.mark.parametrize(
    ("overlaps", "reference_overlaps", "green"),
    [
        (True, True, 1.0),
        (False, True, 96 / 97),  # the shared voxel is green in the reference alone
        (True, False, 96 / 97),
    ],
)
def test_overlapping_structures(tmp_path: Path, overlaps: bool, reference_overlaps: bool, green: float) -> None:
    prediction, reference = labels(2, 2), labels(4, 2)
    write_segmentation(tmp_path / "p.seg.nrrd", overlapping(prediction) if overlaps else prediction)
    write_segmentation(tmp_path / "r.seg.nrrd", overlapping(reference) if reference_overlaps else reference)
    red, other = evaluate(tmp_path / "p.seg.nrrd", tmp_path / "r.seg.nrrd").scores
    assert red.dice == pytest.approx(4 / 6)
    assert other.dice == pytest.approx(green)


def test_unnamed_labels_of_different_files_get_different_colours(tmp_path: Path) -> None:
    write_volume(tmp_path / "one.nrrd", Volume(labels(3, 0).array[None], GRID))
    write_volume(tmp_path / "two.nrrd", Volume(labels(0, 2).array[None], GRID))
    result = evaluate(tmp_path / "one.nrrd", tmp_path / "two.nrrd")
    assert [s.name for s in result.structures] == ["label_1", "label_2"]
    assert len({s.colour for s in result.structures}) == 2


def test_only_some_structures(dataset: Path, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.nii.gz", labels(4, 1))
    result = evaluate(tmp_path / "a.nii.gz", dataset, structures=[GREEN])
    assert states(result) == {("a", "green"): ("both", pytest.approx(2 / 3))}
    assert [s.structure for s in result.summaries] == ["green"]
    assert result.missing == ()  # one file was asked about, not the dataset


def test_errors_name_the_way_out(dataset: Path, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "one" / "stranger.nii.gz", labels(4))
    write_segmentation(tmp_path / "twice" / "a.nii.gz", labels(4))
    write_segmentation(tmp_path / "twice" / "a.seg.nrrd", labels(4))
    (tmp_path / "empty").mkdir()
    expected: list[tuple[str, type[OsteonError], str]] = [
        ("one", DatasetError, r"predictions: stranger; references: a, b, c and 1 more"),
        ("twice", UsageError, r"a\.nii\.gz and a\.seg\.nrrd"),
        ("empty", UsageError, "no label files"),
        ("nowhere", FileError, "does not exist"),
    ]
    for folder, kind, message in expected:
        with pytest.raises(kind, match=message) as caught:
            evaluate(tmp_path / folder, dataset)
        assert caught.value.hint


def test_one_value_under_two_names_is_refused(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "p.nii.gz", labels(4))
    other = Segmentation(labels(4).array, GRID, (Structure(name="tibia", value=1, colour="#ffffff"),))
    write_segmentation(tmp_path / "r.nii.gz", other)
    with pytest.raises(LabelError, match=r"label 1 is tibia in .* and red in"):
        evaluate(tmp_path / "p.nii.gz", tmp_path / "r.nii.gz")


def test_only_held_out_cases_are_missed_where_a_dataset_has_some(dataset: Path, tmp_path: Path) -> None:
    manifest = read_manifest(dataset)
    held = [c.model_copy(update={"held_out": c.id in ("c", "d")}) for c in manifest.cases]
    write_manifest(dataset, manifest.model_copy(update={"cases": held}))
    write_segmentation(tmp_path / "predictions" / "c.nii.gz", labels(4, 2))
    assert evaluate(tmp_path / "predictions", dataset).missing == ("d",)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_of_the_files(dataset: Path, tmp_path: Path) -> None:
    """The columns that were there stay in front; distances are named with unit and tolerance."""
    write_segmentation(tmp_path / "a.nii.gz", labels(5, 2))
    measures = MetricOptions(tolerances=(1.0, 2.0))
    result = evaluate(tmp_path / "a.nii.gz", dataset, tmp_path / "out", measures=measures)
    row = rows_of(tmp_path / "out/metrics.csv")[0]
    assert list(row)[:10] == [
        *("case", "structure", "state", "dice", "reference_voxels", "predicted_voxels", "reference_cm3"),
        *("predicted_cm3", "volume_error_cm3", "volume_error_percent"),
    ]
    assert list(row)[-5:] == ["hd_mm", "hd95_mm", "assd_mm", "nsd_1mm", "nsd_2mm"]
    assert (row["hd_mm"], row["nsd_2mm"], row["detection_f1"], row["wrong_level"]) == ("2.0", "1.0", "1.0", "")
    record = json.loads((tmp_path / "out/metrics.json").read_text())
    assert record["cases"]["a"]["red"]["hd95_mm"] == 2.0
    assert set(record["overall"]["nsd_1mm"]) == {"n", "mean", "sd", "median", "low", "high"}
    assert record["structures"]["red"]["pooled_detection_f1"] == 1.0
    assert record["overall"]["dice"]["mean"] == pytest.approx(result.overall.dice.mean, abs=1e-6)
    quick = evaluate(tmp_path / "a.nii.gz", dataset, tmp_path / "out", measures=MetricOptions(surfaces=False))
    assert "hd_mm" not in rows_of(tmp_path / "out/metrics.csv")[0]
    assert [s.dice for s in quick.scores] == [s.dice for s in result.scores]


def test_millimetres_and_pixels_are_never_averaged(tmp_path: Path) -> None:
    for case, unit in (("a", "mm"), ("b", "px")):
        grid = Geometry((8, 6, 1), np.diag([2.0, 2, 1, 1]) if unit == "mm" else np.eye(4), unit)  # type: ignore[arg-type]
        for side, red in (("p", 5), ("r", 4)):
            array = labels(red).array[:, :, :1]
            write_segmentation(tmp_path / side / f"{case}.seg.nrrd", Segmentation(array, grid, BOTH))
    figures = evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "out").summaries[0].metrics
    assert (figures["hd_mm"].n, figures["hd_mm"].mean) == (1, 2.0)
    assert (figures["hd_px"].n, figures["hd_px"].mean) == (1, 1.0)
    first = rows_of(tmp_path / "out/metrics.csv")[0]
    assert (first["hd_mm"], first["hd_px"]) == ("2.0", "")


def test_a_legend_names_what_label_files_only_number(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", Volume(labels(4, 2).array[None], GRID))
    structures = structures_in_files([(tmp_path / "a.nii.gz", label_meanings_for((), {"left": 1, "right": 2}))])
    assert [(structure.name, structure.value) for structure in structures] == [("left", 1), ("right", 2)]


def test_results_by_site(dataset: Path, tmp_path: Path) -> None:
    manifest = read_manifest(dataset)
    sites = {"a": "north", "b": "south", "c": "north"}
    cases = [case.model_copy(update={"site": sites.get(case.id)}) for case in manifest.cases]
    write_manifest(dataset, manifest.model_copy(update={"cases": cases}))
    for case, red in (("a", 4), ("b", 2), ("c", 4), ("d", 3)):
        write_segmentation(tmp_path / "predictions" / f"{case}.nii.gz", labels(red))
    result = evaluate(tmp_path / "predictions", dataset, tmp_path / "out", by="site")
    north, south, unknown = result.groups
    assert [(g.name, g.cases) for g in result.groups] == [("north", 2), ("south", 1), ("unknown", 1)]
    assert north.summaries[0].dice.mean == 1.0
    assert south.summaries[0].dice.mean == pytest.approx(4 / 6)
    assert unknown.summaries[0].dice.n == 1
    assert [row["site"] for row in rows_of(tmp_path / "out/metrics.csv")][::2] == ["north", "south", "north", "unknown"]
    record = json.loads((tmp_path / "out/metrics.json").read_text())
    assert record["by"] == "site"
    assert record["groups"]["north"]["structures"]["red"]["dice"]["n"] == 2
    held = evaluate(tmp_path / "predictions", dataset, by="held_out")
    assert [group.name for group in held.groups] == ["False"]
    annotated = evaluate(tmp_path / "predictions", dataset, by="annotated")
    assert [group.name for group in annotated.groups] == ["red", "unknown"]
    with pytest.raises(UsageError, match="cases have no such field") as caught:
        evaluate(tmp_path / "predictions", dataset, by="scanner")
    assert "site" in caught.value.hint
    with pytest.raises(UsageError, match="not a dataset"):
        evaluate(tmp_path / "predictions", tmp_path / "predictions", by="site")


def test_several_processes_give_the_same_in_the_same_order(dataset: Path, tmp_path: Path) -> None:
    for case, red in (("a", 5), ("b", 4), ("c", 3)):
        write_segmentation(tmp_path / "predictions" / f"{case}.nii.gz", labels(red, 1))
    (tmp_path / "predictions" / "d.nii.gz").write_bytes(b"nothing")
    one, two = (evaluate(tmp_path / "predictions", dataset, workers=count) for count in (1, 2))
    assert one == two
    assert [failure.case for failure in two.failures] == ["d"]


def test_a_pair_takes_only_its_own_case_along(dataset: Path, tmp_path: Path) -> None:
    """A thousand cases must not be sent to a worker a thousand times."""
    manifest = read_manifest(dataset)
    many = [case.model_copy(update={"id": f"{case.id}{n}"}) for n in range(100) for case in manifest.labelled]
    write_segmentation(tmp_path / "a0.nii.gz", labels(4))
    few = len(pickle.dumps(match_predictions(tmp_path / "a0.nii.gz", _renamed(dataset, manifest, many[:4])).pairs))
    whole = len(pickle.dumps(match_predictions(tmp_path / "a0.nii.gz", _renamed(dataset, manifest, many)).pairs))
    assert whole == pytest.approx(few, abs=100)  # pickle keeps equal strings once where they are one object


def _renamed(dataset: Path, manifest: Manifest, cases: list[Case]) -> Path:
    write_manifest(dataset, manifest.model_copy(update={"cases": cases}))
    return dataset


def test_one_case_at_a_time_is_in_memory(monkeypatch: pytest.MonkeyPatch, dataset: Path, tmp_path: Path) -> None:
    for case in "abcd":
        write_segmentation(tmp_path / "p" / f"{case}.nii.gz", labels(4))
    seen: list[weakref.ref[np.ndarray]] = []

    def watched(case: str, *arrays: np.ndarray, **more: object) -> list[Score]:
        assert not any(array() is not None for array in seen)
        seen.extend(weakref.ref(array) for array in arrays[:2])
        return score_case(case, *arrays, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("osteon.evaluating.evaluate.score_case", watched)
    assert len(evaluate(tmp_path / "p", dataset, workers=1).scores) == 8
    assert len(seen) == 8


def test_processes_by_size_and_memory(monkeypatch: pytest.MonkeyPatch, dataset: Path, tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def count(items: int, bytes_each: int) -> int:
        asked.append((items, bytes_each))
        return 1

    monkeypatch.setattr("osteon.evaluating.evaluate.worker_count", count)
    write_segmentation(tmp_path / "p/a.nii.gz", labels(4))
    write_segmentation(tmp_path / "p/b.seg.nrrd", labels(4))
    (tmp_path / "p/c.nii.gz").write_bytes(b"nothing")
    evaluate(tmp_path / "p", dataset)
    assert asked == []  # 8·6·4 voxels are not worth a process
    monkeypatch.setattr("osteon.evaluating.evaluate.MANY_VOXELS", 100)
    evaluate(tmp_path / "p", dataset)
    assert asked == [(3, 24 * 192 * 2)]  # of two structures where they may overlap
