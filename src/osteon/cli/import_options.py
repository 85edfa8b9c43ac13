"""The options of `osteon import`: one for each field of `osteon.importing.options.ImportOptions`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any

import typer

from osteon.importing.options import ImportOptions, choices_of, flag_of


def takes_import_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of an import; it gets what they say as keywords, text or True and False."""
    own = [
        one for one in inspect.signature(command, eval_str=True).parameters.values() if one.kind is not one.VAR_KEYWORD
    ]
    arguments = [one for one in own if one.default is one.empty]
    others = [one.replace(kind=one.KEYWORD_ONLY) for one in own if one.default is not one.empty]
    added = [
        inspect.Parameter(
            row.name, inspect.Parameter.KEYWORD_ONLY, default=row.default, annotation=_annotation(row.name)
        )
        for row in fields(ImportOptions)
    ]
    parameters = [*arguments, *added, *others]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    vars(command)["__signature__"] = inspect.Signature(parameters)
    return command


def _annotation(name: str) -> Any:
    row = ImportOptions.__dataclass_fields__[name]
    values = [str(value) for value in choices_of(name)] if name != "modality" else []
    option = typer.Option(
        flag_of(name),
        help=row.metadata["help"],
        metavar=f"<{'|'.join(values)}>" if values else None,
        autocompletion=(lambda: values) if values else None,
    )
    return Annotated[bool if row.default is False else str | None, option]
