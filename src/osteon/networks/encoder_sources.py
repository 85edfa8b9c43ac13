"""Where the weights of pre-trained encoders come from, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError
from osteon.core.files import read_yaml
from osteon.core.torchvision_ops import patch_torchvision_ops

MANIFEST = Path(__file__).with_name("encoder_manifest.yaml")
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


def canonical_name(encoder: str) -> str:
    """The encoder's name where it has an older one: smp has replaced its own copies of timm's (`timm-gernet_l`)."""
    if not encoder.startswith(OLD_PREFIXES):
        return encoder
    return encoder.replace("timm-", "tu-tf_" if "mobilenetv3" in encoder else "tu-", 1)


def source_of(encoder: str, weights: str = "imagenet") -> Source:
    """Where an encoder's weights lie.

    Raises:
        UsageError: There is no such encoder, or it has no such weights.
    """
    patch_torchvision_ops()
    encoder = canonical_name(encoder)
    if encoder.startswith("tu-"):
        return _timm(encoder, weights)
    from segmentation_models_pytorch.encoders import encoders

    if encoder not in encoders:
        near = get_close_matches(encoder, encoders, 3, 0.5) or list(encoders)[:5]
        raise UsageError(
            f"there is no encoder {encoder}", hint=f"near it: {', '.join(near)}; timm's begin with tu-, as tu-resnet50d"
        )
    settings: dict[str, dict[str, str]] = encoders[encoder]["pretrained_settings"] or {}
    if weights not in settings:
        raise UsageError(
            f"the encoder {encoder} has no weights {weights}",
            hint=f"it has {', '.join(settings) or 'none'}; or give the path of a file",
        )
    return _source(encoder, weights, settings[weights]["repo_id"], settings[weights]["revision"])


def published() -> list[Source]:
    """All of smp's encoders with all their weights, and those of timm that the manifest names."""
    patch_torchvision_ops()
    from segmentation_models_pytorch.encoders import encoders

    smp = [source_of(name, weights) for name, row in encoders.items() for weights in row["pretrained_settings"] or {}]
    return smp + [source_of(name) for name in _manifest()["timm"]]


def _timm(encoder: str, weights: str) -> Source:
    import timm

    name = encoder.removeprefix("tu-")
    config = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        close = get_close_matches(name, timm.list_models(), 3, 0.5)
        raise UsageError(
            f"timm has no network {name}",
            hint=f"near it: {', '.join(f'tu-{n}' for n in close)}" if close else "`timm.list_models()` names all",
        )
    if weights != "imagenet":
        raise UsageError(
            f"the encoder {encoder} has no weights {weights}",
            hint="timm's weights are chosen by the name (tu-NAME.TAG) and `imagenet`; or give the path of a file",
        )
    if not config.hf_hub_id:
        raise UsageError(
            f"timm has no weights of {name} on the hub", hint="give the path of a file that holds them, or `none`"
        )
    return _source(encoder, weights, config.hf_hub_id, None, config.hf_hub_filename, config.license)


def _source(
    encoder: str,
    weights: str,
    repository: str,
    revision: str | None,
    file: str | None = None,
    licence: str | None = None,
) -> Source:
    manifest = _manifest()
    rows: list[dict[str, Any]] = manifest["licences"]
    row = next((row for row in rows if fnmatchcase(encoder, row["pattern"])), {})
    return Source(
        encoder,
        weights,
        repository,
        revision,
        file or FILE_NAME,
        row.get("licence") or licence or UNKNOWN,
        row.get("commercial", "nc" not in (licence or "").split("-")),
        manifest["sha256"].get(f"{encoder}.{weights}"),
    )


@cache
def _manifest() -> dict[str, Any]:
    manifest: dict[str, Any] = read_yaml(MANIFEST, "the manifest of encoders")
    return manifest
