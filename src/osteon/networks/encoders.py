"""The pre-trained encoders of segmentation-models-pytorch and timm: their names, licences, and first layer."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

import torch
from torch import nn

from osteon.core.errors import ModelError, PlanError
from osteon.core.torchvision_ops import patch_torchvision_ops

OLD_PREFIXES = ("timm-regnet", "timm-res2", "timm-resnest", "timm-mobilenetv3", "timm-gernet")
"""Prefixes of smp's older names for encoders that it now takes from timm."""

MIN_MOMENTUM = 0.1
"""Of the running statistics of BatchNorm: torch's default."""
PER_ENCODER = "each its own"


@dataclass(frozen=True)
class EncoderFamily:
    """A family of encoders.

    Attributes:
        family: For people.
        pattern: Of the encoders' whole names.
        code_licence: Of the code.
        weights_licence: Of the ImageNet weights.
        inflates: Whether they have a 3D form.
    """

    family: str
    pattern: str
    code_licence: str
    weights_licence: str
    inflates: bool = False


FAMILIES = (
    EncoderFamily("ResNet, ResNeXt", r"resnet\d+|resnext\d+_\w+", "BSD-3-Clause", "BSD-3-Clause", inflates=True),
    EncoderFamily("SE-ResNet, SE-ResNeXt", r"se_res\w+", "BSD-3-Clause", "BSD-3-Clause", inflates=True),
    EncoderFamily("EfficientNet", r"efficientnet-b\d", "Apache-2.0", "Apache-2.0", inflates=True),
    EncoderFamily("MobileNetV2", r"mobilenet_v2", "BSD-3-Clause", "BSD-3-Clause", inflates=True),
    EncoderFamily("timm's ResNet", r"tu-resnet\d+d?(\.\w+)?", "Apache-2.0", PER_ENCODER, inflates=True),
    EncoderFamily(
        "Mix Transformer (SegFormer)",
        r"mit_b\d",
        "NVIDIA Source Code License: non-commercial",
        "NVIDIA Source Code License: non-commercial",
    ),
    EncoderFamily("all others of timm", r"tu-.+", "Apache-2.0", PER_ENCODER),
    EncoderFamily("all others of smp", r".+", "MIT, or as their file says", PER_ENCODER),
)


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Without the libraries' warnings about their own older names and layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="timm|segmentation_models_pytorch")
        yield


def libraries() -> tuple[Any, Any]:
    """The modules segmentation_models_pytorch and timm: two seconds, so only where they are needed."""
    patch_torchvision_ops()
    with quiet_imports():
        import segmentation_models_pytorch as smp
        import timm
    return smp, timm


@cache
def encoder_names() -> tuple[str, ...]:
    """Every encoder that may be named; timm's with the prefix `tu-`."""
    smp, timm = libraries()
    return (*smp.encoders.encoders, *(f"tu-{name}" for name in timm.list_models()))


def canonical_name(encoder: str) -> str:
    """The encoder's name where it has an older one."""
    if not encoder.startswith(OLD_PREFIXES):
        return encoder
    return encoder.replace("timm-", "tu-tf_" if "mobilenetv3" in encoder else "tu-", 1)


def check_encoder(encoder: str) -> None:
    """Raise PlanError, with the nearest names, where neither library has the encoder."""
    name, names = canonical_name(encoder), encoder_names()
    plain = name.split(".")[0] if name.startswith("tu-") else name  # timm's names may end in a set of weights
    if plain in names:
        return
    near = get_close_matches(plain, names, 4, 0.6) or get_close_matches(f"tu-{plain}", names, 4, 0.6)
    shown = ", ".join(near) or "resnet34, efficientnet-b0, tu-convnext_tiny"
    raise PlanError(f"network.encoder: there is no encoder {encoder}", hint=f"near it: {shown}")


def find_family(encoder: str) -> EncoderFamily:
    """The family of an encoder: the first that its name fits."""
    return next(row for row in FAMILIES if re.fullmatch(row.pattern, canonical_name(encoder)))


def weights_licence(encoder: str) -> str:
    """The licence of an encoder's ImageNet weights, as far as its source says."""
    name = canonical_name(encoder)
    licence = find_family(name).weights_licence
    if licence != PER_ENCODER:
        return licence
    if not name.startswith("tu-"):
        return "not stated"
    _, timm = libraries()
    with quiet_imports():
        known = timm.get_pretrained_cfg(name.removeprefix("tu-"))
    return (known and known.license) or "not stated"


def has_fixed_size(encoder: str) -> bool:
    """Whether an encoder is built for images of one size, as Swin transformers are."""
    name = canonical_name(encoder)
    if not name.startswith("tu-"):
        return False
    _, timm = libraries()
    known = timm.get_pretrained_cfg(name.removeprefix("tu-"), allow_unregistered=True)
    return bool(known and known.fixed_input_size)


def load_encoder_weights(encoder: nn.Module, state: Mapping[str, torch.Tensor], channels: int, name: str) -> None:
    """Give an encoder of `channels` input channels the weights of a 3-channel one.

    Raises:
        ModelError: The weights are of another encoder.
    """
    own = encoder.state_dict()
    fitted = {
        key: _for_channels(tensor, channels) if key in own and _first_layer(tensor, own[key], channels) else tensor
        for key, tensor in state.items()
    }
    try:
        encoder.load_state_dict(fitted)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise ModelError(
            f"the weights do not fit the encoder {name}: {'; '.join(lines)[:300]}",
            hint="give the weights of that very encoder, or name the encoder that they are of",
        ) from None


def drop_classifier(encoder: nn.Module) -> None:
    """Remove the rest of the classifier that smp's EfficientNet keeps: nothing reaches it, so it would never learn."""
    for name in ("_conv_head", "_bn1"):
        if hasattr(encoder, name):
            setattr(encoder, name, nn.Identity())


def raise_norm_momentum(encoder: nn.Module) -> None:
    """Raise the momentum of BatchNorm to torch's default, for an encoder that starts at random.

    EfficientNet's take a hundredth, for weights that are there: after fifty steps from a random start its running
    means are still not the data's, and in predicting nothing is found.
    """
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, MIN_MOMENTUM)


def _first_layer(tensor: torch.Tensor, own: torch.Tensor, channels: int) -> bool:
    return tensor.ndim == 4 and tensor.shape[1] == 3 and own.shape == (len(tensor), channels, *tensor.shape[2:])


def _for_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A filter `[out, 3, h, w]` for red, green and blue as `[out, channels, h, w]`.

    One channel sees the sum; others repeat the three in turn, weakened so that the sum over channels stays alike.
    """
    if channels == 3:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, [number % 3 for number in range(channels)]] * (3 / channels)
