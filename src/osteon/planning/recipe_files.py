"""Recipes in files: a job's published choices over those of a row of `recipes.RECIPES`, and recipes of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from osteon.core.errors import PlanError, UsageError
from osteon.core.files import read_yaml
from osteon.dataset.manifest import describe_errors
from osteon.plan.network_sections import MONAI, PRETRAINED, SCRATCH
from osteon.plan.overlay import closest_names, flatten_settings, parse_numbers
from osteon.planning.options import PlanOptions
from osteon.planning.recipes import Recipe, all_recipes

PUBLISHED_FOLDER = Path(__file__).parent / "published"
Range = tuple[float, float]


def _named_window(value: Any) -> Any:
    return {"": value} if isinstance(value, list | tuple) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class RecipeOptions(BaseModel):
    """What a recipe file may choose: fields of `PlanOptions`, as YAML has them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: Literal[2, 3] | None = None
    network: str | None = None
    encoder: str | None = None
    weights: str | None = None
    loss: str | None = None
    image_size: int | None = None
    batch: int | None = None
    zoom: Annotated[list[str] | None, BeforeValidator(_as_list)] = None
    window: Annotated[dict[str, Range] | None, BeforeValidator(_named_window)] = None
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
    why: Annotated[list[str], BeforeValidator(_as_list)] = Field(min_length=1)
    base: str = "osteon"
    choices: RecipeOptions = RecipeOptions()
    plan: dict[str, Any] = {}


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe, found.

    Attributes:
        name: Of the recipe, as the plan records it.
        base: What decides the sizes and all that the file does not.
        source: Where its choices come from.
        options: The user's, completed by the file's.
        settings: `section.key` → value of the file; the user's own go on after them.
    """

    name: str
    base: Recipe
    source: str
    options: PlanOptions
    settings: Mapping[str, object]


def published_recipes() -> list[str]:
    """Names of the published recipes."""
    return sorted(path.stem for path in PUBLISHED_FOLDER.glob("*.yaml"))


def resolve_recipe(options: PlanOptions) -> ResolvedRecipe:
    """Find the recipe that is chosen, and complete the choices by it.

    Raises:
        UsageError: There is no such recipe, or no such file.
        PlanError: The file has a key that no recipe has, or one that makes no sense; the message names it.
    """
    name = options.recipe
    rows = all_recipes()
    if name in rows:
        return ResolvedRecipe(name, rows[name], rows[name].source, _without_encoder(options), {})
    path = PUBLISHED_FOLDER / f"{name}.yaml" if name in published_recipes() else Path(name)
    if name not in published_recipes() and (path.suffix not in (".yaml", ".yml") or not path.is_file()):
        known = [*rows, *published_recipes()]
        near = f"choose one of {', '.join(known)}, or give the path of a recipe of your own (.yaml)"
        raise UsageError(f"there is no recipe {name}; near it: {closest_names(name, known)}", hint=near)
    recipe = read_recipe(path)
    completed = _complete_options(options, recipe.choices)
    return ResolvedRecipe(
        path.stem, rows[recipe.base], recipe.source, completed, flatten_settings(parse_numbers(recipe.plan))
    )


def read_recipe(path: Path) -> RecipeFile:
    """Read a recipe's file. Raises PlanError, which names the key; FileError where it is not YAML."""
    data = read_yaml(path, "the recipe")
    hint = "correct the key; the published recipes beside osteon's planning/published are examples"
    if not isinstance(data, dict):
        raise PlanError(f"{path}: a recipe is a mapping with source, why, base, choices and plan", hint=hint)
    for mapping, model in ((data, RecipeFile), (data.get("choices"), RecipeOptions)):
        names = list(model.model_fields)
        for key in mapping if isinstance(mapping, dict) else ():
            if key not in names:
                where = "" if model is RecipeFile else "choices."
                raise PlanError(
                    f"{path}: {where}{key}: a recipe has no such key", hint=f"near it: {closest_names(key, names)}"
                )
    try:
        recipe = RecipeFile.model_validate(parse_numbers(data))
    except ValidationError as error:
        raise PlanError(f"{path}: {describe_errors(error)}", hint=hint) from None
    if recipe.base not in (rows := all_recipes()):
        raise PlanError(f"{path}: base: there is no recipe {recipe.base}", hint=f"one of {', '.join(rows)}")
    return recipe


def _complete_options(options: PlanOptions, defaults: RecipeOptions) -> PlanOptions:
    """The user's choices, and the recipe's where the user has none and they still make sense."""
    completed = {
        field.name: getattr(defaults, field.name)
        for field in fields(PlanOptions)
        if field.name in RecipeOptions.model_fields and getattr(options, field.name) is None
    }
    if options.encoder == "none" or (options.network is not None and options.network not in PRETRAINED):
        completed |= {"encoder": options.encoder, "weights": options.weights}
    if options.dimensions == 3 and defaults.dimensions != 3:
        completed |= {"image_size": options.image_size, "drop_slices": options.drop_slices}
    return _without_encoder(replace(options, **completed))


def _without_encoder(options: PlanOptions) -> PlanOptions:
    """`none` as an encoder is a network from scratch; `none` as weights says nothing of one."""
    if options.encoder == "none":
        options = replace(options, encoder=None)
    scratch = options.encoder is None and (options.network or "unet") in (*SCRATCH, *MONAI)
    return replace(options, weights=None) if scratch and options.weights == "none" else options
