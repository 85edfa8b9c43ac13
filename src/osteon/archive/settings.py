"""What a connection to an archive needs beside its URL, and where user and password come from."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osteon.core.errors import FileError, UsageError
from osteon.core.files import read_yaml
from osteon.dataset.manifest import describe_errors

VARIABLES = {
    "user": "OSTEON_ARCHIVE_USER",
    "password": "OSTEON_ARCHIVE_PASSWORD",
    "token": "OSTEON_ARCHIVE_TOKEN",
}
AE_TITLE = Annotated[str, Field(pattern=r"^[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$")]
"""PS3.5, 6.2: up to 16 characters, no backslash."""


class ArchiveSettings(BaseModel):
    """What a connection needs; paths of files are taken as they are.

    Attributes:
        credentials: A YAML file with `user` and `password`, or `token`, that only its owner may read.
        ca: Certificates (PEM) of who may have signed the archive's; the system's when left out.
        cert: Certificate (PEM) of this station.
        key: Its private key.
        aet: AE title of this station.
        port: Where C-MOVE's instances arrive, for archives without C-GET.
        timeout: Seconds to wait for an answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    credentials: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    aet: AE_TITLE = "OSTEON"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    timeout: Annotated[float, Field(gt=0)] = 60.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ArchiveSettings:
        """Settings by name. Raises UsageError where one is unknown or nonsense."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UsageError(
                f"settings of the archive: {describe_errors(error)}", hint=f"there are {', '.join(cls.model_fields)}"
            ) from None

    def below(self, folder: Path) -> ArchiveSettings:
        """The same, whose files' paths count from a folder."""
        names = ("credentials", "ca", "cert", "key")
        return self.model_copy(update={name: folder / file for name in names if (file := getattr(self, name))})


@dataclass(frozen=True)
class Credentials:
    """Who asks; all empty where nobody is named. It shows nothing of itself in logs and errors.

    Attributes:
        user: For HTTP's basic authentication.
        password: For the same.
        token: A bearer's, instead of both.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def read_credentials(settings: ArchiveSettings) -> Credentials:
    """From the file of the settings, else from the environment's variables.

    Raises:
        FileError: The file cannot be read.
        UsageError: Others may read it, or it holds something else.
    """
    if settings.credentials is None:
        return Credentials(**{key: os.environ.get(name, "") for key, name in VARIABLES.items()})
    path = settings.credentials
    refuse_shared_file(path, "the password")
    data = read_yaml(path, "the credentials")
    if not isinstance(data, dict) or not data or not set(data) <= set(VARIABLES):
        raise UsageError(f"{path}: credentials are user and password, or token", hint="one on a line: user: NAME")
    return Credentials(**{key: str(value) for key, value in data.items()})


def refuse_shared_file(path: Path, what: str) -> None:
    """Raise UsageError where others may read a file that says `what`, FileError where it is not there."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", hint="name another file") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{path}: others may read {what}", hint=f"chmod 600 {path}")
