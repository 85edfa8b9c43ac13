"""Recipes in files: a job's published choices over those of a row of `recipes.RECIPES`, and recipes of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from osteon.core.errors import PlanError, UsageError
from osteon.core.files import read_yaml
from osteon.dataset.manifest import explain
from osteon.plan.network_sections import MONAI, PRETRAINED, SCRATCH
from osteon.plan.overlay import flat_settings, nearest, numbers
from osteon.planning.options import Choices
from osteon.planning.recipes import Recipe, all_recipes

PUBLISHED = Path(__file__).parent / "published"
Range = tuple[float, float]


def _window(value: Any) -> Any:
    return {"": value} if isinstance(value, list | tuple) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class RecipeChoices(BaseModel):
    """What a recipe file may choose: fields of `Choices`, as YAML has them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: Literal[2, 3] | None = None
    network: str | None = None
    encoder: str | None = None
    weights: str | None = None
    loss: str | None = None
    image_size: int | None = None
    batch: int | None = None
    zoom: Annotated[list[str] | None, BeforeValidator(_listed)] = None
    window: Annotated[dict[str, Range] | None, BeforeValidator(_window)] = None
    drop_slices: tuple[int | None, int | None] | None = None


class RecipeFile(BaseModel):
    """A recipe in a file.

    Attributes:
        source: Whose choices these are, and from where they are known.
        why: The reasons, and what is osteon's own choice.
        base: The row of `recipes.RECIPES` that decides all else.
        choices: Over what the data decide; the user's own choices go before them.
        plan: Section of the plan → key → value, put in last.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    why: Annotated[list[str], BeforeValidator(_listed)] = Field(min_length=1)
    base: str = "osteon"
    choices: RecipeChoices = RecipeChoices()
    plan: dict[str, Any] = {}


@dataclass(frozen=True)
class Resolved:
    """A recipe, found.

    Attributes:
        name: Of the recipe, as the plan records it.
        row: What decides the sizes and all that the file does not.
        source: Where its choices come from.
        choices: The user's, completed by the file's.
        settings: `section.key` → value of the file; the user's own go on after them.
    """

    name: str
    row: Recipe
    source: str
    choices: Choices
    settings: Mapping[str, object]


def published() -> list[str]:
    """Names of the published recipes."""
    return sorted(path.stem for path in PUBLISHED.glob("*.yaml"))


def resolve(choices: Choices) -> Resolved:
    """Find the recipe that is chosen, and complete the choices by it.

    Raises:
        UsageError: There is no such recipe, or no such file.
        PlanError: The file has a key that no recipe has, or one that makes no sense; the message names it.
    """
    name = choices.recipe
    rows = all_recipes()
    if name in rows:
        return Resolved(name, rows[name], rows[name].source, _without_encoder(choices), {})
    path = PUBLISHED / f"{name}.yaml" if name in published() else Path(name)
    if name not in published() and (path.suffix not in (".yaml", ".yml") or not path.is_file()):
        known = [*rows, *published()]
        near = f"choose one of {', '.join(known)}, or give the path of a recipe of your own (.yaml)"
        raise UsageError(f"there is no recipe {name}; near it: {nearest(name, known)}", hint=near)
    recipe = read_recipe(path)
    completed = _complete(choices, recipe.choices)
    return Resolved(path.stem, rows[recipe.base], recipe.source, completed, flat_settings(numbers(recipe.plan)))


def read_recipe(path: Path) -> RecipeFile:
    """Read a recipe's file. Raises PlanError, which names the key; FileError where it is not YAML."""
    data = read_yaml(path, "the recipe")
    hint = "correct the key; the published recipes beside osteon's planning/published are examples"
    if not isinstance(data, dict):
        raise PlanError(f"{path}: a recipe is a mapping with source, why, base, choices and plan", hint=hint)
    for place, kind in ((data, RecipeFile), (data.get("choices"), RecipeChoices)):
        names = list(kind.model_fields)
        for key in place if isinstance(place, dict) else ():
            if key not in names:
                where = "" if kind is RecipeFile else "choices."
                raise PlanError(
                    f"{path}: {where}{key}: a recipe has no such key", hint=f"near it: {nearest(key, names)}"
                )
    try:
        recipe = RecipeFile.model_validate(numbers(data))
    except ValidationError as error:
        raise PlanError(f"{path}: {explain(error)}", hint=hint) from None
    if recipe.base not in (rows := all_recipes()):
        raise PlanError(f"{path}: base: there is no recipe {recipe.base}", hint=f"one of {', '.join(rows)}")
    return recipe


def _complete(choices: Choices, by: RecipeChoices) -> Choices:
    """The user's choices, and the recipe's where the user has none and they still make sense."""
    added = {
        field.name: getattr(by, field.name)
        for field in fields(Choices)
        if field.name in RecipeChoices.model_fields and getattr(choices, field.name) is None
    }
    if choices.encoder == "none" or (choices.network is not None and choices.network not in PRETRAINED):
        added |= {"encoder": choices.encoder, "weights": choices.weights}
    if choices.dimensions == 3 and by.dimensions != 3:
        added |= {"image_size": choices.image_size, "drop_slices": choices.drop_slices}
    return _without_encoder(replace(choices, **added))


def _without_encoder(choices: Choices) -> Choices:
    """`none` as an encoder is a network from scratch; `none` as weights says nothing of one."""
    if choices.encoder == "none":
        choices = replace(choices, encoder=None)
    scratch = choices.encoder is None and (choices.network or "unet") in (*SCRATCH, *MONAI)
    return replace(choices, weights=None) if scratch and choices.weights == "none" else choices
