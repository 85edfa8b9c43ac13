"""The weights of a pre-trained encoder: from the cache, the hub or a file, whole or not at all."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from osteon.core.errors import ModelError
from osteon.core.files import is_file
from osteon.networks.encoder_registry import canonical_name, get_encoder
from osteon.networks.encoder_sources import source_of
from osteon.networks.weight_cache import weights_file
from osteon.networks.weights import SUFFIXES, read_tensors

PREFIXES = ("module.", "model.", "encoder.", "backbone.", "network.")
CLASSIFIER = re.compile(r"^(fc|_fc|classifier|head|last_linear|linear|aux_classifier|AuxLogits)[._]")
ENCODER = re.compile(r"(^|\.)encoder\.")
DECODER = re.compile(r"(^|\.)decoder\.")
OTHER_SPELLINGS = (
    (re.compile(r"^([a-zA-Z]+)_(\d+)\."), r"\1.\2."),  # timm takes `stages.0` apart into `stages_0`
    (re.compile(r"(denselayer\d+\.)(norm|relu|conv)\.([12])\."), r"\1\2\3."),  # torchvision's DenseNet before 2018
)
COUNTER = "num_batches_tracked"
"""Older files do not have it, and nothing depends on it."""
SHOWN = 3

Tensors = dict[str, torch.Tensor]


def encoder_state(encoder: str, weights: str) -> Tensors:
    """The state dict of an encoder of smp with three input channels.

    Args:
        encoder: As smp names it; timm's with `tu-` before it.
        weights: `imagenet` (or another name that smp has weights under), or the path of a file: .safetensors, or
            .pth/.pt, of which tensors alone are read. It may hold smp's encoder, or a classification network of
            torchvision or timm with the same backbone.

    Raises:
        UsageError: There is no such encoder, or it has no such weights.
        FileError: The file is missing or damaged.
        ModelError: It holds another network's weights, or they cannot be fetched.
    """
    encoder = canonical_name(encoder)
    path = Path(weights).expanduser() if _is_path(weights) else weights_file(source_of(encoder, weights))
    return fit_names(read_tensors(path), _blank(encoder), encoder, path)


def _is_path(weights: str) -> bool:
    path = Path(weights).expanduser()
    return path.suffix in SUFFIXES or len(path.parts) > 1 or is_file(path)


def _blank(encoder: str) -> Tensors:
    """An encoder's tensors; their values mean nothing."""
    with torch.random.fork_rng(devices=[]):
        return dict(get_encoder(encoder, 3).state_dict())


def fit_names(tensors: Tensors, needed: Mapping[str, torch.Tensor], encoder: str, path: Path) -> Tensors:
    """The tensors under the encoder's names: each is there in its shape, and no other network's are among them.

    Args:
        tensors: What a file holds.
        needed: The encoder's state dict.
        encoder: Its name.
        path: Of the file, for messages.

    Raises:
        ModelError: A tensor is missing, has another shape, belongs to another network, or is not finite.
    """
    part = _encoder_part(tensors)
    match = _match(part, needed, encoder)
    if not match.fits and encoder.startswith("tu-"):
        older = _match(_as_timm_reads(part, encoder), needed, encoder)
        match = older if older.fits else match
    if not match.fits:
        reasons = [
            f"{len(names)} {what} ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})"
            for names, what in (
                (match.missing, f"of its {len(needed)} tensors are missing or have another shape"),
                (match.unexpected, "tensors belong to another network"),
            )
            if names
        ]
        raise ModelError(
            f"{path}: not the weights of the encoder {encoder}: {'; '.join(reasons)}",
            hint="give this very encoder's file, or name the encoder that the file belongs to as network.encoder; "
            "a model that osteon has trained is given with --init",
        )
    taken = {name: match.found.get(name, torch.zeros_like(blank)).to(blank.dtype) for name, blank in needed.items()}
    for name, tensor in taken.items():
        if not tensor.isfinite().all():
            raise ModelError(f"{path}: {name} holds NaN or infinite numbers", hint="fetch or copy the file again")
    return taken


@dataclass(frozen=True)
class _Match:
    """What a file has of what an encoder needs, what it has not, and what is of another network."""

    found: Tensors
    missing: list[str]
    unexpected: list[str]

    @property
    def fits(self) -> bool:
        return not self.missing and not self.unexpected


def _match(tensors: Tensors, needed: Mapping[str, torch.Tensor], encoder: str) -> _Match:
    plain = {_plain(name): tensor for name, tensor in tensors.items()}
    found = {name: plain[_plain(name)] for name in needed if _plain(name) in plain}
    missing = [
        f"{name} {_shape(blank)}" + (f", there {_shape(found[name])}" if name in found else "")
        for name, blank in needed.items()
        if not name.endswith(COUNTER) and (name not in found or found[name].shape != blank.shape)
    ]
    known = {_plain(name) for name in needed}
    # A resnet34 has every tensor of a resnet18, in its shape: what is left over tells them apart.
    unexpected = [name for name in plain if name not in known and not CLASSIFIER.match(name)]
    unexpected = [name for name in unexpected if not name.endswith(COUNTER)]
    if unexpected and encoder.startswith("tu-"):
        whole = {_plain(name) for name in _whole_timm(encoder).state_dict()}
        unexpected = [name for name in unexpected if name not in whole]
    return _Match(found, missing, unexpected)


def _encoder_part(tensors: Tensors) -> Tensors:
    """Of a network with encoder and decoder the encoder alone; anything else as it is."""
    if not any(DECODER.search(name) for name in tensors):
        return tensors
    return {name: tensor for name, tensor in tensors.items() if ENCODER.search(name)} or tensors


def _plain(name: str) -> str:
    """A tensor's name without wrappers, in one spelling."""
    while prefix := next((p for p in PREFIXES if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    for spelling, own in OTHER_SPELLINGS:
        name = spelling.sub(own, name)
    return name


def _whole_timm(encoder: str) -> torch.nn.Module:
    """The classification network of timm that an encoder is of, without memory."""
    import timm

    with torch.device("meta"):
        network: torch.nn.Module = timm.create_model(encoder.removeprefix("tu-"))
    return network


def _as_timm_reads(tensors: Tensors, encoder: str) -> Tensors:
    """The tensors under today's names, where timm knows older ones of this network."""
    import timm

    entry = timm.model_entrypoint(encoder.removeprefix("tu-").partition(".")[0])
    rename = getattr(sys.modules[entry.__module__], "checkpoint_filter_fn", None)
    if rename is None:
        return tensors
    try:
        return dict(rename(dict(tensors), _whole_timm(encoder)))
    except (KeyError, RuntimeError, ValueError, AttributeError, NotImplementedError):
        return tensors


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
