"""Case after case of a vote over folders: one file each, a record beside them; what is done stays done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from osteon.core.case_records import CaseRecords
from osteon.core.errors import OsteonError, UsageError
from osteon.core.file_stamps import file_times
from osteon.core.files import is_file, is_folder, remove_file, write_json
from osteon.core.parallel import case_failure
from osteon.core.progress import track
from osteon.core.version import __version__
from osteon.formats.io import write_segmentation
from osteon.predicting.records import VOTES as RECORD
from osteon.predicting.records import votes_in
from osteon.predicting.training_cases import KEY
from osteon.voting.label_map_members import VoteMembers
from osteon.voting.members import MemberFolder, cases_of, role_of
from osteon.voting.report import CaseVote, VoteReport, failures_to_dict


def vote_on_folders(maps: VoteMembers, out: Path, settings: Mapping[str, Any], *, overwrite: bool) -> VoteReport:
    """Vote on every case, and write each as it is decided.

    Args:
        maps: The members.
        out: A folder; made if it does not exist.
        settings: How is voted; a case that was voted on like that, from the same files, is skipped.
        overwrite: Do again what is done, and replace files that no vote has written.

    Raises:
        DiskFullError: What is done is kept.
        FileError: votes.json cannot be written, or an earlier one is damaged.
        UsageError: A file in `out` that no vote has written would be replaced.
    """
    members = tuple(str(folder.path) for folder in maps.folders)
    report = VoteReport(out, out / RECORD, members, maps.names)
    done, records = votes_in(out), CaseRecords(out, RECORD)
    targets = {case: out / f"{case}{'.seg.nrrd' if maps.overlapping else '.nii.gz'}" for case in cases_of(maps.folders)}
    for case, target in targets.items():
        if (is_file(target) or is_folder(target)) and case not in done and not overwrite:
            raise UsageError(
                f"{target}: is there already, and {RECORD} beside it does not say that it was voted on",
                hint="choose another output folder, or --overwrite to replace the file",
            )
    try:
        for case in track(list(targets), "voting"):
            role = role_of(maps.folders, case)
            seen = {} if role is None else {KEY: role}
            made_from = {"how": dict(settings), "structures": list(maps.names), "files": _files(maps.folders, case)}
            entry = done.get(case)
            if not overwrite and is_file(targets[case]) and entry and entry.get("made_from") == made_from:
                report.cases[case] = CaseVote.read(entry)
                if entry.get(KEY) != role:
                    done[case] = {k: v for k, v in entry.items() if k != KEY} | seen
                    records.write(case, done[case])
                report.skipped.append(case)
                continue
            done.pop(case, None)
            try:
                remove_file(targets[case])
                records.remove(case)
                segmentation, vote = maps.vote(case)
                record = {"output": targets[case].name, **vote.to_dict(), **seen, "made_from": made_from}
                records.write(case, record)  # before the file, which then never passes for an older vote's
                write_segmentation(targets[case], segmentation)
            except Exception as error:  # noqa: BLE001 (bugs are raised again)
                records.remove(case)
                report.failed[case] = case_failure(case, error, "use a machine with more memory")
                continue
            report.cases[case] = vote
            done[case] = record
    except BaseException:
        with suppress(OsteonError):  # what stopped the work is what counts
            write_votes(report, settings, done)
        raise
    finally:
        records.remove_empty()
    write_votes(report, settings, done)
    return report


def write_votes(report: VoteReport, settings: Mapping[str, Any], cases: Mapping[str, Any], **more: Any) -> None:
    """Write votes.json: how was voted, by whom, on what, and what came of each case. Raises FileError."""
    data = {
        "osteon": __version__,
        **settings,
        "members": list(report.members),
        "structures": list(report.structures),
        **more,
        "failed": failures_to_dict(report.failed),
        "cases": dict(cases),
    }
    write_json(report.record, data)


def _files(folders: tuple[MemberFolder, ...], case: str) -> list[list[str] | None]:
    """What tells whether the members' files are still the same."""
    found: list[list[str] | None] = []
    for folder in folders:
        path = folder.files.get(case)
        meant = [] if folder.legend is None else [str(folder.legend)]
        found.append(None if path is None else [str(path), file_times(path), *meant])
    return found
