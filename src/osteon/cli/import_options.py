"""The options of `osteon import`: one for each field of `osteon.importing.options.ImportOptions`."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

import typer

from osteon.cli.shared_options import with_options
from osteon.importing.options import ImportOptions, choices_of, flag_of


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


with_import_options = with_options({row.name: (_annotation(row.name), row.default) for row in fields(ImportOptions)})
"""Gives a command the options of an import; it gets what they say as keywords, text or True and False."""
