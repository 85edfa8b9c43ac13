"""Pre-trained encoders: which there are, their licences, and their first layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial

import torch
from torch import nn

from osteon.core.errors import ModelError, PlanError
from osteon.networks.encoder_registry import canonical_name, encoder_names, find_plugin, libraries, quiet_imports

MIN_MOMENTUM = 0.1
"""Of the running statistics of BatchNorm: torch's default."""
WEIGHTS_LICENCES = (
    (r"resnet\d+|resnext\d+_\w+|se_res\w+|mobilenet_v2", "BSD-3-Clause"),
    (r"efficientnet-b\d", "Apache-2.0"),
    (r"mit_b\d", "NVIDIA Source Code License: non-commercial"),
)
"""Patterns of encoders' whole names, and the licence of their ImageNet weights; others' is their source's."""


def check_encoder(encoder: str) -> None:
    """Raise PlanError, with the nearest names, where no library and no plugin has the encoder."""
    name, names = canonical_name(encoder), encoder_names()
    plain = name.split(".")[0] if name.startswith("tu-") else name  # timm's names may end in a set of weights
    if plain in names:
        return
    near = get_close_matches(plain, names, 4, 0.6) or get_close_matches(f"tu-{plain}", names, 4, 0.6)
    shown = ", ".join(near) or "resnet34, efficientnet-b0, tu-convnext_tiny"
    raise PlanError(f"network.encoder: there is no encoder {encoder}", hint=f"near it: {shown}")


def default_weights(encoder: str) -> str:
    """Which weights a plan takes for an encoder: of a plugin's the first, if it has some."""
    entry = find_plugin(encoder)
    if entry is None:
        return "imagenet"
    return entry.sources[0].weights if entry.sources else "none"


def weights_licence(encoder: str, weights: str = "imagenet") -> str | None:
    """The licence of an encoder's published weights, as far as its source says; None: they are not published."""
    name, entry = canonical_name(encoder), find_plugin(encoder)
    if entry is not None:
        return next((source.licence for source in entry.sources if source.weights == weights), None)
    if weights != "imagenet":
        return None
    for pattern, licence in WEIGHTS_LICENCES:
        if re.fullmatch(pattern, name):
            return licence
    if not name.startswith("tu-"):
        return next((row[1] for row in WEIGHTS_LICENCES if re.fullmatch(row[0], name)), "not stated")
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


def normalise_input(encoder: nn.Module, mean: float, deviation: float) -> None:
    """Let an encoder have its images, of mean 0 and standard deviation 1, with another mean and deviation."""
    if (mean, deviation) != (0, 1):
        encoder.register_forward_pre_hook(partial(_rescale, mean=mean, deviation=deviation))


def _rescale(_: nn.Module, images: tuple[torch.Tensor], *, mean: float, deviation: float) -> torch.Tensor:
    return images[0] * deviation + mean


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
