"""Tiles: what a network says does not depend on how the image was cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers import FLAT, SIDES, Pointwise, tiny_plan
from osteon.networks.registry import build_network
from osteon.predicting.reference_statistics import ReferenceStatistics
from osteon.predicting.region import has_small_structures
from osteon.predicting.speed import BALANCED, BEST
from osteon.predicting.tiles import (
    predict_batch,
    predict_probabilities,
    stream_probabilities,
    tile_starts,
    whole_size,
)
from osteon.preparing.strategies import grid_strategy


def image(*shape: int, channels: int = 1) -> torch.Tensor:
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(1))


tile_weights = grid_strategy(tiny_plan()).tile_weights


@pytest.mark.parametrize("length", range(1, 70))
@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_tiles_cover_everything_evenly(length: int, size: int) -> None:
    starts = tile_starts(length, size)
    if length <= size:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == length - size
    steps = [b - a for a, b in pairwise(starts)]
    assert max(steps) <= max(1, size / 2 + 0.5)
    assert min(steps) >= 0
    assert max(steps) - min(steps) <= 1


def test_weights_are_highest_in_the_middle_and_never_nothing() -> None:
    weights = tile_weights([9, 8, 1])
    assert weights.shape == (9, 8, 1)
    assert weights[4, 3:5].flatten().tolist() == [weights.max()] * 2
    assert torch.equal(weights, weights.flip(0, 1, 2))
    assert weights.min() == pytest.approx(1e-3)
    assert tile_weights([17, 1, 1])[8 + 2, 0, 0] == pytest.approx(torch.exp(torch.tensor(-0.5 * (16 / 17) ** 2)))


SHAPES = [(8, 8, 8), (8, 9, 8), (30, 21, 17), (3, 5, 7), (1, 1, 1), (40, 3, 8)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_pointwise_network_says_the_same_of_every_tiling(
    shape: tuple[int, int, int], flat: bool, overlapping: bool, mirror: bool
) -> None:
    section: dict[str, Any] = {"overlapping": overlapping, "augmentation.mirror_axes": [0, 1]} | (FLAT if flat else {})
    section["channels"] = [{"name": name, "modality": "mr"} for name in "ab"]
    section["intensities"] = [{"channel": name} for name in "ab"]
    plan = tiny_plan(section)
    network = Pointwise(2, 2 if overlapping else 3).eval()
    x = image(*shape, channels=2)
    whole = torch.einsum("oc,cijk->oijk", network.weight, x)
    expected = whole.sigmoid() if overlapping else whole.softmax(0)
    made = predict_probabilities(network, x, plan, speed=BEST if mirror else BALANCED)
    torch.testing.assert_close(made, expected.detach())
    assert all(s % m == 0 for got in network.shapes for s, m in zip(got[2:], plan.downsampling, strict=True))
    # As in training: never less than a patch; and never much more.
    assert all(s >= p for got in network.shapes for s, p in zip(got[2:], plan.patch.size, strict=True))
    assert all(torch.tensor(got[2:]).prod() <= 1.5 * torch.tensor(plan.patch.size).prod() for got in network.shapes)


def test_tiles_are_joined_by_their_weights() -> None:
    """A network that answers by the place in the tile: what comes out is the mean by weight, done by hand."""

    class PositionNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            along = torch.arange(x.shape[2], dtype=x.dtype)[None, None, :, None, None]
            return [torch.cat([along.expand(x.shape), torch.zeros_like(x), torch.zeros_like(x)], 1)]

    made = predict_probabilities(PositionNetwork().eval(), image(12, 8, 8), tiny_plan({"patch.size": [8, 8, 8]}))
    logits = (made[0] / made[1]).log()[:, 0, 0]  # 12 · 8 · 8 is just what still goes through at once
    torch.testing.assert_close(logits, torch.arange(12.0), atol=1e-4, rtol=0)
    made = predict_probabilities(PositionNetwork().eval(), image(14, 8, 8), tiny_plan({"patch.size": [8, 8, 8]}))
    logits = (made[0] / made[1]).log()[:, 0, 0]
    weights = tile_weights([8, 8, 8])[:, 0, 0]
    total, seen = torch.zeros(14), torch.zeros(14)
    for start in (0, 3, 6):
        total[start : start + 8] += weights * torch.arange(8)
        seen[start : start + 8] += weights
    torch.testing.assert_close(logits, total / seen, atol=1e-4, rtol=0)


def test_a_volume_in_2d_is_its_slices() -> None:
    plan = tiny_plan({**FLAT, "patch.batch": 3})
    network = build_network(plan).eval()
    x = image(10, 8, 7)
    made = predict_probabilities(network, x, plan)
    assert made.shape == (3, 10, 8, 7)
    for k in range(7):
        torch.testing.assert_close(made[..., k : k + 1], predict_probabilities(network, x[..., k : k + 1], plan))


def test_an_image_smaller_than_a_patch_is_filled_as_in_training() -> None:
    plan = tiny_plan()
    network = build_network(plan).eval()
    x = image(3, 8, 5)
    filled = torch.from_numpy(np.pad(x.numpy(), [(0, 0), (2, 3), (0, 0), (1, 2)], mode="edge"))
    expected = network(filled[None])[0].softmax(1)[0, :, 2:5, :, 1:6]
    torch.testing.assert_close(predict_probabilities(network, x, plan), expected.detach())
    assert predict_probabilities(network, image(1, 1, 1), plan).shape == (3, 1, 1, 1)


class Sides(nn.Module):
    """Tells left from right by the place alone: the left half (small i) is the first structure, the right the last."""

    def __init__(self, axis: int, *, background: bool) -> None:
        super().__init__()
        self.axis, self.background = axis, background
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        place = torch.linspace(-1, 1, x.shape[2 + self.axis]).reshape([-1 if a == self.axis else 1 for a in range(3)])
        along = self.scale * place.expand(x.shape)
        nothing = torch.zeros_like(along)
        return [torch.cat([nothing] * self.background + [-along, nothing + 0.1, along], 1)]


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize(("axes", "axis"), [(["R", "A", "S"], 0), (["A", "R", "S"], 1)])
def test_mirrored_answers_swap_their_sides_back(overlapping: bool, axes: list[str], axis: int) -> None:
    section = {"structures": SIDES, "grid.axes": axes, "overlapping": overlapping}
    plan = tiny_plan({**section, "augmentation.mirror_axes": [0, 1]})
    network = Sides(axis, background=not overlapping).eval()
    plain = predict_probabilities(network, image(8, 8, 8), plan)
    torch.testing.assert_close(predict_probabilities(network, image(8, 8, 8), plan, speed=BEST), plain)
    # Without the swap the two sides would cancel each other.
    unpaired = [{k: v for k, v in s.items() if k != "counterpart"} for s in SIDES]
    wrong = tiny_plan({**section, "structures": unpaired, "augmentation.mirror_axes": [axis]})
    assert (predict_probabilities(network, image(8, 8, 8), wrong, speed=BEST) - plain).abs().max() > 0.3


def test_mirror_images_are_averaged_along_the_plans_axes() -> None:
    plan = tiny_plan({"augmentation.mirror_axes": [0, 2]})
    network = build_network(plan).eval()
    x = image(8, 8, 8)
    logits = [network(x[None].flip(dims))[0].flip(dims) for dims in ([], [2], [4], [2, 4])]
    expected = torch.stack(logits).mean(0).softmax(1)[0]
    torch.testing.assert_close(predict_probabilities(network, x, plan, speed=BEST), expected.detach())
    assert not torch.allclose(predict_probabilities(network, x, plan), expected, atol=1e-4)


@pytest.mark.parametrize("overlapping", [False, True])
def test_patches_of_one_value_are_passed_over(overlapping: bool) -> None:
    """Air round a body, clipped to one value: nothing is there, and the network is not asked."""
    plan = tiny_plan({"overlapping": overlapping})
    network = Pointwise(1, 2 if overlapping else 3).eval()
    x = torch.full((1, 40, 8, 8), -2.0)
    x[:, :8] = image(8, 8, 8)
    made = predict_probabilities(network, x, plan)
    assert len(network.shapes) == 2  # of nine tiles, those that reach into the body
    assert (made[:, 16:] < 1e-6).all() if overlapping else (made[0, 16:] > 1 - 1e-5).all()
    body = torch.einsum("oc,cijk->oijk", network.weight, x[:, :4])  # of the first tile alone
    torch.testing.assert_close(made[:, :4], (body.sigmoid() if overlapping else body.softmax(0)).detach())


def test_where_structures_fill_a_small_part_the_rest_is_not_looked_at() -> None:
    """A first look finds them; only patches near them are looked at, and say the same there."""
    plan = tiny_plan({})
    network = Pointwise(1, 3).eval()
    x = 0.01 * image(40, 40, 40) - 1  # far from any structure, and not empty
    x[:, 17:20, 17:20, 17:20] = 2.0
    network.weight.data[:, 0] = torch.tensor([0.0, 8.0, 4.0])
    whole, part = [
        torch.cat([slab.probabilities for slab in stream_probabilities(network, x, plan, region=region)], 1)
        for region in (False, True)
    ]
    assert 0 < len(network.shapes) - 9**3 - 5**3 < 100
    assert torch.equal(whole.argmax(0), part.argmax(0))
    torch.testing.assert_close(whole[:, 14:23, 14:23, 14:23], part[:, 14:23, 14:23, 14:23])
    assert (part[0, :8] > 1 - 1e-5).all()


def test_a_part_of_which_nothing_is_seen_has_nothing() -> None:
    plan = tiny_plan({"overlapping": True})
    network = Pointwise(1, 2).eval()
    network.weight.data = torch.full((2, 1), 50.0)
    x = -1 - image(40, 40, 40).abs()
    made = torch.cat([slab.probabilities for slab in stream_probabilities(network, x, plan, region=True)], 1)
    assert len(network.shapes) == 5**3
    assert (made < 1e-6).all()


def test_models_of_small_structures_are_known_by_their_training_scans() -> None:
    def statistics(volume_cm3: float) -> ReferenceStatistics:
        return ReferenceStatistics(
            volumes={"L1": volume_cm3}, touching=[], image={}, spacing_mm=[1] * 3, extent_mm=[100] * 3, annotated=None
        )

    assert has_small_structures([statistics(50), statistics(100), statistics(900)])
    assert not has_small_structures([statistics(50), statistics(300), statistics(900)])
    assert not has_small_structures([])


def test_ct_air_is_passed_over_and_lungs_are_not() -> None:
    intensities = [{"channel": "ct", "mean": 0.0, "std": 500.0}]
    plan = tiny_plan({"channels": [{"name": "ct", "modality": "ct"}], "intensities": intensities})
    network = Pointwise(1, 3).eval()
    noise = 40 * image(8, 8, 8)
    made = predict_probabilities(network, torch.cat([noise - 1000, noise - 850, noise + 40], 1) / 500, plan)
    assert len(network.shapes) == 4  # of five tiles, all but the one of air alone
    assert (made[0, :2] > 1 - 1e-5).all()


@pytest.mark.parametrize("overlapping", [False, True])
def test_small_images_can_be_looked_at_together(overlapping: bool) -> None:
    plan = tiny_plan({"overlapping": overlapping})
    torch.manual_seed(0)
    network = build_network(plan).eval()
    shapes = [(8, 8, 8), (3, 7, 8), (9, 8, 8), (6, 6, 8)]
    assert [whole_size(shape, plan) for shape in shapes] == [(8, 8, 8), (8, 8, 8), (10, 8, 8), (8, 8, 8)]
    assert whole_size((20, 20, 20), plan) is None
    assert whole_size((8, 8, 4), tiny_plan(FLAT)) is None
    images = [image(*shape) for shape in (shapes[0], shapes[1], shapes[3])]
    for slab, one in zip(predict_batch(network, images, plan, speed=BEST), images, strict=True):
        torch.testing.assert_close(
            slab.probabilities, predict_probabilities(network, one, plan, speed=BEST), atol=1e-5, rtol=1e-5
        )
