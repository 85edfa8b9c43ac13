"""Versions of the files that osteon reads again, and the migrations from each version to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from osteon.core.errors import DatasetError, OsteonError, PlanError, UsageError
from osteon.core.version import __version__

SchemaKind = Literal["dataset", "plan", "run"]
Data = dict[str, Any]


@dataclass(frozen=True)
class Schema:
    """The version of one kind of file.

    Attributes:
        key: Of the version in a file; without it the file is of version 1.
        error: Raised where a version is unknown.
        version: That this osteon writes.
    """

    key: str
    error: type[OsteonError]
    version: int = 1


SCHEMAS: dict[SchemaKind, Schema] = {
    "dataset": Schema("osteon", DatasetError),
    "plan": Schema("osteon", PlanError),
    "run": Schema("schema", UsageError),  # its `osteon` is the program's version
}
MIGRATIONS: dict[tuple[SchemaKind, int], Callable[[Data], Data]] = {}
"""(kind, version) → a function that makes the content of a file of that version one of the next. One for each."""


def migrate(kind: SchemaKind, data: Any, path: Path) -> Any:
    """Bring a file's content from any earlier version to this one; what is no mapping is left to its reader.

    Args:
        kind: Of the file.
        data: Its content; left as it is.
        path: For messages.

    Raises:
        DatasetError, PlanError, UsageError: By its kind: a newer osteon wrote it, or what it says is no version.
    """
    if not isinstance(data, dict):
        return data
    schema = SCHEMAS[kind]
    version = data.get(schema.key, 1)
    if type(version) is not int or version < 1:
        raise schema.error(f"{path}: {schema.key}: {version!r} is no version", hint=f"write {schema.version} there")
    if version > schema.version:
        writer = f", which osteon {data['osteon']} wrote" if schema.key != "osteon" and "osteon" in data else ""
        raise schema.error(
            f"{path}: {schema.key}: version {version}{writer}; osteon {__version__} knows up to {schema.version}",
            hint="update osteon: a newer version of it has written this file",
        )
    for earlier in range(version, schema.version):
        data = MIGRATIONS[kind, earlier](data)
    return {**data, schema.key: schema.version}
