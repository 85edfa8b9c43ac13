"""A 2D encoder made 3D (Carreira and Zisserman, CVPR 2017): each filter repeated along the new axis, and divided.

Layers are told apart by their types, never by their names; a type that is not known here is refused, since it might
pool or reshape in 2D without a word. Along the new axis the outermost slices repeat where 2D pads with zeros: a volume
that is constant along it gives the 2D encoder's features everywhere, its first and last slice included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from osteon.core.errors import PlanError

PROBE_SIZE = 64
"""Size of the image with which halvings are counted."""
HINT = "in 3D choose resnet*, resnext*, se_resnet*, se_resnext*, efficientnet-b*, mobilenet_v2 or tu-resnet*"


@dataclass(frozen=True)
class _Axis:
    """The new axis of a layer: its place among the three, and whether the layer leaves it as it is."""

    place: int
    thick: bool

    def among(self, pair: Any, through: int) -> tuple[int, int, int]:
        """`pair`, or one number for both, of the 2D layer, with `through` put in."""
        three = [pair, pair] if isinstance(pair, int) else list(pair)
        three.insert(self.place, through)
        i, j, k = three
        return i, j, k

    def size(self, pair: Any) -> tuple[int, int, int]:
        """A pool's size or stride: along the new axis as along the first."""
        return self.among(pair, 1 if self.thick else (pair if isinstance(pair, int) else pair[0]))


def inflate(encoder: nn.Module, through: int, thick_stages: int = 0) -> nn.Module:
    """The encoder with 3D layers that hold the 2D ones' weights.

    Args:
        encoder: Of smp; it is changed in place, but for layers that are exchanged.
        through: The array axis (0, 1, 2) that the 2D encoder did not have.
        thick_stages: Up to so many halvings in plane, layers have kernel and stride 1 along that axis.

    Raises:
        PlanError: The encoder has a layer whose 3D form is not known.
    """
    _check(encoder)
    halvings = _halvings(encoder)

    def convert(layer: nn.Module) -> nn.Module:
        for name, child in layer.named_children():
            setattr(layer, name, convert(child))
        make = CONVERTERS.get(_type_name(layer))
        return make(layer, _Axis(through, thick=halvings.get(layer, math.inf) <= thick_stages)) if make else layer

    return convert(encoder).train(encoder.training)


def _halvings(encoder: nn.Module) -> dict[nn.Module, float]:
    """How often each layer's output was halved, from one pass over an empty image. 0 counts as 1: a stage's own."""
    halvings: dict[nn.Module, float] = {}

    def record(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        halvings[layer] = max(1.0, math.log2(PROBE_SIZE / output.shape[-1]))

    layers = [layer for layer in encoder.modules() if _type_name(layer) in CONVERTERS and not list(layer.children())]
    layers += [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d) and layer not in layers]
    first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    hooks = [layer.register_forward_hook(record) for layer in layers]
    training = encoder.training
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, first.in_channels, PROBE_SIZE, PROBE_SIZE, device=first.weight.device))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return halvings


def _convolution(layer: Any, axis: _Axis) -> nn.Module:
    size = 1 if axis.thick else layer.kernel_size[0]
    stride = 1 if axis.thick else layer.stride[0]
    before, after, in_plane = _margins(layer)
    if axis.thick or layer.kernel_size[0] == 1:
        before = after = 0
    made = RepeatedEdgeConv3d(
        layer.in_channels,
        layer.out_channels,
        axis.among(layer.kernel_size, size),
        axis.among(layer.stride, stride),
        dilation=axis.among(layer.dilation, 1 if axis.thick else layer.dilation[0]),
        groups=layer.groups,
        bias=layer.bias is not None,
        device=layer.weight.device,
        place=axis.place,
        through=(before, after),
        in_plane=in_plane,
    )
    with torch.no_grad():
        weight = layer.weight.unsqueeze(2 + axis.place)
        made.weight.copy_(weight.expand(made.weight.shape) / size)
        if layer.bias is not None:
            made.bias.copy_(layer.bias)  # type: ignore[union-attr]
    return made


def _margins(layer: Any) -> tuple[int, int, tuple[int, int, int, int]]:
    """Zeros before and after the first axis, and all four as `torch.nn.functional.pad` takes them: last axis first."""
    fixed = getattr(layer, "static_padding", None)  # EfficientNet pads by a layer of its own
    if isinstance(fixed, nn.ZeroPad2d):
        left, right, top, bottom = fixed.padding
    else:
        top, left = layer.padding
        bottom, right = top, left
    return top, bottom, (left, right, top, bottom)


def _norm(layer: Any, _: _Axis) -> nn.Module:
    made = nn.BatchNorm3d(layer.num_features, layer.eps, layer.momentum, device=layer.weight.device)
    made.load_state_dict(layer.state_dict())
    return made


def _max_pool(layer: Any, axis: _Axis) -> nn.Module:
    padding = axis.among(layer.padding, 0) if axis.thick else layer.padding
    return nn.MaxPool3d(axis.size(layer.kernel_size), axis.size(layer.stride), padding, ceil_mode=layer.ceil_mode)


def _average_pool(layer: Any, axis: _Axis) -> nn.Module:
    if layer.padding not in (0, (0, 0)):
        raise PlanError("network.encoder: a padded mean has no 3D form", hint=HINT)
    return nn.AvgPool3d(
        axis.size(layer.kernel_size), axis.size(layer.stride), 0, layer.ceil_mode, layer.count_include_pad
    )


