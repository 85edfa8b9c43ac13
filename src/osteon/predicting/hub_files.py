"""Models of a hub that speaks Hugging Face's file interface: `hf:ORGANISATION/NAME@COMMIT`.

A commit never changes, so what is fetched once is used ever after, without a network. Only files of `MODEL_FILES` are
fetched, each under its own name and compared with the checksums that were published with it.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from osteon.core.errors import FileError, ModelError, UsageError, summarise_error
from osteon.core.files import atomic_write, link_or_copy, read_text, remove_file
from osteon.networks.weight_cache import TIMEOUT_S, cache_folder, sha256_of
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.predicting.model_names import FIRST, HUB, VALIDATION, WEIGHTS
from osteon.predicting.postprocessing import FILE_NAME as POSTPROCESSING
from osteon.predicting.reference_statistics import FILE_NAME as REFERENCE

CHECKSUMS = "SHA256SUMS"
MODELS = "models"
"""In the cache of weights."""
REQUIRED = (PLAN, VALIDATION, WEIGHTS)
MODEL_FILES = (POSTPROCESSING, REFERENCE, *REQUIRED)
"""What predicting needs; the weights last, so that a folder with weights is complete."""
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
MAX_TEXT_BYTES = 64 << 20
MAX_WEIGHTS_BYTES = 16 << 30
_ADDRESS = re.compile(r"hf:(\w[\w.-]*)/(\w[\w.-]*)(?:@(.*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")


def fetch_model(address: str) -> Path:
    """The folder of a model of a hub, from the cache; what is not there is fetched.

    Args:
        address: `hf:ORGANISATION/NAME@COMMIT`.

    Raises:
        UsageError: It names no commit, but a branch or nothing.
        ModelError: The model cannot be fetched, is not one that `osteon publish` made, or not as it was published.
        FileError: The cache cannot be written.
    """
    repository, commit = parse_address(address)
    folder = cache_folder() / MODELS / repository.replace("/", "--") / commit
    sums = folder / CHECKSUMS
    if not sums.is_file():
        _fetch(repository, commit, CHECKSUMS, sums, None)
    published = read_checksums(sums, address)
    for name in _wanted(published, address):
        path, digest = folder / name, published[name]
        if path.is_file() and sha256_of(path) != digest:
            remove_file(path)
        if not path.is_file():
            _fetch(repository, commit, name, path, digest)
    return folder


def parse_address(address: str) -> tuple[str, str]:
    """Repository and commit. Raises UsageError where it names none, with what a branch is now where the hub says so."""
    found = _ADDRESS.fullmatch(address.replace(os.sep, "/"))
    if found is None or any(".." in part or "--" in part for part in found.groups()[:2]):
        raise UsageError(f"{address}: is not the address of a model", hint=f"{HUB}ORGANISATION/NAME@COMMIT")
    repository, revision = f"{found[1]}/{found[2]}", found[3] or ""
    if _COMMIT.fullmatch(revision):
        return repository, revision
    now = _current_commit(repository, revision or "main")
    what = f"{revision} may be another model tomorrow" if revision else "no revision is given"
    raise UsageError(
        f"{address}: {what}; a commit, of 40 digits and letters from a to f, stays the same",
        hint=f"today it is {HUB}{repository}@{now}" if now else "the model's page lists its commits",
    )


def read_checksums(path: Path, address: str) -> dict[str, str]:
    """SHA-256 by name. Raises ModelError where a line is none, or a name leads out of the folder or comes again."""
    published: dict[str, str] = {}
    for line in read_text(path, "the checksums").splitlines():
        found = _LINE.fullmatch(line)
        name = found[2] if found else ""
        parts = re.split(r"[/\\]", name)
        if found is None or name in published or not name.isprintable() or {"", ".", ".."} & set(parts) or ":" in name:
            remove_file(path)
            raise ModelError(
                f"{address}: {CHECKSUMS} has the line {line[:100]!r}, which names no file of the model",
                hint="tell those who published it; `osteon publish` writes no such line",
            )
        published[name] = found[1]
    return published


def _wanted(published: dict[str, str], address: str) -> list[str]:
    """The files to fetch, in order, those of a cascade's first model before. Raises ModelError where some lack."""
    first = [f"{FIRST}/{name}" for name in MODEL_FILES] if f"{FIRST}/{WEIGHTS}" in published else []
    missing = [name for name in REQUIRED if name not in published]
    pickles = [name for name in published if name.endswith(PICKLES)]
    if WEIGHTS in missing and pickles:
        raise ModelError(
            f"{address}: has its weights as {pickles[0]}, a pickle, which can run code, and not as {WEIGHTS}",
            hint="ask for a model that `osteon publish` made",
        )
    if missing:
        raise ModelError(
            f"{address}: is no model of osteon: {', '.join(missing)} not among its files",
            hint="ask for a model that `osteon publish` made",
        )
    return [name for name in (*first, *MODEL_FILES) if name in published]


