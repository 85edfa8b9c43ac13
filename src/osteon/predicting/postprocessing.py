"""postprocessing.yaml: which steps follow a prediction, for which structure, and what each gained."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from osteon.core.errors import PlanError, UsageError
from osteon.core.files import read_yaml, write_yaml
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.manifest import describe_errors
from osteon.predicting.pieces import keep_pieces
from osteon.predicting.postprocessing_steps import STEPS, Mask, Slices, apply_to_part, describe_step

FILE_NAME = "postprocessing.yaml"


class PostprocessingStep(BaseModel):
    """One step.

    Attributes:
        structure: Whose mask is changed.
        step: A row of `steps.STEPS`.
        amount: In mm (pixels), for `least_size` in cm³ (thousands of pixels).
        near: The other structure, for `keep_near`.
        gain: Mean Dice that it gained where it was chosen, by that structure.
        least: The smallest change of any case there.
        cases: Cases on which it was chosen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    structure: str
    step: str
    amount: Annotated[float, Field(gt=0)] | None = None
    near: str | None = None
    gain: float | None = None
    least: float | None = None
    cases: int | None = None

    @model_validator(mode="after")
    def _is_known(self) -> PostprocessingStep:
        if self.step not in STEPS:
            near = get_close_matches(self.step, STEPS, 3, 0.4) or list(STEPS)
            raise ValueError(f"there is no step {self.step}; near it: {', '.join(near)}")
        if bool(STEPS[self.step].unit) != (self.amount is not None):
            raise ValueError(f"amount: {self.step} {'needs one' if self.amount is None else 'takes none'}")
        if (self.step == "keep_near") != (self.near is not None):
            raise ValueError(f"near: {self.step} {'needs one' if self.near is None else 'takes none'}")
        return self


class Postprocessing(BaseModel):
    """The steps, in the order in which they are applied.

    Attributes:
        steps: None: nothing is changed.
        why: The measurements by which they were chosen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: list[PostprocessingStep] = []
    why: list[str] = []

    def describe(self, *, pixels: bool) -> list[str]:
        """One line for each step."""
        return [f"{step.structure}: {describe_step(step.model_dump(), pixels)}" for step in self.steps]


NONE = Postprocessing()


def read_postprocessing(path: Path, structures: Sequence[Structure]) -> Postprocessing:
    """Read a postprocessing.yaml.

    Raises:
        FileError: It is missing or not YAML.
        PlanError: A key or step is unknown, or makes no sense.
        UsageError: It names a structure that the model does not have.
    """
    try:
        postprocessing = Postprocessing.model_validate(read_yaml(path, "the post-processing") or {})
    except ValidationError as error:
        hint = "correct the keys named here; where a newer version of osteon has written it, use that version"
        raise PlanError(f"{path}: {describe_errors(error)}", hint=hint) from None
    names = [structure.name for structure in structures]
    for step in postprocessing.steps:
        for name in (step.structure, step.near):
            if name is not None and name not in names:
                raise UsageError(
                    f"{path}: the model has no structure {name}", hint=f"it has {', '.join(names)}; correct the file"
                )
    return postprocessing


def write_postprocessing(path: Path, chosen: Postprocessing) -> None:
    """Write it. Raises FileError."""
    data: dict[str, Any] = chosen.model_dump(mode="json", exclude_none=True)
    head = "What follows each prediction, and the mean Dice that each step gained on scans that were not trained on."
    write_yaml(path, data, head=head)


def apply_postprocessing(segmentation: Segmentation, chosen: Postprocessing) -> Segmentation:
    """The segmentation after all steps, one after the other; the given one is not changed."""
    if not chosen.steps:
        return segmentation
    merged = segmentation.merged()
    result = Segmentation(merged.array.copy(), segmentation.geometry, segmentation.structures)
    for step in chosen.steps:
        apply_step(result, step)
    return keep_pieces(result, segmentation)


def apply_step(segmentation: Segmentation, step: PostprocessingStep) -> None:
    """Apply one step, in place."""
    structure = _find_structure(segmentation, step.structure)
    inside, part = change_of_step(segmentation, step)
    if segmentation.overlapping:
        segmentation.array[segmentation.structures.index(structure)][inside] = part
        return
    here = segmentation.array[inside]
    here[(here == structure.value) & ~part] = 0
    here[part] = structure.value


def change_of_step(segmentation: Segmentation, step: PostprocessingStep) -> tuple[Slices, Mask]:
    """The part of the grid that a step can change, and its structure's mask `[i, j, k]` there afterwards."""
    mask = segmentation.mask(_find_structure(segmentation, step.structure))
    near = None if step.near is None else segmentation.mask(_find_structure(segmentation, step.near))
    free = None if segmentation.overlapping else np.asarray(segmentation.array == 0)
    return apply_to_part(step.step, mask, segmentation.geometry.spacing_mm, step.amount or 0.0, near, free)


def _find_structure(segmentation: Segmentation, name: str) -> Structure:
    return next(structure for structure in segmentation.structures if structure.name == name)
