"""What the user says about an import. The fields serve the command line, Python and the browser app alike.

Each field carries its name on the command line, its help text, and whether it means something for some forms only.
Light to import: the browser app's pages take their words from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from functools import cache
from typing import Any, Literal, TypedDict, get_args, get_type_hints

from osteon.core.errors import UsageError
from osteon.dataset.modality import Modality, parse_modality

IMPORT_FLAGS = {
    "--repair-geometry": "Resample labels that do not lie on their image's grid",
    "--accept-gaps": "DICOM: take series with missing or uneven slices, resampled",
    "--resample-tilt": "DICOM: take series with a tilted gantry, resampled",
    "--allow-empty": "Take cases whose label is empty",
    "--ignore-references": "DICOM: take labels by their place, though they name another scan",
    "--keep-identity": "DICOM: keep names, ids and dates of patients",
}
"""What is switched on."""
IMPORT_TEXTS = {
    "--case-pattern": "Which part of a path is the case",
    "--series": "Which DICOM series",
    "--priority": "Which structure wins where they overlap",
    "--subject": "Which part of an id or path is the subject",
}
"""What is typed."""
IMPORT_CHOICES: dict[str, tuple[str, dict[str, str]]] = {
    "--group": ("Meshes that become one structure", {"colour": "of one colour", "all": "all", "none": "each its own"}),
    "--mesh-unit": ("Unit of the meshes", {"mm": "mm", "cm": "cm", "m": "m"}),
    "--mesh-space": ("World of the meshes", {"LPS": "LPS (DICOM)", "RAS": "RAS (NIfTI)"}),
    "--mask-marks": ("Masks of pictures mark with", {"bright": "bright pixels", "dark": "dark pixels"}),
    "--fragments": (
        "Numbered pieces",
        {"classes": "each number is a structure", "instances": "pieces of one structure, whose numbers mean nothing"},
    ),
    "--between-slices": ("Between slices that were drawn", {"fill": "fill", "leave": "leave empty"}),
    "--rle-order": ("Runs are counted along", {"rows": "rows", "columns": "columns"}),
    "--rle-base": ("The first pixel of runs is", {"0": "0", "1": "1"}),
}
"""What is chosen from a few values."""


MeshGrouping = Literal["colour", "all", "none"]
MeshUnit = Literal["mm", "cm", "m"]
MeshSpace = Literal["LPS", "RAS"]
Fragments = Literal["classes", "instances"]
BetweenSlices = Literal["fill", "leave"]
RleOrder = Literal["rows", "columns"]
RleBase = Literal[0, 1]
MaskMarks = Literal["bright", "dark"]
DICOM_OPTIONS = frozenset({"accept_gaps", "resample_tilt", "keep_identity", "series"})
"""For forms whose scans may be DICOM series."""
_DETECTED, _BY_COLUMN = "detected when left out", "by the column's name when left out"
_SPELLINGS = {"color": "colour"}
"""Other spellings of values, accepted wherever the value is."""


class ImportKeywords(TypedDict, total=False):
    """`ImportOptions` as keywords of `osteon.import_dataset`, for type checkers."""

    form: str | None
    hold_out: str | None
    only: str | Sequence[str] | None
    structures: Mapping[str, int | str] | None
    fragments: Fragments | None
    modality: Modality | None
    subject_pattern: str | None
    site_pattern: str | None
    case_pattern: str | None
    group: MeshGrouping
    mesh_unit: MeshUnit | None
    mesh_space: MeshSpace | None
    priority: Sequence[str] | None
    accept_gaps: bool
    resample_tilt: bool
    keep_identity: bool
    series: str | None
    ignore_references: bool
    between_slices: BetweenSlices
    rle_order: RleOrder | None
    rle_base: RleBase | None
    mask_marks: MaskMarks | None
    repair_geometry: bool
    allow_empty: bool


def _help(text: str, flag: str = "", *, for_all: bool = False) -> dict[str, Any]:
    """What a field carries; `for_all` where it means something for every form."""
    return {"help": text, "flag": flag, "for_all": for_all}


def _words(flag: str, when_left_out: str = "", *, for_all: bool = False) -> dict[str, Any]:
    """The same with the words that the browser app has, too."""
    title, values = IMPORT_CHOICES.get(flag, ("", {}))
    text = IMPORT_FLAGS[flag] if flag in IMPORT_FLAGS else f"{title}: {', '.join(values.values())}"
    return _help(f"{text}{when_left_out and f'; {when_left_out}'}.", flag, for_all=for_all)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the user says; each field's help text says what it means, and docs/import.md says more.

    Raises:
        UsageError: A value is none of those that an option takes.
    """

    form: str | None = field(
        default=None, metadata=_help("Its form, such as meshes or pairs; recognised when left out.", for_all=True)
    )
    hold_out: str | None = field(
        default=None,
        metadata=_help("Keep cases for the final test: last:6, first:6, 0.2, or ids by comma.", for_all=True),
    )
    only: str | Sequence[str] | None = field(
        default=None, metadata=_help("Import these cases alone; the same selectors.", for_all=True)
    )
    structures: Mapping[str, int | str] | None = field(
        default=None,
        metadata=_help(
            "NAME=VALUE,… over what the source says; NAME=FIRST-LAST where each value is a piece of it.",
            "--labels",
            for_all=True,
        ),
    )
    fragments: Fragments | None = field(default=None, metadata=_words("--fragments", "classes when left out"))
    modality: Modality | None = field(
        default=None, metadata=_help("ct, mr, xray or other, over what the source says.", for_all=True)
    )
    subject_pattern: str | None = field(
        default=None, metadata=_help("Regular expression; its first group is the subject.", "--subject", for_all=True)
    )
    site_pattern: str | None = field(default=None, metadata=_help("The same for the site.", "--site", for_all=True))
    case_pattern: str | None = field(
        default=None, metadata=_help("Regular expression; its first group in a file's path is the case.")
    )
    group: MeshGrouping = field(default="colour", metadata=_words("--group"))
    mesh_unit: MeshUnit | None = field(default=None, metadata=_words("--mesh-unit", _DETECTED))
    mesh_space: MeshSpace | None = field(default=None, metadata=_words("--mesh-space", _DETECTED))
    priority: Sequence[str] | None = field(
        default=None, metadata=_help("NAME,…: the first wins where structures overlap; overlaps stay when left out.")
    )
    accept_gaps: bool = field(default=False, metadata=_words("--accept-gaps"))
    resample_tilt: bool = field(default=False, metadata=_words("--resample-tilt"))
    keep_identity: bool = field(default=False, metadata=_words("--keep-identity"))
    series: str | None = field(
        default=None,
        metadata=_help("DICOM: of several series of a case, the one with this number, UID or description."),
    )
    ignore_references: bool = field(default=False, metadata=_words("--ignore-references"))
    between_slices: BetweenSlices = field(default="fill", metadata=_words("--between-slices"))
    rle_order: RleOrder | None = field(default=None, metadata=_words("--rle-order", _BY_COLUMN))
    rle_base: RleBase | None = field(default=None, metadata=_words("--rle-base", _BY_COLUMN))
    mask_marks: MaskMarks | None = field(default=None, metadata=_words("--mask-marks", _DETECTED))
    repair_geometry: bool = field(default=False, metadata=_words("--repair-geometry", for_all=True))
    allow_empty: bool = field(default=False, metadata=_words("--allow-empty", for_all=True))

    def __post_init__(self) -> None:
        """Bring values to their one spelling, and refuse those that are none."""
        object.__setattr__(self, "modality", parse_modality(self.modality))
        for name in (option.name for option in fields(self)):
            value = getattr(self, name)
            if isinstance(value, str) and value in _SPELLINGS and (allowed := choices_of(name)):
                object.__setattr__(self, name, value := _SPELLINGS[value])
            if (allowed := choices_of(name)) and value not in (None, *allowed) and name != "modality":
                raise UsageError(
                    f"{flag_of(name)} {value}: not one of its values", hint=f"use {', '.join(map(str, allowed))}"
                )

    def given(self) -> dict[str, Any]:
        """The options that differ from what they are when left out, as YAML keeps them; the form is no such."""
        values = {option.name: getattr(self, option.name) for option in fields(self) if option.name != "form"}
        return {name: _plain(value) for name, value in values.items() if value != _fields()[name].default}


def flag_of(name: str) -> str:
    """A field's option on the command line: `mesh_unit` → `--mesh-unit`."""
    return str(_fields()[name].metadata["flag"]) or f"--{name.replace('_', '-')}"


@cache
def choices_of(name: str) -> tuple[Any, ...]:
    """The values that a field takes; empty where it takes any."""
    hint = get_type_hints(ImportOptions)[name]
    return tuple(
        value
        for kind in (hint, *get_args(hint))
        if getattr(kind, "__origin__", None) is Literal
        for value in get_args(kind)
    )


def parse_option(name: str, text: str) -> Any:
    """A field's value from text, as the command line and the browser app have it; any other text stays as it is."""
    if name == "priority":
        return tuple(part.strip() for part in text.split(","))
    return next((value for value in choices_of(name) if str(value) == text), text)


@cache
def _fields() -> dict[str, Field[Any]]:
    return {option.name: option for option in fields(ImportOptions)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value if isinstance(value, str | bool | int) else list(value)
