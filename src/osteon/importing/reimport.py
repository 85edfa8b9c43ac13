"""Whether a dataset was made before, from the same files with the same options."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.core.errors import OsteonError, UsageError
from osteon.core.file_stamps import modification_stamp
from osteon.core.version import __version__
from osteon.dataset.manifest import FILE_NAME, Manifest, read_manifest
from osteon.formats.io import companion_paths, table_of
from osteon.importing.source_forms import Source, SourceCase


@dataclass(frozen=True)
class ImportOrigin:
    """From what a dataset is made, as its manifest has it.

    Attributes:
        source: The form and place of the data.
        options: What the user said, from `ImportOptions.given`.
        inputs: From `digest_inputs`.
    """

    source: str
    options: dict[str, Any]
    inputs: str

    def digest(self) -> str:
        """SHA-256 of it all and of osteon's version: what was read of a case counts again where it is the same."""
        content = (self.source, sorted(self.options.items()), self.inputs, __version__)
        return hashlib.sha256(repr(content).encode()).hexdigest()


def digest_inputs(found: Source, cases: Sequence[SourceCase]) -> str:
    """SHA-256 over what the source says, and over its files' paths, sizes and times of change; reads no voxels."""
    digest = hashlib.sha256(repr((found.name, found.channels, found.structures)).encode())
    for case in cases:
        files = [*(path for path, _ in case.files), *companion_files(case)]
        states = [f"{path.absolute()} {modification_stamp(path)}" for path in files]
        digest.update(repr((case.id, case.subject, case.site, case.labelled, states)).encode())
    return digest.hexdigest()


def companion_files(case: SourceCase) -> list[Path]:
    """What is read with the files of a case: a header's voxels, a label map's table."""
    found = [case.table.path] if case.table is not None else []
    for path in (*case.images, *([case.label] if case.label is not None else [])):
        with suppress(OsteonError):  # reported when the case is read
            found += companion_paths(path)
            table = table_of(path) if path == case.label and case.table is None else None
            found += [table.path] if table is not None else []
    return found


def find_previous_import(folder: Path, origin: ImportOrigin) -> Manifest | None:
    """The dataset in `folder` where it was made from the same and is complete; None where there is none.

    Raises:
        UsageError: Another one is there, or some of its files are not.
    """
    if not (folder / FILE_NAME).exists():
        return None
    with suppress(OsteonError):
        manifest = read_manifest(folder)
        files = [name for case in manifest.cases for name in (*case.images, case.segmentation) if name is not None]
        same = (manifest.source, manifest.options, manifest.inputs) == (origin.source, origin.options, origin.inputs)
        if same and all((folder / name).is_file() for name in files):
            return manifest
    raise UsageError(
        f"{folder / FILE_NAME}: is there already, and was not made from these files with these options",
        hint="choose another folder, or pass --overwrite",
    )
