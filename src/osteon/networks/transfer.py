"""Start a network from another's weights: encoder and decoder kept, the head new where the structures are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from osteon.core.errors import UsageError
from osteon.core.labels import Structure
from osteon.dataset.manifest import Channel
from osteon.networks.registry import build_network
from osteon.networks.reshape import fit_channels, fit_kernel
from osteon.networks.unet import UNet
from osteon.plan.outputs import OutputLayout, output_layout
from osteon.plan.schema import Plan, Pretrained

MIN_SHARE = 0.05
"""Of a network's weights without the head: where less than this fits, the weights are another architecture's."""
PRIOR = 0.01
"""The probability of each structure in every voxel at first."""

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TransferReport:
    """The outcome of a transfer, tensor by tensor.

    Attributes:
        source: The model's folder and the SHA-256 of its weights.
        taken: Tensors that were taken as they are.
        resized: Tensors that were fitted: name → how.
        head: Output layers: name → what was kept of them.
        left: Tensors that keep their random start: name → why.
        share: The part of the network's weights, head left out, that came from the model.
        structures: Those whose rows of the output layers were kept.
    """

    source: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    head: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    share: float = 0.0
    structures: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """One line."""
        kept = f"kept for {', '.join(self.structures)}" if self.structures else "new"
        changes = sorted(set(self.resized.values()))
        resized = f", {len(self.resized)} resized ({'; '.join(changes)})" if changes else ""
        left = f", {len(self.left)} left at their random start" if self.left else ""
        return f"{len(self.taken)} tensors taken{resized}{left} ({self.share:.0%} of the weights); head {kept}"


def transfer(
    network: nn.Module,
    plan: Plan,
    source: nn.Module,
    source_plan: Plan,
    *,
    named: Mapping[str, str] | None = None,
) -> TransferReport:
    """Copy into a network what fits of another.

    Args:
        network: Of `plan`, with random weights; changed in place.
        plan: Its structures and channels decide what becomes of the last and of the first layers.
        source: Of `source_plan`, trained.
        source_plan: Of the other.
        named: Where the source comes from, for the report.

    Raises:
        UsageError: The source is another architecture, or has another number of dimensions.
    """
    _check_dimensions(plan, source_plan)
    if _differs_in_encoder(
        plan, source_plan
    ):  # many tensors of a resnet18 would fit into a resnet50, and mean nothing there
        raise _architecture_error(plan, source_plan, 0.0)
    tensors, source_tensors = dict(network.state_dict()), _align_stages(source, network)
    heads, inputs = output_tensors(plan, tensors), _input_tensors(plan, tensors)
    shared, rows = _shared_rows(plan, source_plan)
    report = TransferReport(dict(named or {}), structures=shared)
    result: Tensors = {}
    for name, tensor in tensors.items():
        there = source_tensors.get(name)
        if name in heads:
            result[name] = _fit_head(tensor, there, rows)
            report.head[name] = f"rows of {', '.join(report.structures)}" if rows and there is not None else "new"
        elif there is None:
            report.left[name] = "the model has none"
        else:
            fitted, change = _fit_tensor(name, tensor, there, network, plan, source_plan, inputs=inputs)
            if fitted is None:
                report.left[name] = change
                continue
            result[name] = fitted.to(tensor.dtype)
            if change:
                report.resized[name] = change
            else:
                report.taken.append(name)
    body = {name: tensor for name, tensor in tensors.items() if name not in heads and tensor.is_floating_point()}
    share = sum(body[name].numel() for name in result if name in body) / sum(t.numel() for t in body.values())
    if share < MIN_SHARE:
        raise _architecture_error(plan, source_plan, share)
    network.load_state_dict(tensors | result)
    return TransferReport(**{**vars(report), "share": share})


def _check_dimensions(plan: Plan, source_plan: Plan) -> None:
    own, other = plan.grid.dimensions, source_plan.grid.dimensions
    if own != other:
        raise UsageError(
            f"the model is {other}D and the plan {own}D: their filters have different axes, and what was learnt of "
            "slices is not what volumes need, nor the other way round",
            hint=f"plan with --dimensions {other}, or take a {own}D model; in 3D an encoder trained on pictures is "
            "given as network.encoder with its weights, and inflated",
        )


def _differs_in_encoder(plan: Plan, source_plan: Plan) -> bool:
    own, other = plan.network, source_plan.network
    return isinstance(own, Pretrained) and isinstance(other, Pretrained) and own.encoder != other.encoder


def _architecture_error(plan: Plan, source_plan: Plan, share: float) -> UsageError:
    return UsageError(
        f"the model is another architecture: of the network's weights {share:.1%} could come from it. The plan has "
        f"{plan.network.description}; the model has {source_plan.network.description}",
        hint="leave --plan and --network out, so that the model's network is taken over; or choose another model",
    )


def output_tensors(plan: Plan, tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """The output layers' tensors: those that would be larger with one structure more."""
    more = Structure(name="\0", value=max(s.values[-1] for s in plan.structures) + 1, colour="#000000")
    return _tensors_of_other_shape(plan.model_copy(update={"structures": [*plan.structures, more]}), tensors)


