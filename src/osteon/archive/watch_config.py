"""The file of a watch: which studies are fetched, by which model they are segmented, and what is answered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from osteon.archive.settings import ArchiveSettings
from osteon.core.devices import check_device
from osteon.core.errors import UsageError
from osteon.core.files import read_yaml
from osteon.core.quantities import parse_seconds
from osteon.dataset.manifest import describe_errors
from osteon.plan.overlay import closest_names

Answer = Literal["seg", "sr", "picture"]
DICOM_MODALITIES = {"ct": {"CT"}, "mr": {"MR"}, "xray": {"CR", "DX", "RG", "RF", "XA"}}
"""What a channel's modality is called in DICOM; `other` may be any."""
DERIVED = frozenset({"SEG", "SR", "OT", "SC", "PR", "KO", "RTSTRUCT", "DOC", "REG", "RWV"})
"""Modalities of what was made of images, such as the answers themselves: no rule takes them unless it names one."""


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_seconds(value)
    except UsageError as error:
        raise ValueError(error.message) from None


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from None
    return text


def _device(name: str) -> str:
    try:
        return check_device(name)
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Slices(_Section):
    """How many slices a series may have."""

    min: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)] = 100_000

    @model_validator(mode="after")
    def _rises(self) -> Slices:
        if self.min > self.max:
            raise ValueError(f"no series has {self.min} slices or more and {self.max} or fewer")
        return self


class Rule(_Section):
    """Which series go to which model. What is left out fits every series.

    Attributes:
        model: A model folder, or the run that made it.
        modality: As DICOM says it: CT, MR, DX.
        body_part: BodyPartExamined, capitals or not.
        description: A regular expression, found anywhere in SeriesDescription, capitals or not.
        slices: How many the series has.
    """

    model: str
    modality: str | None = None
    body_part: str | None = None
    description: Annotated[str, AfterValidator(_pattern)] | None = None
    slices: Slices = Slices()

    def fits(self, modality: str, body_part: str, description: str) -> bool:
        """Whether a series is of this rule, as far as its slices do not count."""
        return (
            (modality.upper() not in DERIVED if self.modality is None else self.modality.upper() == modality.upper())
            and (self.body_part is None or self.body_part.upper() == body_part.strip().upper())
            and (self.description is None or re.search(self.description, description, re.IGNORECASE) is not None)
        )

    def __str__(self) -> str:
        parts = (self.modality, self.body_part, self.description and f"/{self.description}/")
        return ", ".join(part for part in parts if part) or "every series"


class Listen(_Section):
    """Studies are sent to this station instead of being looked for.

    Attributes:
        port: Where this station, `settings.aet`, listens.
        host: Address of this machine that it listens on.
        senders: AE titles that may send, or `dicom://AET@HOST:PORT` where one asks for storage commitment.
        commitment: Whether an answer is only taken when the archive has committed to keep it.
        tls: Whether it is encrypted, by `settings.cert` and `key`; with `ca` senders must show certificates.
    """

    port: Annotated[int, Field(ge=1, le=65535)]
    host: str = "0.0.0.0"
    senders: Annotated[list[str], Field(min_length=1)]
    commitment: bool = False
    tls: bool = False


class WatchConfig(_Section):
    """What a watch does.

    Attributes:
        archive: Its URL, as `osteon archive pull` takes it.
        settings: What else the connection needs: where credentials are, TLS, AE titles.
        listen: Where studies are sent to; None: the archive is asked for new ones.
        rules: The first that fits a series of a study decides.
        folder: The work list and the studies in work; beside the file and named like it when left out.
        answers: What is sent back.
        measures: Names of measures or of their families, for the SR; None: all.
        interval: Seconds between two looks.
        settle: Seconds for which a series must not grow before it is fetched.
        days: How old a study may be by its date; None: any.
        most_studies: New studies of one look above which the watch asks first.
        attempts: After so many failures a study is put into quarantine.
        pause: Seconds before the second attempt; each later pause is twice as long, up to `LONGEST_PAUSE_S`.
        keep: Whether scans and results stay in the folder when they are answered.
        status: `host:port` of the status page and /metrics; None: there is none.
        speed: As `osteon predict` has it.
        device: What is predicted on.
    """

    archive: str
    settings: ArchiveSettings = ArchiveSettings()
    listen: Listen | None = None
    rules: Annotated[list[Rule], Field(min_length=1)]
    folder: str | None = None
    answers: Annotated[list[Answer], Field(min_length=1)] = ["seg", "sr", "picture"]
    measures: list[str] | None = None
    interval: Seconds = 60.0
    settle: Annotated[float, BeforeValidator(lambda value: 0.0 if value == 0 else _seconds(value)), Field(ge=0)] = 60.0
    days: Annotated[int, Field(ge=0)] | None = 7
    most_studies: Annotated[int, Field(ge=1)] = 1000
    attempts: Annotated[int, Field(ge=1)] = 3
    pause: Seconds = 60.0
    keep: bool = False
    status: Annotated[str, Field(pattern=r"^[^:/\s]+:\d{1,5}$")] | None = None
    speed: Literal["fast", "balanced", "best"] = "balanced"
    device: Annotated[str, AfterValidator(_device)] = "auto"

    @model_validator(mode="after")
    def _agrees(self) -> WatchConfig:
        if "sr" in self.answers and "seg" not in self.answers:
            raise ValueError("answers: the SR refers to the SEG, so sr needs seg")
        return self

    @property
    def work_folder(self) -> Path:
        """The folder of the work list."""
        return Path(self.folder or ".")


def read_watch_config(path: Path) -> WatchConfig:
    """Read the file of a watch; its paths are made absolute, from its own folder on.

    Raises:
        FileError: It is missing or not YAML.
        UsageError: A key is missing, unknown or nonsense; the message names it.
    """
    data = read_yaml(path, "the watch's configuration")
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a configuration is a mapping", hint="give archive and rules: docs/archive.md")
    for key in data:
        if key not in WatchConfig.model_fields:
            near = closest_names(str(key), list(WatchConfig.model_fields))
            raise UsageError(f"{path}: {key}: a watch has no such key", hint=f"near it: {near}")
    try:
        config = WatchConfig.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{path}: {describe_errors(error)}", hint="correct the keys named here") from None
    here = path.resolve().parent
    rules = [rule.model_copy(update={"model": str(here / rule.model)}) for rule in config.rules]
    folder = str(here / (config.folder or path.stem))
    return config.model_copy(update={"rules": rules, "folder": folder, "settings": config.settings.below(here)})
