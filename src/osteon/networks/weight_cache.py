"""Weights fetched once, pinned by their SHA-256, and looked at again before each use."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.core.errors import FileError, ModelError, OsteonError
from osteon.core.files import atomic_write, write_yaml
from osteon.core.locks import exclusive_lock
from osteon.core.processes import machine_hash
from osteon.core.records import read_record
from osteon.networks.encoder_sources import Source
from osteon.networks.weights import SUFFIXES

FOLDER = "OSTEON_WEIGHTS"
"""The environment variable that says where the weights are kept."""
LOCK = "lock.yaml"


@dataclass(frozen=True)
class Fetched:
    """A file that came from the hub.

    Attributes:
        path: Where it lies now; it may be moved away.
        revision: The commit it came from.
        sha256: What the hub says of it; None: it says nothing.
    """

    path: Path
    revision: str | None
    sha256: str | None


Download = Callable[[Source, str | None, Path], Fetched]
"""Of a source, at a commit, into a folder."""


def cache_folder() -> Path:
    """$OSTEON_WEIGHTS, or osteon/weights in the user's cache."""
    given = os.environ.get(FOLDER)
    return (
        Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "osteon/weights"
    )


def cached_path(source: Source) -> Path:
    """Where a source's file is kept, fetched or not."""
    return cache_folder() / source.name


def locked() -> dict[str, dict[str, Any]]:
    """The lock file: name → repository, revision, SHA-256 and bytes of each file that was fetched."""
    path = cache_folder() / LOCK
    hint, shape = "remove it: what was fetched is compared with its checksum again", dict[str, dict[str, Any]]
    return read_record(path, "the lock file of the weights", shape, hint) if path.is_file() else {}


def weights_file(source: Source, *, download: Download | None = None) -> Path:
    """The file of a source, from the cache; fetched where it is not there.

    Raises:
        ModelError: The file is not the one that was fetched, or it cannot be fetched.
    """
    path = cached_path(source)
    if path.is_file():
        check(source)
        return path
    return fetch(source, download=download)


def check(source: Source) -> str:
    """The SHA-256 of a file in the cache; one that was put there by hand is pinned now.

    Raises:
        ModelError: It is not that of the manifest or of the lock file.
    """
    path = cached_path(source)
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
        _lock(source, None, digest, path)
    return digest


def fetch(source: Source, *, download: Download | None = None) -> Path:
    """Bring a source's file into the cache, whatever is there.

    Raises:
        ModelError: It cannot be fetched, or came other than the manifest, the lock file or the hub has it.
        FileError: The cache cannot be written.
    """
    from osteon.networks import hub  # which knows this module

    path = cached_path(source)
    entry = locked().get(source.name) or {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path.parent}: cannot be made ({error})", hint=f"set {FOLDER} to another folder") from error
    part = path.parent / f".fetch-{machine_hash()}-{os.getpid()}"
    try:
        got = (download or hub.download)(source, source.revision or entry.get("revision"), part)
        digest = sha256_of(got.path)
        for wanted, who in ((source.sha256, "the manifest"), (entry.get("sha256"), LOCK), (got.sha256, "the hub")):
            if wanted is not None and digest != wanted:
                raise ModelError(
                    f"{source.repository}: what came is not what {who} has: SHA-256 {digest[:12]}…, "
                    f"not {wanted[:12]}…; it was thrown away",
                    hint="fetch again; if it happens twice, somebody has changed the file",
                )
        with atomic_write(path) as temporary:
            shutil.copyfile(got.path, temporary)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _lock(source, got.revision, digest, path)
    return path


def verify() -> dict[str, OsteonError | None]:
    """For each file in the cache or the lock file what is wrong with it; None: nothing.

    A file that nobody has fetched (put there by hand, never used yet) has no hash to compare with, which is said.
    """
    entries = locked()
    folder = cache_folder()
    there = {path.name for path in folder.glob("*") if path.suffix in SUFFIXES}
    return {name: _wrong(folder / name, entries.get(name)) for name in sorted(there | set(entries))}


def _wrong(path: Path, entry: dict[str, Any] | None) -> OsteonError | None:
    if entry is None:
        return ModelError(
            f"{path}: nobody has recorded what it should be ({LOCK} does not name it)",
            hint=f"copy {LOCK} along with the file, or fetch it again",
        )
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
        "revision": revision,
        "sha256": digest,
        "bytes": path.stat().st_size,
        "licence": source.licence,
    }
    head = "Weights that osteon has fetched. `osteon weights verify` compares the files with these hashes."
    with exclusive_lock(cache_folder() / f".{LOCK}"):  # others may fetch other weights
        write_yaml(cache_folder() / LOCK, dict(sorted({**locked(), source.name: entry}.items())), head=head)
