"""Single keys put into a plan, and keys that are none."""

from __future__ import annotations

from typing import Any

import pytest

from helpers import tiny_plan
from osteon.core.errors import PlanError, UsageError
from osteon.plan.overlay import known_keys, overlay, parse_settings
from osteon.runs.record import plan_hash


def test_a_key_is_put_in_and_the_section_says_so() -> None:
    before = tiny_plan({"training.why": ["measured"]})
    plan = overlay(before, {"training.learning_rate": 1e-4, "patch.size": [16, 8, 8]}, "recipe limb")
    assert plan.training.learning_rate == 1e-4
    assert plan.training.why == ["measured", "learning_rate 0.0001: recipe limb"]
    assert plan.patch.size == (16, 8, 8)
    assert plan.patch.why == ["size [16, 8, 8]: recipe limb"]
    assert before.training.learning_rate == 0.003
    assert plan.model_copy(update={"training": before.training, "patch": before.patch}) == before


def test_nothing_to_put_in_leaves_the_plan() -> None:
    plan = tiny_plan()
    assert overlay(plan, {}) is plan


def test_a_channel_is_named_by_its_number() -> None:
    plan = overlay(tiny_plan(), {"intensities.0.clip": [-10, 20]})
    assert plan.intensities[0].clip == (-10, 20)
    assert plan.intensities[0].why == ["0.clip [-10, 20]: as asked"]


def test_a_section_is_taken_away() -> None:
    zoom = {"structures": ["femur"]}
    assert overlay(tiny_plan({"zoom": zoom}), {"zoom": None}).zoom is None


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("training.lerning_rate", "training.learning_rate"),
        ("learning_rate", "training.learning_rate"),
        ("trainig.loss", "training.loss"),
        ("training", None),
        ("training.recipe.name", "training.recipe"),
        ("network.encoder", "network."),
        ("intensities.1.clip", "intensities.0.clip"),
        ("zoom.factor", "no section zoom"),
        ("dataset", "grid"),
        ("forecast.device", "grid"),
        ("", "grid"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(key: str, near: str | None) -> None:
    with pytest.raises(PlanError) as error:
        overlay(tiny_plan(), {key: 1})
    assert error.value.message.startswith(key)
    assert near is None or near in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.schedule", "never", "training.schedule: "),
        ("training.learning_rate", -1, "training.learning_rate: Input should be greater than 0"),
        ("patch.size", [9, 8, 8], "axis 0 has 9 voxels, the strides need a multiple of 2"),
        ("patch.batch", 0, "patch.batch"),
    ],
)
def test_a_value_that_makes_no_sense_is_named_with_its_key(key: str, value: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        overlay(tiny_plan(), {key: value})


def test_every_known_key_is_taken() -> None:
    plan = tiny_plan()
    data = plan.model_dump()
    for key in known_keys(plan):
        place: Any = data
        for part in key.split("."):
            place = place[int(part)] if isinstance(place, list) else place[part]
        assert plan_hash(overlay(plan, {key: place})) == plan_hash(plan)


def test_values_are_yaml_and_numbers_are_numbers() -> None:
    texts = ["training.learning_rate=1e-4", "patch.size=[96, 96, 1]", "zoom=null", "training.loss=dice", "a.b=-2E+3"]
    assert parse_settings(texts) == {
        "training.learning_rate": 1e-4,
        "patch.size": [96, 96, 1],
        "zoom": None,
        "training.loss": "dice",
        "a.b": -2000.0,
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["training.loss"], "'training.loss' is not KEY=VALUE"),
        (["=3"], "'=3' is not KEY=VALUE"),
        (["a.b=1", "a.b=2"], "a.b is given twice"),
        (["a.b=[1"], "is not a value in YAML"),
    ],
)
def test_settings_that_are_none_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        parse_settings(texts)
