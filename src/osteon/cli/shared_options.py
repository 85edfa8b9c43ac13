"""Options that several commands have: `--device`, `--cluster`, and `--quiet`, before a command and after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Annotated, Any

import typer

from osteon.core.devices import DEVICE_CHOICES, check_device
from osteon.core.progress import is_quiet, show_progress

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; results, warnings and errors are still shown.")]

Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="local|ADDRESS|slurm|FILE.yaml",
        help="Let Dask's workers work over the cases: of this machine, of a scheduler (tcp://host:8786), as jobs of "
        "SLURM, or as a file says.",
    ),
]


def device_option(help_text: str) -> Any:
    """`--device`; a word that names no device is rejected before anything is done."""
    return typer.Option(help=help_text, metavar=DEVICE_CHOICES, callback=check_device)


def with_quiet_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--quiet`; it need not know of it."""

    @wraps(command)
    def with_quiet(*, quiet: bool, **values: Any) -> None:
        with show_progress(not (quiet or is_quiet())):
            command(**values)

    return _with_option(with_quiet, command, "quiet", False, Quiet)


def use_cluster(cluster: str | None) -> AbstractContextManager[None]:
    """Do work over cases on a cluster inside the block, where one is given; arguments and errors as `open_cluster`."""
    if cluster is None:
        return nullcontext()
    from osteon.core.cluster import open_cluster

    return open_cluster(cluster)


def with_cluster_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--cluster`; its work over cases is then done there, and it need not know of it."""

    @wraps(command)
    def with_cluster(*, cluster: str | None, **values: Any) -> None:
        with use_cluster(cluster):
            command(**values)

    return _with_option(with_cluster, command, "cluster", None, Cluster)


def _with_option(
    wrapper: Callable[..., None], command: Callable[..., None], name: str, default: Any, annotation: Any
) -> Callable[..., None]:
    """A wrapper of a command, with the command's parameters and one more."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    option = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    return _with_signature(wrapper, [*parameters, option])


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