def _fetch(repository: str, commit: str, name: str, path: Path, digest: str | None) -> None:
    """A file at its place: from the cache of other programs of this machine (HF_HOME), or from the hub."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repository, name, revision=commit)
    if isinstance(cached, str) and digest in (None, sha256_of(Path(cached))):
        link_or_copy(Path(cached).resolve(), path)
        return
    most = MAX_WEIGHTS_BYTES if name.endswith(WEIGHTS) else MAX_TEXT_BYTES
    with atomic_write(path) as temporary:
        _download(repository, commit, name, temporary, most)
        if digest is not None and (found := sha256_of(temporary)) != digest:
            raise ModelError(
                f"{HUB}{repository}@{commit}: {name} is not what was published: SHA-256 {found[:12]}…, not "
                f"{digest[:12]}…; it was thrown away",
                hint="fetch again; if it happens twice, tell those who published it",
            )


def _download(repository: str, commit: str, name: str, target: Path, most: int) -> None:
    """Write a file of the hub; the hub decides neither its place nor how large it may be."""
    import huggingface_hub as hub
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    address = f"{HUB}{repository}@{commit}"
    try:
        url = hub.hf_hub_url(repository, name, revision=commit)
        # Asked without retries: without a network this fails at once.
        facts = hub.get_hf_file_metadata(url, timeout=TIMEOUT_S)
    except Exception as error:  # the errors of HTTP libraries, which change with the hub's releases
        raise _unreachable(address, name, error) from error
    if facts.commit_hash != commit:
        raise ModelError(f"{address}: the hub answers with another commit", hint="check HF_ENDPOINT, and the commit")
    if facts.size is None or facts.size > most:
        size = "does not say how large it is" if facts.size is None else f"has {facts.size} bytes"
        raise ModelError(f"{address}: {name} {size}; at most {most} are taken", hint="tell those who published it")
    same_host = urlsplit(facts.location).netloc == urlsplit(url).netloc
    try:
        with _BoundedFile(target, facts.size) as file:
            http_get(
                facts.location,
                file,
                headers=build_hf_headers() if same_host else build_hf_headers(token=False),
                expected_size=facts.size,
                displayed_filename=name,
            )
    except (ModelError, FileError):
        raise
    except OSError as error:
        if error.errno is not None and error.filename is None:  # the disk's, which atomic_write explains
            raise
        raise _unreachable(address, name, error) from error
    except Exception as error:  # as above
        raise _unreachable(address, name, error) from error


class _BoundedFile(io.FileIO):
    """A file that takes so many bytes and no more."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path, "w")
        self.most = most

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """As FileIO, whole."""
        if self.tell() + len(data) > self.most:
            raise ModelError(f"{self.name}: the hub sends more than it announced", hint="fetch again")
        view = memoryview(data)
        while view:
            view = view[super().write(view) :]
        return len(data)


def _unreachable(address: str, name: str, error: Exception) -> ModelError:
    return ModelError(
        f"{address}: {name} is not on this machine and cannot be fetched ({summarise_error(error)})",
        hint=f"check the address and the commit; or, on a machine with a network, use the model once and copy "
        f"{cache_folder() / MODELS} here",
    )


def _current_commit(repository: str, revision: str) -> str | None:
    """The commit of a branch or tag, as the hub says; None: it does not."""
    import huggingface_hub as hub

    try:
        url = hub.hf_hub_url(repository, CHECKSUMS, revision=revision)
        commit = hub.get_hf_file_metadata(url, timeout=TIMEOUT_S).commit_hash
    except Exception:  # noqa: BLE001  (only a hint hangs on it)
        return None
    return commit if commit and _COMMIT.fullmatch(commit) else None
