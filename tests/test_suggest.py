"""`osteon suggest`: which unlabelled scans to label next, and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import osteon
from helpers import FLAT, SIDES, tiny_plan, two_boxes, write_dataset
from osteon.core.errors import DatasetError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.spreadsheets import read_rows
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.formats import write_volume
from osteon.labelling.diversity import quantiles
from osteon.labelling.network_signals import ScanProbe, coarsest_convolution
from osteon.labelling.ranking import Suggestion, rank_candidates
from osteon.labelling.signals import DIFFERENCE, SIGNALS, Candidate
from osteon.labelling.suggestion_files import read_suggestions
from osteon.networks.ensemble import Ensemble
from osteon.networks.registry import build_network
from osteon.plan.schema import Plan
from osteon.predicting.model import Model
from osteon.predicting.model_folder import save_model
from osteon.predicting.reference_statistics import ReferenceStatistics
from runs import command

Captured = pytest.CaptureFixture[str]


def order(suggestions: list[Suggestion]) -> list[str]:
    assert [each.rank for each in suggestions] == list(range(1, len(suggestions) + 1))
    return [each.case for each in suggestions]


def reasons(suggestions: list[Suggestion], case: str) -> str:
    return "; ".join(next(each.reasons for each in suggestions if each.case == case))


# The order


def test_equal_values_share_a_place_and_unknown_ones_lie_in_the_middle() -> None:
    assert quantiles(np.array([3.0, 1.0, np.nan, 3.0, 10.0])).tolist() == [0.5, 0.0, 0.5, 0.5, 1.0]
    assert quantiles(np.array([7.0])).tolist() == [0.5]
    assert quantiles(np.array([0.0, 9.0, np.inf]), np.array([1.0, 2.0, 3.0])).tolist() == [0.0, 1.0, 0.5]


def test_what_the_model_is_least_sure_of_comes_first_whatever_the_scale() -> None:
    for scale in (1.0, 0.1):
        found = rank_candidates(
            [Candidate(f"c{n}", confidence={"femur": 1 - scale * n / 10}) for n in (3, 1, 10, 2)], {}, 2
        )
        assert order(found) == ["c10", "c3", "c2", "c1"]
        assert [each.suggested for each in found] == [True, True, False, False]
        assert [each.quantiles["uncertainty"] for each in found] == [1.0, 0.667, 0.333, 0.0]


def test_a_difference_that_means_nothing_puts_nothing_in_order() -> None:
    found = rank_candidates([Candidate(f"c{n}", confidence={"femur": 0.91 + n / 1e4}) for n in range(3)], {}, 3)
    assert order(found) == ["c0", "c1", "c2"]
    assert {each.score for each in found} == {0.5}


def test_a_structure_that_is_missing_counts_as_not_found_at_all() -> None:
    sure = Candidate("a", confidence={"femur": 0.95, "tibia": None}, missing=["tibia (in 9 of 10)"])
    found = rank_candidates([sure, Candidate("b", confidence={"femur": 0.8, "tibia": 0.8})], {}, 1)
    assert order(found) == ["a", "b"]
    assert reasons(found, "a") == "not found: tibia (in 9 of 10); expected Dice 0.95 (lowest: femur 0.95)"
    empty = rank_candidates(
        [Candidate("a", confidence={"femur": None}), Candidate("b", confidence={"femur": 0.1})], {}, 1
    )
    assert order(empty) == ["a", "b"]
    assert reasons(empty, "a") == "nothing was found"


def test_scans_are_taken_farthest_first() -> None:
    """Without any other figure it is the greedy k-centre, computed here by brute force."""
    random = np.random.default_rng(0)
    points = {f"c{n}": random.normal(size=3) for n in range(12)}
    labelled = {f"known{n}": random.normal(size=3) for n in range(2)}
    together = np.array([*points.values(), *labelled.values()])
    mean, spread = together.mean(0), together.std(0)
    near, expected = [(v - mean) / spread for v in labelled.values()], []
    rest = {case: (point - mean) / spread for case, point in points.items()}
    for _ in range(6):
        best = max(rest, key=lambda case: min(np.linalg.norm(rest[case] - other) for other in near))
        near.append(rest.pop(best))
        expected.append(best)
    candidates = [Candidate(case, features=point.tolist()) for case, point in points.items()]
    known = {case: point.tolist() for case, point in labelled.items()}
    taken = [each for each in rank_candidates(candidates, known, 6) if each.suggested]
    assert order(taken) == expected
    first = taken[0]
    assert first.quantiles[DIFFERENCE] == 1.0
    assert first.reasons[0].startswith("unlike the labelled scans: farther from the nearest, known")
    assert first.reasons[0].endswith("than 100% of the candidates")


def test_of_ten_near_identical_scans_of_a_subject_one_is_suggested() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(0, 0.01, (10, 5))
    twins = [Candidate(f"t{n}", "one", {"femur": 0.2}, features=(5 + noise[n]).tolist()) for n in range(10)]
    others = [Candidate(f"o{n}", f"s{n}", {"femur": 0.9}, features=np.eye(5)[n].tolist()) for n in range(5)]
    everyone = {"o0", "o1", "o2", "o3", "o4"}
    for same in (twins, [Candidate(t.case, None, t.confidence, features=t.features) for t in twins]):
        found = rank_candidates([*same, *others], {"known": [0.0] * 5}, 7)
        assert order(found)[0].startswith("t")
        assert set(order(found)[1:6]) == everyone
        subject = " of the same subject" if same[0].subject else ""
        assert reasons(found, order(found)[6]).startswith(f"repeats {order(found)[0]}{subject}; ")
        assert reasons(found, order(found)[7]).startswith(f"left out for now: like {order(found)[0]}{subject}; ")
        assert {each.similar_to for each in found[6:]} == {order(found)[0]}


def test_of_a_subject_whose_scans_differ_one_is_suggested_first() -> None:
    first = Candidate("a1", "a", {"femur": 0.1}, features=[0.0, 0.0])
    second = Candidate("a2", "a", {"femur": 0.2}, features=[9.0, 9.0])
    found = rank_candidates([first, second, Candidate("b", "b", {"femur": 0.9}, features=[5.0, 0.0])], {}, 2)
    assert order(found) == ["a1", "b", "a2"]


def test_what_is_below_the_middle_is_no_reason() -> None:
    unsure = Candidate("unsure", confidence={"femur": 0.3}, agreement={"femur": 0.98}, looks=5)
    split = Candidate("split", confidence={"femur": 0.9}, agreement={"femur": 0.4}, looks=5)
    found = rank_candidates([unsure, split], {}, 2)
    assert reasons(found, "unsure") == "expected Dice 0.30 (lowest: femur 0.30)"
    assert reasons(found, "split") == "the 5 folds differ most in femur: Dice 0.40 between them"


def test_scans_without_features_are_ranked_by_the_rest() -> None:
    known = [Candidate(f"c{n}", confidence={"femur": 0.5 + n / 10}, features=[float(n)]) for n in range(3)]
    found = rank_candidates([*known, Candidate("blank", confidence={"femur": 0.1})], {"one": [1.0]}, 4)
    assert next(each for each in found if each.case == "blank").values[DIFFERENCE] is None
    assert sorted(order(found)) == ["blank", "c0", "c1", "c2"]


def test_every_signal_has_a_weight_and_a_reason_for_it() -> None:
    assert [signal.name for signal in SIGNALS] == ["uncertainty", "disagreement", "names", "label", DIFFERENCE]
    assert all(signal.weight > 0 and signal.why for signal in SIGNALS)


def levels(margin: float, *ways: tuple[list[str], float]) -> dict[str, Any]:
    # names in the order of the grid's axis, from below; people count from above
    found = [{"names": names, "first": names[-1], "probability": chance} for names, chance in ways]
    return {"margin": margin, "assignments": found}


def test_reasons_are_words() -> None:
    lumbar, shifted = ["L5", "L4", "L3", "L2", "L1"], ["L4", "L3", "L2", "L1", "T12"]
    doubtful = Candidate("doubt", levels=levels(0.27, (lumbar, 0.62), (shifted, 0.35)))
    split = Candidate("split", agreement={"fibula": 0.61, "tibia": 0.9}, looks=5)
    mirrored = Candidate("mirror", agreement={"fibula": 0.7, "tibia": None}, look="mirror", looks=2)
    wrong = Candidate("wrong", label_dice={"fibula": 0.31, "tibia": 0.8}, calibrated=False, confidence={"tibia": 0.4})
    calm = Candidate("calm", levels=levels(0.99, (lumbar, 0.99)), agreement={"fibula": 0.99}, confidence={"tibia": 0.9})
    right = Candidate("right", label_dice={"fibula": 0.9})
    found = rank_candidates([doubtful, split, mirrored, wrong, right, calm], {}, 6)
    assert reasons(found, "doubt") == "names in doubt: L1…L5 62%, T12…L4 35%"
    assert reasons(found, "split") == "the 5 folds differ most in fibula: Dice 0.61 between them"
    assert reasons(found, "mirror") == "the scan and its mirror image differ most in fibula: Dice 0.70 between them"
    assert "confidence 0.40, uncalibrated (lowest: tibia 0.40)" in reasons(found, "wrong")
    assert "differ: Dice fibula 0.31, tibia 0.80" in reasons(found, "wrong")
    assert order(found)[-1] == "calm"


# What the network says


def probe(changes: dict[str, Any], members: int = 1) -> tuple[ScanProbe, Model, Plan]:
    plan = tiny_plan(changes)
    torch.manual_seed(3)
    networks = [build_network(plan).eval() for _ in range(members)]
    network = networks[0] if members == 1 else Ensemble(networks).eval()
    model = Model(network, plan, {}, "weights")
    return ScanProbe(model), model, plan


def scan(shape: tuple[int, int, int] = (8, 8, 8), unit: Any = "mm") -> Volume:
    image, _, affine = two_boxes(shape)
    return Volume(image[None].astype(np.float32), Geometry(image.shape, affine, unit))


def pair_dice(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@torch.inference_mode()
def test_folds_are_compared_pair_by_pair() -> None:
    found, model, plan = probe({}, members=3)
    prepared = model.prepare(scan())
    image = torch.from_numpy(prepared.image)[None]
    labels = [member(image)[0].argmax(1) for member in model.network.members]  # type: ignore[union-attr]
    signals = found.measure(prepared)
    assert (signals.look, signals.looks) == ("fold", 3)
    for number, structure in enumerate(plan.structures, 1):
        masks = [each == number for each in labels]
        dices = [pair_dice(masks[a], masks[b]) for a, b in ((0, 1), (0, 2), (1, 2)) if (masks[a] | masks[b]).any()]
        expected = np.mean(dices) if dices else None
        assert signals.agreement[structure.name] == pytest.approx(expected, abs=1e-4)
    outputs: list[torch.Tensor] = []
    layer = coarsest_convolution(model.network, plan)
    assert layer is not None
    hook = layer.register_forward_hook(lambda _m, _i, output: outputs.append(output.clone()))
    model.network.members[0](image)  # type: ignore[union-attr]
    hook.remove()
    assert outputs[0].shape == (1, 6, 4, 4, 4)
    assert signals.features == pytest.approx(outputs[0].mean((0, 2, 3, 4)).tolist(), rel=1e-3, abs=1e-4)


@torch.inference_mode()
def test_one_network_looks_at_the_mirror_image_where_sides_swap_names() -> None:
    found, model, plan = probe({"structures": SIDES, "augmentation.mirror_axes": [0]})
    prepared = model.prepare(scan())
    image = torch.from_numpy(prepared.image)[None]
    labels = model.network(image)[0].argmax(1)
    mirrored = model.network(image.flip(2))[0].flip(2)[:, [0, 3, 2, 1]].argmax(1)
    signals = found.measure(prepared)
    assert (signals.look, signals.looks) == ("mirror", 2)
    for number, structure in enumerate(plan.structures, 1):
        first, second = labels == number, mirrored == number
        expected = pair_dice(first, second) if (first | second).any() else None
        assert signals.agreement[structure.name] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (20, 8, 12)),
        (FLAT, (8, 8, 5)),
        ({"overlapping": True}, (20, 8, 12)),
        ({"network.residual": True}, (8, 8, 8)),
    ],
)
def test_a_scan_in_patches_in_slices_or_with_overlaps_says_the_same_twice(
    changes: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    found, model, _ = probe(changes)
    prepared = model.prepare(scan(shape))
    signals = found.measure(prepared)
    assert signals.look == "noise"
    assert found.measure(prepared) == signals
    assert len(signals.features) == 6
    assert np.isfinite(signals.features).all()
    assert set(signals.agreement) == {"femur", "tibia"}
    assert not any(module._forward_hooks for module in model.network.modules())


# The command


def cohort(folder: Path, unlabelled: int = 5, **changes: Any) -> Dataset:
    dataset = write_dataset(folder, {f"c{n}": two_boxes(seed=n) for n in range(3 + unlabelled)})
    cases = [
        case.model_copy(update={} if number < 3 else {"segmentation": None, "subject": "s" if number > 5 else None})
        for number, case in enumerate(dataset.manifest.cases)
    ]
    write_manifest(folder, dataset.manifest.model_copy(update={"cases": cases, **changes}))
    return Dataset.open(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with the weights of three folds, which nobody has trained."""
    run = tmp_path_factory.mktemp("run")
    plan = tiny_plan()
    torch.manual_seed(0)
    network = Ensemble([build_network(plan) for _ in range(3)])
    validation = {"dice": 0.5, "cases": {"c0": {"femur": 0.9, "tibia": 0.8}, "c1": {"femur": 0.2, "tibia": 0.3}}}
    shown = ReferenceStatistics(
        volumes={"femur": 1.0, "tibia": 1.0},
        touching=[],
        image={},
        spacing_mm=[1] * 3,
        extent_mm=[9] * 3,
        looked_for=None,
    )
    save_model(run / "model", Model(network, plan, validation, "", reference=[shown]), "# A card\n")
    return run


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return cohort(tmp_path / "data")


