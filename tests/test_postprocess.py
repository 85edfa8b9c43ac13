"""Post-processing: each step by shapes whose answer is known, and the choice by evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import spacing_affine, tiny_plan
from osteon.core.errors import PlanError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.plan.schema import Plan
from osteon.predicting.postprocessing import (
    NONE,
    Postprocessing,
    PostprocessingStep,
    apply_postprocessing,
    read_postprocessing,
    write_postprocessing,
)
from osteon.predicting.postprocessing_steps import STEPS
from osteon.runs.postprocessing_search import MIN_CASES, JudgedCase, choose_steps

Block = tuple[slice, slice, slice]
SHAPE = (24, 24, 24)
PLAN = tiny_plan()
FEMUR, TIBIA = PLAN.structures


def segmentation(*boxes: tuple[int, Block], spacing: tuple[float, ...] = (1, 1, 1)) -> Segmentation:
    array = np.zeros(SHAPE, dtype=np.uint8)
    for value, where in boxes:
        array[where] = value
    return Segmentation(array, Geometry(SHAPE, spacing_affine(*spacing)), tuple(PLAN.structures))


def block(*ranges: tuple[int, int]) -> Block:
    i, j, k = (slice(a, b) for a, b in ranges)
    return i, j, k


BONE = block((4, 12), (4, 12), (4, 12))
SPECK = block((18, 20), (18, 20), (18, 20))


def after(given: Segmentation, **step: Any) -> np.ndarray:
    before = given.array.copy()
    made = apply_postprocessing(given, Postprocessing(steps=[PostprocessingStep(structure="femur", **step)]))
    assert np.array_equal(given.array, before)  # the given one is not changed
    return made.array


def test_every_kind_of_step_is_tested() -> None:
    assert set(STEPS) == {"largest", "least_size", "keep_near", "fill_holes", "close", "smooth"}


def test_the_largest_piece_stays_alone() -> None:
    found = after(segmentation((3, BONE), (3, SPECK), (5, block((0, 2), (0, 2), (0, 2)))), step="largest")
    assert np.count_nonzero(found == 3) == 512
    assert np.count_nonzero(found == 5) == 8  # another structure's
    assert not (found[SPECK] == 3).any()


@pytest.mark.parametrize(("amount", "stays"), [(0.008 * 0.9, True), (0.008 * 1.1, False)])
def test_small_pieces_go_by_their_volume(amount: float, stays: bool) -> None:
    """A speck of 8 voxels is 0.008 cm³ at 1 mm."""
    found = after(segmentation((3, BONE), (3, SPECK)), step="least_size", amount=amount)
    assert (found[SPECK] == 3).all() == stays
    assert (found[BONE] == 3).all()


def test_volumes_know_the_spacing() -> None:
    """The same speck is 0.064 cm³ where voxels are 2 mm long."""
    thick = segmentation((3, BONE), (3, SPECK), spacing=(2, 2, 2))
    assert (after(thick, step="least_size", amount=0.06)[SPECK] == 3).all()
    assert not (after(thick, step="least_size", amount=0.07)[SPECK] == 3).any()


def test_holes_are_filled_and_other_structures_kept() -> None:
    hollow = segmentation((3, BONE), (0, block((6, 9), (6, 9), (6, 9))), (5, block((7, 8), (7, 8), (7, 8))))
    found = after(hollow, step="fill_holes")
    assert found[7, 7, 7] == 5
    assert np.count_nonzero(found[BONE] == 3) == 511
    flat = segmentation((3, block((4, 12), (4, 12), (4, 5))))
    flat.array[6:9, 6:9, 4] = 0
    one = Segmentation(flat.array[:, :, 4:5].copy(), Geometry((24, 24, 1), spacing_affine(1, 1, 1)), flat.structures)
    assert np.count_nonzero(after(one, step="fill_holes") == 3) == 64


def test_gaps_up_to_twice_the_amount_are_closed() -> None:
    split = segmentation((3, block((4, 11), (4, 20), (4, 20))), (3, block((13, 20), (4, 20), (4, 20))))
    assert (after(split, step="close", amount=2.0)[11:13, 8:16, 8:16] == 3).all()
    assert not (after(split, step="close", amount=0.9)[11:13] == 3).any()
    wider = Segmentation(split.array, Geometry(SHAPE, spacing_affine(3, 1, 1)), split.structures)
    assert not (after(wider, step="close", amount=2.0)[11:13] == 3).any()
    whole = segmentation((3, block((0, 24), (0, 24), (0, 24))))
    assert (after(whole, step="close", amount=3.0) == 3).all()


def test_smoothing_takes_thin_things_away_and_leaves_flat_faces() -> None:
    spiked = segmentation((3, BONE), (3, block((12, 20), (8, 9), (8, 9))))
    found = after(spiked, step="smooth", amount=1.0)
    assert not (found[14:20] == 3).any()
    assert (found[4, 8, 8], found[3, 8, 8]) == (3, 0)


def test_pieces_far_from_another_structure_go() -> None:
    near = segmentation((3, block((4, 8), (4, 8), (4, 8))), (3, SPECK), (5, block((9, 12), (4, 8), (4, 8))))
    found = after(near, step="keep_near", amount=3.0, near="tibia")
    assert np.count_nonzero(found == 3) == 64
    alone = segmentation((3, BONE), (3, SPECK))
    assert np.array_equal(after(alone, step="keep_near", amount=3.0, near="tibia"), alone.array)


@pytest.mark.parametrize("step", STEPS)
def test_nothing_comes_of_nothing(step: str) -> None:
    more = {"amount": 1.0} if STEPS[step].unit else {}
    more |= {"near": "tibia"} if step == "keep_near" else {}
    assert not after(segmentation(), step=step, **more).any()


def test_overlapping_structures_are_changed_apart() -> None:
    array = np.zeros((2, *SHAPE), dtype=np.uint8)
    array[(0, *BONE)] = array[(1, *BONE)] = 1
    array[(0, *SPECK)] = array[(1, *SPECK)] = 1
    given = Segmentation(array, Geometry(SHAPE, spacing_affine(1, 1, 1)), tuple(PLAN.structures))
    found = after(given, step="largest")
    assert (found[0].sum(), found[1].sum()) == (512, 520)


def test_the_file_comes_back(tmp_path: Path) -> None:
    chosen = Postprocessing(
        steps=[
            PostprocessingStep(structure="femur", step="largest", gain=0.02, least=0.0, cases=7),
            PostprocessingStep(structure="tibia", step="keep_near", amount=3.5, near="femur"),
        ],
        why=["seven cases"],
    )
    write_postprocessing(tmp_path / "p.yaml", chosen)
    assert read_postprocessing(tmp_path / "p.yaml", PLAN.structures) == chosen
    descriptions = ["femur: the largest piece alone", "tibia: no piece further than 3.5 mm from femur"]
    assert chosen.describe(pixels=False) == descriptions
    assert "3.5 px" in chosen.describe(pixels=True)[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [{structure: femur, step: largst}]", "there is no step largst; near it: largest"),
        ("steps: [{structure: femur, step: close}]", "close needs one"),
        ("steps: [{structure: femur, step: largest, amount: 2}]", "largest takes none"),
        ("steps: [{structure: femur, step: close, amount: 2, near: tibia}]", "near: close takes none"),
        ("steps: [{structure: femur, step: close, amount: -2}]", "amount"),
        ("stepps: []", "stepps"),
    ],
)
def test_nonsense_is_refused_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PlanError, match=message) as refused:
        read_postprocessing(tmp_path / "p.yaml", PLAN.structures)
    assert "newer version" in refused.value.hint


def test_a_structure_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("steps: [{structure: skull, step: largest}]")
    with pytest.raises(UsageError, match="the model has no structure skull"):
        read_postprocessing(tmp_path / "p.yaml", PLAN.structures)


# -- chosen by evidence ------------------------------------------------------


BOTH = ("femur", "tibia")


def judged(prediction: Segmentation, reference: Segmentation, annotated: tuple[str, ...] = BOTH) -> JudgedCase:
    return JudgedCase(prediction, reference, frozenset(annotated))


def choose(cases: list[JudgedCase], plan: Plan = PLAN) -> Postprocessing:
    return choose_steps(plan, [str(n) for n in range(len(cases))], lambda case: cases[int(case)])


TRUE = segmentation((3, BONE))
SPECKLED = segmentation((3, BONE), (3, SPECK))


def test_what_helps_is_chosen_with_its_gain() -> None:
    chosen = choose([judged(SPECKLED, TRUE)] * 6)
    assert [step.structure for step in chosen.steps] == ["femur"]
    (step,) = chosen.steps
    assert step.step == "largest"  # the first of several that gain the same
    assert step.gain == pytest.approx(1 - 2 * 512 / (512 + 520), abs=1e-5)
    assert (step.least, step.cases) == (step.gain, 6)


def test_what_harms_a_single_case_is_not_chosen() -> None:
    """One bone is in two pieces indeed: the largest alone would lose one of them."""
    two = segmentation((3, BONE), (3, block((16, 22), (16, 22), (16, 22))))
    cases = [judged(SPECKLED, TRUE)] * 9 + [judged(two, two)]
    chosen = choose(cases)
    assert [step.step for step in chosen.steps] == ["least_size"]
    assert not any(step.step == "largest" for step in chosen.steps)


def test_the_time_for_choosing_is_limited() -> None:
    cases = [judged(SPECKLED, TRUE)] * 6
    chosen = choose_steps(PLAN, list("012345"), lambda case: cases[int(case)], until=0.0)
    assert chosen.steps == []
    assert chosen.why[0].endswith("the time for choosing was over after 0 of up to 3 rounds")


def test_where_nothing_is_to_be_gained_nothing_is_chosen() -> None:
    assert choose([judged(TRUE, TRUE)] * 6).steps == []


def test_few_cases_decide_nothing() -> None:
    assert "fewer than 5" in choose([judged(SPECKLED, TRUE)] * (MIN_CASES - 1)).why[0]
    assert choose([judged(SPECKLED, TRUE)] * (MIN_CASES - 1)).steps == []
    unknown = [judged(SPECKLED, TRUE, ("tibia",))] * 3
    assert choose([judged(SPECKLED, TRUE)] * (MIN_CASES - 1) + unknown).steps == []


def test_a_second_step_follows_where_it_helps_too() -> None:
    holed = segmentation((3, BONE), (0, block((7, 9), (7, 9), (7, 9))), (3, block((18, 23), (18, 23), (18, 23))))
    chosen = choose([judged(holed, TRUE)] * 6)
    assert {step.step for step in chosen.steps} == {"largest", "fill_holes"}
    assert np.array_equal(apply_postprocessing(holed, chosen).array, TRUE.array)


def test_an_invented_structure_that_goes_counts_as_right() -> None:
    cases = [judged(SPECKLED, TRUE)] * 5 + [judged(segmentation((3, SPECK)), segmentation())] * 2
    chosen = choose(cases)
    assert [step.step for step in chosen.steps] == ["least_size"]
    assert not apply_postprocessing(cases[-1].prediction, chosen).array.any()


def test_no_steps_give_the_very_segmentation() -> None:
    assert apply_postprocessing(TRUE, NONE) is TRUE
