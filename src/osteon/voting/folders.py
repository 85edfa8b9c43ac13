"""Case after case of a vote over folders: one file each, a record beside them; what is done stays done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osteon.core.errors import CaseError, UsageError, memory_error, out_of_memory
from osteon.core.files import file_times, write_error, write_json
from osteon.core.progress import track
from osteon.core.version import __version__
from osteon.formats.registry import write_segmentation
from osteon.predicting.records import VOTES as RECORD
from osteon.predicting.seen import KEY
from osteon.voting.maps import Maps
from osteon.voting.members import Folder, cases_of, sight_of
from osteon.voting.report import CaseVote, VoteReport, failures_told


def vote_on_folders(
    maps: Maps, out: Path, told: Mapping[str, Any], before: Mapping[str, Any], *, overwrite: bool
) -> VoteReport:
    """Vote on every case, and write each as it is decided.

    Args:
        maps: The members.
        out: A folder; made if it does not exist.
        told: How is voted; a case that was voted on like that, from the same files, is skipped.
        before: An earlier record; empty where there is none.
        overwrite: Do again what is done, and replace files that no vote has written.

    Raises:
        FileError: `out` cannot be written.
        UsageError: A file in `out` that no vote has written would be replaced.
    """
    names = tuple(structure.name for structure in maps.structures)
    members = tuple(str(folder.path) for folder in maps.folders)
    report = VoteReport(out, out / RECORD, members, names)
    done: dict[str, Any] = dict(before.get("cases", {})) if isinstance(before.get("cases"), dict) else {}
    targets = {case: out / f"{case}{'.seg.nrrd' if maps.overlapping else '.nii.gz'}" for case in cases_of(maps.folders)}
    for case, target in targets.items():
        if target.exists() and case not in done and not overwrite:
            raise UsageError(
                f"{target}: is there already, and {RECORD} beside it does not say that it was voted on",
                hint="choose another output folder, or --overwrite to replace the file",
            )
    for case in track(list(targets), "voting"):
        sight = sight_of(maps.folders, case)
        seen = {} if sight is None else {KEY: sight}
        made_from = {"how": dict(told), "structures": list(names), "files": _files(maps.folders, case)}
        entry = done.get(case)
        if (
            not overwrite
            and targets[case].is_file()
            and isinstance(entry, dict)
            and entry.get("made_from") == made_from
        ):
            report.cases[case] = CaseVote.read(entry)
            done[case] = entry | seen
            report.skipped.append(case)
            continue
        _remove(targets[case])
        try:
            segmentation, vote = maps.vote(case)
        except CaseError as error:
            report.failed[case] = error
            done.pop(case, None)
            continue
        except MemoryError as error:
            if not out_of_memory(error):
                raise
            report.failed[case] = memory_error(case, error, "use a machine with more memory")
            done.pop(case, None)
            continue
        report.cases[case] = vote
        done[case] = {"output": targets[case].name, **vote.told(), **seen, "made_from": made_from}
        write_votes(report, told, done)  # before the file, which then never passes for an older vote's
        write_segmentation(targets[case], segmentation)
    write_votes(report, told, done)
    return report


def write_votes(report: VoteReport, told: Mapping[str, Any], cases: Mapping[str, Any], **more: Any) -> None:
    """Write votes.json: how was voted, by whom, on what, and what came of each case. Raises FileError."""
    data = {
        "osteon": __version__,
        **told,
        "members": list(report.members),
        "structures": list(report.structures),
        **more,
        "failed": failures_told(report.failed),
        "cases": dict(cases),
    }
    write_json(report.record, data)


def _files(folders: tuple[Folder, ...], case: str) -> list[list[str] | None]:
    """What tells whether the members' files are still the same."""
    found: list[list[str] | None] = []
    for folder in folders:
        path = folder.files.get(case)
        meant = [] if folder.legend is None else [str(folder.legend)]
        found.append(None if path is None else [str(path), file_times(path), *meant])
    return found


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