def files_in(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.*")) if path.is_file()
    }


def test_suggestions_are_shown_and_written_and_nothing_is_done_twice(
    data: Dataset, trained: Path, capsys: Captured
) -> None:
    assert command("suggest", data.folder, trained, "--count", 3, "--device", "cpu") == 0
    printed = capsys.readouterr().out
    folder = data.folder / "suggestions"
    assert "all 5 scans in their order" in printed
    found = read_suggestions(folder)
    assert sorted(order(found)) == ["c3", "c4", "c5", "c6", "c7"]
    assert [each.suggested for each in found] == [True] * 3 + [False] * 2
    for each in found[:3]:
        assert each.case in printed
        assert each.reasons
    rows = list(read_rows((folder / "suggestions.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == order(found)
    assert rows[0]["suggested"] == "yes"
    record = json.loads((folder / "suggestions.json").read_text())
    assert set(record["signals"]) == {signal.name for signal in SIGNALS}
    before = files_in(folder)
    assert "predictions/c3.nii.gz" in before
    assert {f".records/signals/c{n}.json" for n in range(8)} <= set(before)
    assert command("suggest", data.folder, trained, "--count", 3, "--device", "cpu") == 0
    after = files_in(folder)
    assert {name for name in after if after[name] != before.get(name)} <= {"suggestions.csv", "suggestions.json"}
    assert read_suggestions(folder) == found


def test_a_scan_that_has_changed_is_measured_again(data: Dataset, trained: Path) -> None:
    osteon.suggest(data.folder, trained, device="cpu")
    before = files_in(data.folder / "suggestions")
    shutil.copy(data.folder / "images/c0.nii.gz", data.folder / "images/c4.nii.gz")
    report = osteon.suggest(data.folder, trained, device="cpu")
    after = files_in(report.out)
    assert ".records/signals/c4.json" in {name for name in after if after[name] != before[name]}
    assert ".records/signals/c3.json" not in {name for name in after if after[name] != before[name]}
    copied = next(each for each in report.suggestions if each.case == "c4")
    assert copied.values[DIFFERENCE] == pytest.approx(0.0, abs=1e-2)  # as near as can be to c0, which has a label


def test_a_scan_that_cannot_be_read_is_reported_and_the_others_go_on(
    data: Dataset, trained: Path, capsys: Captured
) -> None:
    for case in ("c1", "c5"):
        (data.folder / f"images/{case}.nii.gz").write_bytes(b"no image")
    assert command("suggest", data.folder, trained, "--device", "cpu") == 1
    printed = capsys.readouterr()
    assert "2 cases could not be read or predicted" in printed.err
    assert "only 4 scans could be suggested; 10 were asked for" in printed.err
    record = json.loads((data.folder / "suggestions/suggestions.json").read_text())
    assert set(record["failed"]) == {"c1", "c5"}
    assert sorted(each["case"] for each in record["suggestions"]) == ["c3", "c4", "c6", "c7"]


def test_predictions_that_are_there_are_taken(data: Dataset, trained: Path, tmp_path: Path, capsys: Captured) -> None:
    osteon.predict(trained, data.folder, tmp_path / "before", device="cpu")
    out = tmp_path / "out"
    assert (
        command("suggest", data.folder, trained, "--predictions", tmp_path / "before", "--to", out, "--device", "cpu")
        == 0
    )
    assert not (out / "predictions").exists()
    assert len(read_suggestions(out)) == 5
    assert not (data.folder / "suggestions").exists()
    record = json.loads((tmp_path / "before/predictions.json").read_text())
    for entry in record.values():
        entry["model"] = "another"
    del record["c3"]
    (tmp_path / "before/predictions.json").write_text(json.dumps(record))
    shutil.rmtree(tmp_path / "before/.records")
    capsys.readouterr()
    report = osteon.suggest(data.folder, trained, out, predictions=tmp_path / "before", device="cpu")
    assert len(report.suggestions) == 5
    printed = capsys.readouterr().err
    assert "1 scan to be predicted, since not there: c3" in printed
    assert "made by another model" in printed
    assert (out / "predictions/c3.nii.gz").is_file()
    with pytest.raises(UsageError, match=r"holds no predictions\.json"):
        osteon.suggest(data.folder, trained, out, predictions=data.folder, device="cpu")


def test_labelled_scans_are_ranked_where_that_is_wanted(data: Dataset, trained: Path) -> None:
    report = osteon.suggest(data.folder, trained, labelled=True, count=8, device="cpu")
    assert sorted(report.suggested) == [f"c{n}" for n in range(8)]
    worst = next(each for each in report.suggestions if each.case == "c1")
    assert worst.values["label"] == 0.75
    assert any(words.endswith("Dice femur 0.20, tibia 0.30") for words in worst.reasons)
    assert next(each for each in report.suggestions if each.case == "c4").values["label"] is None


def test_a_scan_that_is_held_out_is_not_suggested(data: Dataset, trained: Path) -> None:
    held = [case.model_copy(update={"held_out": case.id in ("c0", "c4")}) for case in data.manifest.cases]
    write_manifest(data.folder, data.manifest.model_copy(update={"cases": held}))
    report = osteon.suggest(data.folder, trained, device="cpu")
    assert sorted(report.suggested) == ["c3", "c5", "c6", "c7"]
    assert not (report.out / ".records/signals/c0.json").exists()
    every = [case.model_copy(update={"held_out": case.segmentation is None}) for case in data.manifest.cases]
    write_manifest(data.folder, data.manifest.model_copy(update={"cases": every}))
    with pytest.raises(DatasetError, match="every case has a label but 5 cases held out"):
        osteon.suggest(data.folder, trained, device="cpu")


def test_a_dataset_without_an_unlabelled_scan_is_refused(tmp_path: Path, trained: Path, capsys: Captured) -> None:
    data = cohort(tmp_path / "data", unlabelled=0)
    assert command("suggest", data.folder, trained, "--device", "cpu") == 1
    assert "every case has a label: there is none to suggest" in capsys.readouterr().err


def test_a_run_of_other_data_is_refused(tmp_path: Path, trained: Path, capsys: Captured) -> None:
    data = cohort(tmp_path / "data")
    two = [{"name": name, "modality": "mr"} for name in ("t1", "t2")]
    for changes, said in (
        ({"channels": two}, "its channels are ct, the dataset's t1, t2"),
        ({"channels": [{"name": "ct", "modality": "mr"}]}, "its channels are ct"),
        ({"structures": [data.structures[0].model_dump()]}, "the dataset has no tibia"),
    ):
        manifest = data.manifest.model_dump() | changes
        write_manifest(data.folder, type(data.manifest).model_validate(manifest))
        assert command("suggest", data.folder, trained, "--device", "cpu") == 2
        assert said in capsys.readouterr().err.replace("\n", " ")


def test_nothing_was_suggested_yet(tmp_path: Path) -> None:
    assert read_suggestions(tmp_path) == []
    (tmp_path / "out").write_text("a file")
    assert command("suggest", tmp_path, tmp_path, "--to", tmp_path / "out") == 2


def test_a_blank_picture_fails_alone(data: Dataset, trained: Path) -> None:
    write_volume(data.folder / "images/c3.nii.gz", Volume(np.full((1, 8, 8, 8), np.nan, np.float32), scan().geometry))
    report = osteon.suggest(data.folder, trained, device="cpu")
    assert set(report.failed) == {"c3"}
    assert sorted(report.suggested) == ["c4", "c5", "c6", "c7"]
