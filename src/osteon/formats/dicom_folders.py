"""Whether DICOM files lie below a folder, without reading all of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from osteon.core.errors import FileError
from osteon.core.folders import files_below
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.mask_names import is_volume


def contains_dicom(source: Path) -> bool:
    """Whether a DICOM file lies below `source`; looks at one file of each folder and kind of suffix."""
    seen = set()
    for path in files_below(source):
        kind = (path.parent, path.suffix.lower() if len(path.suffix) < 5 else "")  # a UID's last number is no suffix
        if kind in seen or is_volume(path):
            continue
        seen.add(kind)
        with suppress(FileError):
            if looks_like_dicom(path):
                return True
    return False
