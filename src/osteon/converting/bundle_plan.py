"""A MONAI bundle's configuration as a plan of osteon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from osteon.converting.bundle_config import HINT, BundleConfig, class_name
from osteon.core.errors import ModelError, OsteonError
from osteon.core.labels import make_structures
from osteon.dataset.manifest import describe_errors
from osteon.dataset.modality import modality_of
from osteon.networks.monai_bundle import make_section
from osteon.plan.monai_section import MONAI_STEPS
from osteon.plan.network_sections import TAGS
from osteon.plan.schema import Plan
from osteon.planning.recipes import RECIPES

RECIPE = "osteon"
WITHOUT_EFFECT = {"LoadImage", "EnsureChannelFirst", "EnsureType", "CastToType", "ToTensor", "ToDevice", "AddChannel"}
"""Transforms that bring a scan as osteon has it anyway."""
NO_MATTER = {"keys", "allow_missing_keys", "dtype", "device", "lazy", "labels", "data_type", "track_meta"}
"""Arguments that change no voxel here."""
SPACING = {"pixdim", "mode", "padding_mode", "align_corners", "diagonal", "scale_extent", "recompute_affine"}
LINEAR = {"bilinear", "trilinear", "linear"}
OUTPUT = {
    "Invert",
    "SaveImage",
    "EnsureType",
    "ToDevice",
    "CastToType",
    "Activations",
    "AsDiscrete",
}
"""Transforms of the output that are followed, or that only write files."""
BACKGROUND = "background"


@dataclass
class _Preprocessing:
    """What the transforms come to."""

    axes: tuple[str, ...] = ("i", "j", "k")
    spacing: list[float] | None = None
    before: list[dict[str, Any]] = field(default_factory=list)
    after: list[dict[str, Any]] = field(default_factory=list)


def bundle_plan(config: BundleConfig, title: str) -> tuple[Plan, list[str]]:
    """The plan, and what of the bundle is left out.

    Args:
        config: The bundle's files.
        title: Of the model.

    Raises:
        ModelError: A transform, the network, the inferer or an argument is not known; the message names it.
    """
    preparation, notes = _preprocessing(config), list[str]()
    overlapping = _is_overlapping(config, notes)
    network = config.component("network_def", "network")
    if network is None:
        raise config.error("has no network_def")
    try:
        section = make_section(*network)
    except OsteonError as error:
        raise ModelError(f"{config.path}: {error.message}", hint=error.hint) from error
    if section.arguments.get("spatial_dims", 3) != 3:
        raise config.error("the network is not 3D; osteon takes 3D bundles")
    roi, batch, window = _window(config)
    channels, modality = _channels(config, section.arguments.get("in_channels", 1))
    data = {
        "dataset": title,
        "channels": [{"name": name, "modality": modality} for name in channels],
        "structures": _structures(config, overlapping=overlapping),
        "overlapping": overlapping,
        "grid": {
            "why": ["a bundle of MONAI's; scans go onto it, and labels back, in its way"],
            "dimensions": 3,
            "axes": preparation.axes,
            "spacing_mm": preparation.spacing or [1.0, 1.0, 1.0],
            "monai": {
                "resample": preparation.spacing is not None,
                "before": preparation.before,
                "after": preparation.after,
                **window,
            },
        },
        "intensities": [{"channel": name, "mean": 0.0, "std": 1.0, "why": ["as grid.monai"]} for name in channels],
        "patch": {"size": roi, "batch": batch},
        "network": section,
        "training": {"recipe": RECIPE, **RECIPES[RECIPE].training},
        "augmentation": {"affine_p": 0.0, "rotate_degrees": (0.0, 0.0, 0.0), "scale": (1.0, 1.0)},
    }
    try:
        return Plan.model_validate(data), notes
    except ValidationError as error:
        raise ModelError(f"{config.path}: {describe_errors(error, TAGS)}", hint=HINT) from None


def _preprocessing(config: BundleConfig) -> _Preprocessing:
    """Raises ModelError, which names the transform that is not known, or comes where it cannot be followed."""
    found = _Preprocessing()
    if "preprocessing" not in config.data:
        raise config.error("has no preprocessing")
    for name, given in config.transforms("preprocessing"):
        arguments = {key: value for key, value in given.items() if key not in NO_MATTER and value is not None}
        if name in WITHOUT_EFFECT:
            continue
        if name == "Orientation":
            if found.spacing is not None or found.axes[0] != "i":
                raise config.error("preprocessing: Orientation comes after Spacing, or again")
            axes = arguments.get("axcodes")
            if not isinstance(axes, str) or arguments.keys() - {"axcodes"}:
                raise config.error(f"preprocessing: Orientation with {_listed(arguments)} is not known")
            found.axes = tuple(axes.upper())
        elif name == "Spacing":
            found.spacing = _spacing(config, arguments, again=found.spacing is not None)
        elif name in MONAI_STEPS:
            step = {"name": name, "arguments": arguments}
            (found.before if found.spacing is None else found.after).append(step)
        else:
            raise config.error(f"preprocessing: the transform {name} is not known")
    if found.spacing is None:
        found.before, found.after = [], found.before
    return found


def _spacing(config: BundleConfig, arguments: Mapping[str, Any], *, again: bool) -> list[float]:
    pixdim, mode = arguments.get("pixdim"), arguments.get("mode", "bilinear")
    modes = mode if isinstance(mode, list) else [mode]
    padding = arguments.get("padding_mode", "border")
    plain = not any(arguments.get(key) for key in ("diagonal", "scale_extent", "recompute_affine"))
    numbers = isinstance(pixdim, list) and len(pixdim) == 3 and all(_is_number(value) and value > 0 for value in pixdim)
    known = numbers and str(modes[0]).lower() in LINEAR and padding in ("border", ["border"]) and plain
    if again or not known or arguments.keys() - SPACING:
        raise config.error(f"preprocessing: Spacing with {_listed(arguments)} is not known")
    return [float(value) for value in pixdim or ()]


def _is_overlapping(config: BundleConfig, notes: list[str]) -> bool:
    """Whether each output is a structure by itself. What follows that is not known goes into `notes`."""
    sigmoid = softmax = False
    for name, given in config.transforms("postprocessing"):
        if name == "Activations":
            sigmoid, softmax = sigmoid or given.get("sigmoid") is True, softmax or given.get("softmax") is True
        elif name == "AsDiscrete":
            softmax = softmax or given.get("argmax") is True
            if sigmoid and given.get("threshold", 0.5) != 0.5:
                raise config.error(f"postprocessing: AsDiscrete with the threshold {given['threshold']} is not known")
        if name not in OUTPUT:
            notes.append(f"postprocessing: {name} is left out")
    if sigmoid and softmax:
        raise config.error("postprocessing: has a sigmoid and a softmax")
    return sigmoid


def _window(config: BundleConfig) -> tuple[list[int], int, dict[str, Any]]:
    """Patch, batch, overlap and blending of the sliding window."""
    found = config.component("inferer")
    target, arguments = found or ("nothing", {})
    if class_name(target) != "SlidingWindowInferer":
        raise config.error(f"the inferer is {target}; osteon follows MONAI's SlidingWindowInferer")
    roi, batch, overlap = arguments.get("roi_size"), arguments.get("sw_batch_size", 1), arguments.get("overlap", 0.25)
    blend, beyond = arguments.get("mode", "constant"), arguments.get("padding_mode", "constant")
    whole = isinstance(roi, list) and len(roi) == 3 and all(isinstance(n, int) and n > 0 for n in roi)
    plain = beyond == "constant" and not arguments.get("cval") and arguments.get("sigma_scale", 0.125) == 0.125
    if not whole or not _is_number(overlap) or blend not in ("constant", "gaussian") or not plain:
        raise config.error(f"SlidingWindowInferer with {_listed(arguments)} is not known")
    batch = batch if isinstance(batch, int) else 1
    return list(roi or ()), batch, {"overlap": overlap, "blend": blend}


def _channels(config: BundleConfig, count: Any) -> tuple[list[str], str]:
    """Names of the image's channels, and their modality."""
    image = _format(config, "inputs", "image")
    names = image.get("channel_def")
    found = [str(names.get(str(n), f"channel {n}")) for n in range(count)] if isinstance(names, Mapping) else []
    if not isinstance(count, int) or count < 1:
        raise config.error(f"in_channels of the network is {count}")
    names = found if len(set(found)) == count else [f"channel {n}" for n in range(count)] if count > 1 else ["image"]
    word = str(image.get("modality", ""))
    return names, next((m for m in map(modality_of, [word, *names]) if m != "other"), "other")


