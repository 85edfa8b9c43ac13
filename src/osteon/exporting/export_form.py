"""What every form of export has in common: what it is given, and what it hands back to be written.

A new form is one file with a `FORM`, and one row in `registry.FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from osteon.core.errors import UsageError
from osteon.core.labels import Segmentation
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case

Space = Literal["LPS", "RAS"]
Encoding = Literal["binary", "labelmap"]
Shapes = Literal["rle", "polygons"]


@dataclass(frozen=True)
class Options:
    """What the user says.

    Attributes:
        labels: Name → value, over what label files say.
        space: World of meshes' coordinates.
        fragments: Each connected piece of a structure is a mesh of its own.
        smallest_mm3: Connected pieces of less are left out of meshes.
        source: A folder below which the scans' DICOM series lie.
        ignore_references: Take a series by its grid, also where the scan has other voxels or refers to another.
        encoding: Of a DICOM SEG: a frame for each structure and slice, or one for each slice.
        shapes: Of COCO.
        link: Link to images instead of copying them.
    """

    labels: Mapping[str, int] | None = None
    space: Space = "LPS"
    fragments: bool = False
    smallest_mm3: float = 0.0
    source: Path | None = None
    ignore_references: bool = False
    encoding: Encoding = "binary"
    shapes: Shapes = "rle"
    link: bool = False


@dataclass(frozen=True)
class ExportCase:
    """One segmentation to be exported.

    Attributes:
        id: Outputs are named after it.
        file: The label file; None for a case of a dataset without labels.
        load: Reads the segmentation.
        annotated: Structures that somebody looked for; None means all of them.
        scan: Files of the scan it belongs to, where known.
        model: Hash of the model that predicted it; empty where it is not known to be a prediction.
        dataset: The dataset that lists it, and `entry` its case there.
        entry: See `dataset`.
        alone: Whether it is the only one of its export.
    """

    id: str
    file: Path | None
    load: Callable[[], Segmentation]
    annotated: Sequence[str] | None = None
    scan: tuple[Path, ...] = ()
    model: str = ""
    dataset: Dataset | None = None
    entry: Case | None = None
    alone: bool = False

    def __str__(self) -> str:
        return self.id

    @property
    def picture_name(self) -> str:
        """How tables call the picture: by the scan's file where it is one, else by the case."""
        return self.scan[0].name if len(self.scan) == 1 else self.id


@dataclass(frozen=True)
class Output:
    """A file to be written.

    Attributes:
        path: Relative to the output folder.
        write: Writes it, whole or not at all, at the path that it is given.
    """

    path: Path
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Made:
    """What came of a case.

    Attributes:
        files: To be written.
        row: Handed to `Exporter.finish` once they are.
        notes: What a person should know.
    """

    files: Sequence[Output] = ()
    row: Any = None
    notes: Sequence[str] = field(default=())


class Exporter(Protocol):
    """One export in progress."""

    def case(self, case: ExportCase) -> Made:
        """Read a case and say what is to be written. Raises OsteonError where it cannot be expressed."""

    def finish(self, rows: Sequence[Any]) -> Made:
        """What is written once for all cases, from the `row` of each that went well."""


@dataclass(frozen=True)
class Form:
    """One form of export.

    Attributes:
        name: As the command takes it.
        what: One line for help.
        start: Begins an export. The dataset is the source where that is one, else None.
        of_dataset: Whether it takes a dataset with its images, rather than segmentations alone.
        once: Files about all cases: whether they may be written is asked before the work.
        heeds: Those fields of `Options` that it looks at, beside `labels`; any other is refused and not passed over.
    """

    name: str
    what: str
    start: Callable[[Options, Dataset | None], Exporter]
    of_dataset: bool = False
    once: tuple[str, ...] = ()
    heeds: frozenset[str] = frozenset()

    def check(self, options: Options) -> None:
        """Refuse options that mean nothing for this form. Raises UsageError."""
        refuse_options(self.name, options, self.heeds if self.of_dataset else {*self.heeds, "labels"})


def refuse_options(form: str, options: Options, heeded: Collection[str] = ()) -> None:
    """Refuse options that a form does not look at. Raises UsageError."""
    for name, flag in FLAGS.items():
        if getattr(options, name) != getattr(Options(), name) and name not in heeded:
            taking = f"it takes {', '.join(FLAGS[n] for n in FLAGS if n in heeded)}" if heeded else "it takes none"
            raise UsageError(f"{flag}: means nothing for {form}", hint=f"leave it out; {taking}")


FLAGS = {
    "labels": "--labels",
    "space": "--space",
    "fragments": "--fragments",
    "smallest_mm3": "--smallest-mm3",
    "source": "--source",
    "ignore_references": "--ignore-references",
    "encoding": "--encoding",
    "shapes": "--shapes",
    "link": "--link",
}
"""How the command calls the fields of `Options`."""
