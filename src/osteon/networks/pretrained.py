"""2D decoders on pre-trained encoders, all of them segmentation-models-pytorch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from osteon.core.errors import PlanError
from osteon.networks.encoder_registry import canonical_name, libraries, quiet_imports
from osteon.networks.encoders import check_encoder, has_fixed_size
from osteon.plan.schema import Pretrained

ARCHITECTURES = {
    "unet": ("Unet", "decoder_channels"),
    "unetplusplus": ("UnetPlusPlus", "decoder_channels"),
    "manet": ("MAnet", "decoder_channels"),
    "upernet": ("UPerNet", "decoder_channels"),
    "segformer": ("Segformer", "decoder_segmentation_channels"),
    "deeplabv3": ("DeepLabV3", "decoder_channels"),
    "deeplabv3plus": ("DeepLabV3Plus", "decoder_channels"),
}
"""smp's class, and what it calls the decoder's features."""
DILATED_HINT = (
    "its encoder has to do with fewer halvings: resnet*, efficientnet-b*, tu-convnext_*, tu-tf_efficientnet_*"
)
ENCODER_HINTS = {
    "unetplusplus": "its encoder needs features at half the size: any but mit_b*, as resnet34 or tu-convnext_tiny",
    "deeplabv3": DILATED_HINT,
    "deeplabv3plus": DILATED_HINT,
}
"""Which encoders go with an architecture that does not take all of them."""


class SliceNetwork(nn.Module):
    """An encoder, a decoder and a head over `[batch, channel, i, j, 1]`.

    Args:
        model: A model of smp; its parts are taken over.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder: nn.Module = model.encoder  # type: ignore[assignment]
        self.decoder: nn.Module = model.decoder  # type: ignore[assignment]
        self.head: nn.Module = model.segmentation_head  # type: ignore[assignment]

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, 1]`, alone in a list."""
        logits: torch.Tensor = self.head(self.decoder(self.encoder(image[..., 0])))
        return [logits[..., None]]


def build_slice_network(section: Pretrained, channels: int, outputs: int, size: tuple[int, int]) -> SliceNetwork:
    """A 2D network with random weights.

    Args:
        section: Of the plan.
        channels: Image channels.
        outputs: Classes or structures.
        size: Of the images `(i, j)`, for encoders that take one size alone.

    Raises:
        PlanError: There is no such encoder, or it does not go with the architecture.
    """
    check_encoder(section.encoder)
    if has_fixed_size(section.encoder) and not section.fixed_size:
        raise PlanError(
            f"network.fixed_size: {section.encoder} takes images of one size alone", hint="set network.fixed_size: true"
        )
    smp, _ = libraries()
    kind, features = ARCHITECTURES[section.name]
    options: dict[str, Any] = {"img_size": size} if section.fixed_size else {}
    if section.decoder_features is not None:
        many = section.decoder_features
        options[features] = many if len(many) > 1 else many[0]
    try:
        with quiet_imports():
            model = getattr(smp, kind)(
                canonical_name(section.encoder), encoder_weights=None, in_channels=channels, classes=outputs, **options
            )
    except (ValueError, TypeError, KeyError, AssertionError, NotImplementedError) as error:
        raise PlanError(
            f"network: {section.name} cannot be built on the encoder {section.encoder}: {error}",
            hint=ENCODER_HINTS.get(section.name, "take another encoder, as resnet34 or tu-convnext_tiny"),
        ) from error
    network = SliceNetwork(model)
    _replace_norms(network)
    return network


class PooledNorm(nn.BatchNorm2d):
    """BatchNorm that can also train where a batch of one image was pooled to a single value: by the running statistics.

    One value has no variance, and torch refuses it; pyramid and attention branches come to that with `patch.batch: 1`.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` `[batch, channel, h, w]`, normalised."""
        if self.training and x.numel() == self.num_features:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


def _replace_norms(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                norm = PooledNorm(child.num_features, child.eps, child.momentum)
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)
