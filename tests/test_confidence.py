"""Confidence: the raw figure by hand, the calibration's laws, and reasons to look at a prediction."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import tiny_plan
from osteon.core.errors import FileError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.plan.schema import Plan
from osteon.predicting.confidence import (
    UNCALIBRATED,
    Calibration,
    calibrate,
    raw_confidence,
)
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.reference_statistics import (
    ReferenceStatistics,
    measure_statistics,
    read_reference,
    write_reference,
)
from osteon.predicting.review import TrainingFacts, reasons_to_review, removed_structures

PLAN = tiny_plan()


def replace(statistics: ReferenceStatistics, **changes: object) -> ReferenceStatistics:
    return statistics.model_copy(update=changes)


def probabilities(femur: list[float], tibia: list[float]) -> torch.Tensor:
    """Softmax over a row of voxels."""
    named = torch.tensor([femur, tibia], dtype=torch.float32)
    return torch.cat([1 - named.sum(0, keepdim=True), named])[..., None, None]


def test_the_soft_dice_by_hand() -> None:
    given = probabilities([0.9, 0.8, 0.3, 0.0], [0.0, 0.1, 0.2, 0.1])
    found = Probabilities.from_tensor(given, PLAN).labels(PLAN)
    assert found.ravel().tolist() == [1, 1, 0, 0]
    raw = raw_confidence(Probabilities.from_tensor(given, PLAN), found, PLAN)
    assert raw["femur"] == pytest.approx(2 * 1.7 / (2.0 + 2), abs=1e-5)
    assert raw["tibia"] is None


def test_a_sure_prediction_has_a_confidence_of_one() -> None:
    given = probabilities([1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    assert raw_confidence(
        Probabilities.from_tensor(given, PLAN), Probabilities.from_tensor(given, PLAN).labels(PLAN), PLAN
    ) == {
        "femur": 1.0,
        "tibia": 1.0,
    }


def test_structures_that_overlap_are_judged_apart() -> None:
    plan = tiny_plan({"overlapping": True})
    given = torch.tensor([[0.9, 0.6, 0.2], [0.8, 0.1, 0.4]])[..., None, None]
    found = Probabilities.from_tensor(given, plan).labels(plan)
    assert found[:, :, 0, 0].tolist() == [[1, 1, 0], [1, 0, 0]]
    raw = raw_confidence(Probabilities.from_tensor(given, plan), found, plan)
    assert raw["femur"] == pytest.approx(2 * 1.5 / (1.7 + 2), abs=1e-5)
    assert raw["tibia"] == pytest.approx(2 * 0.8 / (1.3 + 1), abs=1e-5)


def test_too_few_pairs_calibrate_nothing() -> None:
    assert calibrate([(0.9, 0.5)] * 9) == UNCALIBRATED
    assert UNCALIBRATED.expected(0.83) == 0.83


def test_a_network_that_is_too_sure_is_brought_down() -> None:
    pairs = [(0.9 + 0.005 * n, 0.5 + 0.02 * n) for n in range(12)]
    made = calibrate(pairs)
    assert made.rank_correlation == 1.0
    assert made.pairs == 12
    for raw, dice in pairs:
        assert made.expected(raw) == pytest.approx(dice, abs=1e-4)
    assert made.expected(0.45) == pytest.approx(0.25, abs=1e-4)  # nothing is known below: a line down to 0
    assert made.expected(1.0) == pytest.approx(0.72, abs=1e-4)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=10, max_size=40))
def test_more_confidence_is_never_less_dice(pairs: list[tuple[float, float]]) -> None:
    made = calibrate(pairs)
    expected = [made.expected(raw) for raw in np.linspace(0, 1, 23)]
    assert all(b >= a - 1e-9 for a, b in pairwise(expected))
    assert expected[0] >= 0
    assert expected[-1] <= max(d for _, d in pairs) + 1e-4
    assert Calibration.model_validate(json.loads(made.model_dump_json())) == made


# -- reasons ------------------------------------------------------


def scan(seed: int, noise: float = 0.1, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image of a box, and the box."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((16, 16, 16), dtype=np.uint8)
    labels[4 : 4 + size, 5:11, 5:11] = 1
    labels[12:14, 5:11, 5:11] = 2
    image = (labels > 0) * 2.0 + np.linspace(-1, 1, 16)[:, None, None] + rng.normal(0, noise, labels.shape)
    return image[None].astype(np.float32), labels


def seen(
    image: np.ndarray, labels: np.ndarray, plan: Plan = PLAN, spacing: tuple[float, ...] = (1, 1, 1)
) -> ReferenceStatistics:
    return measure_statistics(image, labels, plan, spacing, tuple(16 * s for s in spacing))


TRAINED = [seen(*scan(n)) for n in range(8)]
FACTS = TrainingFacts(TRAINED, {"femur": 0.9, "tibia": 0.85})
SURE: dict[str, float | None] = {"femur": 0.9, "tibia": 0.85}


def reasons(
    statistics: ReferenceStatistics, expected: dict[str, float | None] | None = None, facts: TrainingFacts = FACTS
) -> list[str]:
    return reasons_to_review(statistics, SURE if expected is None else expected, PLAN, facts)


def test_volumes_are_those_of_the_voxels() -> None:
    statistics = TRAINED[0]
    assert statistics.volumes == {"femur": 0.216, "tibia": 0.072}
    assert statistics.touching == []


def test_a_scan_like_the_others_is_no_reason() -> None:
    assert reasons(seen(*scan(99))) == []


def test_low_confidence_is_a_reason() -> None:
    (review,) = reasons(seen(*scan(99)), {"femur": 0.72, "tibia": 0.84})
    assert review == "femur: a Dice of 0.72 is to be expected, usually 0.90"
    weak = TrainingFacts(TRAINED, {"femur": 0.5, "tibia": 0.85})
    assert reasons(seen(*scan(99)), {"femur": 0.48, "tibia": 0.84}, weak) == []  # it never is better
    assert len(reasons(seen(*scan(99)), {"femur": 0.35, "tibia": 0.84}, weak)) == 1


def test_a_structure_that_is_not_found_is_a_reason() -> None:
    image, labels = scan(99)
    labels[labels == 2] = 0
    assert reasons(seen(image, labels), {"femur": 0.9, "tibia": None}) == [
        "tibia: not found; 8 of 8 training scans show it"
    ]
    half = [replace(statistics, annotated=["femur"]) for statistics in TRAINED]  # nobody looked for it
    assert reasons(seen(image, labels), {"femur": 0.9, "tibia": None}, TrainingFacts(half, {})) == []


def test_a_volume_far_off_is_a_reason() -> None:
    image, labels = scan(99)
    labels[labels == 2] = 1
    labels[4:14, 5:13, 5:13] = 1
    review = reasons(seen(image, labels), {"femur": 0.9})
    assert "femur: 0.64 cm³; in training 0.216 to 0.216" in review


def test_a_picture_is_told_by_its_area() -> None:
    """In millimetres, on pixels of half a millimetre; the two stand for a depth that nobody measured."""
    image, labels = (array[..., 8:9] for array in scan(99))
    grid = ((0.5, 0.5, 2.0), (8.0, 8.0, 2.0))
    usual = measure_statistics(image, labels, PLAN, *grid)
    grown = labels.copy()
    grown[4:14, 5:13] = 1
    review = reasons(measure_statistics(image, grown, PLAN, *grid), {"femur": 0.9}, TrainingFacts([usual] * 8, {}))
    assert "femur: 0.2 cm²; in training 0.09 to 0.09" in review


def test_a_cut_field_of_view_is_a_reason() -> None:
    image, labels = scan(99)
    review = reasons(measure_statistics(image[:, 5:], labels[5:], PLAN, (1, 1, 1), (11, 16, 16)))
    assert review[0].startswith("femur: reaches the edge of the scan")


@pytest.mark.parametrize("change", [lambda x: np.random.default_rng(0).normal(0, 1, x.shape), lambda x: -5 * x])
def test_an_image_unlike_the_others_is_a_reason(change: Any) -> None:
    image, labels = scan(99)
    review = reasons(seen(change(image).astype(np.float32), labels))
    assert len(review) == 1
    assert review[0].startswith("the image is unlike the training scans: ct: ")


def test_voxels_unlike_the_others_are_a_reason() -> None:
    image, labels = scan(99)
    statistics = replace(seen(image, labels), spacing_mm=(1, 1, 5))
    assert reasons(statistics) == ["voxels of 5 mm along S; in training 1 to 1"]


def test_a_scan_much_shorter_than_the_others_is_a_reason() -> None:
    image, labels = scan(99)
    assert reasons(replace(seen(image, labels), extent_mm=(16, 9, 16))) == []
    statistics = replace(seen(image, labels), extent_mm=(16, 7, 16))
    assert reasons(statistics) == ["reaches over 7 mm along A; in training at least 16"]


def test_few_training_scans_say_nothing_of_ranges() -> None:
    image, labels = scan(99)
    assert reasons(seen(-5 * image, labels), SURE, TrainingFacts(TRAINED[:4], {})) == []


@pytest.mark.parametrize("count", [1, 4, 8])
def test_a_structure_that_is_missing_is_a_reason_however_few_the_training_scans_are(count: int) -> None:
    image, labels = scan(99)
    nothing = seen(image, np.zeros_like(labels))
    assert reasons(nothing, {"femur": None, "tibia": None}, TrainingFacts(TRAINED[:count], {})) == [
        f"{name}: not found; {count} of {count} training scans show it" for name in ("femur", "tibia")
    ]
    lacking = [replace(statistics, volumes={"femur": 0.2}) for statistics in TRAINED[:1]]
    assert "tibia: not found; 7 of 8 training scans show it" in reasons(
        nothing, {"femur": None, "tibia": None}, TrainingFacts([*lacking, *TRAINED[1:]], {})
    )


def test_a_scan_in_which_nothing_is_found_is_looked_at_though_nobody_knows_the_training_scans() -> None:
    image, labels = scan(99)
    nothing = seen(image, np.zeros_like(labels))
    assert reasons(nothing, {"femur": None, "tibia": None}, TrainingFacts([], {})) == ["nothing was found"]


def test_a_confidence_that_is_not_calibrated_is_never_called_a_dice() -> None:
    statistics = seen(*scan(99))
    facts = TrainingFacts(TRAINED, {"femur": 0.097, "tibia": None}, calibrated=False)
    assert reasons(statistics, {"femur": 0.84, "tibia": 0.584}, facts) == [
        "femur: confidence 0.84, uncalibrated; its Dice in validation: 0.10",
        "tibia: confidence 0.58, uncalibrated",
    ]
    assert (
        reasons(statistics, {"femur": 0.9, "tibia": 0.9}, TrainingFacts(TRAINED, {"femur": 0.9}, calibrated=False))
        == []
    )


def test_what_post_processing_removes_whole_is_a_reason() -> None:
    _, labels = scan(99)
    geometry, structures = Geometry(labels.shape, np.eye(4)), tuple(PLAN.structures)
    left = Segmentation(np.where(labels == 2, 5, 0).astype(np.uint8), geometry, structures)
    assert removed_structures(["femur", "tibia"], left) == ["femur: found, and removed whole by the post-processing"]
    layers = Segmentation(np.stack([labels == 1, labels == 3]).astype(np.uint8), geometry, structures)
    assert removed_structures(["femur", "tibia"], layers) == ["tibia: found, and removed whole by the post-processing"]


def test_the_reference_comes_back(tmp_path: Path) -> None:
    cases = [*TRAINED, replace(TRAINED[0], annotated=["femur"], touching=["femur"])]
    write_reference(tmp_path / "reference.json", cases)
    assert read_reference(tmp_path / "reference.json") == cases
    assert read_reference(tmp_path / "none.json") == []
    (tmp_path / "reference.json").write_text('{"cases": [{"volumes": {}}]}')
    with pytest.raises(FileError, match="is not what osteon writes"):
        read_reference(tmp_path / "reference.json")
