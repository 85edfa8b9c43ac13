"""Jobs on disk: a folder for each, named by its id. A job outlives whoever runs it.

FOLDER/<id>/         a job: what is to be done, and where it stands, as whoever runs it writes that down
FOLDER/.incoming-*/  a job that is being made
FOLDER/.gone-<id>/   a job that is being removed
FOLDER/.lock         held by whoever changes a job, where several processes may
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from osteon.core.locks import lock_file


@dataclass(frozen=True)
class JobStore:
    """The jobs of a folder.

    Attributes:
        folder: Where they lie; made where it does not exist.
        id_bytes: Random bytes of an id, which is opaque.
    """

    folder: Path
    id_bytes: int = 16

    def __post_init__(self) -> None:
        self._make_folder()

    def new_id(self) -> str:
        """An id that no job has, and that nobody guesses."""
        return secrets.token_hex(self.id_bytes)

    def is_id(self, text: str) -> bool:
        """Whether a text is an id, and so a name of a folder alone."""
        return len(text) == 2 * self.id_bytes and set(text) <= set("0123456789abcdef")

    def ids(self) -> list[str]:
        """The ids of all jobs."""
        return [path.name for path in self.folder.iterdir() if self.is_id(path.name)] if self.folder.is_dir() else []

    def path(self, job_id: str) -> Path:
        """A job's folder."""
        return self.folder / job_id

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A folder for a job that is being made. It is removed when the block ends, unless `add` made a job of it."""
        folder = self.folder / f".incoming-{secrets.token_hex(16)}"
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, incoming: Path, job_id: str) -> None:
        """Make a job of a folder that is complete, at once."""
        incoming.rename(self.path(job_id))

    def remove(self, job_id: str) -> None:
        """Remove a job with all its files."""
        gone = self.folder / f".gone-{job_id}"
        with suppress(FileNotFoundError):  # somebody has removed it by hand
            self.path(job_id).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the folder, against this process's threads and other processes."""
        self._make_folder()
        with lock_file(self.folder / ".lock", wait=True):
            yield

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
