"""Networks in 8-bit integers: quantised once on patches of training scans, and kept in the model's folder.

NNCF measures the range of every activation on the patches, and OpenVINO runs the result. The gate measures its Dice.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.random_streams import item_generator
from osteon.plan.schema import Plan
from osteon.predicting.engines import openvino_model, write_openvino

PATCHES = 32
"""On which ranges are measured."""


def quantised_file(folder: Path, sha256: str) -> Path:
    """Where the quantised network of these weights lies; its .bin lies beside it."""
    return folder / f"int8-{sha256[:12]}.xml"


def quantise(network: torch.nn.Module, plan: Plan, images: Iterable[npt.NDArray[np.float32]], path: Path) -> None:
    """Quantise a network, and write it.

    Args:
        network: In eval mode, on the CPU.
        plan: Patch and dimensions.
        images: `[channel, i, j, k]` on the plan's grid, normalised; of scans that were trained on.
        path: Of the .xml; the .bin goes beside it, first.

    Raises:
        FileError: The folder cannot be written.
        RuntimeError: NNCF cannot take the network.
    """
    patches = list(draw_patches(images, plan))
    model = openvino_model(network, patches[0].shape, any_size=True)
    import nncf

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        quantised = nncf.quantize(
            model, nncf.Dataset(patches), preset=nncf.QuantizationPreset.MIXED, subset_size=len(patches)
        )
    write_openvino(quantised, path)


def draw_patches(images: Iterable[npt.NDArray[np.float32]], plan: Plan) -> Iterator[npt.NDArray[np.float32]]:
    """`[1, channel, i, j, k]` patches at random places, as many of each image; small images are filled up."""
    rng = item_generator(0)
    images = list(images)
    size = plan.patch.size
    for number in range(PATCHES):
        image = images[number % len(images)]
        first = [int(rng.integers(0, max(1, n - s + 1))) for n, s in zip(image.shape[1:], size, strict=True)]
        i, j, k = (slice(f, f + s) for f, s in zip(first, size, strict=True))
        patch = image[:, i, j, k]
        lacking = [(0, s - n) for s, n in zip(size, patch.shape[1:], strict=True)]
        yield np.pad(patch, [(0, 0), *lacking], mode="edge")[None]
