"""Recipes: the choices that data do not decide. A new recipe is one row, here or in a package's entry points
`osteon.recipes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from osteon.core.plugins import with_plugins

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class SizeLimits:
    """How large a network and its patches may be on a device.

    Attributes:
        voxels: Voxels of one patch (3D), or of all slices of a batch together (2D).
        features: Features of the finest stage.
        max_features: Features of the coarsest stages at most.
    """

    voxels: int
    features: int
    max_features: int


@dataclass(frozen=True)
class Recipe:
    """A way of training.

    Attributes:
        source: Where the choices come from.
        sizes: By (device, dimensions).
        coverage: The grid is made coarser, as far as the labels allow, until a patch covers this part of the median
            scan along each axis; 0 keeps the median spacing.
        mirror_all: Mirror along every axis; otherwise only from left to right, and only where no structures keep
            an order along that axis.
        deep_supervision: How many of the finest decoder stages have a loss of their own, at most.
        unsupervised: How many of the coarsest decoder stages have none in any case.
        training: Values of the plan's section `training`.
        augmentation: Values of the plan's section `augmentation`.
        max_shift: Greatest shift, as a part of the patch.
        rotate_degrees: Greatest angle about each axis, in 3D.
        rotate_degrees_2d: The same for slices.
        bend_sequences: Whether a row of look-alike structures is bent as a whole.
    """

    source: str
    sizes: dict[tuple[Device, int], SizeLimits]
    coverage: float
    mirror_all: bool
    deep_supervision: int
    unsupervised: int
    training: dict[str, Any]
    augmentation: dict[str, Any]
    max_shift: float
    rotate_degrees: float
    rotate_degrees_2d: float
    bend_sequences: bool = False


RECIPES: dict[str, Recipe] = {
    "osteon": Recipe(
        source="first tried on hippocampi that are in no table; what it reaches on a CPU: benchmarks/RESULTS.md",
        sizes={
            ("cpu", 3): SizeLimits(9 << 13, 16, 128),
            ("cpu", 2): SizeLimits(1 << 17, 24, 192),
            ("cuda", 3): SizeLimits(1 << 21, 32, 320),
            ("cuda", 2): SizeLimits(1 << 21, 32, 512),
        },
        coverage=1.0,
        mirror_all=False,
        deep_supervision=3,
        unsupervised=0,
        training={
            "optimiser": "adamw",
            "learning_rate": 3e-3,
            "weight_decay": 1e-2,
            "schedule": "cosine",
            "warm_up": 0.05,
            "clip_gradient": 2.0,
            "ema": 0.99,
            "foreground_share": 0.5,
            "epoch_iterations": 100,
            "epochs": 100,
        },
        augmentation={
            "affine_p": 1.0,
            "scale": (0.82, 1.22),
            "noise_p": 0.2,
            "noise_std": 0.3,
            "blur_p": 0.15,
            "blur_sigma": (0.5, 1.0),
            "brightness_p": 0.3,
            "brightness": (0.7, 1.3),
            "offset_p": 0.3,
            "offset": (-0.2, 0.2),
            "gamma_p": 0.3,
            "gamma": (0.67, 1.5),
        },
        max_shift=0.08,
        rotate_degrees=20,
        rotate_degrees_2d=20,
        bend_sequences=True,
    ),
    "nnunet": Recipe(
        source="nnU-Net v2 (Isensee et al., Nat. Methods 18, 2021; nnUNetTrainer of 2.8.1)",
        sizes={
            ("cpu", 3): SizeLimits(1 << 21, 32, 320),
            ("cpu", 2): SizeLimits(1 << 21, 32, 512),
            ("cuda", 3): SizeLimits(1 << 21, 32, 320),
            ("cuda", 2): SizeLimits(1 << 21, 32, 512),
        },
        coverage=0,
        mirror_all=True,
        deep_supervision=99,
        unsupervised=1,
        training={
            "optimiser": "sgd",
            "learning_rate": 1e-2,
            "weight_decay": 3e-5,
            "momentum": 0.99,
            "schedule": "polynomial",
            "warm_up": 0.0,
            "clip_gradient": 12.0,
            "ema": 0.0,
            "foreground_share": 0.5,
            "epoch_iterations": 250,
            "epochs": 1000,
        },
        augmentation={
            "affine_p": 0.36,  # rotation .2 and scale .2, drawn apart there: 1 − .8²
            "scale": (0.7, 1.4),
            "noise_p": 0.1,
            "noise_std": 0.1,
            "blur_p": 0.2,
            "blur_sigma": (0.5, 1.0),
            "brightness_p": 0.15,
            "brightness": (0.75, 1.25),
            "contrast_p": 0.15,
            "contrast": (0.75, 1.25),
            "low_resolution_p": 0.25,
            "low_resolution": (0.5, 1.0),
            "gamma_p": 0.3,
            "gamma_inverted_p": 0.1,
            "gamma": (0.7, 1.5),
        },
        max_shift=0.0,
        rotate_degrees=30,
        rotate_degrees_2d=180,
    ),
}


def all_recipes() -> dict[str, Recipe]:
    """The rows by name, plugins' too. Raises UsageError where a plugin's row is none."""
    return with_plugins("osteon.recipes", RECIPES, Recipe)