def _input_tensors(plan: Plan, tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """The tensors that meet the image: those that would be larger with one channel more."""
    more = plan.channels[0].model_copy(update={"name": "\0"})
    return _tensors_of_other_shape(plan.model_copy(update={"channels": [*plan.channels, more]}), tensors)


def _tensors_of_other_shape(plan: Plan, tensors: Mapping[str, torch.Tensor]) -> set[str]:
    with torch.random.fork_rng(devices=[]):
        other = build_network(plan).state_dict()
    return {name for name, tensor in tensors.items() if other[name].shape != tensor.shape}


def _align_stages(source: nn.Module, network: nn.Module) -> Tensors:
    """The source's tensors; a U-Net's decoder stages, named from the coarsest, are counted from the finest."""
    tensors = dict(source.state_dict())
    if not (isinstance(source, UNet) and isinstance(network, UNet)):
        return tensors
    shift = len(network.decoder) - len(source.decoder)
    renamed = {}
    for name, tensor in tensors.items():
        part, number, *rest = name.split(".")
        if part in ("up", "decoder", "heads"):
            number = str(int(number) + shift)
        renamed[".".join((part, number, *rest))] = tensor
    return renamed


def _shared_rows(plan: Plan, source_plan: Plan) -> tuple[list[str], dict[int, int]]:
    """The structures that both have, and for each row of the output that they share the one there.

    Of a sequence whose bodies come before their names it is all of its rows or none.
    """
    if plan.overlapping != source_plan.overlapping:
        return [], {}
    here, there = output_layout(plan), output_layout(source_plan)
    numbers = {structure.name: number for number, structure in enumerate(source_plan.structures)}
    same = _member_names(plan, here) == _member_names(source_plan, there)
    rows, names = {}, []
    for number, structure in enumerate(plan.structures):
        other = numbers.get(structure.name)
        if other is not None and (same or (number not in here.members and other not in there.members)):
            names.append(structure.name)
            rows[here.class_of[number]] = there.class_of[other]
    if names and not plan.overlapping:
        rows[0] = 0
    if same and here.has_cores == there.has_cores:
        rows |= {here.core + number: there.core + number for number in range(here.total - here.classes)}
    return names, rows


def _member_names(plan: Plan, layout: OutputLayout) -> list[str]:
    return [plan.structures[number].name for number in layout.members]


def _fit_head(tensor: torch.Tensor, there: torch.Tensor | None, rows: Mapping[int, int]) -> torch.Tensor:
    """An output layer with the rows of what both networks find; the others keep their random start."""
    new = tensor.clone()
    if there is None or there.shape[1:] != tensor.shape[1:]:
        return new
    for here, from_ in rows.items():
        new[here] = there[from_]
    return new


def _fit_tensor(
    name: str,
    tensor: torch.Tensor,
    there: torch.Tensor,
    network: nn.Module,
    plan: Plan,
    source_plan: Plan,
    *,
    inputs: set[str],
) -> tuple[torch.Tensor | None, str]:
    """A tensor of the source in the network's shape, and how it was fitted; None and why not."""
    changes = []
    if name in inputs:
        there, change = fit_channels(there, _names(source_plan.channels), _names(plan.channels))
        changes += [change] if change else []
    if there.shape != tensor.shape and _same_architecture(plan, source_plan):
        parent = network.get_submodule(name.rpartition(".")[0])
        transposed = isinstance(parent, nn.ConvTranspose2d | nn.ConvTranspose3d)
        fitted = fit_kernel(there, tensor.shape, transposed=transposed)
        if fitted is not None:
            changes.append(f"kernel {_size(there.shape[2:])} to {_size(tensor.shape[2:])}")
            there = fitted
    if there.shape != tensor.shape:
        return None, f"{_size(there.shape)} there, {_size(tensor.shape)} here"
    return there, ", ".join(changes)


def _same_architecture(plan: Plan, source_plan: Plan) -> bool:
    """Whether a filter of one name has the same place in both, whatever its kernel."""
    own, other = plan.network, source_plan.network
    return type(own) is type(other) and own.name == other.name


def _names(channels: Sequence[Channel]) -> list[str]:
    return [channel.name for channel in channels]


def _size(shape: Any) -> str:
    return "×".join(map(str, shape)) or "scalar"


def init_output_bias(network: nn.Module, plan: Plan) -> None:
    """Set the biases of a new network's outputs where structures overlap: nearly sure that a voxel belongs to none.

    With sigmoids that begin at a half, the first hundreds of iterations go into pushing all outputs down, and small
    structures are pushed out of sight with them (Lin et al., ICCV 2017, begin in the same way).
    """
    if not plan.overlapping or plan.clicks is not None:
        return
    tensors = network.state_dict()
    with torch.no_grad():
        for name in output_tensors(plan, tensors):
            if name.endswith("bias"):
                tensors[name].fill_(math.log(PRIOR / (1 - PRIOR)))
