"""Rows that other packages add to osteon's tables, by entry points: the group names the table, as `osteon.exports`.

An installed package says in its pyproject.toml `[project.entry-points."osteon.exports"]` and `name = "module:ROW"`;
see docs/plugins.md. Nothing is looked for before a table is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from osteon.core.errors import UsageError

logger = logging.getLogger(__name__)
Row = TypeVar("Row")


@cache
def entries(group: str) -> dict[str, tuple[str, Any]]:
    """What packages add under `group`: name → (package, row). One that cannot be loaded is left out, with a warning.

    Raises:
        UsageError: Two packages add the same name.
    """
    found: dict[str, tuple[str, Any]] = {}
    for point in entry_points(group=group):
        package = point.dist.name if point.dist else "an unknown package"
        if point.name in found:
            raise _taken_twice(group, point.name, found[point.name][0], package)
        try:
            found[point.name] = package, point.load()
        except Exception as error:  # noqa: BLE001 (whatever a package of others does wrong is its own)
            logger.warning(f"{point.name} of the package {package} ({group}) cannot be loaded: {error!r}")
    return found


def with_plugins(group: str, own: Mapping[str, Row], kind: type[Row] | None = None) -> dict[str, Row]:
    """A table with the rows that packages add, after its own.

    Args:
        group: Of entry points.
        own: osteon's rows by name.
        kind: The class of a row; None: any callable.

    Raises:
        UsageError: A package adds a name that is taken, or a row of another class.
    """
    rows = dict(own)
    for name, (package, row) in entries(group).items():
        if name in own:
            raise _taken_twice(group, name, "osteon", package)
        if not (callable(row) if kind is None else isinstance(row, kind)) or getattr(row, "name", name) != name:
            expected = "a function" if kind is None else f"a {kind.__name__} of that name"
            raise UsageError(
                f"{group}: {name} of the package {package} is not {expected}",
                hint=f"correct or uninstall {package}; docs/plugins.md has what each table takes",
            )
        rows[name] = row
    return rows


def _taken_twice(group: str, name: str, first: str, second: str) -> UsageError:
    return UsageError(
        f"{group}: {name} comes from {first} and from {second}", hint=f"uninstall one of the packages, {second} perhaps"
    )
