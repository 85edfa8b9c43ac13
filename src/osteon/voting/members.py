"""The members of a vote: folders of predictions, or tables of RLE; not both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from osteon.core.errors import UsageError, missing_file_error
from osteon.core.file_names import natural_key
from osteon.formats.label_meanings import LabelMeanings, label_meanings_for
from osteon.formats.probabilities import SUFFIX as PROBABILITIES
from osteon.predicting.training_cases import read_training_roles, worst
from osteon.voting.report import Absence

LABEL_SUFFIXES = (".nii.gz", ".seg.nrrd", ".nrrd", ".nii", ".mha", ".mhd")
"""Files that keep more than grey levels. A picture of labels has no names: import it, or convert it first."""
TABLE_SUFFIX = ".csv"

MemberKind = Literal["folders", "tables"]


@dataclass(frozen=True)
class MemberFolder:
    """A member that is a folder.

    Attributes:
        path: The folder.
        files: Cases and their files.
        twice: Cases that two files claim.
        legend: What numbers mean in files that name no structures, where a dataset.json beside them says it.
        training_roles: What its model had to do with each case before, where it is known (`predicting.training_cases`).
    """

    path: Path
    files: dict[str, Path]
    twice: dict[str, tuple[Path, Path]]
    legend: LabelMeanings | None = None
    training_roles: Mapping[str, str] = field(default_factory=dict)


def member_kind(paths: Sequence[Path]) -> MemberKind:
    """What the members are.

    Raises:
        UsageError: There are fewer than two, one is listed twice, or there are folders and tables.
        FileError: One does not exist.
    """
    if len(paths) < 2:
        raise UsageError(
            f"{len(paths)} members: at least two are needed", hint="osteon vote A B… OUT, with two at least"
        )
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise missing_file_error(path, "the member")
        if path.resolve() in seen:
            raise UsageError(f"{path} is given twice", hint="give each member once; --weights makes one count more")
        seen.add(path.resolve())
    tables = [path for path in paths if path.is_file()]
    for path in tables:
        if path.suffix.lower() != TABLE_SUFFIX:
            raise UsageError(
                f"{path}: is neither a folder nor a .csv", hint="give folders of label maps, or tables of RLE"
            )
    if tables and len(tables) < len(paths):
        folder = next(path for path in paths if path not in tables)
        raise UsageError(
            f"{tables[0]} is a table and {folder} a folder: they cannot vote together",
            hint="make a table of the folder's predictions with `osteon export`, or give folders alone",
        )
    return "tables" if tables else "folders"


def open_folder(path: Path, *, probabilities: bool = False) -> MemberFolder:
    """Find a member's files: label maps, or probabilities.

    Raises:
        UsageError: There are none.
        FileError: The record beside them is damaged.
    """
    suffixes = (PROBABILITIES,) if probabilities else LABEL_SUFFIXES
    files: dict[str, Path] = {}
    twice: dict[str, tuple[Path, Path]] = {}
    for file in sorted(path.iterdir()):
        suffix = next((suffix for suffix in suffixes if file.name.lower().endswith(suffix)), None)
        if suffix is None or file.name.startswith(".") or not file.is_file():
            continue
        case = file.name[: -len(suffix)]
        if case in files:
            twice[case] = files[case], file
        files[case] = file
    if not files:
        what = f"no <case>{PROBABILITIES}" if probabilities else f"no file that ends in {', '.join(LABEL_SUFFIXES)}"
        way = "predict with --probabilities" if probabilities else "give the folder that `osteon predict` wrote"
        raise UsageError(f"{path}: holds {what}", hint=way)
    return MemberFolder(
        path, files, twice, None if probabilities else label_meanings_for(files.values()), read_training_roles(path)
    )


def role_of(folders: Sequence[MemberFolder], case: str) -> str | None:
    """What holds of a case for all members that have it together; None where it is not known."""
    return worst(folder.training_roles.get(case) for folder in folders if case in folder.files)


def cases_of(folders: Sequence[MemberFolder]) -> list[str]:
    """All cases of all members, in natural order."""
    return sorted({case for folder in folders for case in folder.files}, key=natural_key)


def absences_of(folders: Sequence[MemberFolder], case: str) -> tuple[Absence, ...]:
    """The members that have no file of a case."""
    return tuple(Absence(str(folder.path), case) for folder in folders if case not in folder.files)
