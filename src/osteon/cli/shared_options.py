"""Options that several commands have: `--device`, and `--quiet`, before a command and after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from osteon.core.devices import DEVICE_CHOICES, check_device
from osteon.core.progress import quiet as silence

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; results, warnings and errors are still shown.")]


def device_option(help_text: str) -> Any:
    """`--device`; a word that names no device is rejected before anything is done."""
    return typer.Option(help=help_text, metavar=DEVICE_CHOICES, callback=check_device)


def with_quiet_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--quiet`; it need not know of it."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    quiet_option = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)

    def with_quiet(*, quiet: bool, **values: Any) -> None:
        with silence(quiet):
            command(**values)

    return with_signature(with_quiet, command, [*parameters, quiet_option])


def with_signature(
    wrapper: Callable[..., None], command: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """Let typer see a wrapper as the command, with other parameters."""
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(wrapper)["__signature__"] = inspect.Signature(parameters)
    return wrapper
