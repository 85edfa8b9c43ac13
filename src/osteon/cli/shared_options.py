"""Options that several commands have: `--device`, and `--quiet`, before a command and after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any

import typer

from osteon.core.devices import DEVICE_CHOICES, check_device
from osteon.core.progress import is_quiet, show_progress

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; results, warnings and errors are still shown.")]


def device_option(help_text: str) -> Any:
    """`--device`; a word that names no device is rejected before anything is done."""
    return typer.Option(help=help_text, metavar=DEVICE_CHOICES, callback=check_device)


def with_quiet_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--quiet`; it need not know of it."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    quiet_option = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)

    @wraps(command)
    def with_quiet(*, quiet: bool, **values: Any) -> None:
        with show_progress(not (quiet or is_quiet())):
            command(**values)

    return _with_signature(with_quiet, [*parameters, quiet_option])


def with_options(options: Mapping[str, tuple[Any, Any]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command options between its arguments and its own; it gets their values as further keywords.

    Args:
        options: By the keyword: its annotation, as typer takes it, and its default.
    """

    def give(command: Callable[..., None]) -> Callable[..., None]:
        all_ = inspect.signature(command, eval_str=True).parameters.values()
        own = [one for one in all_ if one.kind is not one.VAR_KEYWORD]
        arguments = [one for one in own if one.default is one.empty]
        others = [one.replace(kind=one.KEYWORD_ONLY) for one in own if one.default is not one.empty]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
        ]
        return _with_signature(command, [*arguments, *added, *others])

    return give


def _with_signature(command: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """Let typer see a command with other parameters than its own."""
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(command)["__signature__"] = inspect.Signature(parameters)
    return command
