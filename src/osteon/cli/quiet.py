"""`--quiet`, before a command and after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from osteon.core.progress import is_quiet, show_progress

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; results, warnings and errors still come.")]


def takes_quiet(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--quiet`; it need not know of it."""
    signature = inspect.signature(command, eval_str=True)
    added = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)

    def with_quiet(*, quiet: bool, **values: Any) -> None:
        with show_progress(not (quiet or is_quiet())):
            command(**values)

    parameters = [*signature.parameters.values(), added]
    with_quiet.__name__, with_quiet.__doc__ = command.__name__, command.__doc__
    with_quiet.__annotations__ = {one.name: one.annotation for one in parameters}
    vars(with_quiet)["__signature__"] = signature.replace(parameters=parameters)
    return with_quiet
