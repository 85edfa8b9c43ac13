"""What every form in which data arrives has in common: how it is recognised, and what reading it gives.

A new form is one file with a `FORM`, and one row in `recognise.FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from osteon.core.errors import UsageError
from osteon.core.label_values import MAX_VALUE
from osteon.core.labels import BACKGROUND, Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.dataset.manifest import Channel, Modality
from osteon.formats.label_tables import LabelTable
from osteon.formats.stl import MeshSpace

Group = Literal["color", "all", "none"]
MeshUnit = Literal["mm", "cm", "m"]
BetweenSlices = Literal["fill", "leave"]
RleOrder = Literal["rows", "columns"]
RleBase = Literal[0, 1]
MaskMarks = Literal["bright", "dark"]
CONVERTING = (
    "case_pattern",
    "group",
    "mesh_unit",
    "mesh_space",
    "priority",
    "accept_gaps",
    "resample_tilt",
    "keep_identity",
    "series",
    "ignore_references",
    "between_slices",
    "rle_order",
    "rle_base",
    "mask_marks",
)
"""The fields of `Options` that only some forms know."""


@dataclass(frozen=True)
class Converted:
    """A case that had to be converted, read.

    Attributes:
        volume: The image, to be written into the dataset; None where `FoundCase.images` can be referred to.
        segmentation: The labels on the image's grid, to be written; None where the case has none.
        annotated: Names of the structures that somebody looked for; None means all of them.
        provenance: From what it was made, and how.
        warnings: What a person should look at.
        lost: What was there and is not taken, with its name and why; the import then ends with 1.
    """

    volume: Volume | None = None
    segmentation: Segmentation | None = None
    annotated: tuple[str, ...] | None = None
    provenance: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundCase:
    """One case as its form names it, not yet read.

    Attributes:
        id: Unique in the source, as `safe_id` makes it.
        images: One file for each channel, or one for all; empty where `convert` makes the image.
        label: The label file; None where there is none, or where `convert` makes the labels.
        subject: Where the source says so.
        site: Likewise.
        convert: Reads a case whose image or labels the dataset cannot refer to as they are; its errors (OsteonError)
            leave the case out.
        parts: All files that `convert` reads beside `images` and `label`.
        labels: Whether `convert` makes labels.
        between_slices: What becomes of the slices between where labels were drawn on every second slice or so: `fill`
            writes them anew, `leave` says it.
        table: What names the values of `label`, where neither its header nor a table called after it does.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None = None
    subject: str | None = None
    site: str | None = None
    convert: Callable[[], Converted] | None = None
    parts: tuple[Path, ...] = ()
    labels: bool = False
    between_slices: BetweenSlices = "leave"
    table: LabelTable | None = None

    @property
    def labelled(self) -> bool:
        """Whether the case comes with labels."""
        return self.label is not None or self.labels

    @property
    def files(self) -> list[tuple[Path, bool]]:
        """All that is read for it, and whether as labels."""
        labels = (*((self.label,) if self.label else ()), *self.parts)
        return [*((path, False) for path in self.images), *((path, True) for path in labels)]


