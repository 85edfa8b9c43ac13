"""The files of a scene: packed quickly rather than well, since they mostly travel within one machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.files import atomic_write
from osteon.core.gzip_files import pack
from osteon.core.volume import Volume
from osteon.formats.nifti import write_nifti


def narrow_dtype(image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """In the type that takes least to send, without changing a value that anybody reads."""
    if image.dtype.kind in "iu":
        low, high = int(image.min()), int(image.max())
        for kind in (np.uint8, np.int16):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return image.astype(kind, copy=False)
    return image.astype(np.float32, copy=False)


def write_packed_nifti(path: Path, volume: Volume) -> None:
    """A volume as .nii.gz."""
    plain = path.with_name(path.name.removesuffix(".gz"))
    write_nifti(plain, volume)
    write_gzip(path, plain.read_bytes())
    plain.unlink()


def write_gzip(path: Path, content: npt.NDArray[np.generic] | bytes) -> None:
    """Bytes, or an array's, as one gzip stream."""
    data = content if isinstance(content, bytes) else content.tobytes()
    with atomic_write(path) as temporary:
        temporary.write_bytes(pack(data))
