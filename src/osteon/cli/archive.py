"""`osteon archive`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from osteon.cli.archive_watch import watch
from osteon.cli.output import info, out, report_failures, report_notes, shorten, warn
from osteon.cli.shared_options import with_options, with_quiet_option
from osteon.core.errors import FileError
from osteon.core.text import pluralise, shorten_list

if TYPE_CHECKING:
    from osteon.archive.deidentifying import DeidentifyReport

app = typer.Typer(
    help="A hospital's archive (PACS), by DICOMweb or DIMSE: fetch studies from it, send files to it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Url = Annotated[str, typer.Argument(help="https://HOST/dicom-web (DICOMweb), or dicom://AET@HOST:PORT (DIMSE).")]
TextInPixels = Annotated[
    bool, typer.Option("--text-in-pixels", help="De-identified: take images in whose pixels names may stand, too.")
]
_CONNECTION: dict[str, tuple[Any, Any]] = {
    "credentials": (
        Annotated[
            Path | None,
            typer.Option(
                help="YAML file with user and password, or token, that only you may read; else OSTEON_ARCHIVE_USER and "
                "_PASSWORD, or _TOKEN are taken."
            ),
        ],
        None,
    ),
    "ca": (Annotated[Path | None, typer.Option(help="TLS: certificates (PEM) of who signed the archive's.")], None),
    "cert": (Annotated[Path | None, typer.Option(help="TLS: certificate (PEM) of this station.")], None),
    "key": (Annotated[Path | None, typer.Option(help="TLS: its private key.")], None),
    "aet": (Annotated[str, typer.Option(help="DIMSE: AE title of this station.")], "OSTEON"),
    "port": (Annotated[int, typer.Option(help="DIMSE: where an archive without C-GET sends what is fetched.")], 0),
    "timeout": (Annotated[float, typer.Option(help="Seconds to wait for an answer.")], 60.0),
}
"""Options of the connection: `archive.settings` says what they are."""
with_connection = with_options(_CONNECTION)
app.command()(with_quiet_option(watch))


@app.command()
@with_quiet_option
@with_connection
def pull(
    url: Url,
    folder: Annotated[Path, typer.Argument(help="Where to: a folder for each study, in it one for each series.")],
    query: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE, several times: patient, study, series, accession, modality, body_part, description (of "
            "the series, with * and ?), study_description, since and until (2026-07-31). All studies when left out."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Fetch more than 1,000 studies, too.")] = False,
    deidentify: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Take the patients out of what is fetched; this file, outside FOLDER, says who is who.",
        ),
    ] = None,
    text_in_pixels: TextInPixels = False,
    **connection: Any,
) -> None:
    """Fetch studies. Run it again: what is there whole is not fetched again."""
    from osteon.archive.archive import open_archive
    from osteon.archive.transfer import describe_pull, parse_query
    from osteon.archive.transfer import pull as fetch

    asked = parse_query(query or [])
    archive = open_archive(url, connection)
    if deidentify is None:
        report = fetch(archive, folder, asked, many=yes)
    else:
        from osteon.archive.deidentifying import deidentifier

        with deidentifier(deidentify, folder, text_in_pixels=text_in_pixels) as work:
            report = fetch(archive, folder, asked, many=yes, deidentifier=work)
        _tell(work.report, deidentify)
    out.print(f"{describe_pull(report)}: {escape(str(folder))}" if report.studies else describe_pull(report))
    if report.fetched:
        info(f"`osteon import {folder} DATASET` makes a dataset of them")
    report_failures(report.failed, "not fetched")


@app.command()
@with_quiet_option
def deidentify(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    folder: Annotated[Path, typer.Argument(help="Where to: a folder that may be given away.")],
    table: Annotated[
        Path, typer.Option(help="The re-identification table (YAML), outside FOLDER: it is begun, or gone on with.")
    ],
    text_in_pixels: TextInPixels = False,
) -> None:
    """Take the patients out of DICOM files (PS3.15, Basic Profile): pseudonyms, other UIDs, shifted dates."""
    from osteon.archive.deidentifying import deidentify as work

    report = work(paths, folder, table, text_in_pixels=text_in_pixels)
    _tell(report, table)
    if report.passed_over:
        info(f"passed over, since they are not DICOM: {pluralise(len(report.passed_over), 'file')}")
    present = f", {len(report.present)} there already" if report.present else ""
    out.print(f"{pluralise(len(report.written), 'file')} written{present}: {escape(str(folder))}")
    report_failures(report.failed, "not taken")


def _tell(report: DeidentifyReport, table: Path) -> None:
    """What de-identification left out or doubts, without names."""
    kinds: dict[str, list[str]] = {}
    for uid, reason in report.left_out.items():
        kinds.setdefault(reason, []).append(uid)
    for reason, uids in kinds.items():
        warn(f"{pluralise(len(uids), 'file')} left out ({escape(reason)}): {shorten(uids)}")
    report_notes([f"{table}: {doubt}" for doubt in report.doubts])


@app.command()
@with_quiet_option
@with_connection
def push(
    url: Url,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    **connection: Any,
) -> None:
    """Send DICOM files. Run it again: what the archive has stays there once."""
    from osteon.archive.archive import open_archive
    from osteon.archive.transfer import push as send

    report = send(open_archive(url, connection), paths)
    if report.passed_over:
        names = shorten_list([path.name for path in report.passed_over])
        info(f"passed over, since they are not DICOM: {pluralise(len(report.passed_over), 'file')} ({names})")
    if not report.sent and not report.failed:
        raise FileError("there is nothing to send: no DICOM file is there", hint="give DICOM files, or folders of them")
    out.print(f"{pluralise(len(report.sent), 'file')} sent")
    report_failures(report.failed, "not taken")
