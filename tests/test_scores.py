"""Scores, summaries and their table: values computed by hand on boxes with unequal edges."""

import io

import numpy as np
import pytest
from rich.console import Console

from osteon.core.geometry import Geometry
from osteon.core.labels import make_structures
from osteon.evaluating.scores import Score, score_case
from osteon.evaluating.summary import OVERALL, Spread, overall, spread, summarise
from osteon.evaluating.table import summary_table

STRUCTURES = make_structures(["red", "green", "blue", "yellow", "grey"])
GRID = Geometry((10, 10, 10), np.diag([0.5, 2.0, 4.0, 1.0]))  # 4 mm³ a voxel


def scored(geometry: Geometry = GRID, *, multi_hot: bool = False) -> dict[str, Score]:
    prediction = np.zeros(geometry.shape, dtype=np.uint8)
    reference = np.zeros(geometry.shape, dtype=np.uint8)
    prediction[0:5, :, :5] = 1  # 250 voxels
    reference[0:4, :, :5] = 1  # 200 voxels, all of them shared
    reference[9, 0] = 2  # missed: 10 voxels
    prediction[9, 1] = 3  # invented: 10 voxels
    prediction[8, 2], reference[8, 2:4] = 5, 5  # not annotated
    if multi_hot:
        prediction, reference = (np.stack([a == s.value for s in STRUCTURES]) for a in (prediction, reference))
    names = ["red", "green", "blue", "yellow"]
    scores = score_case("a", prediction, reference, geometry, STRUCTURES, annotated=names)
    return {score.structure: score for score in scores}


@pytest.mark.parametrize("multi_hot", [False, True])
def test_every_state_by_hand(multi_hot: bool) -> None:
    scores = scored(multi_hot=multi_hot)
    approx = pytest.approx
    assert scores["red"] == Score("a", "red", "both", approx(400 / 450), 200, 250, approx(0.8), 1.0, approx(0.2), 25.0)
    assert scores["green"] == Score("a", "green", "missed", 0.0, 10, 0, approx(0.04), 0.0, approx(-0.04), -100.0)
    assert scores["blue"] == Score("a", "blue", "invented", 0.0, 0, 10, 0.0, approx(0.04), approx(0.04), None)
    assert scores["yellow"] == Score("a", "yellow", "absent", None, 0, 0, 0.0, 0.0, None, None)
    assert scores["grey"] == Score("a", "grey", "not annotated", None, None, 10, None, approx(0.04), None, None)


def test_everything_counts_as_annotated_unless_said() -> None:
    empty = np.zeros(GRID.shape, dtype=np.uint8)
    assert {s.state for s in score_case("a", empty, empty, GRID, STRUCTURES)} == {"absent"}


@pytest.mark.parametrize(
    "geometry", [Geometry((10, 10, 10), np.eye(4), "px"), Geometry((10, 100, 1), np.diag([0.2, 0.2, 1, 1]))]
)
def test_a_picture_has_no_volume(geometry: Geometry) -> None:
    one = np.zeros(geometry.shape, dtype=np.uint8)
    one[0] = 1
    two = one.copy()
    two[1] = 1
    score = score_case("a", two, one, geometry, STRUCTURES[:1])[0]
    assert (score.reference_cm3, score.predicted_cm3, score.volume_error_cm3) == (None, None, None)
    assert score.volume_error_percent == 100.0
    assert score.predicted_voxels == 2 * score.reference_voxels


def test_sheared_voxels_have_the_volume_of_the_determinant() -> None:
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[0, 2] = 3.0  # a gantry tilt lengthens the column, not the volume
    one = np.ones((10, 10, 10), dtype=np.uint8)
    score = score_case("a", one, one, Geometry((10, 10, 10), affine), STRUCTURES[:1])[0]
    assert score.reference_cm3 == pytest.approx(20.0)


def test_spread_takes_the_sample_sd_and_leaves_none_out() -> None:
    assert spread([1.0, None, 2.0, 6.0]) == Spread(3, 3.0, pytest.approx(7**0.5), 2.0)
    assert spread([4.0]) == Spread(1, 4.0, None, 4.0)
    assert spread([None]) == Spread(0, None, None, None)


def _score(structure: str, state: str, dice: float | None, error: float | None = None) -> Score:
    return Score("x", structure, state, dice, 1, 1, 1.0, 1.0, error, error)  # type: ignore[arg-type]


SCORES = [
    *(_score("red", "both", value, error) for value, error in ((0.9, 1.0), (0.8, -2.0), (0.7, 1.0))),
    _score("red", "absent", None),
    _score("green", "both", 0.5, 0.5),
    _score("green", "missed", 0.0, -1.5),
    _score("blue", "not annotated", None),
]


def test_summary_by_hand() -> None:
    red, green, blue = summarise(SCORES)
    assert red.dice == Spread(3, pytest.approx(0.8), pytest.approx(0.1), 0.8)
    assert red.volume_error_cm3 == Spread(3, pytest.approx(0.0), pytest.approx(3**0.5), 1.0)
    assert (red.both, red.absent, red.missed, red.not_annotated) == (3, 1, 0, 0)
    assert green.dice == Spread(2, 0.25, pytest.approx(0.125**0.5), 0.25)
    assert (green.both, green.missed) == (1, 1)
    assert blue.dice == Spread(0, None, None, None)
    assert blue.not_annotated == 1


def test_overall_weighs_structures_alike() -> None:
    line = overall(summarise(SCORES))
    assert line.structure == OVERALL
    # (0.8 + 0.25) / 2, not the 0.58 that a mean over all five values would give
    assert line.dice == Spread(5, pytest.approx(0.525), pytest.approx(0.55 / 2**0.5), pytest.approx(0.525))
    assert (line.both, line.missed, line.absent, line.not_annotated) == (4, 1, 1, 1)


def test_table_shows_what_was_computed() -> None:
    console = Console(width=80, file=io.StringIO())
    summaries = summarise(SCORES)
    console.print(summary_table(summaries, overall(summaries), STRUCTURES))
    lines = {line.removeprefix("● ").split()[0]: line.split() for line in _lines(console)}
    assert " ".join(lines["red"]) == "● red 0.800 ± 0.100 0.800 +0.00 ± 1.73 +0.0 ± 1.7 3 1/–/–"
    assert " ".join(lines["blue"]) == "● blue – – – – 0 –/–/–"
    assert " ".join(lines["overall"]).startswith("overall 0.525 ± 0.389 0.525")


def _lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.strip() for line in console.file.getvalue().splitlines() if line.strip()]
