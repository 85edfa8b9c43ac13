"""The options that decide a plan, for `osteon plan` and `osteon train` alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from osteon.cli.shared_options import with_options
from osteon.core.errors import UsageError
from osteon.planning.options import RECIPE_NAMES, PlanOptions

T = TypeVar("T")

PLAN_OPTIONS: dict[str, Any] = {
    "recipe": Annotated[
        str | None,
        typer.Option(help=f"How to train: {', '.join(RECIPE_NAMES)}, or a YAML file of your own."),
    ],
    "dimensions": Annotated[int | None, typer.Option(min=2, max=3, help="2 or 3; by the data when left out.")],
    "network": Annotated[str | None, typer.Option(help="Such as unet, unetplusplus, upernet, segresnet.")],
    "encoder": Annotated[
        str | None, typer.Option(help="The network's encoder, such as resnet34; inflated in 3D; none: from scratch.")
    ],
    "weights": Annotated[str | None, typer.Option(help="The encoder's weights: imagenet, none, or a file.")],
    "loss": Annotated[str | None, typer.Option(help="Such as dice_ce, dice_focal, bce.")],
    "image_size": Annotated[int | None, typer.Option(help="2D: pixels along a slice's longer side; seen whole.")],
    "batch": Annotated[int | None, typer.Option(help="Patches (2D: slices) in a batch.")],
    "zoom": Annotated[
        str | None, typer.Option(help="NAME,…: enlarged crops around these, too; smallest:8 are the eight smallest.")
    ],
    "window": Annotated[
        str | None, typer.Option(help="LOW:HIGH, a fixed range of intensities; CHANNEL=LOW:HIGH,… for single channels.")
    ],
    "drop_slices": Annotated[
        str | None, typer.Option(help="FIRST:LAST, 2D: slices not trained on; 0:30 are the first thirty, -9: the last.")
    ],
    "interactive": Annotated[
        bool | None, typer.Option("--interactive", help="The model answers clicks, on whichever structure.")
    ],
    "settings": Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the plan, applied last; repeatable."),
    ],
}
"""The options by the keywords that a command gets them as."""
with_plan_options = with_options({name: (annotation, None) for name, annotation in PLAN_OPTIONS.items()})


def given_options(context: typer.Context) -> list[str]:
    """Which of the options stand on the command line, be it with the values that they have without."""
    given = [name for name in PLAN_OPTIONS if is_given(context, name)]
    return ["--set" if name == "settings" else f"--{name.replace('_', '-')}" for name in given]


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def parse_plan_options(given: dict[str, Any]) -> PlanOptions:
    """What the options say. Raises UsageError where a range, a list or a setting is not written as it should be."""
    values = given | {"recipe": given["recipe"] or "osteon", "settings": None}
    values["zoom"] = _parse_names(values["zoom"])
    values["window"] = _parse_windows(values["window"])
    values["drop_slices"] = _parse_slices(values["drop_slices"])
    if given["settings"]:
        from osteon.plan.overlay import parse_settings  # slow to import

        values["settings"] = parse_settings(given["settings"])
    return PlanOptions(**values)


def _parse_names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _parse_windows(text: str | None) -> dict[str, tuple[float, float]] | None:
    if text is None:
        return None
    windows = {}
    for part in text.split(","):
        name, _, limits = part.rpartition("=")
        low, high = _parse_range(limits, "--window", "-1000:400, or ct=-1000:400", float)
        if low is None or high is None or not low < high:
            raise UsageError(
                f"--window: {part!r} is not a range from low to high", hint="--window -1000:400, for example"
            )
        windows[name.strip()] = (low, high)
    return windows


def _parse_slices(text: str | None) -> tuple[int | None, int | None] | None:
    return None if text is None else _parse_range(text, "--drop-slices", "0:30", int)


def _parse_range(text: str, option: str, example: str, number: Callable[[str], T]) -> tuple[T | None, T | None]:
    """`low:high` as two numbers; None where one is left out."""
    first, colon, last = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return (number(first) if first.strip() else None), (number(last) if last.strip() else None)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not FIRST:LAST", hint=f"{option} {example}, for example") from None
