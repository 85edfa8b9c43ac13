"""The one place that fetches anything: files of the Hugging Face hub, at one commit, with the hub's own hash."""

from __future__ import annotations

from pathlib import Path

from osteon.core.errors import ModelError, summarise_error
from osteon.networks.encoder_sources import Source
from osteon.networks.weight_cache import FOLDER, Fetched, cache_folder

TIMEOUT_S = 10.0
SHA256_DIGITS = 64


def download(source: Source, revision: str | None, folder: Path) -> Fetched:
    """Fetch a source's file into a folder, with a progress bar; the hub's own cache is looked into first.

    Args:
        source: What to fetch.
        revision: The commit; None: the newest, which is then reported.
        folder: Made where it is missing.

    Raises:
        ModelError: The hub cannot be reached, or does not have it.
    """
    import huggingface_hub as hub

    if revision is not None:
        known = hub.try_to_load_from_cache(source.repository, source.file, revision=revision)
        if isinstance(known, str):
            return Fetched(Path(known), revision, None)
    try:
        # Asked without retries: without a network this fails at once, the download itself after half a minute.
        url = hub.hf_hub_url(source.repository, source.file, revision=revision)
        facts = hub.get_hf_file_metadata(url, timeout=TIMEOUT_S)
        path = hub.hf_hub_download(
            source.repository, source.file, revision=facts.commit_hash or revision, local_dir=folder
        )
    except Exception as error:  # the errors of HTTP libraries, which change with the hub's releases
        raise unreachable(source, error) from error
    etag = facts.etag or ""
    return Fetched(Path(path), facts.commit_hash or revision, etag if len(etag) == SHA256_DIGITS else None)


def unreachable(source: Source, error: Exception) -> ModelError:
    """The error for weights that are not here and cannot be fetched, with the ways out."""
    return ModelError(
        f"the weights {source.weights} of {source.encoder} are not on this machine and cannot be fetched from "
        f"{source.repository} ({summarise_error(error)})",
        hint=f"on a machine with a network: `osteon weights fetch {source.encoder}`, then copy {cache_folder()} here "
        f"(or set {FOLDER}); or give the path of a file as network.weights; `none` trains from a random start",
    )