@dataclass
class Found:
    """What a source holds.

    Attributes:
        name: The dataset's name.
        channels: Image channels in order.
        cases: In the source's order.
        structures: None where only the label files say.
        warnings: What is odd but no obstacle, for people.
        lost: Scans, masks and annotations that are there and were not taken, each with its name and why; the import
            then ends with 1. What is no data at all (a scanner's localizer, a report) is none of these.
        understood: How the source was understood, in sentences: said before anything is written.
    """

    name: str
    channels: list[Channel]
    cases: list[FoundCase]
    structures: tuple[Structure, ...] | None = None
    warnings: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    understood: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """What the user says about the data.

    Attributes:
        structures: Name → value, over what the source says.
        modality: For all channels, over what the source says.
        case_pattern: A regular expression whose first group, in a file's path, is the case that it belongs to.
        group: Which meshes become one structure: those of one colour, all, or none (each its own).
        mesh_unit: Of the meshes' coordinates; None finds it out.
        mesh_space: World of the meshes' coordinates; None finds it out.
        priority: Names of structures, the first wins where they overlap; None keeps overlaps.
        accept_gaps: Take DICOM series with missing or unevenly spaced slices, resampled to even ones.
        resample_tilt: Take DICOM series with a tilted gantry, resampled to a right-angled grid.
        keep_identity: Let patients' names, ids and dates into the dataset.
        series: Of several DICOM series of a case, the one with this number, SeriesInstanceUID or description.
        ignore_references: Take DICOM SEG and RTSTRUCT by their grid alone, also where they refer to another scan.
        between_slices: `fill` draws the slices between those that were labelled, `leave` leaves them empty.
        rle_order: Along what runs are counted; None takes what the columns' names say.
        rle_base: The number of the first pixel; None takes what the columns' names say.
        mask_marks: Whether bright or dark pixels of a picture's mask are the structure; None finds it out.
    """

    structures: Mapping[str, int] | None = None
    modality: Modality | None = None
    case_pattern: str | None = None
    group: Group = "color"
    mesh_unit: MeshUnit | None = None
    mesh_space: MeshSpace | None = None
    priority: tuple[str, ...] | None = None
    accept_gaps: bool = False
    resample_tilt: bool = False
    keep_identity: bool = False
    series: str | None = None
    ignore_references: bool = False
    between_slices: BetweenSlices = "fill"
    rle_order: RleOrder | None = None
    rle_base: RleBase | None = None
    mask_marks: MaskMarks | None = None

    def named_structures(self) -> tuple[Structure, ...] | None:
        """The structures of `structures`, `background` = 0 left out; None where the user gave none.

        Raises:
            UsageError: A name is empty, a value below 1 or given twice, or only the background is named.
        """
        if not self.structures:
            return None
        named = {n: v for n, v in self.structures.items() if (n.lower(), v) != ("background", BACKGROUND)}
        hint = "--labels L1=1,L2=2, for example; 0 is the background and needs no name"
        if not named:
            raise UsageError("--labels: names no structure", hint=hint)
        for name, value in named.items():
            if not name:
                raise UsageError(f"--labels: the value {value} has no name", hint=hint)
            if value <= BACKGROUND:
                raise UsageError(f"--labels: {name}={value}: a structure's value is at least 1", hint=hint)
            if value > MAX_VALUE:
                raise UsageError(f"--labels: {name}={value}: a structure's value is at most {MAX_VALUE}", hint=hint)
            if others := [other for other in named if other != name and named[other] == value]:
                raise UsageError(f"--labels: {name} and {others[0]} both have the value {value}", hint=hint)
        return make_structures(list(named), list(named.values()))


@dataclass(frozen=True)
class Form:
    """One way in which data arrives.

    Attributes:
        name: As `--form` takes it.
        what: One line for help.
        misses: What `source` lacks to be of this form; None where it is.
        read: Lists the cases without reading their voxels.
        fits: By what a source of this form is recognised, for people.
        heeds: Those of `CONVERTING` that change what `read` gives; any other is refused rather than passed over.
    """

    name: str
    what: str
    misses: Callable[[Path], str | None]
    read: Callable[[Path, Options], Found]
    fits: str = ""
    heeds: frozenset[str] = frozenset()

    def check(self, options: Options) -> None:
        """Refuse options that mean nothing for this form: they would be passed over. Raises UsageError."""
        for name in CONVERTING:
            value = getattr(options, name)
            given = value is not None and value is not False and value != getattr(Options(), name)
            if given and name not in self.heeds:
                taking = f"it takes {', '.join(map(_flag, sorted(self.heeds)))}" if self.heeds else "it takes none such"
                raise UsageError(
                    f"{_flag(name)}: means nothing for the form {self.name}", hint=f"leave it out; of these, {taking}"
                )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
