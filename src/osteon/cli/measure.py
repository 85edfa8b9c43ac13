"""`osteon measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.dataset import parse_structures
from osteon.cli.output import info, out, plain_table, report_failures, report_notes
from osteon.core.errors import UsageError
from osteon.core.text import pluralise, shorten_list

MAX_SHOWN = 40
"""Lines of the table; the files have all."""


def measure(
    source: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS|DATASET", help="Label files, or a dataset with references.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of measures.csv, measures.json, cohort.csv.")],
    what: Annotated[
        str | None, typer.Option(help="Measures or families of them, with commas between; all when left out.")
    ] = None,
    structures: Annotated[
        str | None, typer.Option(help="Structures to measure, with commas between; all when left out.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Of predictions: lists their cases, with scans, modality and subjects.")
    ] = None,
    members: Annotated[
        list[Path] | None, typer.Option(help="A folder of label files by another fold or reader; repeatable.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Of the scans: ct, mr, xray, other.")] = None,
    visits: Annotated[
        Path | None, typer.Option(help="A CSV with the columns case, subject, date: for changes over time.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="NAME=VALUE,… or NAME=FIRST-LAST,…, where label files name nothing.")
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            help="Whole bones of others (STL, masks; a file or a folder), where a broken one has no other side."
        ),
    ] = None,
    bone: Annotated[
        list[str] | None, typer.Option(help="BONE=STRUCTURE,…: structures that are pieces of one bone; repeatable.")
    ] = None,
    reduce: Annotated[
        bool, typer.Option("--reduce", help="Write where the pieces of broken bones belong: STL and matrices.")
    ] = False,
    sr: Annotated[
        bool, typer.Option("--sr", help="Write a DICOM SR and SEG of each case that comes from a DICOM series.")
    ] = False,
    series: Annotated[
        Path | None, typer.Option(help="With --sr: the scans' DICOM series; the predicted files when left out.")
    ] = None,
    ignore_references: Annotated[
        bool, typer.Option("--ignore-references", help="With --series: take a series by its grid alone.")
    ] = False,
    report: Annotated[
        str | None, typer.Option(help="Write a report of each case, and one of all: html, pdf, or both.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as memory allows when left out.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Measure again what is done, and replace files in OUT.")
    ] = False,
) -> None:
    """Volumes, lengths, angles and more of every structure, each with its 95 % interval. Done cases are skipped."""
    import osteon

    done = osteon.measure(
        source,
        folder,
        what=_names(what),
        structures=_names(structures),
        dataset=dataset,
        members=members or (),
        modality=modality,
        visits=visits,
        labels=parse_structures(labels),
        template=template,
        bones=_bones(bone),
        reduce=reduce,
        forms=_names(report) or (),
        sr=sr,
        series=series,
        ignore_references=ignore_references,
        workers=workers,
        overwrite=overwrite,
    )
    report_notes(done.notes)
    table = plain_table(
        ("structure", "measure", "median", "cases", "not measured", "outliers"), left=("structure", "measure")
    )
    table.columns[1].no_wrap = True
    for one in [one for one in done.cohort if one.cases][:MAX_SHOWN]:
        about = escape(" + ".join(one.structures))
        outliers = escape(shorten_list(list(one.outliers), 3)) if one.outliers else ""
        table.add_row(
            about, one.measure, f"{one.quantiles[3]:.4g}", str(one.cases), str(one.not_measured or ""), outliers
        )
    if table.row_count:
        out.print(table, soft_wrap=False)
    reasons = dict.fromkeys(figure.not_measured for figure in done.figures if figure.not_measured)
    for reason in list(reasons)[:8]:
        info(f"not measured: {escape(reason)}")
    if len(reasons) > 8:
        info(f"… and {len(reasons) - 8} more reasons; measures.csv has all")
    text = f"{pluralise(len(done.done), 'case')} measured"
    skipped = f", {len(done.skipped)} were measured before" if done.skipped else ""
    out.print(f"{text}{skipped}, {pluralise(len(done.figures), 'figure')}: {escape(str(folder))}")
    report_failures(done.failed, "could not be measured")


def _names(text: str | None) -> tuple[str, ...] | None:
    """The names in a list with commas; None where there is no list."""
    return None if text is None else tuple(name for part in text.split(",") if (name := part.strip()))


def _bones(texts: list[str] | None) -> dict[str, tuple[str, ...]] | None:
    """Bone → structures, of `BONE=STRUCTURE,…`; None where nothing is given."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts or ():
        name, _, pieces = text.partition("=")
        if not name.strip() or len(_names(pieces) or ()) < 2:
            raise UsageError(f"--bone {text}: is not BONE=STRUCTURE,STRUCTURE,…", hint="--bone humerus=head,shaft")
        found[name.strip()] = _names(pieces) or ()
    return found or None
