"""dataset.yaml: what a dataset holds and where its files lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from osteon.core.errors import DatasetError
from osteon.core.files import read_yaml, write_yaml
from osteon.core.labels import Structure, check_values
from osteon.core.schema_versions import migrate
from osteon.dataset.modality import Modality

FILE_NAME = "dataset.yaml"
LONGEST_ID = 150
"""Bytes of a case id: file systems take names of 255, and outputs add their endings."""


class Channel(BaseModel):
    """One image channel: a name, and the modality that decides how intensities are normalised."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    modality: Modality

    @classmethod
    def of(cls, modality: Modality) -> Channel:
        """The only channel of images of a modality, called after it."""
        return cls(name="image" if modality == "other" else modality, modality=modality)


def _plain_name(name: str) -> str:
    if "/" in name or "\\" in name or name.startswith("."):
        raise ValueError("an id names files: no slash, no leading dot")
    if not name.isprintable() or len(name.encode()) > LONGEST_ID:
        raise ValueError(f"an id names files: no line breaks or control characters, {LONGEST_ID} bytes at most")
    return name


class Case(BaseModel):
    """One scan.

    Attributes:
        id: Unique in the dataset; outputs are named after it.
        images: One file for each channel, or one file that holds all channels; relative to the dataset's folder or
            absolute.
        segmentation: The reference, likewise; None where nobody has labelled the case.
        subject: Cases of one subject never stand on both sides of a split.
        site: Scanner or hospital, where known.
        annotated: Names of the structures that somebody looked for; None means all of them.
        content: SHA-256 of the image's voxels, so the same scan is recognised under two names.
        provenance: What was converted or repaired, from what and how.
        held_out: Kept for the final test: neither the plan nor any fold of a training ever sees it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1), AfterValidator(_plain_name)]
    images: list[str] = Field(min_length=1)
    segmentation: str | None = None
    subject: str | None = None
    site: str | None = None
    annotated: list[str] | None = None
    content: str | None = None
    provenance: list[str] = []
    held_out: bool = False


class Manifest(BaseModel):
    """A dataset: structures, channels and cases. `overlapping` says that segmentations are multi-hot (.seg.nrrd).

    `source`, `options` and `inputs` say what `osteon import` made it from: the form and place of the data, what it was
    told beside them, and a digest of the files' states (None where cases were left out). There may be no structures
    where no case has a label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    osteon: Literal[1] = 1
    name: str
    channels: list[Channel] = Field(min_length=1)
    structures: list[Structure]
    overlapping: bool = False
    source: str = ""
    options: dict[str, Any] = {}
    inputs: str | None = None
    cases: list[Case]

    @model_validator(mode="after")
    def _fits_together(self) -> Manifest:
        named = {s.name: s for s in self.structures}
        if not named and any(case.segmentation is not None for case in self.cases):
            raise ValueError("structures: none is named, and there are cases with labels")
        check_values(self.structures, overlapping=self.overlapping)
        _unique("case id", [c.id for c in self.cases])
        for structure in self.structures:
            if structure.counterpart is None:
                continue
            twin = named.get(structure.counterpart)
            if twin is None:
                raise ValueError(f"structure {structure.name}: its counterpart {structure.counterpart} is not listed")
            if twin.counterpart != structure.name:
                raise ValueError(
                    f"structure {twin.name}: its counterpart is not {structure.name}, but the other way round"
                )
        for case in self.cases:
            if len(case.images) not in (1, len(self.channels)):
                raise ValueError(f"case {case.id}: {len(case.images)} images for {len(self.channels)} channels")
            for name in case.annotated or []:
                if name not in named:
                    raise ValueError(f"case {case.id}: annotated structure {name} is not listed")
        return self

    @property
    def trainable(self) -> list[Case]:
        """The labelled cases that are not held out for the final test."""
        return [case for case in self.labelled if not case.held_out]

    @property
    def labelled(self) -> list[Case]:
        """The cases that have a segmentation."""
        return [case for case in self.cases if case.segmentation is not None]


def _unique(what: str, values: list[Any]) -> None:
    twice = sorted(str(value) for value, count in Counter(values).items() if count > 1)
    if twice:
        raise ValueError(f"{what} given twice: {', '.join(twice)}")


def read_manifest(folder: Path) -> Manifest:
    """Read `folder`/dataset.yaml.

    Raises:
        FileError: It is missing or not YAML.
        DatasetError: It does not say what a manifest must, or is of a newer version; the message names each field.
    """
    path = Path(folder) / FILE_NAME
    data = migrate("dataset", read_yaml(path, "the dataset's manifest"), path)
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        hint = f"correct these fields, or import the data again{newer_version_hint(error)}"
        raise DatasetError(f"{path}: {describe_errors(error)}", hint=hint) from None


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write dataset.yaml, leaving out what is not known."""
    path = Path(folder) / FILE_NAME
    data = manifest.model_dump(exclude_none=True)
    if not manifest.options:
        del data["options"]
    data["cases"] = [{k: v for k, v in case.items() if k != "provenance" or v} for case in data["cases"]]
    write_yaml(path, data, head="An osteon dataset. Made by `osteon import`; meant to be read and edited.")
    return path


def describe_errors(error: ValidationError, tags: Sequence[str] = ()) -> str:
    """Pydantic's findings as one line: `key.of.field: what is wrong; …`; `tags` of unions are no keys."""
    lines = []
    for finding in error.errors():
        key = ".".join(str(part) for part in finding["loc"] if part not in tags)
        message = finding["msg"].removeprefix("Value error, ")
        lines.append(f"{key}: {message}" if key else message)
    return "; ".join(lines)


def newer_version_hint(error: ValidationError) -> str:
    """More of a hint, where a file may have been written by a newer version; empty else."""
    unexpected = any(finding["type"] == "extra_forbidden" for finding in error.errors())
    return "; where a newer version of osteon has written it, use that version" if unexpected else ""
