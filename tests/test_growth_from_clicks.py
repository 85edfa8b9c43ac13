"""The click tool without a model: a structure grown from points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from osteon.core.boxes import Box
from osteon.core.clicks import Click, Mask, next_click
from osteon.core.errors import UsageError
from osteon.labelling.growth import MAX_VOXELS, REACH_MM, grow_structure

SPACING = (1.0, 1.0, 1.5)


def ball(shape: Sequence[int], centre: Sequence[float], radius: float, spacing: Sequence[float] = SPACING) -> Mask:
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    squares = [((x - c) * s) ** 2 for x, c, s in zip(axes, centre, spacing, strict=True)]
    return np.asarray(np.sum(squares, axis=0) < radius**2)


def scan(bones: Sequence[Mask], noise: float = 15) -> npt.NDArray[np.float32]:
    """Bright bones with noise, and a gradient of the background."""
    image = (
        np.random.default_rng(0).normal(0, noise, bones[0].shape) + 0.3 * np.arange(bones[0].shape[0])[:, None, None]
    )
    for bone in bones:
        image[bone] += 200
    return image.astype(np.float32)


def whole(shape: Sequence[int], growth_box: Box, mask: Mask) -> Mask:
    found = np.zeros(shape, bool)
    found[growth_box.slices] = mask
    return found


def grown(
    image: npt.NDArray[np.float32],
    clicks: Sequence[Click],
    spacing: Sequence[float] = SPACING,
    *,
    reach: float = REACH_MM,
    previous: Mask | None = None,
    protected: Mask | None = None,
) -> Mask:
    growth = grow_structure(image, clicks, spacing, reach=reach, previous=previous, protected=protected)
    return whole(image.shape, growth.box, growth.mask)


def overlap(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


SHAPE = (96, 64, 48)
FIRST, SECOND = ball(SHAPE, (30, 32, 24), 18), ball(SHAPE, (70, 32, 24), 18)  # 4 mm of soft tissue lie between


def test_one_point_finds_the_bone_and_not_its_neighbour() -> None:
    found = grown(scan([FIRST, SECOND]), [Click((30, 32, 24))])
    assert overlap(found, FIRST) > 0.95
    assert not (found & SECOND).any()


def test_a_point_outside_takes_a_neighbour_away_that_touches() -> None:
    second = ball(SHAPE, (62, 32, 24), 18)  # touches the first one
    image, reference = scan([FIRST | second]), FIRST & ~second
    one = grown(image, [Click((28, 32, 24))], reach=40)
    two = grown(image, [Click((28, 32, 24)), Click((68, 32, 24), positive=False)], reach=40)
    assert (one & second).sum() > 0.9 * second.sum()
    assert (two & second).sum() < 0.3 * second.sum()
    assert overlap(two, reference) > 0.85


def test_the_simulated_annotator_gets_a_long_bone_within_few_points() -> None:
    shape = (160, 40, 40)
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    shaft = (np.hypot(axes[1] - 20, axes[2] - 20) < 9) & (axes[0] > 8) & (axes[0] < 152)
    image, mask, clicks = scan([shaft]), np.zeros(shape, bool), list[Click]()
    for _ in range(5):
        if (click := next_click(mask, shaft)) is not None:
            clicks.append(click)
        mask = grown(image, clicks, (1, 1, 1))
    assert overlap(mask, shaft) > 0.9


def test_a_scribble_along_a_bone_finds_all_of_it() -> None:
    shape = (160, 40, 40)
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    shaft = (np.hypot(axes[1] - 20, axes[2] - 20) < 9) & (axes[0] > 8) & (axes[0] < 152)
    scribble = [Click((i, 20, 20)) for i in range(20, 140, 2)]
    assert overlap(grown(scan([shaft]), scribble, (1, 1, 1)), shaft) > 0.95


def test_what_belongs_to_others_is_never_taken() -> None:
    others = FIRST & (np.arange(SHAPE[1]) < 32)[:, None]
    found = grown(scan([FIRST]), [Click((30, 38, 24))], protected=others)
    assert not (found & others).any()
    assert overlap(found, FIRST & ~others) > 0.9


def test_a_box_alone_finds_the_bone_in_it_and_nothing_outside_it() -> None:
    box = Box((10, 12, 10), (50, 52, 38))
    growth = grow_structure(scan([FIRST, SECOND]), [], SPACING, limit=box)
    assert growth.box == box
    assert overlap(whole(SHAPE, growth.box, growth.mask), FIRST) > 0.95


def test_a_mask_that_is_there_is_only_changed_where_a_point_contradicts_it() -> None:
    drawn = FIRST | ball(SHAPE, (30, 54, 24), 6)  # a piece too much, drawn by hand
    found = grown(scan([FIRST]), [Click((30, 54, 24), positive=False)], previous=drawn)
    assert not found[30, 54, 24]
    assert overlap(found, FIRST) > 0.95


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_pictures_have_a_singleton_axis_wherever_it_lies(axis: int) -> None:
    shape = list(SHAPE)
    shape[axis] = 1
    centre = [30.0, 32.0, 24.0]
    centre[axis] = 0
    bone = ball(shape, centre, 14)
    at = [int(c) for c in centre]
    assert overlap(grown(scan([bone]), [Click((at[0], at[1], at[2]))]), bone) > 0.93


def test_only_a_box_around_the_points_is_computed_with_few_voxels() -> None:
    large = np.broadcast_to(np.float32(0), (2000, 2000, 2000))  # 32 GB, were it all read
    growth = grow_structure(large, [Click((1000, 1000, 1000))], (0.3, 0.3, 0.3))
    assert np.prod(growth.box.shape) < 300**3
    assert np.prod(growth.box.shape) > MAX_VOXELS


@pytest.mark.parametrize(
    ("clicks", "reach", "message"),
    [
        ([], 25, "no point inside"),
        ([Click((3, 3, 3), positive=False)], 25, "no point inside"),
        ([Click((96, 3, 3))], 25, "outside the image"),
        ([Click((-1, 3, 3))], 25, "outside the image"),
        ([Click((3, 3, 3))], 0.0, "reach"),
        ([Click((3, 3, 3))], float("nan"), "reach"),
    ],
)
def test_what_makes_no_sense_is_refused(clicks: list[Click], reach: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        grown(scan([FIRST]), clicks, reach=reach)


def test_the_annotator_clicks_deepest_in_the_largest_error() -> None:
    first = next_click(np.zeros(SHAPE, bool), FIRST)
    assert first is not None
    assert first.positive
    assert np.abs(np.array(first.at) - (30, 32, 24)).max() <= 2
    second = next_click(FIRST | SECOND, FIRST)
    assert second is not None
    assert not second.positive
    assert SECOND[second.at]
    assert next_click(FIRST, FIRST) is None
