"""nnU-Net's way of resampling, as its plans name it, in the plan's section `grid.nnunet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.converting.plans_files import PREPROCESSOR, RESAMPLING, Configuration
from osteon.core.errors import ModelError
from osteon.preparing.spline_resampling import ANISOTROPY

HOW_FAST = {"num_threads", "device", "memefficient_seg_resampling"}
"""Arguments that change no value of an image."""


@dataclass(frozen=True)
class Function:
    """A function that resamples: arguments that decide how, with its own defaults, and those that must be as they are.

    `order` 1 is linear; `order_z` is the order from slice to slice where these are resampled apart, 0 the nearest.
    """

    usual: Mapping[str, Any]
    fixed: Mapping[str, Any]


FUNCTIONS = {
    RESAMPLING: Function(
        {"order": 3, "order_z": 0, "force_separate_z": False},
        {"is_seg": False, "separate_z_anisotropy_threshold": ANISOTROPY},
    ),
    "resample_torch_fornnunet": Function(
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


def way_of(configuration: Configuration, path: Path) -> dict[str, Any]:
    """The section `grid.nnunet`.

    Raises:
        ModelError: Preprocessor, function or an argument are unknown here; `path` is for messages.
    """
    if configuration.preprocessor_name != PREPROCESSOR:
        raise unknown(path, f"preprocessor_name: {configuration.preprocessor_name}", PREPROCESSOR)
    there, back = (_rule(configuration, what, path) for what in ("data", "probabilities"))
    return {
        "order": there["order"],
        "order_across": there["order_z"],
        "apart": there["force_separate_z"],
        "back": back["order"],
        "back_across": back["order_z"],
        "back_apart": back["force_separate_z"],
    }


def _rule(configuration: Configuration, what: str, path: Path) -> dict[str, Any]:
    key = f"resampling_fn_{what}"
    name, given = getattr(configuration, key), getattr(configuration, f"{key}_kwargs")
    if name not in FUNCTIONS:
        raise unknown(path, f"{key}: {name}", " and ".join(FUNCTIONS))
    function = FUNCTIONS[name]
    for argument, value in given.items():
        if argument not in {*function.usual, *function.fixed, *HOW_FAST}:
            raise unknown(path, f"{key}_kwargs: {argument} of {name}", ", ".join({**function.usual, **function.fixed}))
        if value != function.fixed.get(argument, value):
            raise unknown(path, f"{key}_kwargs: {argument} {value} of {name}", f"{function.fixed[argument]} alone")
    return {argument: given.get(argument, usual) for argument, usual in function.usual.items()}


def unknown(path: Path, found: str, known: str) -> ModelError:
    """The error for what would be done in another way here."""
    return ModelError(
        f"{path}: {found} is not known here; osteon knows {known}",
        hint="such a model stays with nnU-Net, since its scans would be prepared in another way",
    )
