"""What every form of export has in common: what it is given, and what it hands back to be written.

A new form is one file with a `FORM`, and one row in `registry.FORMS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from osteon.core.errors import UsageError
from osteon.core.labels import Segmentation, Structure
from osteon.core.pieces import split_pieces
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case

Space = Literal["LPS", "RAS"]
Encoding = Literal["binary", "labelmap"]
Shapes = Literal["rle", "polygons"]


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export.

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
        load: Reads the segmentation, all pieces of a structure as one; `pieces=True` keeps their numbers.
        annotated: Structures that somebody looked for; None means all of them.
        scan: Files of the scan it belongs to, where known.
        model: Hash of the model that predicted it; empty where it is not known to be a prediction.
        dataset: The dataset that lists it, and `entry` its case there.
        entry: See `dataset`.
        alone: Whether it is the only one of its export.
    """

    id: str
    file: Path | None
    load: Callable[..., Segmentation]
    annotated: Sequence[str] | None = None
    scan: tuple[Path, ...] = ()
    model: str = ""
    dataset: Dataset | None = None
    entry: Case | None = None
    alone: bool = False

    def __str__(self) -> str:
        return self.id

    def load_split(self) -> tuple[Segmentation, tuple[Structure, ...]]:
        """The segmentation with a structure for each numbered piece, and the structure that each is of."""
        return split_pieces(self.load(pieces=True))

    @property
    def picture_name(self) -> str:
        """How tables call the picture: by the scan's file where it is one, else by the case."""
        return self.scan[0].name if len(self.scan) == 1 else self.id


@dataclass(frozen=True)
class OutputFile:
    """A file to be written.

    Attributes:
        path: Relative to the output folder.
        write: Writes it, whole or not at all, at the path that it is given.
    """

    path: Path
    write: Callable[[Path], None]


@dataclass(frozen=True)
class ExportedCase:
    """The files and the table row of one case.

    Attributes:
        files: To be written.
        row: Handed to `Exporter.finish` once they are.
        notes: What a person should know.
    """

    files: Sequence[OutputFile] = ()
    row: Any = None
    notes: Sequence[str] = ()


class Exporter(ABC):
    """One export in progress."""

    @abstractmethod
    def case(self, case: ExportCase) -> ExportedCase:
        """Read a case and say what is to be written. Raises OsteonError where it cannot be expressed."""

    def finish(self, rows: Sequence[Any]) -> ExportedCase:  # noqa: ARG002 (of forms that write once for all)
        """What is written once for all cases, from the `row` of each that went well; by default nothing."""
        return ExportedCase()


@dataclass(frozen=True)
class ExportForm:
    """One form of export.

    Attributes:
        name: As the command takes it.
        what: One line for help.
        start: `(ExportOptions, Dataset | None)` → the export; of a dataset, where the form takes one.
        of_dataset: Whether it takes a dataset with its images, rather than segmentations alone.
        once: Files about all cases: whether they may be written is asked before the work.
        accepted: Fields of `ExportOptions` that it takes beside `labels`; any other is refused.
    """

    name: str
    what: str
    start: Callable[..., Exporter]
    of_dataset: bool = False
    once: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()

    def check(self, options: ExportOptions) -> None:
        """Refuse options that mean nothing for this form. Raises UsageError."""
        refuse_options(self.name, options, self.accepted if self.of_dataset else {*self.accepted, "labels"})


def refuse_options(form: str, options: ExportOptions, accepted: Collection[str] = ()) -> None:
    """Refuse options that a form does not look at. Raises UsageError."""
    for name, flag in FLAGS.items():
        if getattr(options, name) != getattr(ExportOptions(), name) and name not in accepted:
            takes = f"it takes {', '.join(FLAGS[n] for n in FLAGS if n in accepted)}" if accepted else "it takes none"
            raise UsageError(f"{flag}: means nothing for {form}", hint=f"leave it out; {takes}")


FLAGS = {option.name: f"--{option.name.replace('_', '-')}" for option in fields(ExportOptions)}
"""How the command calls the fields of `ExportOptions`."""
