"""The pre-trained encoders of segmentation-models-pytorch and timm, and those that other packages add to them by entry
points `osteon.encoders`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from osteon.core.errors import PlanError
from osteon.core.plugins import with_plugins
from osteon.core.torchvision_ops import patch_torchvision_ops

HALVINGS = 5
"""Of every pre-trained encoder."""
FILE_NAME = "model.safetensors"
UNKNOWN = "unknown"
OLD_PREFIXES = ("timm-regnet", "timm-res2", "timm-resnest", "timm-mobilenetv3", "timm-gernet")
"""Prefixes of smp's older names for encoders that it now takes from timm."""


@dataclass(frozen=True)
class Source:
    """Weights on the hub.

    Attributes:
        encoder: As smp names it, timm's with `tu-` before it.
        weights: Which of the encoder's weights: imagenet, mostly.
        repository: On huggingface.co.
        revision: The commit; None: timm names none, so the first fetch decides it.
        file: Its name there.
        licence: Of the weights, as far as it is known.
        commercial: False where the licence forbids commercial use.
        sha256: Of the file, where the manifest knows it.
    """

    encoder: str
    weights: str
    repository: str
    revision: str | None
    file: str = FILE_NAME
    licence: str = UNKNOWN
    commercial: bool = True
    sha256: str | None = None

    @property
    def name(self) -> str:
        """What the file is called in the cache."""
        return f"{self.encoder}.{self.weights}{Path(self.file).suffix}"


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder of another package.

    Attributes:
        name: As a plan and `--encoder` name it.
        build: `build(depth=5, output_stride=32)` → an encoder as smp has them: a module with its `EncoderMixin`, whose
            first convolution takes three channels, and which gives the image and the features after each halving.
        sources: Its weights, those that a plan takes first; none: it starts at random, or from a file.
        normalisation: Mean and standard deviation of the values that its weights were trained on, where they are not
            about 0 and 1, as those of a plan's scans are.
    """

    name: str
    build: Callable[..., nn.Module]
    sources: tuple[Source, ...] = ()
    normalisation: tuple[float, float] = (0.0, 1.0)

    def build_checked(self, **options: Any) -> nn.Module:
        """The encoder. Raises PlanError where it has not the features that decoders need."""
        encoder: Any = self.build(**options)
        count = len(encoder.out_channels)
        if count != HALVINGS + 1:
            raise PlanError(
                f"network.encoder: {self.name} gives {count} maps, its image among them, not {HALVINGS + 1}",
                hint="take another encoder, or correct the package that it comes from: docs/plugins.md",
            )
        built: nn.Module = encoder
        return built


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Without the libraries' warnings about their own older names and layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="timm|segmentation_models_pytorch")
        yield


@cache
def libraries() -> tuple[Any, Any]:
    """The modules segmentation_models_pytorch and timm: two seconds, so only where they are needed.

    The encoders of plugins are added to smp's table, under the key `entry` what else is known of them.

    Raises:
        UsageError: A plugin's encoder has a name that is taken.
    """
    patch_torchvision_ops()
    with quiet_imports():
        import segmentation_models_pytorch as smp
        import timm
    known = dict.fromkeys(_names(smp, timm))
    for name, entry in with_plugins("osteon.encoders", known, EncoderEntry).items():
        if entry is not None:
            settings = {source.weights: source for source in entry.sources}
            row = {"encoder": entry.build_checked, "params": {}, "pretrained_settings": settings, "entry": entry}
            smp.encoders.encoders[name] = row
    return smp, timm


def find_plugin(encoder: str) -> EncoderEntry | None:
    """The row of an encoder that another package adds; None: it is smp's or timm's, or there is none."""
    entry: EncoderEntry | None = libraries()[0].encoders.encoders.get(encoder, {}).get("entry")
    return entry


def encoder_names() -> tuple[str, ...]:
    """Every encoder that may be named; timm's with the prefix `tu-`."""
    return _names(*libraries())


def _names(smp: Any, timm: Any) -> tuple[str, ...]:
    return (*smp.encoders.encoders, *(f"tu-{name}" for name in timm.list_models()))


def canonical_name(encoder: str) -> str:
    """The encoder's name where it has an older one: `timm-gernet_l` is `tu-gernet_l`."""
    if not encoder.startswith(OLD_PREFIXES):
        return encoder
    return encoder.replace("timm-", "tu-tf_" if "mobilenetv3" in encoder else "tu-", 1)


def get_encoder(encoder: str, channels: int) -> nn.Module:
    """A 2D encoder with random weights. Raises KeyError where there is none of that name."""
    smp, _ = libraries()
    with quiet_imports():
        module: nn.Module = smp.encoders.get_encoder(canonical_name(encoder), in_channels=channels, weights=None)
    return module
