"""The archives that pages may ask and send to: named in a file of this machine, so that no page takes a password."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from osteon.archive.archive import Archive, open_archive
from osteon.archive.settings import VARIABLES, ArchiveSettings
from osteon.core.errors import UsageError
from osteon.core.files import read_yaml
from osteon.dataset.manifest import describe_errors

_FORM = "NAME: {url: https://HOST/dicom-web, settings: {credentials: FILE}}; docs/archive.md has all settings"


@dataclass(frozen=True)
class NamedArchive:
    """An archive that pages know by its name.

    Attributes:
        name: On pages, and in titles of jobs.
        url: As `osteon archive pull` takes it.
        settings: Of the connection; paths are absolute.
    """

    name: str
    url: str
    settings: ArchiveSettings

    def open(self) -> Archive:
        """Connected to at the first call. Raises UsageError and FileError as `open_archive`."""
        return open_archive(self.url, self.settings)

    @property
    def options(self) -> list[str]:
        """The settings as options of `osteon archive`."""
        changed = {name: value for name, value in self.settings if value != getattr(ArchiveSettings(), name)}
        return [part for name, value in changed.items() for part in (f"--{name}", str(value))]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    settings: ArchiveSettings = ArchiveSettings()


_Name = Annotated[str, Field(pattern=r"^\w[\w .+-]{0,39}$")]
_ENTRIES = TypeAdapter(Annotated[dict[_Name, _Entry], Field(min_length=1)])


def read_archives(path: Path) -> dict[str, NamedArchive]:
    """The archives of a file, by name. Each is looked at as far as that asks no network.

    Raises:
        FileError: The file, or one that it names, cannot be read.
        UsageError: A name, a URL or a setting is none, others may read a password, or the environment's would go to
            several archives.
    """
    try:
        entries = _ENTRIES.validate_python(read_yaml(path, "the archives"))
    except ValidationError as error:
        raise UsageError(f"{path}: {describe_errors(error)}", hint=_FORM) from None
    here = path.resolve().parent
    archives = {name: NamedArchive(name, each.url, each.settings.below(here)) for name, each in entries.items()}
    for archive in archives.values():
        archive.open()
    without = [name for name, archive in archives.items() if archive.settings.credentials is None]
    if len(without) > 1 and any(os.environ.get(variable) for variable in VARIABLES.values()):
        raise UsageError(
            f"{path}: the password of the environment would go to {', '.join(without)}",
            hint="give each archive its own file: settings: {credentials: FILE}",
        )
    return archives
