"""Whether a dataset was made before, from the same files with the same options."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from osteon.core.errors import OsteonError
from osteon.core.file_stamps import modification_stamp
from osteon.dataset.manifest import Manifest, read_manifest
from osteon.formats.registry import companion_files, table_of
from osteon.importing.source_forms import Found, FoundCase


def as_told(**options: Any) -> dict[str, Any]:
    """The options that say something, as YAML keeps them."""
    told = {name: value for name, value in options.items() if value is not None and value is not False}
    for name, value in told.items():
        if isinstance(value, Mapping):
            told[name] = dict(value)
        elif not isinstance(value, str | bool | int):
            told[name] = list(value)
    return told


def inputs_digest(found: Found, cases: Sequence[FoundCase]) -> str:
    """SHA-256 over what the source says, and over its files' paths, sizes and times of change; reads no voxels."""
    digest = hashlib.sha256(repr((found.name, found.channels, found.structures)).encode())
    for case in cases:
        files = [*case.images, *([case.label] if case.label is not None else []), *case.parts, *read_beside(case)]
        states = [f"{path.absolute()} {modification_stamp(path)}" for path in files]
        digest.update(repr((case.id, case.subject, case.site, case.labelled, states)).encode())
    return digest.hexdigest()


def read_beside(case: FoundCase) -> list[Path]:
    """What is read with the files of a case: a header's voxels, a label map's table."""
    found = [case.table.path] if case.table is not None else []
    for path in (*case.images, *([case.label] if case.label is not None else [])):
        with suppress(OsteonError):  # said when the case is read
            found += companion_files(path)
            table = table_of(path) if path == case.label and case.table is None else None
            found += [table.path] if table is not None else []
    return found


def made_before(folder: Path, source: str, options: Mapping[str, Any], inputs: str) -> Manifest | None:
    """The manifest in `folder` where it was made from that source and is complete; None where it was not."""
    try:
        manifest = read_manifest(folder)
    except OsteonError:
        return None
    if (manifest.source, manifest.options, manifest.inputs) != (source, options, inputs):
        return None
    files = [name for case in manifest.cases for name in (*case.images, case.segmentation) if name is not None]
    return manifest if all((folder / name).is_file() for name in files) else None
