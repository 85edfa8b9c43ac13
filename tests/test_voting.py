"""Counting voices: stretches of voxels, thresholds, ties, and STAPLE."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.voting.decision import VoteWeights, decide_binary, decide_exclusive
from osteon.voting.run_length import EMPTY, RunLengthMask, bands, encode_mask, encode_segmentation, intervals
from osteon.voting.staple import StapleEstimate, estimate, find_patterns

Masks = npt.NDArray[np.bool_]
masks = hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 40)))


def plain(count: int, least: float) -> VoteWeights:
    return VoteWeights(np.ones(count), least)


# Stretches


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)), st.data())
def test_runs_are_the_mask(mask: Masks, data: st.DataObject) -> None:
    runs = encode_mask(mask)
    np.testing.assert_array_equal(runs.mask(mask.shape), mask)
    assert runs.count == mask.sum()
    first, stop = sorted((data.draw(st.integers(0, mask.size)), data.draw(st.integers(0, mask.size))))
    part = np.zeros(mask.size, dtype=bool)
    part[first:stop] = mask.ravel()[first:stop]
    np.testing.assert_array_equal(runs.within(first, stop).mask(mask.shape), part.reshape(mask.shape))


def test_touching_runs_are_joined() -> None:
    runs = RunLengthMask(np.array([1, 3, 9]), np.array([3, 5, 10])).merge_touching()
    assert (runs.starts.tolist(), runs.stops.tolist()) == ([1, 9], [5, 10])
    assert EMPTY.merge_touching().count == 0


@given(hnp.arrays(np.uint8, (3, 4, 2), elements=st.integers(0, 3)))
def test_the_runs_of_an_index_map_and_of_its_layers_are_the_same(labels: npt.NDArray[np.uint8]) -> None:
    structures = make_structures(["a", "b", "c"], [3, 1, 2])
    geometry = Geometry((3, 4, 2), np.eye(4))
    index = Segmentation(labels, geometry, structures)
    layers = Segmentation(np.stack([index.mask(s) for s in structures]).astype(np.uint8), geometry, structures)
    one, other = encode_segmentation(index), encode_segmentation(layers)
    assert one.keys() == other.keys() == {s.name for s in structures if index.mask(s).any()}
    for structure in structures:
        for found in (one, other):
            mask = found.get(structure.name, EMPTY).mask(geometry.shape)
            np.testing.assert_array_equal(mask, index.mask(structure))


@given(masks, st.integers(1, 6))
def test_nothing_changes_within_an_interval(votes: Masks, most: int) -> None:
    runs = [encode_mask(row) for row in votes]
    again = np.zeros_like(votes)
    parts = list(bands(runs, votes.shape[1], most=most))
    assert parts[0][0] == 0
    assert parts[-1][1] == votes.shape[1]
    assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
    for first, stop in parts:
        edges, inside = intervals([one.within(first, stop) for one in runs])
        for n, (a, b) in enumerate(itertools.pairwise(edges)):
            again[:, a:b] = inside[:, n, None]
    np.testing.assert_array_equal(again, votes)


# Each on its own


@given(masks, st.integers(1, 5))
def test_enough_voices_are_a_count(votes: Masks, least: int) -> None:
    runs = [encode_mask(row) for row in votes]
    decided = decide_binary(runs, plain(len(votes), least), votes.shape[1])
    np.testing.assert_array_equal(decided.mask(votes.shape[1:]), votes.sum(axis=0) >= least)
    assert (decided.starts[1:] > decided.stops[:-1]).all()


def test_by_hand() -> None:
    votes = [encode_mask(np.array(row)) for row in ([1, 1, 0, 0, 1], [1, 0, 1, 0, 1], [0, 0, 1, 0, 1])]
    for least, expected in ((1, [1, 1, 1, 0, 1]), (2, [1, 0, 1, 0, 1]), (3, [0, 0, 0, 0, 1])):
        assert decide_binary(votes, plain(3, least), 5).mask((5,)).tolist() == [bool(v) for v in expected]
    heavy = VoteWeights(np.array([3.0, 1.0, 1.0]), 3)
    assert decide_binary(votes, heavy, 5).mask((5,)).tolist() == [True, True, False, False, True]


def test_a_voxel_that_nobody_wants_is_never_taken() -> None:
    votes = [EMPTY, encode_mask(np.array([1, 0, 1]))]
    assert decide_binary(votes, VoteWeights(np.ones(2), -5), 3).mask((3,)).tolist() == [True, False, True]
    assert decide_exclusive({4: (votes, VoteWeights(np.ones(2), -5))}, 3).tolist() == [4, 0, 4]


# One structure for each voxel


def by_hand(votes: npt.NDArray[np.uint8], least: dict[int, int]) -> list[int]:
    """Voxel by voxel, as the documents say it."""
    decided = []
    for member_values in votes.T.tolist():
        counts = {value: member_values.count(value) for value in set(member_values) - {0}}
        enough = {value: count for value, count in counts.items() if count >= least[value]}
        most = [value for value, count in enough.items() if count == max(enough.values())]
        decided.append(next((value for value in member_values if value in most), 0))
    return decided


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 30)), elements=st.integers(0, 3)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 31),
)
def test_most_voices_win_and_the_earlier_member_decides(
    labels: npt.NDArray[np.uint8], least: tuple[int, ...], band: int
) -> None:
    wanted = dict(zip((1, 2, 3), least, strict=True))
    votes = {
        value: ([encode_mask(row == value) for row in labels], plain(len(labels), wanted[value])) for value in (3, 1, 2)
    }
    assert decide_exclusive(votes, labels.shape[1], band=band).tolist() == by_hand(labels, wanted)


def test_ties_by_hand() -> None:
    labels = np.array([[2, 1, 0, 1], [1, 2, 2, 2], [1, 2, 1, 3], [2, 1, 3, 3]], dtype=np.uint8)
    votes = {value: ([encode_mask(row == value) for row in labels], plain(4, 1)) for value in (1, 2, 3)}
    # 2:2, the first member decides; so it does with the sides changed; 1:1:1, the second; 2 for 3 beat 1 for 1 and 2
    assert decide_exclusive(votes, 4).tolist() == [2, 1, 2, 3]


# STAPLE


def itk_staple(votes: Masks) -> tuple[npt.NDArray[np.float64], list[float], list[float]]:
    images = [SimpleITK.GetImageFromArray(row.astype(np.uint8)) for row in votes]
    staple = SimpleITK.STAPLEImageFilter()
    probability = SimpleITK.GetArrayFromImage(staple.Execute(images))
    return probability, list(staple.GetSensitivity()), list(staple.GetSpecificity())


def noisy(sensitivity: list[float], specificity: list[float], seed: int) -> tuple[Masks, Masks]:
    """The truth, and what members of known quality say of it."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((80, 80), dtype=bool)
    truth[20:55, 15:60] = True
    pairs = zip(sensitivity, specificity, strict=True)
    votes = [np.where(truth, rng.random(truth.shape) < p, rng.random(truth.shape) > q) for p, q in pairs]
    return truth, np.array(votes)


