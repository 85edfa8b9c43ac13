"""nnU-Net's plans and checkpoint as a plan of osteon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from osteon.converting.network import convert_network
from osteon.converting.plans_files import LABELS, Configuration, DatasetFile, Plans
from osteon.converting.resampling import convert_resampling, unknown_setting
from osteon.core.errors import ModelError
from osteon.core.labels import BACKGROUND, Structure, make_structures
from osteon.dataset.manifest import describe_errors
from osteon.dataset.modality import modality_of
from osteon.plan.network_sections import TAGS
from osteon.plan.schema import Plan
from osteon.planning.recipes import RECIPES

RECIPE = "nnunet"
NORMALISATIONS: dict[str, dict[str, Any]] = {
    "ZScoreNormalization": {},
    "CTNormalization": {},
    "NoNormalization": {"mean": 0.0, "std": 1.0},
    "RescaleTo01Normalization": {"by": "range"},
    "RGBTo01Normalization": {"mean": 0.0, "std": 255.0},
}
IGNORE = "ignore"
FILE_AXES = "kji"
"""nnU-Net's arrays have a file's last axis first."""
PIXELS = ("NaturalImage2DIO",)
"""Readers of pictures."""
REORIENTING = ("SimpleITKIOWithReorient", "NibabelIOWithReorient")
"""Readers that turn every scan to RAS; the others leave it as it lies in its file."""
READERS = ("SimpleITKIO", "NibabelIO", "Tiff3DIO", *PIXELS, *REORIENTING)


@dataclass(frozen=True)
class NnUNetModel:
    """A model's files, as far as they decide its plan.

    Attributes:
        plans: plans.json.
        dataset: dataset.json.
        configuration: Of the training.
        name: Of the configuration.
        mirror_axes: Of the network's input.
        path: Of the plans, for messages.
    """

    plans: Plans
    dataset: DatasetFile
    configuration: Configuration
    name: str
    mirror_axes: tuple[int, ...]
    path: Path


def convert_plan(source: NnUNetModel, orientation: str | None = None) -> Plan:
    """The plan.

    Args:
        source: What it is made of.
        orientation: Where the file axes of the training scans run, such as `RAS`; None: scans are taken as they lie
            in their files, as nnU-Net does.

    Raises:
        ModelError: Preparing, network or labels are of a kind that osteon does not know.
    """
    plans, configuration, path = source.plans, source.configuration, source.path
    if plans.image_reader_writer not in READERS:
        raise unknown_setting(path, f"image_reader_writer: {plans.image_reader_writer}", ", ".join(READERS))
    if plans.label_manager != LABELS:
        raise unknown_setting(path, f"label_manager: {plans.label_manager}", LABELS)
    structures, overlapping = convert_structures(source.dataset, path.with_name("dataset.json"))
    before = label_values(source.dataset) if configuration.previous_stage else []
    spacing = [*configuration.spacing]
    if configuration.dimensions == 2:
        spacing.append(plans.original_median_spacing_after_transp[0])
    data = {
        "dataset": plans.dataset_name,
        "unit": "px" if plans.image_reader_writer in PIXELS else "mm",
        "channels": [{"name": name, "modality": _modality(name, source)} for name in source.dataset.channels],
        "structures": structures,
        "overlapping": overlapping,
        "grid": {
            "why": [f"nnU-Net's {source.name}; scans go onto it, and labels back, in nnU-Net's way"],
            "dimensions": configuration.dimensions,
            "axes": _axes(source, orientation),
            "spacing_mm": spacing,
            "resample_last": configuration.dimensions == 3,
            "nnunet": convert_resampling(configuration, path),
        },
        "intensities": _intensities(source),
        "patch": {
            "size": [*configuration.patch_size, *[1] * (3 - configuration.dimensions)],
            "batch": configuration.batch_size,
        },
        "network": convert_network(configuration.architecture, configuration.dimensions, before, path),
        "training": {"recipe": RECIPE, **RECIPES[RECIPE].training},
        "augmentation": {
            "why": ["of the training only the mirror axes are known"],
            "affine_p": 0.0,
            "rotate_degrees": (0.0, 0.0, 0.0),
            "scale": (1.0, 1.0),
            "mirror_axes": list(source.mirror_axes),
        },
    }
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        raise ModelError(
            f"{path}: {describe_errors(error, TAGS)}",
            hint="take the plans.json that nnU-Net wrote beside this model's folds",
        ) from None


def _axes(source: NnUNetModel, orientation: str | None) -> tuple[str, ...]:
    """The plan's axes, of the network's input; in 2D slices come last."""
    if orientation is None and source.plans.image_reader_writer in REORIENTING:
        orientation = "RAS"
    letters = dict(zip("ijk", orientation or "ijk", strict=True))
    axes = tuple(letters[FILE_AXES[axis]] for axis in source.plans.transpose_forward)
    return axes if source.configuration.dimensions == 3 else (*axes[1:], axes[0])


def _intensities(source: NnUNetModel) -> list[dict[str, Any]]:
    configuration, names = source.configuration, source.dataset.channels
    schemes = configuration.normalization_schemes
    if len(schemes) != len(names):
        raise ModelError(
            f"{source.path}: normalization_schemes lists {len(schemes)} channels, dataset.json {len(names)}",
            hint="take both files from the model's own folder",
        )
    made = []
    for number, (name, scheme, masked) in enumerate(zip(names, schemes, configuration.use_mask_for_norm, strict=True)):
        if scheme not in NORMALISATIONS:
            raise unknown_setting(source.path, f"normalization_schemes: {scheme}", ", ".join(NORMALISATIONS))
        section = {"channel": name, "why": [scheme], **NORMALISATIONS[scheme]}
        if scheme == "CTNormalization":
            facts = source.plans.foreground_intensity_properties_per_channel.get(str(number))
            if facts is None:
                raise ModelError(
                    f"{source.path}: foreground_intensity_properties_per_channel has no {number} ({name})",
                    hint="take the plans.json that nnU-Net wrote beside this model's folds",
                )
            section |= {"clip": (facts.percentile_00_5, facts.percentile_99_5), "mean": facts.mean, "std": facts.std}
        if scheme == "ZScoreNormalization" and masked:
            section["inside"] = True
        made.append(section)
    return made


def _modality(name: str, source: NnUNetModel) -> str:
    schemes = dict(zip(source.dataset.channels, source.configuration.normalization_schemes, strict=False))
    return "ct" if schemes.get(name) == "CTNormalization" else modality_of(name)


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
