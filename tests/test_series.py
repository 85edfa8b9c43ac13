"""Names along a series: one for each body, in order, the run that the network's probabilities support best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from helpers import tiny_plan
from osteon.plan.schema import Plan
from osteon.predicting.sequence import name_sequence

NAMES = ["L3", "L2", "L1"]
SHAPE = (10, 10, 60)
SERIES = {"axis": 2, "names": NAMES, "distance_mm": 12.0, "volume_mm3": 512.0}


def plan(**series: Any) -> Plan:
    colours = ("#ff0000", "#00ff00", "#0000ff")
    structures = [{"name": n, "value": v, "colour": c} for v, (n, c) in enumerate(zip(NAMES, colours, strict=True), 1)]
    return tiny_plan({"structures": structures, "series": {**SERIES, **series}})


def scan(*bodies: tuple[int, dict[int, float]], length: int = 8) -> torch.Tensor:
    """Cubes of 8 voxels from a height on, each with probabilities of the names' numbers (0 the background)."""
    probabilities = np.zeros((4, *SHAPE), np.float32)
    probabilities[0] = 1
    for start, chances in bodies:
        where = (slice(1, 9), slice(1, 9), slice(start, start + length))
        for number in range(4):
            probabilities[(number, *where)] = chances.get(number, 0.0)
    return torch.from_numpy(probabilities)


def names(probabilities: torch.Tensor, *starts: int) -> list[list[int]]:
    """The numbers that the voxels of each body have."""
    labels = probabilities.argmax(0)
    return [sorted(set(labels[1:9, 1:9, s : s + 8].flatten().tolist())) for s in starts]


def test_a_body_gets_one_name() -> None:
    probabilities = scan((2, {1: 0.9, 0: 0.1}), (14, {2: 0.8, 3: 0.2}), (26, {3: 0.9, 0: 0.1}))
    probabilities[:, 1:9, 1:9, 18:22] = torch.tensor([0.05, 0.0, 0.35, 0.6])[:, None, None, None]  # half of L2 says L1
    assert names(probabilities, 14) == [[2, 3]]
    named = name_sequence(probabilities, plan())[0]
    assert names(named, 2, 14, 26) == [[1], [2], [3]]
    torch.testing.assert_close(named.sum(0), torch.ones(SHAPE))


def test_two_bodies_of_one_name_are_told_apart_by_the_others() -> None:
    sure = scan((2, {1: 1.0}), (14, {2: 1.0}), (26, {2: 0.7, 3: 0.3}))
    assert names(name_sequence(sure, plan())[0], 2, 14, 26) == [[1], [2], [3]]


def test_bodies_that_touch_are_cut_apart() -> None:
    """The network calls both L2, which would leave one of three places empty."""
    together = scan((2, {1: 1.0}), (14, {2: 1.0}), (22, {2: 0.6, 3: 0.4}))
    assert names(name_sequence(together, plan())[0], 2, 14, 22) == [[1], [2], [3]]
    three = scan((2, {1: 0.9, 2: 0.1}), (10, {2: 1.0}), (18, {2: 0.6, 3: 0.4}))
    assert names(name_sequence(three, plan())[0], 2, 10, 18) == [[1], [2], [3]]


def test_small_people_have_small_bodies() -> None:
    """Two that touch are less than twice the usual volume, but twice as large as the third."""
    together = scan((2, {1: 1.0}), (14, {2: 1.0}), (22, {2: 0.6, 3: 0.4}))
    assert names(name_sequence(together, plan(volume_mm3=800.0))[0], 2, 14, 22) == [[1], [2], [3]]


def test_a_body_beyond_the_series_is_background() -> None:
    four = scan((2, {1: 1.0}), (14, {2: 1.0}), (26, {3: 0.5, 2: 0.5}), (38, {3: 0.9, 0: 0.1}))
    named = name_sequence(four, plan())[0]
    assert names(named, 2, 14, 26, 38) == [[1], [2], [3], [0]]
    torch.testing.assert_close(named.sum(0), torch.ones(SHAPE))


def test_where_one_is_missed_its_name_stays_free() -> None:
    gap = scan((2, {1: 1.0}), (26, {2: 0.6, 3: 0.4}))
    assert names(name_sequence(gap, plan())[0], 2, 26) == [[1], [3]]


def test_the_border_takes_the_bodys_name() -> None:
    probabilities = scan((2, {1: 1.0}), (14, {2: 0.4, 3: 0.6}), (26, {3: 1.0}))
    probabilities[:, 1:9, 1:9, 13] = torch.tensor([0.6, 0.0, 0.1, 0.3])[:, None, None]
    named = name_sequence(probabilities, plan())[0]
    torch.testing.assert_close(named[:, 4, 4, 13], torch.tensor([0.6, 0.0, 0.4, 0.0]))


def test_a_small_piece_stays_as_it_was_found() -> None:
    probabilities = scan((2, {1: 1.0}), (14, {2: 1.0}), (26, {3: 1.0}))
    probabilities[:, 4, 4, 50] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert name_sequence(probabilities, plan())[0][:, 4, 4, 50].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "probabilities",
    [
        scan((2, {1: 1.0}), (14, {2: 0.4, 3: 0.6}), length=40),  # far too much for bodies that touch
        scan((2, {1: 0.4, 2: 0.6})),  # one alone has no neighbour
        scan(),
    ],
)
def test_nothing_changes_where_bodies_cannot_be_told(probabilities: torch.Tensor) -> None:
    assert torch.equal(name_sequence(probabilities.clone(), plan())[0], probabilities)


def test_without_a_series_nothing_changes() -> None:
    probabilities = scan((2, {1: 0.4, 2: 0.6}), (14, {2: 1.0}), (26, {3: 1.0}))
    assert torch.equal(
        name_sequence(probabilities.clone(), plan().model_copy(update={"sequence": None}))[0], probabilities
    )
