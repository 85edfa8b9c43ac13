"""`osteon vote`: many models' answers to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError
from osteon.core.file_stamps import modification_stamp
from osteon.core.locks import lock_folder
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.formats.rle import write_rle_csv
from osteon.formats.rle_convention import DEFAULT_CONVENTION
from osteon.predicting.records import read_votes
from osteon.voting.folders import RECORD, vote_on_folders, write_votes
from osteon.voting.label_maps import open_label_maps
from osteon.voting.members import TABLE_SUFFIX, MemberKind, member_kind, open_folder
from osteon.voting.picture_sizes import PictureSizes, Size
from osteon.voting.report import CaseVote, Problem, VoteReport, failures_from_dict
from osteon.voting.rules import Method, Threshold, Weights, make_rules
from osteon.voting.soft import open_probabilities
from osteon.voting.tables import RleTables, TableVote, open_tables


def vote(
    members: Sequence[Path],
    out: Path,
    *,
    method: Method = "hard",
    threshold: Threshold | None = None,
    weights: Weights | None = None,
    image_size: Size | None = None,
    dataset: Path | None = None,
    overwrite: bool = False,
) -> VoteReport:
    """Vote on every case that a member has.

    Args:
        members: Folders of predictions, or tables of RLE.
        out: A folder, or a .csv where the members are tables.
        method: `hard`, `soft` (folders with probabilities), or `staple`.
        threshold: Votes that a structure needs; see `make_rules`. More than half of those that voted when None.
        weights: What each member's vote counts; see `make_rules`. 1 when None.
        image_size: Rows and columns of the pictures of tables; 2048 x 2048 when None and without a dataset.
        dataset: A dataset whose structures, grids and picture sizes count.
        overwrite: Do again what is done, and replace what no vote has written.

    Raises:
        UsageError: The members do not go together, or with the method, or a file would be replaced that no vote wrote;
            another vote works in `out`.
        FileError: A member does not exist, a table has no heading, or `out` cannot be written.
        LabelError: The members have no structure in common.
    """
    paths, out = [Path(path) for path in members], Path(out)
    kind = member_kind(paths)
    rules = make_rules(method, len(paths), threshold, weights)
    _check_out(paths, out, kind)
    _check_options(kind, method, image_size)
    known = Dataset.open(Path(dataset)) if dataset is not None else None
    settings: dict[str, Any] = {**rules.to_dict(), "dataset": None}
    if known is not None:
        settings["dataset"] = [str(known.folder), modification_stamp(known.folder / MANIFEST)]
    if kind == "tables":
        settings["image_size"] = None if image_size is None else list(image_size)
        tables = open_tables(paths, rules, None if known is None else known.structures)
        return _vote_on_tables(
            TableVote(tables, rules, PictureSizes(image_size, known)), out, settings, overwrite=overwrite
        )
    folders = [open_folder(path, probabilities=method == "soft") for path in paths]
    open_maps = open_probabilities if method == "soft" else open_label_maps
    maps = open_maps(folders, rules, known)
    with lock_folder(out, "another vote", "wait until it has ended, or give this vote a folder of its own"):
        return vote_on_folders(maps, out, settings, overwrite=overwrite)


def _check_out(paths: Sequence[Path], out: Path, kind: MemberKind) -> None:
    if out.resolve() in [path.resolve() for path in paths]:
        raise UsageError(f"{out}: is a member itself", hint="give another output")
    table = out.suffix.lower() == TABLE_SUFFIX
    if kind == "tables" and (not table or out.is_dir()):
        raise UsageError(f"{out}: tables vote for a table", hint="give an output that ends in .csv")
    if kind == "folders" and (table or out.is_file()):
        raise UsageError(
            f"{out}: folders vote for a folder", hint="give a folder; `osteon export` makes a table of its results"
        )


def _check_options(kind: MemberKind, method: Method, image_size: Size | None) -> None:
    if kind == "tables" and method == "soft":
        raise UsageError(
            "--method soft: a table of RLE holds no probabilities", hint="give folders predicted with --probabilities"
        )
    if kind == "folders" and image_size is not None:
        raise UsageError("--image-size is for tables of RLE; files say their size", hint="leave it out")


def _vote_on_tables(going: TableVote, out: Path, settings: dict[str, Any], *, overwrite: bool) -> VoteReport:
    """Write the table, and the record beside it; nothing where both are there, made from the same tables."""
    tables: RleTables = going.tables
    record = out.with_name(f"{out.stem}.{RECORD}")
    made_from = {"how": dict(settings), "files": [[member.member, member.state] for member in tables.members]}
    before = read_votes(record)
    members = tuple(member.member for member in tables.members)
    report = VoteReport(out, record, members, tables.names, going.cases, [], going.failed, list(tables.problems))
    report.notes.extend(
        f"{member.member}: {member.counting.describe()}"
        for member in tables.members
        if (member.counting.order, member.counting.base) != (DEFAULT_CONVENTION.order, DEFAULT_CONVENTION.base)
    )
    if out.exists() and not overwrite:
        if before.get("made_from") == made_from and before.get("output") == modification_stamp(out):
            report.cases.update({case: CaseVote.read(entry) for case, entry in before["cases"].items()})
            report.failed.update(failures_from_dict(before["failed"]))
            report.skipped.extend(report.cases)
            return report
        if not before.get("made_from"):
            raise UsageError(
                f"{out}: is there already, and no {record.name} beside it says that it was voted on",
                hint="give another output, or --overwrite to replace the file",
            )
    write_rle_csv(out, going.rows())
    report.problems.extend(one for member in tables.members if (one := member.doubt()) is not None)
    more = {
        "made_from": made_from,
        "output": modification_stamp(out),
        "problems": [asdict(one) for one in report.problems],
    }
    write_votes(report, settings, {case: vote.to_dict() for case, vote in report.cases.items()}, **more)
    return report


__all__ = ["Problem", "vote"]
