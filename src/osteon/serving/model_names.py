"""The models that a command line names: MODEL, or NAME=MODEL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from osteon.core.errors import UsageError
from osteon.predicting.model_names import HUB

MOST_CHARACTERS = 64
"""Of a name."""
_NOT_IN_NAMES = r'/\\"?#%&+={}<>\x00-\x20\x7f'
NAME_PATTERN = f"^[^{_NOT_IN_NAMES}]{{0,{MOST_CHARACTERS}}}$"
"""Names stand in addresses, and in labels of metrics. An empty one is the first model's."""


def name_models(texts: Iterable[str]) -> dict[str, Path]:
    """The folders by name, in their order. Without a name it is the run's, which has made the model, or the folder's.

    Raises:
        UsageError: A name is none, or two models have it.
    """
    named: dict[str, Path] = {}
    for text in texts:
        given, separator, rest = text.partition("=")
        path = Path(rest if separator and not Path(text).exists() else text)
        name = given if str(path) != text and separator else folder_name(path)
        if not name or not re.fullmatch(NAME_PATTERN, name):
            raise UsageError(
                f"{name!r} cannot be a model's name",
                hint=f"at most {MOST_CHARACTERS} letters, digits, dots and hyphens",
            )
        if name in named:
            raise UsageError(f"two models are called {name}", hint="name them: osteon serve NAME=MODEL NAME=MODEL")
        named[name] = path
    return named


def folder_name(folder: Path) -> str:
    """The run's name, which has made the model, or the model folder's; what no name may have becomes a hyphen."""
    place = folder.resolve()
    name = place.parent.name if place.name == "model" else place.name
    if str(folder).startswith(HUB):
        name = name.partition("@")[0]  # without the commit
    return re.sub(f"[{_NOT_IN_NAMES}]+", "-", name)[:MOST_CHARACTERS] or "model"