@pytest.mark.parametrize("seed", range(3))
def test_staple_is_itks(seed: int) -> None:
    _, votes = noisy([0.95, 0.8, 0.9, 0.7], [0.98, 0.95, 0.85, 0.99], seed)
    runs = [encode_mask(row) for row in votes]
    found = estimate(find_patterns(runs, votes[0].size))
    probability, sensitivity, specificity = itk_staple(votes)
    np.testing.assert_allclose(found.sensitivity, sensitivity, atol=1e-5)
    np.testing.assert_allclose(found.specificity, specificity, atol=1e-5)
    decided = decide_binary(runs, found.scale(), votes[0].size).mask(votes[0].shape)
    clear = abs(probability - 0.5) > 1e-6
    np.testing.assert_array_equal(decided[clear], (probability > 0.5)[clear])


def test_staple_finds_how_good_the_members_are() -> None:
    truth, votes = noisy([0.97, 0.9, 0.8], [0.99, 0.95, 0.9], 0)
    runs = [encode_mask(row) for row in votes]
    found = estimate(find_patterns(runs, truth.size))
    np.testing.assert_allclose(found.sensitivity, [0.97, 0.9, 0.8], atol=0.03)
    np.testing.assert_allclose(found.specificity, [0.99, 0.95, 0.9], atol=0.03)


def test_staple_listens_to_the_one_who_is_right() -> None:
    truth, votes = noisy([0.99, 0.99, 0.6, 0.6, 0.6], [0.99, 0.99, 0.6, 0.6, 0.6], 0)
    runs = [encode_mask(row) for row in votes]
    decided = decide_binary(runs, estimate(find_patterns(runs, truth.size)).scale(), truth.size).mask(truth.shape)
    assert (decided == truth).mean() > 0.98
    assert ((votes.sum(axis=0) >= 3) == truth).mean() < 0.93


@given(masks)
def test_patterns_are_all_voxels(votes: Masks) -> None:
    found = find_patterns([encode_mask(row) for row in votes], votes.shape[1])
    assert found.counts.sum() == votes.shape[1]
    for column, count in zip(found.inside.T, found.counts, strict=True):
        assert (votes == column[:, None]).all(axis=0).sum() == count


def test_members_that_agree_are_right() -> None:
    mask = np.array([[0, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    for count in (1, 2, 5):
        runs = [encode_mask(mask)] * count
        found = estimate(find_patterns(runs, mask.size))
        np.testing.assert_array_equal(decide_binary(runs, found.scale(), mask.size).mask(mask.shape), mask)
    nothing = [EMPTY, EMPTY]
    assert decide_binary(nothing, estimate(find_patterns(nothing, 8)).scale(), 8).count == 0
    everything = [encode_mask(np.ones(8))] * 2
    assert decide_binary(everything, estimate(find_patterns(everything, 8)).scale(), 8).count == 8


def test_the_odds_are_the_papers() -> None:
    # Two members, p = .9 and .8, q = .95 and .7, prior .3; one says yes, the other no:
    # .3·.9·.2 / (.3·.9·.2 + .7·.05·.7) = .054 / .0785
    scale = StapleEstimate(0.3, np.array([0.9, 0.8]), np.array([0.95, 0.7]), 1).scale()
    odds = (scale.weights @ np.array([[True], [False]]))[0] + scale.prior
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(0.054 / 0.0785)
