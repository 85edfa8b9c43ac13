"""What lies below a heap of files and is not taken: formats that are not read, and names whose files are not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from osteon.core.folders import files_below, missing_files_below
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.registry import may_be_data
from osteon.formats.unsupported import Holds, describe_unsupported
from osteon.importing.source_forms import Source

_SHOWN = 8


def report_skipped_files(
    found: Source, source: Path, holding: Sequence[Holds], annotations: Sequence[str] = ()
) -> None:
    """Name in `found` what lies below `source` and is no part of any case: data as lost, the rest as notes.

    Args:
        found: What was found.
        source: A folder.
        holding: What a file of a format that is not read must hold to be a loss.
        annotations: Suffixes beside those of images with which data of this form come.
    """
    files = list(files_below(source, hidden=False, skip_with=FILE_NAME))
    found.lost += describe_unsupported(files, holding)
    found.warnings += describe_unsupported(files, ["anything"])
    absent: dict[bool, list[str]] = {True: [], False: []}
    for path, why in missing_files_below(source, skip_with=FILE_NAME):
        absent[may_be_data(path, annotations)].append(f"{path} is {why}; skipped")
    for lines, target in ((absent[True], found.lost), (absent[False], found.warnings)):
        target += lines[:_SHOWN]
        if len(lines) > _SHOWN:
            target.append(f"{len(lines) - _SHOWN} more files in {source} are links or pointers to what is not there")
