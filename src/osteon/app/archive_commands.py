"""Commands that fetch series from an archive and send results to one, started by pages as jobs.

A job names series by their UIDs: what somebody searched for, such as a patient, stays on the page.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import date

from osteon.app.archives import NamedArchive
from osteon.app.commands import source_name
from osteon.app.downloads import has_dicom_series, series_options
from osteon.app.jobs import FINISHED, Job
from osteon.app.results import find_dataset, result_files
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.archive.archive import SeriesEntry
from osteon.core.errors import UsageError
from osteon.core.text import pluralise

ARCHIVE = "archive"
"""The command, and in the record of a source or a job the name of the archive."""
NOT_DICOM = "An archive takes what was made of its own DICOM series. These scans came in another form."


def start_fetch(app: AppState, archive: NamedArchive, series: Sequence[SeriesEntry]) -> tuple[Item, Job]:
    """Fetch series into a new source.

    Raises:
        UsageError: None was chosen.
    """
    if not series:
        raise UsageError("no series is chosen", hint="tick the series to fetch")
    item = app.workspace.create("sources", f"{archive.name} {date.today()}", {ARCHIVE: archive.name})
    studies = ",".join(dict.fromkeys(one.study_uid for one in series))
    chosen = ",".join(one.series_uid for one in series)
    job = app.jobs.submit(
        ARCHIVE,
        [
            *("pull", archive.url, item.relative_path),
            *("--query", f"study={studies}", "--query", f"series={chosen}"),
            *archive.options,
        ],
        f"Fetch {pluralise(len(series), 'series', 'series')} from {archive.name}",
        about={"source": item.name, ARCHIVE: archive.name},
    )
    return item, job


def start_sending(app: AppState, archive: NamedArchive, result: Item, case: str | None = None) -> Job:
    """Write a DICOM SEG of each case of a result, or of one, and send them.

    Raises:
        UsageError: The scans are no DICOM, the case is gone, or the result is being sent.
    """
    if not has_dicom_series(app, result):
        raise UsageError(NOT_DICOM.removesuffix("."), hint="segment the series as the archive has it")
    if any(app.jobs.state(job).phase not in FINISHED for job in sending_jobs(app, result)):
        raise UsageError(f"{result.title}: is being sent", hint="wait until it is done, or cancel it on Jobs")
    file = None if case is None else result_files(result).get(case)
    if case is not None and file is None:
        raise UsageError("this case is no longer here", hint="go back to the result")
    target = app.workspace.item("exports", f"{result.name}-to-archive")
    shutil.rmtree(target.path, ignore_errors=True)  # nothing of an earlier state of the result is sent
    what = app.workspace.command_path(result.path if file is None else file)
    about = {"result": result.name, ARCHIVE: archive.name, **({} if case is None else {"sent": case})}
    title = result.title if case is None else f"a case of {result.title}"
    export = app.jobs.submit(
        "export",
        ["dicom-seg", what, target.relative_path, "--overwrite", *series_options(app, result)],
        f"Write {title} as DICOM SEG for {archive.name}",
        about=about,
        product=f"{target.relative_path}/exports.json",
    )
    return app.jobs.submit(
        ARCHIVE,
        ["push", archive.url, target.relative_path, *archive.options],
        f"Send {title} to {archive.name}",
        about=about,
        after=[export.id],
    )


def origin_archive(app: AppState, result: Item) -> str:
    """The name of the archive that a result's scans were fetched from; empty where they came otherwise."""
    dataset = find_dataset(app, result)
    imported = "" if dataset is None else source_name(read_about(dataset[0]).get("source", ""))
    source = read_about(result).get("source", "") or imported
    return read_about(app.workspace.item("sources", source)).get(ARCHIVE, "") if source else ""


def sending_jobs(app: AppState, result: Item) -> list[Job]:
    """The jobs that write what is sent of a result, and send it; the newest first."""
    return [job for job in app.jobs.about("result", result.name) if ARCHIVE in job.about]


def last_sent(app: AppState, result: Item, case: str | None = None) -> tuple[Job, float] | None:
    """The newest job that has sent a result, or a case of it, and when it ended; None where none has."""
    for job in sending_jobs(app, result):
        state = app.jobs.state(job)
        if job.command == ARCHIVE and state.phase == "done" and job.about.get("sent") in (None, case):
            return job, state.ended
    return None
