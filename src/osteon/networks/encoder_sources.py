"""Where the weights of pre-trained encoders come from, and under which licence."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError
from osteon.core.files import read_yaml
from osteon.networks.encoder_registry import FILE_NAME, UNKNOWN, Source, canonical_name, find_plugin, libraries

MANIFEST = Path(__file__).with_name("encoder_manifest.yaml")


def source_of(encoder: str, weights: str = "imagenet") -> Source:
    """Where an encoder's weights lie.

    Raises:
        UsageError: There is no such encoder, or it has no such weights.
    """
    encoder = canonical_name(encoder)
    if encoder.startswith("tu-"):
        return _timm(encoder, weights)
    encoders = libraries()[0].encoders.encoders
    if encoder not in encoders:
        near = get_close_matches(encoder, encoders, 3, 0.5) or list(encoders)[:5]
        raise UsageError(
            f"there is no encoder {encoder}", hint=f"near it: {', '.join(near)}; timm's begin with tu-, as tu-resnet50d"
        )
    settings: dict[str, Any] = encoders[encoder]["pretrained_settings"] or {}
    if weights not in settings:
        raise UsageError(
            f"the encoder {encoder} has no weights {weights}",
            hint=f"it has {', '.join(settings) or 'none'}; or give the path of a file",
        )
    if find_plugin(encoder):
        plugin: Source = settings[weights]
        return plugin
    return _source(encoder, weights, settings[weights]["repo_id"], settings[weights]["revision"])


def published() -> list[Source]:
    """All of smp's and of plugins' encoders with all their weights, and those of timm that the manifest names."""
    encoders = libraries()[0].encoders.encoders
    smp = [source_of(name, weights) for name, row in encoders.items() for weights in row["pretrained_settings"] or {}]
    return smp + [source_of(name) for name in _manifest()["timm"]]


def _timm(encoder: str, weights: str) -> Source:
    _, timm = libraries()
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
