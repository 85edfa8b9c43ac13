"""Numbered pieces: matches, merges, splits and distances by hand on boxes with unequal edges, and by brute force."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from osteon.core.errors import GeometryError, LabelError
from osteon.core.geometry import Geometry
from osteon.core.instances import MERGE_SHARE, InstancePair, InstanceScores
from osteon.core.torchvision_ops import patch_torchvision_ops
from osteon.evaluating.distances import measure_distances
from osteon.evaluating.instance_summary import summarise_instances
from osteon.evaluating.instances import score_instances
from osteon.evaluating.surface_elements import voxel_steps

AFFINE = np.diag([0.5, 2.0, 4.0, 1.0])
Map = npt.NDArray[np.uint16]

maps = st.integers(0, 2**31).map(
    lambda seed: np.random.default_rng(seed).choice(
        [0, 3, 4, 700, 65535], size=(2, 3, 4, 2), p=[0.3, 0.3, 0.2, 0.1, 0.1]
    )
)
"""A prediction and a reference `[2, i, j, k]` of few voxels, whose pieces share many."""


def score(prediction: Map, reference: Map, *, surfaces: bool = False, unit: str = "mm") -> InstanceScores:
    grid = Geometry(reference.shape, AFFINE, unit)
    return score_instances("a", "pelvis", prediction, reference, grid, surfaces=surfaces)


def empty() -> Map:
    return np.zeros((10, 8, 6), dtype=np.uint16)


def renumbered(labels: Map, seed: int) -> Map:
    numbers = np.random.default_rng(seed).permutation(np.arange(1, 65536))
    return np.concatenate([[0], numbers])[labels].astype(np.uint16)


def test_every_figure_by_hand() -> None:
    prediction, reference = empty(), empty()
    reference[0:4, 0:4, 0:4] = 7  # 64 voxels; 48 of them found: IoU 3/4, Dice 6/7
    prediction[1:4, 0:4, 0:4] = 5
    reference[6:10, 0:4, 0:2] = 2  # 32 voxels as they should be
    prediction[6:10, 0:4, 0:2] = 9
    reference[0, 7, 0:6] = 65535  # 6 voxels, 2 of them found: IoU 1/3 is no match
    prediction[0, 7, 0:2] = 1
    prediction[9, 7, 5] = 12  # invented
    scores = score(prediction, reference, surfaces=True)
    exact = {"hd_mm": 0.0, "hd95_mm": 0.0, "assd_mm": 0.0}
    assert scores.pairs[0] == InstancePair(9, 2, 1.0, 1.0, exact)
    assert (scores.pairs[1].predicted, scores.pairs[1].reference) == (5, 7)
    assert scores.pairs[1].iou == 3 / 4
    assert scores.pairs[1].dice == pytest.approx(6 / 7)
    measured = measure_distances(prediction == 5, reference == 7, voxel_steps(AFFINE), ())
    assert tuple(scores.pairs[1].distances.values()) == pytest.approx(measured)
    assert scores.pairs[1].distances["hd_mm"] == pytest.approx(0.5)  # one voxel along i
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (2, 2, 1)
    assert scores.f1 == pytest.approx(4 / 7)
    assert scores.segmentation_quality == pytest.approx(7 / 8)
    assert scores.panoptic_quality == pytest.approx(7 / 8 * 4 / 7)
    assert scores.best_ious == (1.0, 3 / 4, pytest.approx(1 / 3))
    assert scores.best_iou == pytest.approx((1 + 3 / 4 + 1 / 3) / 3)
    assert (scores.merges, scores.splits) == (0, 0)


def test_merges_and_splits_count_pieces_and_not_partners() -> None:
    prediction, reference = empty(), empty()
    for n in range(3):
        reference[2 * n : 2 * n + 2, 0:4, 0:4] = n + 1
    prediction[0:6, 0:4, 0:4] = 1  # three in one: one merge
    reference[6:10, 0:4, 0:4] = 4
    prediction[6:10, 0:4, 0:4] = np.array([2, 3, 4, 5])[:, None, None]  # one in four: one split
    scores = score(prediction, reference)
    assert (scores.merges, scores.splits) == (1, 1)
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (0, 5, 4)
    assert scores.panoptic_quality == scores.f1 == 0.0
    assert scores.segmentation_quality is None
    assert scores.best_iou == pytest.approx((3 * 1 / 3 + 1 / 4) / 4)  # all three by the same predicted piece


@pytest.mark.parametrize(("taken", "merges"), [(1, 0), (2, 1)])
def test_a_misplaced_border_is_no_merge_below_the_share(taken: int, merges: int) -> None:
    prediction, reference = empty(), empty()
    reference[0:2], reference[2:10] = 1, 2
    prediction[0 : 2 + taken], prediction[2 + taken : 10] = 1, 2
    assert MERGE_SHARE == 2 / 8
    scores = score(prediction, reference)
    assert (scores.merges, scores.splits) == (merges, merges)
    assert scores.true_positives == 2 - (2 / (2 + taken) <= 0.5)


def test_half_is_no_match() -> None:
    prediction, reference = empty(), empty()
    reference[0:4], prediction[0:2] = 1, 1
    assert score(prediction, reference).true_positives == 0
    prediction[2, 0, 0] = 1
    assert score(prediction, reference).true_positives == 1


def test_a_good_pair_outweighs_two_poor_ones() -> None:
    """The assignment of the highest total IoU over all pairs matches other pieces, none of them above one half."""
    prediction, reference = np.zeros((2, 200, 1, 1), dtype=np.uint16)
    prediction[0:100], prediction[100:133] = 1, 2
    reference[32:132], reference[0:32], reference[132] = 1, 2, 2
    scores = score(prediction, reference)
    total = [[68 / 132, 32 / 101], [32 / 101, 1 / 65]]
    _, columns = linear_sum_assignment(total, maximize=True)
    assert list(columns) == [1, 0]
    assert [(pair.predicted, pair.reference) for pair in scores.pairs] == [(1, 1)]


@given(maps, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_their_definitions_whatever_the_numbers(both: Map, seed: int) -> None:
    prediction, reference = both.astype(np.uint16)
    scores = score(prediction, reference)
    found, truth = ([labels == n for n in np.unique(labels[labels > 0])] for labels in (prediction, reference))
    iou = np.array([[(p & r).sum() / (p | r).sum() for r in truth] for p in found]).reshape(len(found), len(truth))
    rows, columns = linear_sum_assignment(np.where(iou > 0.5, iou, 0), maximize=True)
    good = [(r, c) for r, c in zip(rows, columns, strict=True) if iou[r, c] > 0.5]
    assert sorted(pair.iou for pair in scores.pairs) == sorted(iou[r, c] for r, c in good)
    assert scores.false_positives == len(found) - len(good)
    assert scores.false_negatives == len(truth) - len(good)
    assert scores.best_ious == pytest.approx([column.max(initial=0) for column in iou.T])
    held = np.array([[4 * (p & r).sum() >= r.sum() for r in truth] for p in found]).reshape(iou.shape)
    assert scores.merges == (held.sum(axis=1) > 1).sum()
    assert scores.splits == (held.sum(axis=0) > 1).sum()
    others = score(renumbered(prediction, seed), renumbered(reference, seed + 1))
    assert sorted(others.best_ious) == sorted(scores.best_ious)
    assert sorted((p.iou, p.dice) for p in others.pairs) == sorted((p.iou, p.dice) for p in scores.pairs)
    names = ("false_positives", "false_negatives", "merges", "splits")
    assert [getattr(others, name) for name in names] == [getattr(scores, name) for name in names]


@given(maps)
@settings(max_examples=40, deadline=None)
def test_panoptic_quality_is_torchmetrics(both: Map) -> None:
    patch_torchvision_ops()
    from torchmetrics.functional.detection import panoptic_quality

    scores = score(*both)
    pieces = torch.from_numpy(both)
    one, other = torch.stack([(pieces > 0).long(), pieces], dim=-1)
    quality, segmentation, recognition = panoptic_quality(
        one[None], other[None], things={1}, stuffs={0}, return_sq_and_rq=True, return_per_class=True
    )[0].tolist()
    assert scores.panoptic_quality == pytest.approx(quality, abs=1e-6)
    assert (scores.segmentation_quality or 0) == pytest.approx(segmentation, abs=1e-6)
    assert scores.f1 == pytest.approx(recognition, abs=1e-6)


def test_a_piece_of_one_voxel_has_a_surface() -> None:
    prediction, reference = empty(), empty()
    prediction[5, 5, 5] = reference[5, 5, 5] = 4
    (pair,) = score(prediction, reference, surfaces=True).pairs
    assert pair == InstancePair(4, 4, 1.0, 1.0, {"hd_mm": 0.0, "hd95_mm": 0.0, "assd_mm": 0.0})


def test_a_picture_is_measured_in_its_plane_and_unit() -> None:
    prediction, reference = np.zeros((2, 12, 9, 1), dtype=np.uint8)
    reference[0:8, 0:4], prediction[0:6, 0:4] = 1, 1
    (pair,) = score(prediction, reference, surfaces=True, unit="px").pairs
    assert list(pair.distances) == ["hd_px", "hd95_px", "assd_px"]
    assert pair.distances["hd_px"] == pytest.approx(1.0)  # two pixels along i


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_maps_of_any_whole_numbers(kind: type) -> None:
    labels = empty().astype(kind)
    labels[2:5, 2:5, 2:5] = 1
    scores = score(labels, labels.astype(np.uint16), surfaces=True)
    assert (scores.true_positives, scores.panoptic_quality) == (1, 1.0)


def test_three_hundred_pieces() -> None:
    cells = np.arange(1, 301).reshape(10, 6, 5)
    reference = np.kron(cells, np.ones((4, 4, 4), dtype=np.int64))
    prediction = renumbered(np.roll(reference, 1, axis=0), 0)
    scores = score(prediction, reference, surfaces=True)
    assert scores.true_positives == 300  # those of the first layer lie in two parts
    assert {pair.iou for pair in scores.pairs} == {3 / 5}
    assert (scores.merges, scores.splits) == (300, 300)


def test_pieces_on_one_side_alone() -> None:
    pieces = empty()
    pieces[0], pieces[5] = 1, 2
    invented, missed, neither = score(pieces, empty()), score(empty(), pieces), score(empty(), empty())
    assert (invented.false_positives, invented.f1, invented.panoptic_quality) == (2, 0.0, 0.0)
    assert invented.best_iou is None
    assert (missed.false_negatives, missed.f1, missed.panoptic_quality, missed.best_iou) == (2, 0.0, 0.0, 0.0)
    assert neither.is_absent
    assert not invented.is_absent
    assert not missed.is_absent
    assert (neither.f1, neither.panoptic_quality, neither.segmentation_quality, neither.best_iou) == (None,) * 4


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"a, pelvis: .* \(10, 8, 5\) and \(10, 8, 6\)"):
        score(empty()[..., :5], empty())
    with pytest.raises(GeometryError, match=r"scan of \(9, 8, 6\)"):
        score_instances("a", "pelvis", empty(), empty(), Geometry((9, 8, 6), AFFINE))
    with pytest.raises(LabelError, match="a, pelvis: the prediction has a piece with the number -3"):
        score(np.where(empty() == 0, -3, 0), empty())
    with pytest.raises(LabelError, match="the reference has a piece with the number 2147483648"):
        score(empty(), empty().astype(np.int64) + 2**31)
    with pytest.raises(LabelError, match="the reference has pieces of float32"):
        score(empty(), empty().astype(np.float32))


def pair(dice: float, hd95: float) -> InstancePair:
    return InstancePair(1, 1, dice / (2 - dice), dice, {"hd95_mm": hd95})


def test_a_cohort_by_hand() -> None:
    cases = [
        InstanceScores("a", "pelvis", (pair(1.0, 0.0), pair(0.8, 2.0)), 0, 0, (1.0, 2 / 3), merges=0, splits=1),
        InstanceScores("a", "spine"),
        InstanceScores("b", "pelvis", (pair(0.8, 4.0),), 1, 1, (2 / 3, 0.0), merges=2, splits=0),
        InstanceScores("c", "pelvis", (), 0, 1, (0.5,)),
        InstanceScores("d", "pelvis", (), 2, 0),
        InstanceScores("e", "pelvis"),
    ]
    pelvis, spine = summarise_instances(cases)
    approx = pytest.approx
    assert (pelvis.structure, pelvis.cases, pelvis.absent) == ("pelvis", 4, 1)
    pooled = pelvis.pooled
    assert (pooled.true_positives, pooled.false_positives, pooled.false_negatives) == (3, 3, 2)
    assert pooled.f1 == approx(6 / 11)
    assert pooled.segmentation_quality == approx(7 / 9)
    assert pooled.panoptic_quality == approx(7 / 9 * 6 / 11)
    assert pooled.best_iou == approx((1 + 2 / 3 + 2 / 3 + 0 + 0.5) / 5)
    assert (pooled.merges, pooled.splits) == (2, 1)
    means = {name: (figure.n, figure.mean) for name, figure in pelvis.metrics.items()}
    assert means == {
        "panoptic_quality": (4, approx((5 / 6 + 1 / 3) / 4)),
        "segmentation_quality": (2, approx((5 / 6 + 2 / 3) / 2)),
        "f1": (4, approx((1 + 1 / 2) / 4)),
        "best_iou": (3, approx((5 / 6 + 1 / 3 + 1 / 2) / 3)),
        "merges": (4, 0.5),
        "splits": (4, 0.25),
    }
    assert {name: (figure.n, figure.mean) for name, figure in pelvis.pair_metrics.items()} == {
        "dice": (3, approx(2.6 / 3)),
        "hd95_mm": (3, approx(2.0)),
    }
    assert (spine.cases, spine.absent, spine.pooled.f1, spine.metrics["f1"].n, spine.pair_metrics) == (
        0,
        1,
        None,
        0,
        {},
    )


def test_the_interval_of_pairs_draws_cases() -> None:
    """Eight equal pieces of one case tell no more than one: the interval is that of four cases."""
    one, eight = (
        summarise_instances([InstanceScores(str(n), "pelvis", (pair(n / 4, 0.0),) * pieces) for n in range(1, 5)])
        for pieces in (1, 8)
    )
    figures = [summary[0].pair_metrics["dice"] for summary in (one, eight)]
    assert [figure.n for figure in figures] == [4, 32]
    assert (figures[0].low, figures[0].high) == pytest.approx((figures[1].low, figures[1].high))
