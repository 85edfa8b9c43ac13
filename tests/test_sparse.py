"""Exact sparse restoration: no voxel differs from interpolating all classes everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osteon.core.boxes import Box
from osteon.predicting import sparse_resampling
from osteon.predicting.sparse_resampling import (
    above_threshold,
    best_classes,
    interpolate_at,
    interpolate_box,
    make_taps,
    uniform_code,
)
from osteon.preparing.resample import axis_weights, resample


def smooth(shape: tuple[int, int, int], classes: int, seed: int) -> torch.Tensor:
    coarse = tuple(max(1, n // 4) for n in shape)
    return resample(torch.randn((classes, *coarse), generator=torch.Generator().manual_seed(seed)) * 5, shape)


def restored(probabilities: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    parts = list(best_classes(probabilities, probabilities.argmax(0).to(torch.int16), shape))
    assert [start for start, _ in parts] == np.cumsum([0, *(len(part) for _, part in parts[:-1])]).tolist()
    return torch.cat([part for _, part in parts])


sizes = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 14))
larger = st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))


@settings(max_examples=60, deadline=None)
@given(sizes, larger, st.integers(2, 5), st.integers(0, 99))
def test_every_voxel_has_the_class_of_the_whole_interpolation(
    old: tuple[int, int, int], new: tuple[int, int, int], classes: int, seed: int
) -> None:
    """Finer and coarser grids, single slices, and both at once."""
    probabilities = smooth(old, classes, seed).softmax(0)
    assert torch.equal(restored(probabilities, new).long(), resample(probabilities, new).argmax(0))
    single = smooth(old, 1, seed).sigmoid()[0]
    assert torch.equal(torch.cat([part for _, part in above_threshold(single, new)]), resample(single, new) > 0.5)


def test_slabs_and_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = smooth((12, 11, 10), 4, 1).softmax(0)
    whole = restored(probabilities, (25, 31, 17))
    monkeypatch.setattr(sparse_resampling, "SLAB_VOXELS", 1000)
    monkeypatch.setattr(sparse_resampling, "CHUNK_VOXELS", 7)
    assert torch.equal(restored(probabilities, (25, 31, 17)), whole)


def test_only_where_voxels_disagree_all_classes_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = torch.zeros(3, 40, 40, 40)
    probabilities[0] = 1
    probabilities[:, 10:20, 10:20, 10:20] = torch.tensor([0.0, 1.0, 0.0])[:, None, None, None]
    looked = []
    at = sparse_resampling.interpolate_at

    def noted(
        probabilities: torch.Tensor, where: torch.Tensor, along: Sequence[sparse_resampling.Taps]
    ) -> torch.Tensor:
        looked.append(len(where))
        return at(probabilities, where, along)

    monkeypatch.setattr(sparse_resampling, "interpolate_at", noted)
    assert torch.equal(restored(probabilities, (80, 80, 80)).long(), resample(probabilities, (80, 80, 80)).argmax(0))
    shell = 24**3 - 16**3  # two new voxels on either side of the cube's faces
    assert sum(looked) <= shell
    assert sum(looked) > 6 * 18**2


@pytest.mark.parametrize(("old", "new"), [(5, 5), (5, 13), (13, 5), (1, 7), (7, 1), (4, 3)])
def test_taps_are_the_weights_of_the_interpolation(old: int, new: int) -> None:
    made = make_taps(old, new)
    whole = torch.zeros(new, old)
    whole.scatter_add_(1, made.places, made.weights)
    torch.testing.assert_close(whole, axis_weights(old, new))
    assert made.places.min() >= 0
    assert made.places.max() < old


def test_a_voxel_that_none_reaches_does_not_mix() -> None:
    best = torch.tensor([0, 0, 1, 1, 1], dtype=torch.int16).reshape(5, 1, 1)
    along = [make_taps(5, 5), make_taps(1, 1), make_taps(1, 1)]
    assert uniform_code(best, along).ravel().tolist() == [0, 0, 1, 1, 1]
    along[0] = make_taps(5, 10)
    assert uniform_code(best, along).ravel().tolist() == [0, -1, 1, 1, 1]


def test_single_voxels_and_boxes_are_those_of_the_whole() -> None:
    probabilities = smooth((9, 8, 7), 3, 2).softmax(0).half()
    shape = (20, 5, 15)
    whole = resample(probabilities.float(), shape)
    where = torch.tensor([[0, 0, 0], [19, 4, 14], [7, 2, 9]])
    along = [make_taps(old, new) for old, new in zip((9, 8, 7), shape, strict=True)]
    i, j, k = where.T
    torch.testing.assert_close(interpolate_at(probabilities, where, along), whole[:, i, j, k])
    box = Box((3, 0, 14), (11, 5, 15))
    torch.testing.assert_close(interpolate_box(probabilities, box, shape), whole[(slice(None), *box.slices)])
