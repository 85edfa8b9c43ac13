"""`--cluster`: `local`, the address of a scheduler, `slurm`, or a YAML file that says more.

kind: slurm                 # local: processes of this machine; address: a scheduler that runs already
queue: short
account: bones
jobs: 8                     # so many at a time; one that ends early is started again
cores: 4                    # of each job: as many workers, with one thread each
memory: 32GB                # of each job
walltime: "08:00:00"
options: {interface: ib0}   # anything else that dask_jobqueue.SLURMCluster takes
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from osteon.core.errors import FileError, UsageError, summarise_error
from osteon.core.files import read_yaml

_ADDRESS = re.compile(r"[a-z]+://.+")


def _walltime(value: Any) -> Any:
    """YAML reads 10:00:00 without quotes as a number of seconds."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return f"{value // 3600:02}:{value // 60 % 60:02}:{value % 60:02}"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LocalSettings(_Settings):
    """Workers on this machine; None: one for each core."""

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1)] | None = None


class AddressSettings(_Settings):
    """A scheduler that runs already, with its workers."""

    kind: Literal["address"] = "address"
    address: Annotated[str, Field(pattern=_ADDRESS.pattern)]


class SlurmSettings(_Settings):
    """Jobs of SLURM. What is None comes from Dask's own configuration (jobqueue.yaml).

    Attributes:
        queue: The partition.
        account: That is charged.
        jobs: How many at a time.
        cores: Of each job.
        processes: Workers in each; None: one for each core.
        memory: Of each job, such as 32GB.
        walltime: Of each job.
        options: Further arguments of `dask_jobqueue.SLURMCluster`.
    """

    kind: Literal["slurm"] = "slurm"
    queue: str | None = None
    account: str | None = None
    jobs: Annotated[int, Field(ge=1)] = 1
    cores: Annotated[int, Field(ge=1)] | None = None
    processes: Annotated[int, Field(ge=1)] | None = None
    memory: str | None = None
    walltime: Annotated[str, BeforeValidator(_walltime)] | None = None
    options: dict[str, Any] = {}


ClusterSettings = LocalSettings | AddressSettings | SlurmSettings
_FILE: TypeAdapter[ClusterSettings] = TypeAdapter(Annotated[ClusterSettings, Field(discriminator="kind")])


def parse_cluster(text: str) -> ClusterSettings:
    """What `--cluster` says.

    Raises:
        UsageError: It is none of these, or the file's keys make no sense.
        FileError: The file cannot be read.
    """
    if text == "local":
        return LocalSettings()
    if text == "slurm":
        return SlurmSettings()
    if _ADDRESS.fullmatch(text):
        return AddressSettings(address=text)
    path = Path(text)
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(
            f"--cluster {text}: is no cluster", hint="local, slurm, an address (tcp://host:8786), or a .yaml file"
        )
    data = read_yaml(path, "the description of a cluster")
    try:
        return _FILE.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))  # the first is the kind
        raise FileError(
            f"{path}: {place or 'kind'}: {summarise_error(first['msg'])}",
            hint="docs/cluster.md shows what such a file says",
        ) from None
