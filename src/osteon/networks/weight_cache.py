"""Weights fetched once, at one commit, into a cache of huggingface_hub's; each file is pinned by its SHA-256.

This and `predicting.hub_files`, which fetches models, are the only places that fetch anything.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from osteon.core.errors import FileError, ModelError, OsteonError, summarise_error
from osteon.core.files import write_yaml
from osteon.core.folders import user_cache
from osteon.core.locks import exclusive_lock
from osteon.core.records import read_record
from osteon.networks.encoder_registry import FILE_NAME, Source
from osteon.networks.weights import SUFFIXES

FOLDER = "OSTEON_WEIGHTS"
"""The environment variable that says where the weights are kept."""
LOCK = "lock.yaml"
TIMEOUT_S = 10.0
_SHA256_DIGITS = 64
"""The hub's mark of a large file is its SHA-256, and another one for small files."""


def cache_folder() -> Path:
    """$OSTEON_WEIGHTS, or osteon/weights in the user's cache."""
    given = os.environ.get(FOLDER)
    return Path(given) if given else user_cache() / "weights"


def cached_path(source: Source) -> Path | None:
    """Where a source's file lies, as osteon has it or other programs of this machine; None: nowhere."""
    revision = source.revision or locked().get(source.name, {}).get("revision")
    return _find_file(source.name, source.repository, source.file, revision)


def _find_file(name: str, repository: str, file: str, revision: str | None) -> Path | None:
    """Under its plain name, as people put it there (and osteon did once), or in huggingface_hub's layout."""
    plain = cache_folder() / name
    if plain.is_file() or revision is None:
        return plain if plain.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, file, folder, revision) for folder in (cache_folder(), None))
    return next((Path(path) for path in found if isinstance(path, str)), None)


def locked() -> dict[str, dict[str, Any]]:
    """The lock file: name → repository, file, revision, SHA-256 and bytes of each file that was fetched."""
    path = cache_folder() / LOCK
    hint, shape = "remove it: what was fetched is compared with its checksum again", dict[str, dict[str, Any]]
    return read_record(path, "the lock file of the weights", shape, hint) if path.is_file() else {}


def weights_file(source: Source) -> Path:
    """The file of a source, from the cache; fetched where it is not there.

    Raises:
        ModelError: The file is not the one that was fetched, or it cannot be fetched.
    """
    path = cached_path(source)
    if path is None:
        return fetch(source)
    check(source, path)
    return path


def check(source: Source, path: Path) -> None:
    """Compare a source's file with its SHA-256; one that was put there by hand is pinned now.

    Raises:
        ModelError: It is not that of the manifest or of the lock file.
    """
    digest = sha256_of(path)
    entry = locked().get(source.name)
    wanted = source.sha256 or (entry or {}).get("sha256")
    if wanted is not None and digest != wanted:
        raise _changed(path, digest, wanted)
    if entry is not None and source.revision is not None and entry["revision"] not in (None, source.revision):
        raise ModelError(
            f"{path}: came from commit {entry['revision'][:8]} of {source.repository}, "
            f"the installed library names {source.revision[:8]}",
            hint=f"remove it and run `osteon weights fetch {source.encoder}`",
        )
    if entry is None:
        _lock(source, None if path.name == source.name else source.revision, digest, path)


def fetch(source: Source) -> Path:
    """Bring a source's file into the cache, whatever is there, with a progress bar.

    Raises:
        ModelError: It cannot be fetched, or came other than the manifest, the lock file or the hub has it.
        FileError: The cache cannot be written.
    """
    import huggingface_hub as hub

    folder, entry = cache_folder(), locked().get(source.name) or {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be made ({error})", hint=f"set {FOLDER} to another folder") from error
    try:
        # Asked without retries: without a network this fails at once, the download itself after half a minute.
        url = hub.hf_hub_url(source.repository, source.file, revision=source.revision or entry.get("revision"))
        facts = hub.get_hf_file_metadata(url, timeout=TIMEOUT_S)
        commit = facts.commit_hash
        path = Path(
            hub.hf_hub_download(source.repository, source.file, revision=commit, cache_dir=folder, force_download=True)
        )
    except Exception as error:  # the errors of HTTP libraries, which change with the hub's releases
        raise _unreachable(source, error) from error
    digest, etag = sha256_of(path), facts.etag or ""
    for who, wanted in (
        ("the manifest", source.sha256),
        (LOCK, entry.get("sha256") if entry.get("revision") in (None, commit) else None),
        ("the hub", etag if len(etag) == _SHA256_DIGITS else None),
    ):
        if wanted is not None and digest != wanted:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise ModelError(
                f"{source.repository}: what came is not what {who} has: SHA-256 {digest[:12]}…, "
                f"not {wanted[:12]}…; it was thrown away",
                hint="fetch again; if it happens twice, somebody has changed the file",
            )
    (folder / source.name).unlink(missing_ok=True)
    _lock(source, commit, digest, path)
    return path


def _unreachable(source: Source, error: Exception) -> ModelError:
    """The error for weights that are not here and cannot be fetched, with the ways out."""
    return ModelError(
        f"the weights {source.weights} of {source.encoder} are not on this machine and cannot be fetched from "
        f"{source.repository} ({summarise_error(error)})",
        hint=f"on a machine with a network: `osteon weights fetch {source.encoder}`, then copy {cache_folder()} here "
        f"(or set {FOLDER}); or give the path of a file as network.weights; `none` trains from a random start",
    )


def verify() -> dict[str, OsteonError | None]:
    """For each file in the cache or the lock file what is wrong with it; None: nothing.

    A file that nobody has fetched (put there by hand, never used yet) has no hash to compare with, which is said.
    """
    entries = locked()
    there = {path.name for path in cache_folder().glob("*") if path.suffix in SUFFIXES}
    return {name: _wrong(name, entries.get(name)) for name in sorted(there | set(entries))}


def _wrong(name: str, entry: dict[str, Any] | None) -> OsteonError | None:
    path = cache_folder() / name
    if entry is None:
        return ModelError(
            f"{path}: nobody has recorded what it should be ({LOCK} does not name it)",
            hint=f"copy {LOCK} along with the file, or fetch it again",
        )
    path = _find_file(name, entry["repository"], entry.get("file", FILE_NAME), entry["revision"]) or path
    try:
        digest = sha256_of(path)
    except FileError as error:
        return error
    return None if digest == entry["sha256"] else _changed(path, digest, entry["sha256"])


def _changed(path: Path, digest: str, wanted: str) -> ModelError:
    return ModelError(
        f"{path}: is not the file that was fetched (SHA-256 {digest[:12]}…, not {wanted[:12]}…)",
        hint="remove it and run `osteon weights fetch` for this encoder",
    )


def sha256_of(path: Path) -> str:
    """Of a file's bytes. Raises FileError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error})", hint="check the path and its permissions") from error


def _lock(source: Source, revision: str | None, digest: str, path: Path) -> None:
    entry = {
        "repository": source.repository,
        "file": source.file,
        "revision": revision,
        "sha256": digest,
        "bytes": path.stat().st_size,
        "licence": source.licence,
    }
    head = "Weights that osteon has fetched. `osteon weights verify` compares the files with these hashes."
    with exclusive_lock(cache_folder() / f".{LOCK}"):  # others may fetch other weights
        write_yaml(cache_folder() / LOCK, dict(sorted({**locked(), source.name: entry}.items())), head=head)
