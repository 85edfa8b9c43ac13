"""What every form in which data arrives has in common: how it is recognised, what reading it gives,
and how what lies there and is not taken is told: formats that are not read, and names whose files are not there.

A new form is one file with a `FORM`, and one row in `recognition.FORMS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NoReturn

from osteon.core.errors import OsteonError, UsageError
from osteon.core.folders import files_below, missing_files_below
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.manifest import FILE_NAME, Channel
from osteon.formats.label_tables import LabelTable
from osteon.formats.registry import may_be_data
from osteon.formats.unsupported import Holds, describe_unsupported
from osteon.importing.options import BetweenSlices, ImportOptions, flag_of


@dataclass(frozen=True)
class ConvertedCase:
    """A case that had to be converted, read.

    Attributes:
        volume: The image, to be written into the dataset; None where `SourceCase.images` can be referred to.
        segmentation: The labels on the image's grid, to be written; None where the case has none.
        annotated: Names of the structures that somebody looked for; None means all of them.
        provenance: From what it was made, and how.
        warnings: What a person should look at.
    """

    volume: Volume | None = None
    segmentation: Segmentation | None = None
    annotated: tuple[str, ...] | None = None
    provenance: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceCase:
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
    convert: Callable[[], ConvertedCase] | None = None
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
class Source:
    """What a source holds.

    Attributes:
        name: The dataset's name.
        channels: Image channels in order.
        cases: In the source's order.
        structures: None where only the label files say.
        warnings: What is odd but no obstacle, for people.
        lost: Scans, masks and annotations that are there and were not taken, each with its name and why; the import
            then ends with 1. What is no data at all (a scanner's localizer, a report) is none of these.
        summary: How the source was understood, in sentences; shown before anything is written.
    """

    name: str
    channels: list[Channel]
    cases: list[SourceCase]
    structures: tuple[Structure, ...] | None = None
    warnings: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SourceForm:
    """One way in which data arrives.

    Attributes:
        name: As `--form` takes it.
        description: One line for help.
        explain_mismatch: What `source` lacks to be of this form; None where it is.
        read: Lists the cases without reading their voxels.
        recognised_by: By what a source of this form is recognised, for people.
        options: Fields of `ImportOptions` for some forms only that change what `read` gives; any other is refused.
    """

    name: str
    description: str
    explain_mismatch: Callable[[Path], str | None]
    read: Callable[[Path, ImportOptions], Source]
    recognised_by: str = ""
    options: frozenset[str] = frozenset()

    def check(self, options: ImportOptions) -> None:
        """Refuse options that mean nothing for this form, rather than pass them over. Raises UsageError."""
        for row in fields(options):
            accepted = row.metadata["for_all"] or row.name in self.options
            if not accepted and getattr(options, row.name) not in (None, row.default):
                known = (
                    f"it takes {', '.join(map(flag_of, sorted(self.options)))}"
                    if self.options
                    else "it takes none such"
                )
                raise UsageError(
                    f"{flag_of(row.name)}: means nothing for the form {self.name}",
                    hint=f"leave it out; of these, {known}",
                )


def fail(error: OsteonError, *_: object) -> NoReturn:
    """Raise an error that was known before its case's turn came: in the place of what converts or draws it."""
    raise error


_SHOWN = 8


def report_skipped_files(
    found: Source, source: Path, holding: Sequence[Holds], annotations: Sequence[str] = ()
) -> None:
    """Name in `found` what lies below `source` and is no part of any case: data as lost, the rest as notes.

    Args:
        found: What was found.
        source: A folder.
        holding: What a file of a format that is not read must hold to be a loss.
        annotations: Suffixes beside those of images with which data of this form come.
    """
    files = list(files_below(source, hidden=False, skip_with=FILE_NAME))
    found.lost += describe_unsupported(files, holding)
    found.warnings += describe_unsupported(files, ["anything"])
    absent: dict[bool, list[str]] = {True: [], False: []}
    for path, why in missing_files_below(source, skip_with=FILE_NAME):
        absent[may_be_data(path, annotations)].append(f"{path} is {why}; skipped")
    for lines, target in ((absent[True], found.lost), (absent[False], found.warnings)):
        target += lines[:_SHOWN]
        if len(lines) > _SHOWN:
            target.append(f"{len(lines) - _SHOWN} more files in {source} are links or pointers to what is not there")


COMMON_PATTERNS = (
    r"^([^/]+)/",
    r"(?:^|/)([A-Za-z]*[-_ ]?\d+)[^/]*$",
    r"(?:^|/)([^/_]+)_[^/]*$",
    r"(?:^|/)([^/_\-. ]+)[^/]*$",
    r"([A-Za-z]+[-_ ]?\d+)",
    r"(\d+)",
)
"""Patterns for `--case-pattern` that people can read; the first is proposed that sorts their files."""


def compile_path_pattern(pattern: str | None, option: str = "--case-pattern") -> Callable[[str], str | None] | None:
    """What finds the first group of `pattern` in a path, or None there; None without a pattern.

    Raises:
        UsageError: `pattern` is no regular expression, or has no group.
    """
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option} {pattern}: not a regular expression ({error})", hint="such as `^(\\d+)_`") from None
    if compiled.groups < 1:
        raise UsageError(f"{option} {pattern}: has no group", hint="put brackets around the part wanted: `^(\\d+)_`")
    return lambda path: ((found := compiled.search(path)) and found[1]) or None


def compile_pattern(pattern: str | None, option: str) -> Callable[[SourceCase], str | None]:
    """The same for a case: in its id, or else in its image's path."""
    find = compile_path_pattern(pattern, option) or (lambda _: None)
    return lambda case: find(case.id) or next((find(image.as_posix()) for image in case.images[:1]), None)
