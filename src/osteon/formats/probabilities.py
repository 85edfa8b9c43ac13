"""Probabilities of structures on a scan's own grid: a zip of one `.npy` for each output, and what they are in JSON.

    about.json   structures, grid, whether structures overlap, the model's hash
    0.npy        [i, j, k] uint8: the first output, in 255ths
    1.npy        …

Where structures exclude one another output 0 is the background, else there is none. Outputs are packed one by one, so
that one of thirty is read without the others, and most of it is nothing: a mask's soft edge is what takes space. The
file is an `.npz` that NumPy reads too; nothing in it can run code.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from osteon.core.errors import FileError, missing_file_error, summarise_error
from osteon.core.files import atomic_write
from osteon.core.geometry import Geometry, Unit
from osteon.core.labels import Structure
from osteon.formats.header_limits import check_memory

SUFFIX = ".probabilities.npz"
LEVELS = 255
"""Steps from 0 to 1: two structures whose probabilities differ by less than .004 may change places."""
_ABOUT = "about.json"
_MAX_HEADER_BYTES = 16 << 20
_MAX_NPY_HEADER_BYTES = 1 << 12
"""Bytes before the voxels of an .npy; usually 128."""
_FASTEST = 1
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, NotImplementedError, RuntimeError)


class ProbabilitiesHeader(BaseModel):
    """What the outputs are.

    Attributes:
        structures: In the outputs' order.
        overlapping: Whether each has a probability of its own; else the background is the first output.
        shape: Voxels along i, j, k.
        affine_ras: `[4, 4]`, index → world.
        unit: Of the world.
        model: The hash of the model that said so.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    osteon: int = 1
    structures: tuple[Structure, ...]
    overlapping: bool
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    affine_ras: list[list[float]]
    unit: Unit
    model: str = ""

    @property
    def outputs(self) -> int:
        """How many there are, with the background."""
        return len(self.structures) + (not self.overlapping)

    @property
    def geometry(self) -> Geometry:
        """The grid. Raises ValueError where it is none."""
        return Geometry(self.shape, np.array(self.affine_ras), self.unit)


def make_header(
    structures: tuple[Structure, ...], geometry: Geometry, *, overlapping: bool, model: str = ""
) -> ProbabilitiesHeader:
    """What a file of such probabilities says of itself."""
    return ProbabilitiesHeader(
        structures=structures,
        overlapping=overlapping,
        shape=geometry.shape,
        affine_ras=geometry.affine_ras.tolist(),
        unit=geometry.unit,
        model=model,
    )


class ProbabilitiesWriter:
    """Takes the outputs in their order, one after the other."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._about: ProbabilitiesHeader | None = None
        self._taken = 0

    def begin(self, what: ProbabilitiesHeader) -> None:
        """Say what the outputs will be."""
        self._about = what
        self._archive.writestr(_entry(_ABOUT), what.model_dump_json(exclude_none=True))

    def add(self, share: npt.NDArray[np.floating]) -> None:
        """The next output `[i, j, k]`, from 0 to 1. A half and less stays a half and less."""
        head = io.BytesIO()
        plain = {"descr": "|u1", "fortran_order": False, "shape": share.shape}
        np.lib.format.write_array_header_1_0(head, plain)
        with self._archive.open(_entry(f"{self._taken}.npy"), "w", force_zip64=share.size >= 1 << 31) as stream:
            stream.write(head.getbuffer())
            for plane in share:  # of the whole, levels and what they are made of would be held beside it
                levels = np.ceil(np.clip(plane, 0, 1) * LEVELS - 0.5).astype(np.uint8)
                stream.write(np.ascontiguousarray(levels).data)
        self._taken += 1

    @property
    def complete(self) -> bool:
        """Whether all outputs have come."""
        return self._about is not None and self._taken == self._about.outputs


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry without a date, so that the same probabilities make the same file."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


class _IncompleteError(Exception):
    """Ends a block without a file; it goes no further."""


@contextmanager
def write_probabilities(path: Path) -> Iterator[ProbabilitiesWriter]:
    """A writer for the outputs. The file is there when the block has ended and all have come, and else is not.

    Raises:
        FileError: The disk is full, or the folder cannot be written.
    """
    try:
        with atomic_write(Path(path)) as temporary:
            with zipfile.ZipFile(temporary, "w", compresslevel=_FASTEST) as archive:
                writer = ProbabilitiesWriter(archive)
                yield writer
            if not writer.complete:
                raise _IncompleteError
    except _IncompleteError:
        return


@dataclass(frozen=True)
class Probabilities:
    """A file's outputs, read one at a time.

    Attributes:
        path: The file.
        about: What they are.
        geometry: Their grid.
    """

    path: Path
    about: ProbabilitiesHeader
    geometry: Geometry

    def output(self, number: int) -> npt.NDArray[np.uint8]:
        """One output `[i, j, k]` in 255ths. Raises FileError where it is missing or damaged."""
        voxels = math.prod(self.geometry.shape)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{number}.npy") as stream:
                if np.lib.format.read_magic(stream) != (1, 0):
                    raise ValueError("another version of .npy")
                shape, turned, kind = np.lib.format.read_array_header_1_0(stream)
                if shape != self.geometry.shape or turned or kind != np.uint8:
                    raise ValueError(f"{kind} {shape} where its header says uint8 {self.geometry.shape}")
                raw = stream.read(voxels)
                if len(raw) < voxels or stream.read(1):
                    raise ValueError(f"{len(raw)} of {voxels} voxels")
        except _DAMAGE as error:
            raise _damage_error(self.path, error) from error
        return np.frombuffer(raw, dtype=np.uint8).reshape(self.geometry.shape)

    def of(self, name: str) -> npt.NDArray[np.uint8] | None:
        """A structure's output `[i, j, k]`, as `output` gives it; None where the model does not know it."""
        names = [structure.name for structure in self.about.structures]
        return self.output(names.index(name) + (not self.about.overlapping)) if name in names else None


def read_probabilities(path: Path) -> Probabilities:
    """Open a file and read what its outputs are.

    Raises:
        FileError: It is missing, damaged, or takes more memory than there is.
    """
    path = Path(path)
    if not path.is_file():
        raise missing_file_error(path, "the file of probabilities")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_ABOUT).file_size > _MAX_HEADER_BYTES:
                raise ValueError(f"{_ABOUT} is too long")
            header: Any = json.loads(archive.read(_ABOUT))
            found = ProbabilitiesHeader.model_validate(header)
            geometry = found.geometry
            voxels = math.prod(geometry.shape)
            for number in range(found.outputs):
                size = archive.getinfo(f"{number}.npy").file_size
                if not voxels < size <= voxels + _MAX_NPY_HEADER_BYTES:
                    raise ValueError(f"output {number} has {size} bytes for {voxels} voxels")
    except (*_DAMAGE, ValidationError, RecursionError) as error:
        raise _damage_error(path, error) from error
    check_memory(path, 2 * voxels)
    return Probabilities(path, found, geometry)


def _damage_error(path: Path, error: BaseException) -> FileError:
    return FileError(
        f"{path}: damaged, or no file of probabilities ({summarise_error(error)})",
        hint="predict again with --probabilities --overwrite",
    )
