"""Thresholds and weights chosen on labelled cases, and only where that holds on cases left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml

import osteon
from helpers import spacing_affine, write_dataset
from osteon.core.dice import count_overlap, dice
from osteon.core.errors import DatasetError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.formats import read_segmentation, write_segmentation
from osteon.formats.probabilities import make_header, write_probabilities
from osteon.formats.rle import encode_rle, write_rle_csv
from osteon.voting.run_length import encode_mask
from osteon.voting.vote_counts import VoteSample, sample_levels, sample_masks
from osteon.voting.weight_search import choose_threshold, choose_weights
from runs import command

SHAPE = (16, 14, 1)
BONES = make_structures(["femur", "tibia"], [3, 5])
CASES = 6
Masks = npt.NDArray[np.bool_]
Captured = pytest.CaptureFixture[str]


def truth(case: int) -> npt.NDArray[np.uint8]:
    """Layers of two bones."""
    layers = np.zeros((2, *SHAPE), dtype=np.uint8)
    layers[0, 2 + case % 3 : 9, 3:10] = 1
    layers[1, 8:14, 4 + case % 2 : 11] = 1
    return layers


def member_layers(case: int, member: int) -> npt.NDArray[np.uint8]:
    """Each member sees every third line of the femur, so that one is enough; two see a tibia that is not there."""
    layers = truth(case).copy()
    layers[0, np.arange(SHAPE[0]) % 3 != member] = 0
    layers[1, :4, 0] = member < 2
    return layers


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    image = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    cases = {f"c{n}": (image, truth(n), np.eye(4)) for n in range(CASES)}
    return write_dataset(tmp_path / "set", cases, BONES, overlapping=True, unit="px", modality="xray")


def members(folder: Path, count: int = 3) -> list[Path]:
    geometry = Geometry(SHAPE, np.eye(4), "px")
    for member in range(count):
        for case in range(CASES):
            path = folder / f"m{member}/c{case}.seg.nrrd"
            write_segmentation(path, Segmentation(member_layers(case, member), geometry, BONES))
    return [folder / f"m{member}" for member in range(count)]


def tables(folder: Path, count: int = 3) -> list[Path]:
    paths = [folder / f"m{member}.csv" for member in range(count)]
    for member, path in enumerate(paths):
        rows = [
            (f"c{case}.png", bone.name, encode_rle(layer[:, :, 0].T))
            for case in range(CASES)
            for bone, layer in zip(BONES, member_layers(case, member), strict=True)
        ]
        write_rle_csv(path, rows)
    return paths


def mean_dice(out: Path, structure: int) -> float:
    figures = []
    for case in range(CASES):
        made = read_segmentation(out / f"c{case}.seg.nrrd")
        counts = count_overlap(made.array, truth(case), BONES)
        figures.append(dice(counts[BONES[structure].name]) or 0.0)
    return float(np.mean(figures))


# Samples


@pytest.mark.parametrize("least", [1, 2, 3])
def test_a_sample_gives_the_dice_of_every_vote(least: int) -> None:
    rng = np.random.default_rng(least)
    member_votes, right = rng.random((3, 200)) < 0.4, rng.random(200) < 0.5
    sample = sample_masks([encode_mask(one) for one in member_votes], encode_mask(right), 200)
    decided = member_votes.sum(axis=0) >= least
    expected = 2 * (decided & right).sum() / (decided.sum() + right.sum())
    assert sample.dice((sample.levels > 0).sum(axis=0) >= least) == pytest.approx(expected)
    assert sample.levels.shape[1] <= 16


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (0.0, 1.0)])
def test_a_sample_of_probabilities_too(weights: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (2, 300)).astype(np.uint8)
    right = rng.random(300) < 0.5
    sample = sample_levels(list(levels), right)
    decided = np.average(levels.astype(float), axis=0, weights=weights) > 127.5
    expected = 2 * (decided & right).sum() / (decided.sum() + right.sum())
    chosen = np.average(sample.levels.astype(float), axis=0, weights=weights) > 127.5
    assert sample.dice(chosen) == pytest.approx(expected)
    assert sample.counts.sum() < 300


def sample(member_votes: list[list[int]], right: list[int]) -> VoteSample:
    runs = [encode_mask(np.array(one)) for one in member_votes]
    return sample_masks(runs, encode_mask(np.array(right)), len(right))


def test_one_case_chooses_nothing() -> None:
    one = sample([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [1, 1, 1])
    chosen = choose_threshold([one], 3)
    assert (chosen.fitted, chosen.usual, chosen.left_out, chosen.replaces_default) == (1, 0, None, False)
    chosen = choose_threshold([one, one], 3)
    assert (chosen.threshold, chosen.left_out, chosen.replaces_default) == (1, 1, True)


def test_what_does_not_hold_on_other_cases_is_not_taken() -> None:
    # One voice is right in the first case, 1/2 → 1, and wrong in the second, 1 → 2/3. On both together it looks better.
    first = sample([[1, 0, 1], [0, 1, 1], [0, 0, 1]], [1, 1, 1])
    second = sample([[1, 0, 1], [0, 0, 1], [0, 0, 1]], [0, 0, 1])
    chosen = choose_threshold([first, second], 3)
    assert (chosen.usual, chosen.fitted) == (pytest.approx(3 / 4), pytest.approx(5 / 6))
    assert chosen.left_out == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert not chosen.replaces_default
    assert chosen.left_out is not None
    assert chosen.usual is not None
    assert chosen.left_out < chosen.usual


def test_weights_go_to_who_is_right() -> None:
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(6):
        right = rng.random(400) < 0.5
        member_votes = [right ^ (rng.random(400) < wrong) for wrong in (0.02, 0.45, 0.45)]
        cases.append(sample([one.astype(int).tolist() for one in member_votes], right.astype(int).tolist()))
    chosen = choose_weights(cases, 3)
    assert chosen.replaces_default
    assert chosen.weights is not None
    assert chosen.weights[0] > 1 > chosen.weights[1]
    assert sum(chosen.weights) == pytest.approx(3, abs=1e-5)
    assert chosen.left_out is not None
    assert chosen.usual is not None
    assert chosen.left_out > chosen.usual + 0.1


# From end to end


def test_thresholds_are_fitted_and_used(dataset: Dataset, tmp_path: Path, capsys: Captured) -> None:
    paths, file = members(tmp_path), tmp_path / "votes.yaml"
    assert command("vote", *paths, file, "--fit", dataset.folder) == 0
    shown = capsys.readouterr()
    assert f"fitted on 6 cases: {file}" in shown.out
    assert "6 cases are few" in shown.err
    data = yaml.safe_load(file.read_text())
    assert data["thresholds"] == {"femur": 1, "tibia": 3}
    assert data["cases"] == 6
    assert data["dice"]["femur"]["fitted"] == data["dice"]["femur"]["left_out"] == 1
    assert data["dice"]["tibia"]["left_out"] == 1
    assert data["dice"]["femur"]["usual"] == 0
    assert file.read_text().startswith("# Fitted by `osteon vote --fit` on 6 cases.")
    assert command("vote", *paths, tmp_path / "out", "--threshold", file) == 0
    assert command("vote", *paths, tmp_path / "usual") == 0
    for number, bone in enumerate(BONES):
        figures = data["dice"][bone.name]
        assert mean_dice(tmp_path / "out", number) == pytest.approx(figures["fitted"], abs=1e-5)
        assert mean_dice(tmp_path / "usual", number) == pytest.approx(figures["usual"], abs=1e-5)
    assert command("vote", *paths, file, "--fit", dataset.folder) == 2
    assert "is there already" in capsys.readouterr().err


def test_tables_are_fitted_likewise(dataset: Dataset, tmp_path: Path) -> None:
    one = osteon.fit_vote(members(tmp_path), dataset.folder, tmp_path / "a.yaml")
    other = osteon.fit_vote(tables(tmp_path), dataset.folder, tmp_path / "b.yaml")
    assert one.structures == other.structures
    assert one.cases == other.cases


@pytest.mark.parametrize("method", ["hard", "soft"])
def test_weights_are_fitted_and_used(dataset: Dataset, tmp_path: Path, method: Any) -> None:
    rng = np.random.default_rng(0)
    geometry = Geometry(SHAPE, np.eye(4), "px")
    paths = [tmp_path / f"m{n}" for n in range(3)]
    for member, wrong in enumerate((0.02, 0.4, 0.4)):
        for case in range(CASES):
            layers = truth(case) ^ (rng.random((2, *SHAPE)) < wrong)
            layers = layers.astype(np.uint8)
            write_segmentation(paths[member] / f"c{case}.seg.nrrd", Segmentation(layers, geometry, BONES))
            with write_probabilities(paths[member] / f"c{case}.probabilities.npz") as writer:
                writer.begin(make_header(BONES, geometry, overlapping=True))
                for layer in layers:
                    writer.add(0.2 + 0.6 * layer)
    file = tmp_path / "votes.yaml"
    fitted = osteon.fit_vote(paths, dataset.folder, file, method=method, part="weights")
    weights = yaml.safe_load(file.read_text())["weights"]
    assert weights["femur"][0] > 1 > weights["femur"][1]
    osteon.vote(paths, tmp_path / "out", method=method, weights=file)
    osteon.vote(paths, tmp_path / "usual", method=method)
    for number, bone in enumerate(BONES):
        assert mean_dice(tmp_path / "out", number) == pytest.approx(fitted.structures[bone.name].fitted)
        assert mean_dice(tmp_path / "usual", number) == pytest.approx(fitted.structures[bone.name].usual)
        assert mean_dice(tmp_path / "out", number) > mean_dice(tmp_path / "usual", number) + 0.05


def test_structures_that_nobody_annotated_are_not_fitted_there(dataset: Dataset, tmp_path: Path) -> None:
    changed = [c.model_copy(update={"annotated": ["femur"]} if c.id != "c5" else {}) for c in dataset.manifest.cases]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": changed}))
    found = osteon.fit_vote(members(tmp_path), dataset.folder, tmp_path / "votes.yaml")
    assert {name: chosen.cases for name, chosen in found.structures.items()} == {"femur": 6, "tibia": 1}
    assert not found.structures["tibia"].replaces_default


def test_cases_held_out_are_told(dataset: Dataset, tmp_path: Path, capsys: Captured) -> None:
    changed = [c.model_copy(update={"held_out": c.id == "c2"}) for c in dataset.manifest.cases]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": changed}))
    assert command("vote", *members(tmp_path), tmp_path / "votes.yaml", "--fit", dataset.folder) == 0
    assert "1 of them are held out for the final test" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "votes.yaml").read_text())["held_out"] == 1


def test_what_cannot_be_used_is_told_and_the_rest_fitted(dataset: Dataset, tmp_path: Path, capsys: Captured) -> None:
    paths = members(tmp_path)
    (paths[1] / "c0.seg.nrrd").write_bytes(b"nothing")
    moved = Geometry(SHAPE, spacing_affine(1, 1, 1, origin=(9, 9, 9)), "px")
    write_segmentation(paths[1] / "c1.seg.nrrd", Segmentation(member_layers(1, 1), moved, BONES))
    assert command("vote", *paths, tmp_path / "votes.yaml", "--fit", dataset.folder) == 1
    output = capsys.readouterr().err
    assert "1 row or files could not be used" in output
    assert f"{paths[1]}/c0.seg.nrrd" in output
    assert "1 case could not be used" in output
    assert yaml.safe_load((tmp_path / "votes.yaml").read_text())["cases"] == 5


def test_misuse_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    paths = members(tmp_path)
    for options, says in (
        ({"method": "staple"}, "nothing to fit"),
        ({"method": "soft", "part": "threshold"}, "has no thresholds"),
        ({"out": tmp_path / "votes.txt"}, "written as YAML"),
    ):
        where = {"out": tmp_path / "votes.yaml", **options}
        with pytest.raises(UsageError, match=says):
            osteon.fit_vote(paths, dataset.folder, **where)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a table of RLE holds no probabilities"):
        osteon.fit_vote(tables(tmp_path), dataset.folder, tmp_path / "votes.yaml", method="soft")
    other = write_dataset(tmp_path / "other", {"x": (np.zeros(SHAPE), truth(0), np.eye(4))}, BONES, overlapping=True)
    with pytest.raises(DatasetError, match="has no labels of a case that a member has"):
        osteon.fit_vote(paths, other.folder, tmp_path / "votes.yaml")
    assert command("vote", *paths, tmp_path / "votes.yaml", "--fit", dataset.folder, "--threshold", "2") == 2
    assert not (tmp_path / "votes.yaml").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("weights: {femur: [1, 2]}", "2 weights for 3 members"),
        ("weights: {femur: 2}", "1 weights for 3 members"),
        ("thresholds: {femur: 2}", "holds no weights"),
        ("[1, 2]", "holds no weights"),
        ("weights: {femur: [1, 2, x]}", "is not a number"),
    ],
)
def test_files_that_say_no_weights_are_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "votes.yaml").write_text(content)
    with pytest.raises(UsageError, match=says):
        osteon.vote(members(tmp_path), tmp_path / "out", weights=tmp_path / "votes.yaml")
