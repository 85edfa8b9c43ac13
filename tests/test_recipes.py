"""Recipes in files: the published ones, one's own, and what a user decides over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from helpers import spacing_affine, two_boxes, write_dataset
from osteon.core.errors import PlanError, UsageError
from osteon.core.labels import make_structures
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Network, Plan, Pretrained, read_plan, write_plan
from osteon.planning.fingerprint import CaseFacts, Fingerprint, StructureFacts, measure_fingerprint
from osteon.planning.options import PlanOptions
from osteon.planning.planner import make_plan
from osteon.planning.recipe_files import PUBLISHED_FOLDER, published_recipes, read_recipe, resolve_recipe
from osteon.planning.recipes import RECIPES
from osteon.planning.zoom_choice import expand_smallest


@pytest.fixture
def boxes(tmp_path: Path) -> Dataset:
    cases = {name: two_boxes((40, 36, 34), seed=n) for n, name in enumerate("abc")}
    return write_dataset(tmp_path / "data", cases)


@pytest.fixture
def hands(tmp_path: Path) -> Dataset:
    """Two overlapping bones in pictures of unlike sizes: 60×40 pixels, and one of 40×80."""
    cases = {}
    for number, (i, j) in enumerate(((60, 40), (60, 40), (40, 80))):
        first, second = np.zeros((2, i, j, 1), dtype=np.uint8)
        first[5:30, 5:30] = 1
        second[28:34, 28:34] = 1
        image = np.random.default_rng(number).normal(100, 20, (i, j, 1)).astype(np.int16)
        cases[f"h{number}"] = (image, np.stack([first, second]), spacing_affine(1, 1, 1))
    structures = make_structures(["radius", "lunate"])
    return write_dataset(tmp_path / "hands", cases, structures, modality="xray", overlapping=True, unit="px")


def planned(dataset: Dataset, **choices: Any) -> Plan:
    return make_plan(dataset, measure_fingerprint(dataset), PlanOptions(**choices))


def own(folder: Path, **content: Any) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"source": "me", "why": "to try", **content}))
    return path


# -- the published ones ------------------------------------------------------


def test_there_is_one_for_every_job() -> None:
    assert {"humerus", "limb", "spine", "hand", "lung"} <= set(published_recipes())
    assert not set(published_recipes()) & set(RECIPES)


@pytest.mark.parametrize("name", published_recipes())
def test_a_published_recipe_says_whose_choices_it_holds(name: str) -> None:
    recipe = read_recipe(PUBLISHED_FOLDER / f"{name}.yaml")
    assert recipe.source
    assert any("theirs" in reason for reason in recipe.why)
    assert any("osteon's own choice" in reason for reason in recipe.why)


@pytest.mark.parametrize("name", published_recipes())
def test_a_published_recipe_gives_a_plan_that_holds(name: str, boxes: Dataset, tmp_path: Path) -> None:
    plan = planned(boxes, recipe=name, weights="none")
    write_plan(tmp_path / "plan.yaml", plan)
    assert read_plan(tmp_path / "plan.yaml") == plan
    assert plan.training.recipe == name
    for key, value in resolve_recipe(PlanOptions(recipe=name)).settings.items():
        section, _, field = key.partition(".")
        kept = getattr(getattr(plan, section), field)
        assert (list(kept) if isinstance(kept, tuple) else kept) == value
        assert any(f"{field} " in reason and f"recipe {name}" in reason for reason in getattr(plan, section).why)


def test_limbs_are_cut_into_slices_for_a_resnet(boxes: Dataset) -> None:
    plan = planned(boxes, recipe="limb")
    assert isinstance(plan.network, Pretrained)
    assert (plan.network.name, plan.network.encoder, plan.network.weights) == ("unet", "resnet34", "imagenet")
    assert (plan.grid.dimensions, max(plan.patch.size), plan.patch.batch) == (2, 256, 16)
    training = plan.training
    assert (training.loss, training.optimiser, training.learning_rate) == ("dice_focal", "adam", 1e-4)
    assert (training.schedule, training.patience_epochs) == ("exponential", 20)


def test_lungs_have_a_fixed_range_and_lack_the_leading_slices(boxes: Dataset) -> None:
    plan = planned(boxes, recipe="lung")
    assert isinstance(plan.network, Network)
    assert (plan.grid.drop_slices, plan.intensities[0].clip) == ((0, 30), (-1000, 400))
    assert (plan.training.loss, plan.training.foreground_share) == ("bce", 0.5)


def test_hands_are_seen_whole_at_1024_pixels_with_crops_of_small_bones(hands: Dataset) -> None:
    plan = planned(hands, recipe="hand")
    assert plan.patch.size[2] == 1
    assert 1024 in plan.patch.size
    assert plan.zoom is not None
    assert plan.zoom.structures == ["lunate", "radius"]
    assert plan.training.loss == "dice_bce"
    assert any("sigmoid of its own" in reason for reason in plan.training.why)


def test_spines_are_planned_in_2d_and_in_3d(boxes: Dataset) -> None:
    assert planned(boxes, recipe="spine").grid.dimensions == 3
    flat = planned(boxes, recipe="spine", dimensions=2)
    assert (flat.grid.dimensions, flat.augmentation.elastic_p) == (2, 0.3)


# -- the user's choices go before ------------------------------------------------------


def test_the_users_choices_go_before_the_recipes(boxes: Dataset) -> None:
    plan = planned(
        boxes,
        recipe="limb",
        encoder="resnet18",
        weights="none",
        loss="dice",
        image_size=64,
        batch=3,
        settings={"training.learning_rate": 5e-4},
    )
    assert isinstance(plan.network, Pretrained)
    assert (plan.network.encoder, plan.network.weights) == ("resnet18", "none")
    assert (plan.training.loss, plan.training.learning_rate, plan.training.optimiser) == ("dice", 5e-4, "adam")
    assert (max(plan.patch.size), plan.patch.batch) == (64, 3)


@pytest.mark.parametrize("choice", [{"encoder": "none"}, {"network": "segresnet"}])
def test_without_its_encoder_a_recipe_has_no_weights(boxes: Dataset, choice: dict[str, str]) -> None:
    plan = planned(boxes, recipe="limb", **choice)
    assert not isinstance(plan.network, Pretrained)
    assert plan.training.loss == "dice_focal"


def test_in_3d_a_recipe_has_no_size_of_images(boxes: Dataset) -> None:
    plan = planned(boxes, recipe="lung", dimensions=3)
    assert plan.grid.dimensions == 3
    assert plan.grid.drop_slices is None


def test_no_weights_are_harmless_where_there_are_none(boxes: Dataset) -> None:
    assert isinstance(planned(boxes, recipe="humerus", weights="none").network, Network)
    with pytest.raises(UsageError, match="no encoder that they could be of"):
        planned(boxes, recipe="humerus", weights="imagenet")


# -- one's own ------------------------------------------------------


def test_a_copy_is_used_by_its_path(boxes: Dataset, tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    text = (PUBLISHED_FOLDER / "limb.yaml").read_text()
    copy.write_text(text.replace("learning_rate: 1e-4", "learning_rate: 2e-4"))
    plan = planned(boxes, recipe=str(copy))
    assert (plan.training.recipe, plan.training.learning_rate) == ("mine", 2e-4)
    assert plan.training.optimiser == "adam"


def test_a_recipe_builds_on_another_row(boxes: Dataset, tmp_path: Path) -> None:
    plan = planned(boxes, recipe=str(own(tmp_path, base="nnunet", plan={"training": {"epochs": 3}})))
    assert (plan.training.optimiser, plan.training.epochs) == ("sgd", 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"choises": {}}, r"choises: a recipe has no such key(?s:.*)choices"),
        ({"choices": {"encodr": "resnet34"}}, r"choices\.encodr: a recipe has no such key(?s:.*)encoder"),
        ({"plan": {"training": {"lerning_rate": 1}}}, r"training\.lerning_rate(?s:.*)training\.learning_rate"),
        ({"plan": {"trainin": {"loss": "dice"}}}, r"trainin\.loss(?s:.*)training\.loss"),
        ({"choices": {"image_size": "big"}}, r"choices\.image_size"),
        ({"base": "soup"}, "base: there is no recipe soup"),
        ({"why": []}, "why"),
    ],
)
def test_a_typo_is_an_error_with_the_key(boxes: Dataset, tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        planned(boxes, recipe=str(own(tmp_path, **content)))


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- limb\n")
    with pytest.raises(PlanError, match="a recipe is a mapping"):
        resolve_recipe(PlanOptions(recipe=str(tmp_path / "list.yaml")))


@pytest.mark.parametrize("name", ["lim", "soup", "missing.yaml"])
def test_a_recipe_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)there is no recipe {name}; near it: .*limb"):
        resolve_recipe(PlanOptions(recipe=name))


# -- sizes of images ------------------------------------------------------


def test_pictures_of_unlike_sizes_are_brought_to_a_size(hands: Dataset) -> None:
    """Longer sides 60, 60, 80: the median 60 becomes 32, so a pixel is 1.875; 40×80 become 21.3×42.7."""
    plan = planned(hands, image_size=32)
    assert plan.grid.spacing_mm == (1.875, 1.875, 1)
    assert plan.patch.size == (32, 32, 1)
    assert "2 of 3 cases' slices whole" in plan.patch.why[0]


def test_slices_of_one_shape_have_a_patch_of_that_shape(hands: Dataset) -> None:
    like = Fingerprint(cases=measure_fingerprint(hands).cases[:2])
    plan = make_plan(hands, like, PlanOptions(image_size=96))
    assert plan.grid.spacing_mm[:2] == (0.625, 0.625)
    assert plan.patch.size == (96, 64, 1)
    assert "2 of 2 cases' slices whole" in plan.patch.why[0]
    again = make_plan(hands, like, PlanOptions(image_size=1200))
    assert (again.patch.size[0] >= 1200, again.patch.batch) == (True, 2)


def test_a_slice_keeps_its_thickness(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes((40, 30, 6), (1, 1, 5))})
    plan = planned(dataset, dimensions=2, image_size=80)
    assert plan.grid.spacing_mm == (0.5, 0.5, 5)
    assert plan.patch.size[0] == 80


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"dimensions": 3, "image_size": 64}, "--image-size 64: a 3D plan has no slices"),
        ({"dimensions": 2, "image_size": 3}, "--image-size 3: is less than 16 pixels"),
        ({"batch": 0}, "--batch 0: is not a number of patches"),
        ({"loss": "dise"}, r"(?s)there is no loss dise.*dice"),
        ({"network": "unett"}, r"(?s)there is no network unett.*unet"),
        ({"zoom": ["smallest:0"]}, "--zoom smallest:0"),
    ],
)
def test_choices_that_make_no_sense_are_refused(boxes: Dataset, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        planned(boxes, **choices)


# -- the smallest ------------------------------------------------------


def test_the_smallest_are_those_of_the_least_median_volume() -> None:
    sizes = [{"a": 9, "b": 4, "c": 100}, {"a": 9, "b": 40, "c": 1}, {"a": 9, "b": 4, "c": 100}]
    cases = [
        CaseFacts(
            id=str(n),
            shape=(9, 9, 9),
            spacing_mm=(1, 1, 1),
            unit="mm",
            structures={
                name: StructureFacts(voxels=v, centre_mm=(0, 0, 0), extent_mm=(9, 9, 9)) for name, v in each.items()
            },
            intensities=[[0.0]],
        )
        for n, each in enumerate(sizes)
    ]
    found = Fingerprint(cases=cases)
    assert expand_smallest(found, ["smallest:2"]) == ["b", "a"]
    assert expand_smallest(found, ["c", "smallest:1", "b"]) == ["c", "b"]
    assert expand_smallest(found, ["smallest"]) == ["b", "a", "c"]
