"""The networks that a plan may name. A new one is one file and one row, here or in a package's entry points
`osteon.networks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from osteon.core.errors import PlanError
from osteon.core.plugins import with_plugins
from osteon.networks.encoder_registry import find_plugin
from osteon.networks.encoders import drop_classifier, load_encoder_weights, normalise_input, raise_norm_momentum
from osteon.networks.inflated import build_encoder, inflate_network
from osteon.networks.monai_bundle import BundleNetwork
from osteon.networks.monai_networks import MonaiNetwork
from osteon.networks.nnunet import NnUNetNetwork
from osteon.networks.pretrained import build_slice_network
from osteon.networks.unet import UNet
from osteon.plan.network_sections import AnyNetwork
from osteon.plan.outputs import output_layout
from osteon.plan.overlay import closest_names
from osteon.plan.schema import Monai, MonaiBundle, Network, NnUNet, Plan, Pretrained

APACHE = "Apache-2.0"
NO_WEIGHTS = "none: random start"
ENCODER_WEIGHTS = "the encoder's"
MODEL_WEIGHTS = "the model's"
CLICK_CHANNELS = 3
"""Clicks inside, clicks outside, the mask so far."""


@dataclass(frozen=True)
class NetworkEntry:
    """A network.

    Attributes:
        name: As a plan and `--network` name it.
        family: The class of the plan's section: Network, Pretrained, Monai, MonaiBundle or NnUNet.
        dimensions: In which it can be built.
        library: Whose code it is.
        code: Licence of the code.
        weights: Licence of the initial weights.
        source: Where it was published.
        build: Of a plugin's, whose family is Network: (section, dimensions, channels, outputs) → the network, whose
            output is as `build_network` has it.
    """

    name: str
    family: type[AnyNetwork]
    dimensions: tuple[int, ...]
    library: str
    code: str
    weights: str
    source: str
    build: Callable[[Network, int, int, int], nn.Module] | None = None


NETWORKS = (
    NetworkEntry("unet", Network, (2, 3), "osteon", APACHE, NO_WEIGHTS, "Ronneberger et al., MICCAI 2015"),
    NetworkEntry(
        "resunet", Network, (2, 3), "osteon", APACHE, NO_WEIGHTS, "He et al., CVPR 2016; Isensee et al., MICCAI 2024"
    ),
    NetworkEntry(
        "unet", Pretrained, (2, 3), "smp, timm; 3D osteon", "MIT", ENCODER_WEIGHTS, "Carreira and Zisserman, CVPR 2017"
    ),
    NetworkEntry("unetplusplus", Pretrained, (2,), "smp, timm", "MIT", ENCODER_WEIGHTS, "Zhou et al., DLMIA 2018"),
    NetworkEntry("manet", Pretrained, (2,), "smp, timm", "MIT", ENCODER_WEIGHTS, "Fan et al., IEEE Access 2020"),
    NetworkEntry("upernet", Pretrained, (2,), "smp, timm", "MIT", ENCODER_WEIGHTS, "Xiao et al., ECCV 2018"),
    NetworkEntry("segformer", Pretrained, (2,), "smp, timm", "MIT", ENCODER_WEIGHTS, "Xie et al., NeurIPS 2021"),
    NetworkEntry("deeplabv3", Pretrained, (2,), "smp, timm", "MIT", ENCODER_WEIGHTS, "Chen et al., arXiv:1706.05587"),
    NetworkEntry("deeplabv3plus", Pretrained, (2,), "smp, timm", "MIT", ENCODER_WEIGHTS, "Chen et al., ECCV 2018"),
    NetworkEntry("segresnet", Monai, (2, 3), "MONAI", APACHE, NO_WEIGHTS, "Myronenko, BrainLes 2018"),
    NetworkEntry("swinunetr", Monai, (2, 3), "MONAI", APACHE, NO_WEIGHTS, "Hatamizadeh et al., BrainLes 2021"),
    NetworkEntry("monai-bundle", MonaiBundle, (3,), "MONAI", APACHE, MODEL_WEIGHTS, "the bundle's own"),
    NetworkEntry("nnunet", NnUNet, (2, 3), "osteon", APACHE, MODEL_WEIGHTS, "Isensee et al., Nature Methods 2021"),
    NetworkEntry("nnunet-residual", NnUNet, (2, 3), "osteon", APACHE, MODEL_WEIGHTS, "Isensee et al., MICCAI 2024"),
)


def input_channels(plan: Plan) -> int:
    """The network's channels: the scan's, of a cascade one for each label of the first model, and those of clicks."""
    before = len(plan.network.before) if isinstance(plan.network, NnUNet) else 0
    return len(plan.channels) + before + (CLICK_CHANNELS if plan.clicks is not None else 0)


def find_network(name: str, family: type[AnyNetwork] | None = None) -> NetworkEntry:
    """The network of a name.

    Args:
        name: As a plan has it.
        family: The class of the plan's section; None: any.

    Raises:
        PlanError: There is none, and the nearest are named; or the section has the keys of another family.
    """
    by_name = with_plugins("osteon.networks", {row.name: row for row in NETWORKS}, NetworkEntry)
    rows = [row for row in (*NETWORKS, *by_name.values()) if row.name == name]
    if not rows:
        near = closest_names(name, list(by_name))
        raise PlanError(f"there is no network {name}", hint=f"near it: {near}")
    for row in rows:
        if family in (None, row.family):
            return row
    raise PlanError(f"the section has not the keys of {name}", hint="plan with --network NAME to get them")


def build_network(plan: Plan, *, fresh: bool = False) -> nn.Module:
    """The network of a plan, with random weights from torch's global generator.

    Args:
        plan: Its sections network, grid, patch, channels and structures decide.
        fresh: For a training that begins: a pre-trained encoder gets its weights. Otherwise they are about to be
            loaded, and nothing is looked for.

    Returns:
        `[batch, channel, i, j, k]` → logits `[batch, output, i, j, k]` in a list, the finest first; in 2D the last
        axis has one voxel.

    Raises:
        PlanError: There is no such network; an encoder does not exist, or does not go with the architecture.
        ModelError: Weights of another encoder; and whatever `encoder_weights.encoder_state` raises.
    """
    section, dimensions, channels = plan.network, plan.grid.dimensions, input_channels(plan)
    row = find_network(section.name, type(section))
    if isinstance(section, Network) and row.build is not None:
        return row.build(section, dimensions, channels, output_channels(plan))
    if isinstance(section, Network):
        return UNet(section, dimensions, channels, output_channels(plan))
    if isinstance(section, Monai):
        return MonaiNetwork(section, dimensions, channels, output_channels(plan))
    if isinstance(section, MonaiBundle):
        return BundleNetwork(section, channels, output_channels(plan))
    if isinstance(section, NnUNet):
        return NnUNetNetwork(section, dimensions, channels, output_channels(plan))
    if dimensions == 3:
        encoder = build_encoder(section, channels)
        _init_encoder(encoder, section, channels, fresh=fresh)
        return inflate_network(section, encoder, output_channels(plan))
    network = build_slice_network(section, channels, output_channels(plan), plan.patch.size[:2])
    _init_encoder(network.encoder, section, channels, fresh=fresh)
    return network


def check_network(section: AnyNetwork, dimensions: int, size: tuple[int, int]) -> None:
    """Build a pre-trained network, in 2D without its memory, to find out now rather than later whether it can be.

    Raises:
        PlanError: It cannot: no such encoder, or one that does not go with the architecture.
    """
    if not isinstance(section, Pretrained):
        return
    if dimensions == 3:
        inflate_network(section, build_encoder(section, 1), 1)
        return
    # Mix Transformers, and perhaps plugins, compute with numbers while they are built, which the meta device has not.
    with torch.device("cpu" if section.encoder.startswith("mit_") or find_plugin(section.encoder) else "meta"):
        build_slice_network(section, 1, 1, size)


def needs_recalibration(plan: Plan) -> bool:
    """Whether a training begins with an encoder whose BatchNorm needs `inflated.recalibrate`."""
    section = plan.network
    return isinstance(section, Pretrained) and plan.grid.dimensions == 3 and section.weights != "none"


def output_channels(plan: Plan) -> int:
    """Channels of the network's output (`plan.outputs`)."""
    return output_layout(plan).total


def _init_encoder(encoder: nn.Module, section: Pretrained, channels: int, *, fresh: bool) -> None:
    if section.weights == "none":
        raise_norm_momentum(encoder)
    elif fresh:
        from osteon.networks.encoder_weights import encoder_state  # looks for files: not for a model that is restored

        load_encoder_weights(encoder, encoder_state(section.encoder, section.weights), channels, section.encoder)
    if section.weights != "none" and (entry := find_plugin(section.encoder)) is not None:
        normalise_input(encoder, *entry.normalisation)
    drop_classifier(encoder)
