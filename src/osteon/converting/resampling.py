"""nnU-Net's resampling functions, by their names in its plans, as the plan's section `grid.nnunet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.converting.plans_files import PREPROCESSOR, RESAMPLING, Configuration
from osteon.core.errors import ModelError
from osteon.preparing.spline_resampling import ANISOTROPY

IRRELEVANT = {"num_threads", "device", "memefficient_seg_resampling"}
"""Arguments that change no value of an image."""


@dataclass(frozen=True)
class ResamplingFunction:
    """A function that resamples: arguments that decide how, with its own defaults, and those that must be as they are.

    `order` 1 is linear; `order_z` is the order from slice to slice where these are resampled apart, 0 the nearest.
    """

    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any]


FUNCTIONS = {
    RESAMPLING: ResamplingFunction(
        {"order": 3, "order_z": 0, "force_separate_z": False},
        {"is_seg": False, "separate_z_anisotropy_threshold": ANISOTROPY},
    ),
    "resample_torch_fornnunet": ResamplingFunction(
        {"order": 1, "order_z": 0, "force_separate_z": None},
        {
            "is_seg": False,
            "separate_z_anisotropy_threshold": ANISOTROPY,
            "mode": "linear",
            "aniso_axis_mode": "nearest-exact",
            "order": 1,
            "order_z": 0,
        },
    ),
}
"""torch's interpolates linearly, edge to edge and without a filter, as a spline of order 1 does."""


def convert_resampling(configuration: Configuration, path: Path) -> dict[str, Any]:
    """The section `grid.nnunet`.

    Raises:
        ModelError: Preprocessor, function or an argument are unknown here; `path` is for messages.
    """
    if configuration.preprocessor_name != PREPROCESSOR:
        raise unknown_setting(path, f"preprocessor_name: {configuration.preprocessor_name}", PREPROCESSOR)
    data, probabilities = (_rule(configuration, what, path) for what in ("data", "probabilities"))
    return {
        "order": data["order"],
        "order_across": data["order_z"],
        "apart": data["force_separate_z"],
        "back": probabilities["order"],
        "back_across": probabilities["order_z"],
        "back_apart": probabilities["force_separate_z"],
    }


def _rule(configuration: Configuration, what: str, path: Path) -> dict[str, Any]:
    key = f"resampling_fn_{what}"
    name, given = getattr(configuration, key), getattr(configuration, f"{key}_kwargs")
    if name not in FUNCTIONS:
        raise unknown_setting(path, f"{key}: {name}", " and ".join(FUNCTIONS))
    function = FUNCTIONS[name]
    for argument, value in given.items():
        if argument not in {*function.defaults, *function.fixed, *IRRELEVANT}:
            raise unknown_setting(
                path, f"{key}_kwargs: {argument} of {name}", ", ".join({**function.defaults, **function.fixed})
            )
        if value != function.fixed.get(argument, value):
            raise unknown_setting(
                path, f"{key}_kwargs: {argument} {value} of {name}", f"{function.fixed[argument]} alone"
            )
    return {argument: given.get(argument, default) for argument, default in function.defaults.items()}


def unknown_setting(path: Path, found: str, known: str) -> ModelError:
    """The error for what would be done in another way here."""
    return ModelError(
        f"{path}: {found} is not known here; osteon knows {known}",
        hint="such a model stays with nnU-Net, since its scans would be prepared in another way",
    )
