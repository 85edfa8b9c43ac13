"""The options that decide a plan, for `osteon plan` and `osteon train` alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from osteon.cli.option_values import RECIPES
from osteon.core.errors import UsageError
from osteon.planning.options import PlanOptions

T = TypeVar("T")

OPTIONS: dict[str, Any] = {
    "recipe": Annotated[
        str | None, typer.Option(help=f"How to train: {', '.join(RECIPES)}, or a YAML file of your own.")
    ],
    "dimensions": Annotated[int | None, typer.Option(min=2, max=3, help="2 or 3; by the data when left out.")],
    "network": Annotated[str | None, typer.Option(help="Such as unet, unetplusplus, upernet, segresnet.")],
    "encoder": Annotated[
        str | None, typer.Option(help="The network's encoder, such as resnet34; inflated in 3D; none: from scratch.")
    ],
    "weights": Annotated[str | None, typer.Option(help="The encoder's: imagenet, none, or a file.")],
    "loss": Annotated[str | None, typer.Option(help="Such as dice_ce, dice_focal, bce.")],
    "image_size": Annotated[int | None, typer.Option(help="2D: pixels along a slice's longer side; seen whole.")],
    "batch": Annotated[int | None, typer.Option(help="Patches (2D: slices) in a batch.")],
    "zoom": Annotated[
        str | None, typer.Option(help="NAME,…: enlarged crops around these, too; smallest:8 are the eight smallest.")
    ],
    "window": Annotated[
        str | None,
        typer.Option(help="LOW:HIGH, a fixed range of intensities; CHANNEL=LOW:HIGH,… for single channels."),
    ],
    "drop_slices": Annotated[
        str | None, typer.Option(help="FIRST:LAST, 2D: slices not trained on; 0:30 are the first thirty, -9: the last.")
    ],
    "settings": Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the plan, put in last; repeatable."),
    ],
}
"""The options by the parameters that hold them."""


def takes_choices(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that decide a plan; it gets what they say as `choices`.

    The command has a parameter `context`, too.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != "choices"]
    arguments = [one for one in own if one.default is one.empty]
    others = [one.replace(kind=one.KEYWORD_ONLY) for one in own if one.default is not one.empty]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in OPTIONS.items()
    ]

    def with_choices(context: typer.Context, **values: Any) -> None:
        given = {name: values.pop(name) for name in OPTIONS}
        command(context=context, choices=_choices(given), **values)

    parameters = [*arguments, *added, *others]
    with_choices.__name__, with_choices.__doc__ = command.__name__, command.__doc__
    with_choices.__annotations__ = {one.name: one.annotation for one in parameters}
    vars(with_choices)["__signature__"] = inspect.Signature(parameters)
    return with_choices


def asked(context: typer.Context) -> list[str]:
    """Which of the options stand on the command line, be it with the values that they have without."""
    given = [name for name in OPTIONS if is_given(context, name)]
    return ["--set" if name == "settings" else f"--{name.replace('_', '-')}" for name in given]


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _choices(given: dict[str, Any]) -> PlanOptions:
    """Raises UsageError where a range, a list or a setting is not written as it should be."""
    values = given | {"recipe": given["recipe"] or "osteon", "settings": None}
    values["zoom"] = _names(values["zoom"])
    values["window"] = _windows(values["window"])
    values["drop_slices"] = _slices(values["drop_slices"])
    if given["settings"]:
        from osteon.plan.overlay import parse_settings  # slow to import

        values["settings"] = parse_settings(given["settings"])
    return PlanOptions(**values)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _windows(text: str | None) -> dict[str, tuple[float, float]] | None:
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, _, limits = part.rpartition("=")
        low, high = _ends(limits, "--window", "-1000:400, or ct=-1000:400", float)
        if low is None or high is None or not low < high:
            raise UsageError(f"--window: {part!r} is no range from low to high", hint="--window -1000:400, for example")
        found[name.strip()] = (low, high)
    return found


def _slices(text: str | None) -> tuple[int | None, int | None] | None:
    return None if text is None else _ends(text, "--drop-slices", "0:30", int)


def _ends(text: str, option: str, example: str, number: Callable[[str], T]) -> tuple[T | None, T | None]:
    """`low:high` as two numbers; None where one is left out."""
    first, colon, last = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return (number(first) if first.strip() else None), (number(last) if last.strip() else None)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not FIRST:LAST", hint=f"{option} {example}, for example") from None
