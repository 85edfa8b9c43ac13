"""Networks of MONAI's bundles: a table of classes, each with the arguments that a bundle may give.

A bundle names its network's class as text. Only classes of this table are built, from plain values; nothing that a
bundle brings is imported or run.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from osteon.core.errors import PlanError, summarise_error
from osteon.core.torchvision_ops import patch_torchvision_ops
from osteon.plan.schema import MonaiBundle
from osteon.plan.sections import Triple

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class BundleClass:
    """A class of `monai.networks.nets`.

    Attributes:
        arguments: Those it takes besides `COMMON`.
        downsampling: By the arguments, what it halves along an axis.
        ignored: Arguments of earlier versions of MONAI that change no weight.
    """

    arguments: frozenset[str]
    downsampling: Callable[[Arguments], int | list[int]]
    ignored: frozenset[str] = frozenset()


COMMON = frozenset({"spatial_dims", "in_channels", "out_channels"})
_UNET = {"channels", "strides", "kernel_size", "up_kernel_size", "dropout"}
_SEGRESNET = {"init_filters", "act", "norm", "blocks_down", "blocks_up", "upsample_mode"}


def _product(given: Arguments) -> list[int]:
    """Of the strides along each axis."""
    steps = [[step] * 3 if isinstance(step, int) else list(step) for step in given["strides"]]
    return [math.prod(axis) for axis in zip(*steps, strict=True)]


def _per_block(given: Arguments) -> int:
    return int(2 ** (len(given.get("blocks_down", (1, 2, 2, 4))) - 1))


CLASSES = {
    "AttentionUnet": BundleClass(frozenset(_UNET), _product),
    "BasicUNet": BundleClass(frozenset({"features", "act", "norm", "bias", "dropout", "upsample"}), lambda _: 16),
    "DynUNet": BundleClass(
        frozenset({"kernel_size", "strides", "upsample_kernel_size", "filters", "dropout", "norm_name", "act_name"})
        | {"deep_supervision", "deep_supr_num", "res_block", "trans_bias"},
        _product,
    ),
    "SegResNet": BundleClass(
        frozenset(_SEGRESNET | {"dropout_prob", "norm_name", "num_groups", "use_conv_final"}), _per_block
    ),
    "SegResNetDS": BundleClass(frozenset(_SEGRESNET | {"dsdepth", "resolution"}), _per_block),
    "SwinUNETR": BundleClass(
        frozenset({"depths", "num_heads", "feature_size", "norm_name", "drop_rate", "attn_drop_rate"})
        | {"dropout_path_rate", "normalize", "use_checkpoint", "downsample", "use_v2", "patch_size", "window_size"},
        lambda _: 32,
        frozenset({"img_size"}),
    ),
    "UNETR": BundleClass(
        frozenset({"img_size", "feature_size", "hidden_size", "mlp_dim", "num_heads", "proj_type", "norm_name"})
        | {"conv_block", "res_block", "dropout_rate", "qkv_bias"},
        lambda _: 16,
        frozenset({"pos_embed"}),
    ),
    "UNet": BundleClass(frozenset(_UNET | {"num_res_units", "act", "norm", "bias", "adn_ordering"}), _product),
    "VNet": BundleClass(
        frozenset({"act", "dropout_prob", "dropout_prob_down", "dropout_prob_up", "dropout_dim", "bias"}), lambda _: 16
    ),
}


def make_section(target: str, arguments: Arguments) -> MonaiBundle:
    """The plan's section of a class. Raises PlanError where it is not in the table, or an argument is not."""
    name = target.rpartition(".")[2]
    if name not in CLASSES or target not in (name, f"monai.networks.nets.{name}", _module(name)):
        raise PlanError(f"the network {target} is not known", hint=f"known are MONAI's {', '.join(CLASSES)}")
    row = CLASSES[name]
    given = {key: value for key, value in arguments.items() if key not in row.ignored}
    _check(name, given)
    try:
        down = row.downsampling(given)
        i, j, k = [down] * 3 if isinstance(down, int) else down
    except (KeyError, TypeError, ValueError) as error:
        raise PlanError(f"{name}: its arguments make no sense ({summarise_error(error)})", hint=_HINT) from error
    downsampling: Triple = (i, j, k)
    return MonaiBundle(target=name, arguments=given, downsampling=downsampling)


_HINT = "take the network_def that was written beside the weights"


def _module(name: str) -> str:
    return f"monai.networks.nets.{name.lower()}.{name}"


def _check(name: str, arguments: Arguments) -> None:
    if name not in CLASSES:
        raise PlanError(f"the network {name} is not known", hint=f"known are MONAI's {', '.join(CLASSES)}")
    if unknown := sorted(arguments.keys() - CLASSES[name].arguments - COMMON):
        raise PlanError(f"{name}: the argument {', '.join(unknown)} is not known here", hint=_HINT)


class BundleNetwork(nn.Module):
    """A network of a bundle over `[batch, channel, i, j, k]`.

    Args:
        section: Of the plan.
        channels: Image channels.
        outputs: Classes or structures.

    Raises:
        PlanError: Class or arguments are not in the table, or contradict each other or the plan.
    """

    def __init__(self, section: MonaiBundle, channels: int, outputs: int) -> None:
        super().__init__()
        _check(section.target, section.arguments)
        patch_torchvision_ops()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in `monai_networks`
            from monai.networks import nets

            # What a bundle leaves out is the class's own choice; the plan's figures stand in no bundle's way.
            given = {"in_channels": channels, "out_channels": outputs, **section.arguments}
            if (given["in_channels"], given["out_channels"]) != (channels, outputs):
                raise PlanError(
                    f"{section.target}: takes {given['in_channels']} channels and gives {given['out_channels']}; the "
                    f"plan has {channels} and {outputs}",
                    hint=_HINT,
                )
            try:
                self.network: nn.Module = getattr(nets, section.target)(**given)
            except (TypeError, ValueError, KeyError, NotImplementedError, RuntimeError, IndexError) as error:
                raise PlanError(
                    f"{section.target}: its arguments make no sense ({summarise_error(error)})", hint=_HINT
                ) from error

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, k]`, alone in a list."""
        logits = self.network(image)
        return [logits[0] if isinstance(logits, list | tuple) else logits]
