"""Opening DICOM files: what is one, its header, and errors that name the file.

Files are told by their content: many hospitals write them without a suffix, and some without the preamble that the
standard asks for (PS3.10, 7.1).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.core.errors import FileError, OsteonError, missing_file_error

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PREAMBLE = 128
_MAGIC = b"DICM"
_BARE = (b"\x08\x00", b"\x02\x00")
"""The little-endian group numbers with which a file without preamble begins."""
_HINT = "copy the file again from its source; it was probably cut short or damaged on its way"
_MAX_MESSAGE_LENGTH = 160
"""Characters of another library's message that are handed on."""
DIRECTORY = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage: a DICOMDIR."""
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"


@contextmanager
def file_errors(path: Path, what: str = "damaged, or no DICOM") -> Iterator[None]:
    """Whatever goes wrong in the block is the file's fault: a FileError that names it.

    pydicom looks at values when they are used and its decoders raise whatever they like, so no shorter list of
    exceptions would do. Its warnings concern values that are checked here where they matter.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (OsteonError, MemoryError):
        raise
    except Exception as error:
        text = re.sub(r"\s+", " ", str(error)) or type(error).__name__
        text = text if len(text) <= _MAX_MESSAGE_LENGTH else text[:_MAX_MESSAGE_LENGTH] + "…"
        raise FileError(f"{path}: {what} ({text})", hint=_HINT) from error


def looks_like_dicom(path: Path) -> bool:
    """Whether the first bytes are DICOM's, with or without preamble. Raises FileError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_PREAMBLE + len(_MAGIC))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", hint="check the file's permissions") from error
    if head[_PREAMBLE:] == _MAGIC:
        return True
    # Without preamble: group 0008 or 0002, then an element number and a VR or a length that such files begin with.
    return len(head) > 16 and head[:2] in _BARE and head[3] == 0


def read_dataset(path: Path, *, pixels: bool) -> Dataset:
    """The file's data elements; without those from the pixels on where `pixels` is false.

    Raises:
        FileError: The file is missing, is no DICOM, or is damaged.
    """
    if not path.is_file():
        raise missing_file_error(path, "the DICOM file")
    if not looks_like_dicom(path):
        raise FileError(f"{path}: not a DICOM file", hint="check that the suffix says what the file is")
    from pydicom import dcmread

    with file_errors(path):
        try:
            dataset = dcmread(path, stop_before_pixels=not pixels, force=True)
        except MemoryError as error:  # pydicom asks for as many bytes as an element claims, up to 4 GB
            raise FileError(f"{path}: an element claims more bytes than there is memory for", hint=_HINT) from error
        # Decoded here, since values are found to be damaged when they are first used. Some programs empty it.
        kind = element_text(dataset, "SOPClassUID") or element_text(
            getattr(dataset, "file_meta", None), "MediaStorageSOPClassUID"
        )
        if not kind and "Modality" not in dataset:
            raise ValueError("it does not say what kind of object it is")
        dataset.SOPClassUID = kind
    return dataset


def transfer_syntax(dataset: Dataset) -> str:
    """The UID of the transfer syntax; implicit little endian, DICOM's default, where the file does not say."""
    meta = getattr(dataset, "file_meta", None)
    return str(getattr(meta, "TransferSyntaxUID", None) or "1.2.840.10008.1.2")


def element_text(dataset: Any, keyword: str) -> str:
    """A value as one line of text; empty where there is none."""
    value = dataset.get(keyword) if dataset is not None else None
    if value is None:
        return ""
    if not isinstance(value, str) and isinstance(value, Sequence):
        value = "\\".join(str(part) for part in value)
    return re.sub(r"[\x00-\x1f\x7f]+", " ", str(value)).strip()


def element_numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers; None where the element is missing or empty.

    Raises:
        ValueError: There are more or fewer, or one is no finite number.
    """
    value = dataset.get(keyword) if dataset is not None else None
    if value is None or value == "":
        return None
    parts = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    if not parts:
        return None
    found = tuple(float(part) for part in parts)
    if len(found) != count or not all(math.isfinite(number) for number in found):
        raise ValueError(f"{keyword} is {element_text(dataset, keyword)[:60]}, where {count} numbers belong")
    return found


def element_number(dataset: Any, keyword: str) -> float | None:
    """One finite number; None where the element is missing or empty. Raises ValueError as `element_numbers`."""
    found = element_numbers(dataset, keyword, 1)
    return found[0] if found else None
