"""Scores, summaries and their table: values computed by hand on boxes with unequal edges."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from helpers import box
from osteon.core.geometry import Geometry
from osteon.core.labels import make_structures
from osteon.core.statistics import SampleStatistics
from osteon.evaluating.groups import UNKNOWN, group_scores
from osteon.evaluating.scores import MetricOptions, Score, score_case
from osteon.evaluating.summary import OVERALL, overall, summarise
from osteon.evaluating.table import group_table, summary_table

STRUCTURES = make_structures(["red", "green", "blue", "yellow", "grey"])
GRID = Geometry((10, 10, 10), np.diag([0.5, 2.0, 4.0, 1.0]))  # 4 mm³ a voxel


def scored(measures: MetricOptions, *, multi_hot: bool = False) -> dict[str, Score]:
    prediction = np.zeros(GRID.shape, dtype=np.uint8)
    reference = np.zeros(GRID.shape, dtype=np.uint8)
    prediction[0:5, :, :5] = 1  # 250 voxels
    reference[0:4, :, :5] = 1  # 200 voxels, all of them shared
    reference[9, 0] = 2  # missed: 10 voxels
    prediction[9, 1] = 3  # invented: 10 voxels
    prediction[8, 2], reference[8, 2:4] = 5, 5  # not annotated
    if multi_hot:
        prediction, reference = (np.stack([a == s.value for s in STRUCTURES]) for a in (prediction, reference))
    names = ["red", "green", "blue", "yellow"]
    scores = score_case("a", prediction, reference, GRID, STRUCTURES, annotated=names, measures=measures)
    return {score.structure: score for score in scores}


@pytest.mark.parametrize("multi_hot", [False, True])
def test_every_state_by_hand(multi_hot: bool) -> None:
    scores = scored(MetricOptions(surfaces=False), multi_hot=multi_hot)
    approx = pytest.approx
    assert scores["red"] == Score(
        *("a", "red", "both", approx(400 / 450), 200, 250, approx(0.8), 1.0, approx(0.2), 25.0),
        *(approx(200 / 250), approx(200 / 250), 1.0),
    )
    assert scores["green"] == Score(
        "a", "green", "missed", 0.0, 10, 0, approx(0.04), 0.0, approx(-0.04), -100.0, 0.0, None, 0.0
    )
    assert scores["blue"] == Score(
        "a", "blue", "invented", 0.0, 0, 10, 0.0, approx(0.04), approx(0.04), None, 0.0, 0.0, None
    )
    assert scores["yellow"] == Score("a", "yellow", "absent", None, 0, 0, 0.0, 0.0, None, None)
    assert scores["grey"] == Score("a", "grey", "not annotated", None, None, 10, None, approx(0.04), None, None)


@pytest.mark.parametrize("multi_hot", [False, True])
def test_distances_and_pieces_of_every_state(multi_hot: bool) -> None:
    scores = scored(MetricOptions(tolerances=(0.4, 1.0)), multi_hot=multi_hot)
    red = scores["red"].distances
    assert list(red) == ["hd_mm", "hd95_mm", "assd_mm", "nsd_0.4mm", "nsd_1mm"]
    assert (red["hd_mm"], red["hd95_mm"], red["nsd_1mm"]) == (0.5, 0.5, 1.0)  # one end is a voxel of 0.5 mm too far
    assert 0 < (red["assd_mm"] or 0) < 0.25
    assert 0.5 < (red["nsd_0.4mm"] or 0) < 1
    nothing = dict.fromkeys(["hd_mm", "hd95_mm", "assd_mm"])
    for name, fits in (("green", 0.0), ("blue", 0.0), ("yellow", None), ("grey", None)):
        assert scores[name].distances == {**nothing, "nsd_0.4mm": fits, "nsd_1mm": fits}
    pieces = {
        s.structure: (s.reference_pieces, s.predicted_pieces, s.matched_pieces, s.detection_f1) for s in scores.values()
    }
    assert pieces == {
        "red": (1, 1, 1, 1.0),
        "green": (1, 0, 0, 0.0),
        "blue": (0, 1, 0, 0.0),
        "yellow": (0, 0, 0, None),
        "grey": (None, None, None, None),
    }
    assert {s.wrong_level for s in scores.values()} == {None}  # colours are in no row


def test_one_side_may_be_multi_hot() -> None:
    one, other = box((6, 6, 6), (1, [slice(0, 3)])), box((6, 6, 6), (1, [slice(1, 4)]), (2, [slice(4, 6)]))
    hot = np.stack([other == s.value for s in STRUCTURES])
    grid = Geometry((6, 6, 6), np.eye(4))
    scores = score_case("a", one, hot, grid, STRUCTURES)
    assert scores == score_case("a", one, other, grid, STRUCTURES)
    assert scores[0].dice == pytest.approx(2 / 3)


def test_arrays_that_do_not_fit_are_refused() -> None:
    grid = Geometry((6, 6, 6), np.eye(4))
    for shape in ((6, 6, 5), (2, 6, 6, 6)):
        with pytest.raises(ValueError, match="does not fit"):
            score_case("a", np.zeros((6, 6, 6), np.uint8), np.zeros(shape, np.uint8), grid, STRUCTURES)


@pytest.mark.parametrize(
    ("geometry", "unit"),
    [
        (Geometry((9, 9, 1), np.diag([0.5, 0.5, 1.0, 1.0]), "px"), "px"),
        (Geometry((9, 9, 1), np.diag([0.5, 0.5, 1.0, 1.0])), "mm"),
    ],
)
def test_a_picture_is_measured_in_its_unit(geometry: Geometry, unit: str) -> None:
    one = box((9, 9, 1), (1, [slice(2, 6), slice(2, 7)]))
    score = score_case("a", np.roll(one, 1, 1), one, geometry, STRUCTURES[:1])[0]
    assert list(score.distances) == [f"hd_{unit}", f"hd95_{unit}", f"assd_{unit}", f"nsd_2{unit}"]
    assert score.distances[f"hd_{unit}"] == 0.5
    assert score.volume_error_cm3 is None


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


def _score(structure: str, state: str, dice: float | None, error: float | None = None, **more: object) -> Score:
    return Score("x", structure, state, dice, 1, 1, 1.0, 1.0, error, error, **more)  # type: ignore[arg-type]


SCORES = [
    *(_score("red", "both", value, error) for value, error in ((0.9, 1.0), (0.8, -2.0), (0.7, 1.0))),
    _score("red", "absent", None),
    _score("green", "both", 0.5, 0.5, reference_pieces=3, predicted_pieces=1, matched_pieces=1, wrong_level=1),
    _score("green", "missed", 0.0, -1.5, reference_pieces=1, predicted_pieces=0, matched_pieces=0, wrong_level=0),
    _score("blue", "not annotated", None),
]


def plain(values: SampleStatistics) -> tuple[int, float | None, float | None, float | None]:
    return values.n, values.mean, values.sd, values.median


def test_summary_by_hand() -> None:
    red, green, blue = summarise(SCORES)
    assert plain(red.dice) == (3, pytest.approx(0.8), pytest.approx(0.1), 0.8)
    assert plain(red.volume_error_cm3) == (3, pytest.approx(0.0), pytest.approx(3**0.5), 1.0)
    assert (red.both, red.absent, red.false_negatives, red.not_annotated) == (3, 1, 0, 0)
    assert plain(green.dice) == (2, 0.25, pytest.approx(0.125**0.5), 0.25)
    assert (green.both, green.false_negatives) == (1, 1)
    assert plain(blue.dice) == (0, None, None, None)
    assert blue.not_annotated == 1
    assert (green.reference_pieces, green.predicted_pieces, green.matched_pieces, green.wrong_level) == (4, 1, 1, 1)
    assert green.pooled_detection_f1 == pytest.approx(2 / 5)
    assert red.pooled_detection_f1 is None


def test_overall_weighs_structures_alike() -> None:
    line = overall(summarise(SCORES))
    assert line.structure == OVERALL
    # (0.8 + 0.25) / 2, not the 0.58 that a mean over all five values would give
    assert plain(line.dice) == (5, pytest.approx(0.525), pytest.approx(0.55 / 2**0.5), pytest.approx(0.525))
    assert (line.both, line.false_negatives, line.absent, line.not_annotated) == (4, 1, 1, 1)
    assert (line.reference_pieces, line.wrong_level) == (4, 1)


def cohort(cases: int, unit: str = "mm") -> list[Score]:
    """Two structures whose Dice differ from case to case, and a distance."""
    return [
        replace(
            _score(structure, "both", low + 0.01 * (7 * n % 10), 1.0),
            case=f"case_{n}",
            distances={f"hd95_{unit}": 3.0 + n, f"nsd_2{unit}": 0.9},
        )
        for n in range(cases)
        for structure, low in (("red", 0.8), ("green", 0.6))
    ]


def test_intervals_of_a_summary() -> None:
    scores = cohort(10)
    red, green = summarise(scores)
    line = overall([red, green], scores)
    for values in (red.dice, green.dice, line.dice):
        assert values.low is not None
        assert values.high is not None
        assert values.low < values.mean < values.high  # type: ignore[operator]
    # Both structures rise and fall together from case to case: their mean is as unsure as each of them.
    assert line.dice.high - line.dice.low == pytest.approx(red.dice.high - red.dice.low, rel=0.02)  # type: ignore[operator]
    assert overall([red, green]).dice.low is None


def lines_of(scores: list[Score], width: int) -> dict[str, str]:
    console = Console(width=width, file=io.StringIO())
    summaries = summarise(scores)
    console.print(summary_table(summaries, overall(summaries, scores), STRUCTURES, width=width))
    assert isinstance(console.file, io.StringIO)
    lines = [line.strip() for line in console.file.getvalue().splitlines() if line.strip()]
    assert max(map(len, lines)) <= width
    return {line.removeprefix("● ").split()[0]: " ".join(line.split()) for line in lines}


def test_table_shows_what_was_computed() -> None:
    lines = lines_of(SCORES, 100)
    assert lines["red"] == "● red 0.800 ± 0.100 0.70–0.90 +0.00 ± 1.73 +0.0 ± 1.7 3 1/–/–"
    assert lines["blue"] == "● blue – – – – 0 –/–/–"
    assert lines["overall"].startswith("overall 0.525 ± 0.389 – -0.25 ± 0.35")


def test_table_with_distances_fits_the_terminal() -> None:
    scores = cohort(10)
    wide, usual, narrow = (lines_of(scores, width)["red"] for width in (120, 100, 78))
    assert wide == "● red 0.845 ± 0.030 0.83–0.86 7.5 ± 3.0 0.90 ± 0.00 +1.00 ± 0.00 +1.0 ± 0.0 10 –/–/–"
    assert usual == wide.replace(" +1.00 ± 0.00", "")
    assert narrow == "● red 0.845 ± 0.030 0.83–0.86 7.5 ± 3.0 0.90 ± 0.00 10 –/–/–"
    pictures = [replace(score, volume_error_cm3=None) for score in scores]
    assert lines_of(pictures, 120)["red"] == usual  # they have no volume, and no column for it
    long = [replace(score, structure=f"a_long_name_{score.structure}") for score in scores]
    cut = lines_of(long, 100)["a_long_name_red"]
    assert cut == narrow.replace("● red", "a_long_name_red").replace(" 10 ", " +1.0 ± 0.0 10 ")
    assert "7.5 ± 3.0 0.90 ± 0.00" in lines_of(cohort(10, "px"), 100)["red"]


def test_table_of_groups() -> None:
    scores = cohort(6)
    groups = group_scores(scores, {f"case_{n}": "west" if n < 5 else UNKNOWN for n in range(6)})
    assert [(group.name, group.cases) for group in groups] == [("west", 5), ("unknown", 1)]
    assert groups[0].overall.dice.n == 10
    console = Console(width=100, file=io.StringIO())
    console.print(group_table(groups, "site"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "west (5 cases)" in text
    assert "unknown (1 case)" in text