def _structures(config: BundleConfig, *, overlapping: bool) -> list[Any]:
    """By the output's channels; the first is the background where structures exclude one another."""
    outputs = _format(config, "outputs", "pred")
    names = outputs.get("channel_def")
    if not isinstance(names, Mapping) or not all(str(key).isdecimal() for key in names):
        raise config.error("metadata.json: network_data_format.outputs.pred.channel_def names no channels")
    by_number = {int(key): str(name).strip() for key, name in names.items()}
    if sorted(by_number) != list(range(len(by_number))):
        raise config.error("metadata.json: the channels of the output are not numbered 0, 1, 2 …")
    if not overlapping and by_number.pop(0, "").lower() != BACKGROUND:
        raise config.error("metadata.json: channel 0 of the output is not the background")
    values = [number + 1 for number in by_number] if overlapping else list(by_number)
    if len(set(by_number.values())) < len(values) or not all(by_number.values()):
        raise config.error("metadata.json: two channels of the output have one name, or one has none")
    return list(make_structures(list(by_number.values()), values))


def _format(config: BundleConfig, side: str, name: str) -> Mapping[str, Any]:
    """An entry of metadata.json's network_data_format; empty where there is none."""
    found: Any = config.metadata.get("network_data_format")
    for key in (side, name):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {str(value)[:60]}" for key, value in arguments.items()) or "no arguments"
