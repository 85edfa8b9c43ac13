"""How the bodies of a row (vertebrae) were named in a prediction, the other ways, and a person's choice among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError


@dataclass(frozen=True)
class LevelChoice:
    """One way to name all bodies.

    Attributes:
        names: From the first named body to the last, as people count, such as `L1…L5`.
        first: The first body's name; "" where it has none, and where another way that is likelier has it, too: then
            the name alone does not say which is meant.
        probability: That the model alone gives it, 0 … 1.
        shown: Whether the prediction has these names.
        picked: Whether a person has said so.
    """

    names: str
    first: str
    probability: float
    shown: bool
    picked: bool


class _Assignment(BaseModel):
    names: list[str]
    probability: float
    first: str = ""


class _Levels(BaseModel):
    assignments: list[_Assignment] = []
    picked: str | None = None


def level_choices(record: Mapping[str, Any]) -> list[LevelChoice]:
    """The ways to name the bodies of a case, the one that is shown first; empty where its record has none.

    Args:
        record: Of the case, in predictions.json.
    """
    try:
        levels = _Levels.model_validate(record.get("levels") or {})
    except ValidationError:
        return []
    choices: list[LevelChoice] = []
    for number, each in enumerate(levels.assignments):
        named = [name for name in each.names if name]
        if each.names and each.first and each.first == each.names[-1]:
            named.reverse()  # along the scan's axis, which runs to the head
        text = "…".join(dict.fromkeys([named[0], named[-1]])) if named else "no name"
        first = "" if each.first in {choice.first for choice in choices} else each.first
        choices.append(LevelChoice(text, first, each.probability, number == 0, number == 0 and bool(levels.picked)))
    return choices


def describe_levels(record: Mapping[str, Any]) -> str:
    """`L1…L5 62 %`, or `T12…L4, picked`; empty where a record has no names."""
    shown = next(iter(level_choices(record)), None)
    if shown is None:
        return ""
    return f"{shown.names}, picked" if shown.picked else f"{shown.names} {shown.probability:.0%}"
