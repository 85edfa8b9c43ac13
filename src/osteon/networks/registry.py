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
from osteon.networks.encoders import drop_unused, follow_sooner, load_encoder
from osteon.networks.inflated import build_encoder, inflate_network
from osteon.networks.monai_networks import MonaiNetwork
from osteon.networks.nnunet import NnUNetwork
from osteon.networks.pretrained import build_slices
from osteon.networks.unet import UNet
from osteon.plan.network_sections import AnyNetwork
from osteon.plan.overlay import closest_names
from osteon.plan.schema import Monai, Network, NnUNet, Plan, Pretrained

OWN = "Apache-2.0"
NONE = "none: random start"
ENCODERS = "the encoder's"
THEIRS = "the model's"


@dataclass(frozen=True)
class Row:
    """A network.

    Attributes:
        name: As a plan and `--network` name it.
        family: The class of the plan's section: Network, Pretrained, Monai or NnUNet.
        dimensions: In which it can be built.
        library: Whose code it is.
        code: Licence of the code.
        weights: Licence of the weights with which a training begins.
        source: Where it was published.
        build: Of a plugin's, whose family is Network: (section, dimensions, channels, outputs) → the network, whose
            output is as `build_network` has it.
    """

    name: str
    family: type[Network | Pretrained | Monai | NnUNet]
    dimensions: tuple[int, ...]
    library: str
    code: str
    weights: str
    source: str
    build: Callable[[Network, int, int, int], nn.Module] | None = None


NETWORKS = (
    Row("unet", Network, (2, 3), "osteon", OWN, NONE, "Ronneberger et al., MICCAI 2015"),
    Row("resunet", Network, (2, 3), "osteon", OWN, NONE, "He et al., CVPR 2016; Isensee et al., MICCAI 2024"),
    Row("unet", Pretrained, (2, 3), "smp, timm; 3D osteon", "MIT", ENCODERS, "Carreira and Zisserman, CVPR 2017"),
    Row("unetplusplus", Pretrained, (2,), "smp, timm", "MIT", ENCODERS, "Zhou et al., DLMIA 2018"),
    Row("manet", Pretrained, (2,), "smp, timm", "MIT", ENCODERS, "Fan et al., IEEE Access 2020"),
    Row("upernet", Pretrained, (2,), "smp, timm", "MIT", ENCODERS, "Xiao et al., ECCV 2018"),
    Row("segformer", Pretrained, (2,), "smp, timm", "MIT", ENCODERS, "Xie et al., NeurIPS 2021"),
    Row("deeplabv3", Pretrained, (2,), "smp, timm", "MIT", ENCODERS, "Chen et al., arXiv:1706.05587"),
    Row("deeplabv3plus", Pretrained, (2,), "smp, timm", "MIT", ENCODERS, "Chen et al., ECCV 2018"),
    Row("segresnet", Monai, (2, 3), "MONAI", OWN, NONE, "Myronenko, BrainLes 2018"),
    Row("swinunetr", Monai, (2, 3), "MONAI", OWN, NONE, "Hatamizadeh et al., BrainLes 2021"),
    Row("nnunet", NnUNet, (2, 3), "osteon", OWN, THEIRS, "Isensee et al., Nature Methods 2021"),
    Row("nnunet-residual", NnUNet, (2, 3), "osteon", OWN, THEIRS, "Isensee et al., MICCAI 2024"),
)


def inputs(plan: Plan) -> int:
    """The network's channels: the scan's, and in a cascade one for each label that the first model finds."""
    return len(plan.channels) + (len(plan.network.before) if isinstance(plan.network, NnUNet) else 0)


def find_network(name: str, family: type[Network | Pretrained | Monai | NnUNet] | None = None) -> Row:
    """The network of a name.

    Args:
        name: As a plan has it.
        family: The class of the plan's section; None: any.

    Raises:
        PlanError: There is none, and the nearest are named; or the section has the keys of another family.
    """
    by_name = with_plugins("osteon.networks", {row.name: row for row in NETWORKS}, Row)
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
    section, dimensions, channels = plan.network, plan.grid.dimensions, len(plan.channels)
    row = find_network(section.name, type(section))
    if isinstance(section, Network) and row.build is not None:
        return row.build(section, dimensions, channels, outputs(plan))
    if isinstance(section, Network):
        return UNet(section, dimensions, channels, outputs(plan))
    if isinstance(section, Monai):
        return MonaiNetwork(section, dimensions, channels, outputs(plan))
    if isinstance(section, NnUNet):
        return NnUNetwork(section, dimensions, inputs(plan), outputs(plan))
    weights = fresh and section.weights != "none"
    if dimensions == 3:
        encoder = build_encoder(section, channels)
        if weights:
            _load(encoder, section, channels)
        drop_unused(encoder)
        if section.weights == "none":
            follow_sooner(encoder)
        return inflate_network(section, encoder, outputs(plan))
    network = build_slices(section, channels, outputs(plan), plan.patch.size[:2])
    if weights:
        _load(network.encoder, section, channels)
    drop_unused(network.encoder)
    if section.weights == "none":
        follow_sooner(network.encoder)
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
    # Mix Transformers compute with numbers while they are built, which the meta device has not.
    with torch.device("cpu" if section.encoder.startswith("mit_") else "meta"):
        build_slices(section, 1, 1, size)


def starts_inflated(plan: Plan) -> bool:
    """Whether a training begins with an encoder whose BatchNorm needs `inflated.recalibrate`."""
    section = plan.network
    return isinstance(section, Pretrained) and plan.grid.dimensions == 3 and section.weights != "none"


def outputs(plan: Plan) -> int:
    """Channels of the network's output: one for each structure, and the background first where they exclude."""
    return len(plan.structures) + (0 if plan.overlapping else 1)


def _load(encoder: nn.Module, section: Pretrained, channels: int) -> None:
    from osteon.networks.encoder_weights import encoder_state  # looks for files: not for a model that is restored

    load_encoder(encoder, encoder_state(section.encoder, section.weights), channels, section.encoder)
