"""Small structures: enlarged crops around those that are named."""

from __future__ import annotations

from difflib import get_close_matches

from osteon.core.errors import UsageError
from osteon.dataset.dataset import Dataset
from osteon.planning.choices import Choices
from osteon.planning.plan import Zoom


def plan_zoom(dataset: Dataset, choices: Choices) -> Zoom | None:
    """The plan's section `zoom`, where structures were named for it.

    Raises:
        UsageError: A structure is not in the dataset.
    """
    if not choices.zoom:
        return None
    names = [structure.name for structure in dataset.structures]
    for name in choices.zoom:
        if name not in names:
            near = get_close_matches(name, names, 3, 0.4) or names
            raise UsageError(f"--zoom: there is no structure {name}", hint=f"near it: {', '.join(near)}")
    return Zoom(structures=list(choices.zoom), why=["as asked"])