def _adaptive_pool(layer: Any, _: _Axis) -> nn.Module:
    if layer.output_size not in (1, (1, 1)):
        raise PlanError("network.encoder: it pools to a fixed size, which has no 3D form", hint=HINT)
    return nn.AdaptiveAvgPool3d(1)


CONVERTERS: dict[str, Callable[[Any, _Axis], nn.Module]] = {
    "torch.nn.modules.conv.Conv2d": _convolution,
    "segmentation_models_pytorch.encoders._efficientnet.Conv2dStaticSamePadding": _convolution,
    "segmentation_models_pytorch.encoders._efficientnet.MBConvBlock": lambda block, _: MBConv3d(block),
    "torch.nn.modules.batchnorm.BatchNorm2d": _norm,
    "torch.nn.modules.pooling.MaxPool2d": _max_pool,
    "torch.nn.modules.pooling.AvgPool2d": _average_pool,
    "torch.nn.modules.pooling.AdaptiveAvgPool2d": _adaptive_pool,
}
"""The type of a 2D layer, and what makes the 3D one of it. By its full name: the libraries take seconds to import."""
UNCHANGED_LAYERS = (
    "torch.nn.modules.container.",
    "torch.nn.modules.activation.",
    "torch.nn.modules.linear.Identity",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.padding.ZeroPad2d",  # of EfficientNet's convolutions, which are exchanged as a whole
    "torchvision.models.resnet.",
    "torchvision.models.mobilenetv2.",
    "torchvision.ops.misc.Conv2dNormActivation",
    "segmentation_models_pytorch.encoders.resnet.",
    "segmentation_models_pytorch.encoders.efficientnet.",
    "segmentation_models_pytorch.encoders.mobilenet.",
    "segmentation_models_pytorch.encoders.senet.",
    "segmentation_models_pytorch.encoders._senet.",
    "segmentation_models_pytorch.encoders.timm_universal.",
    "timm.models._features.FeatureListNet",
    "timm.models.resnet.",
)
"""Types whose own code works in 2D and 3D alike; all of a module's where a full stop ends the name.
A plugin's class says so of itself, by the attribute `inflates = True`.
"""


def _type_name(layer: nn.Module) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _check(encoder: nn.Module) -> None:
    for layer in encoder.modules():
        kind = _type_name(layer)
        unchanged = kind in UNCHANGED_LAYERS or kind.startswith(
            tuple(name for name in UNCHANGED_LAYERS if name.endswith("."))
        )
        if kind not in CONVERTERS and not unchanged and not getattr(type(layer), "inflates", False):
            raise PlanError(f"network.encoder: its layer {type(layer).__name__} has no 3D form", hint=HINT)


class RepeatedEdgeConv3d(nn.Conv3d):
    """A convolution before which the volume is padded: with its outermost slices along one axis, else with zeros.

    Args:
        place: That axis among the three.
        through: Voxels before and after, along it.
        in_plane: The other two axes' margins, last axis first: `(before, after, before, after)`.
    """

    def __init__(
        self, *sizes: Any, place: int, through: tuple[int, int], in_plane: tuple[int, int, int, int], **options: Any
    ) -> None:
        super().__init__(*sizes, **options)
        margins = [in_plane[2:], in_plane[:2]]
        margins.insert(place, (0, 0))
        even = all(before == after for before, after in margins)
        if even:
            self.padding = tuple(before for before, _ in margins)
        self.zeros = () if even else tuple(n for margin in margins[::-1] for n in margin)
        repeated = [(0, 0)] * 3
        repeated[place] = through
        self.repeated = tuple(n for margin in repeated[::-1] for n in margin) if any(through) else ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, out, i, j, k]` of `[batch, in, i, j, k]`."""
        if self.repeated:
            x = F.pad(x, self.repeated, mode="replicate")
        if self.zeros:
            x = F.pad(x, self.zeros)
        return super().forward(x)


class MBConv3d(nn.Module):
    """EfficientNet's inverted bottleneck (Tan and Le, ICML 2019), whose 2D code pools in 2D.

    Args:
        block: smp's, its layers 3D already.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        steps = [block._expand_conv, block._bn0, block._swish] if block._has_expansion else []
        self.expand = nn.Sequential(*steps, block._depthwise_conv, block._bn1, block._swish)
        self.squeeze = nn.Sequential()
        if block._has_se:
            self.squeeze = nn.Sequential(
                nn.AdaptiveAvgPool3d(1), block._se_reduce, block._swish, block._se_expand, nn.Sigmoid()
            )
        self.project = nn.Sequential(block._project_conv, block._bn2)
        self.skips = block._has_drop_connect

    def forward(self, inputs: torch.Tensor, drop_connect_rate: float | None = None) -> torch.Tensor:
        """`[batch, out, i, j, k]`; in training the block is left out of some images with the rate given."""
        x = self.expand(inputs)
        if len(self.squeeze):
            x = x * self.squeeze(x)
        x = self.project(x)
        if not self.skips:
            return x
        if self.training and drop_connect_rate:
            kept = torch.rand((len(x), 1, 1, 1, 1), dtype=x.dtype, device=x.device) >= drop_connect_rate
            x = x / (1 - drop_connect_rate) * kept
        return x + inputs
