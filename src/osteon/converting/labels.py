"""nnU-Net's labels and regions as structures."""

from __future__ import annotations

from pathlib import Path

from osteon.converting.plans_files import DatasetFile
from osteon.core.errors import ModelError
from osteon.core.labels import BACKGROUND, Structure, make_structures

IGNORE = "ignore"


def convert_structures(dataset: DatasetFile, path: Path) -> tuple[list[Structure], bool]:
    """The structures in the order of the network's outputs, and whether they overlap.

    A region (several labels under one name) becomes a structure that may overlap others. Its value is that of
    nnU-Net's `regions_class_order`: painted one after the other, the structures give nnU-Net's own label map.
    Sides are kept, counterparts not: nnU-Net mirrors images without exchanging left and right.

    Raises:
        ModelError: Labels make no sense; `path` is for messages.
    """
    labels = {name: _values(value) for name, value in dataset.labels.items() if name != IGNORE}
    foreground = {name: values for name, values in labels.items() if set(values) != {BACKGROUND}}
    regions = any(len(values) > 1 for values in foreground.values())
    order = dataset.regions_class_order or []
    if regions and len(order) != len(foreground):
        raise ModelError(
            f"{path}: {len(foreground)} regions, and a regions_class_order of {len(order)}",
            hint="take the dataset.json that the model was trained with",
        )
    if not regions:
        foreground = dict(sorted(foreground.items(), key=lambda item: item[1]))
        order = [values[0] for values in foreground.values()]
    if not foreground or min(order) <= BACKGROUND or len(set(order)) < len(order):
        raise ModelError(
            f"{path}: labels {dataset.labels} give each structure no value of its own above 0",
            hint="take the dataset.json that the model was trained with",
        )
    made = make_structures(list(foreground), order)
    return [structure.model_copy(update={"counterpart": None}) for structure in made], regions


def label_values(dataset: DatasetFile) -> list[int]:
    """The values of all labels, regions taken apart: what the second model of a cascade sees a channel for each of."""
    named = (value for name, value in dataset.labels.items() if name != IGNORE)
    return sorted({value for values in named for value in _values(values)} - {BACKGROUND})


def _values(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]
