"""`osteon export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.dataset import parse_labels
from osteon.cli.option_values import Encoding, ExportForm, MaskShape, MeshSpace, choices
from osteon.cli.output import out, report_failures, report_notes
from osteon.core.errors import UsageError
from osteon.core.text import pluralise


def export(
    form: Annotated[str, typer.Argument(metavar=choices(ExportForm), help="What to write.")],
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="SOURCE… OUT: label files, folders of them, or datasets; one dataset for nnunet and decathlon, one "
            "model for onnx and openvino. The last is the output's folder."
        ),
    ],
    source: Annotated[
        Path | None, typer.Option(help="dicom-seg, rtstruct: a folder below which the scans' DICOM series lie.")
    ] = None,
    ignore_references: Annotated[
        bool,
        typer.Option(
            "--ignore-references", help="dicom-seg, rtstruct: take a series by its grid, though the scan is another."
        ),
    ] = False,
    encoding: Annotated[
        Encoding, typer.Option(help="dicom-seg: a frame for each structure and slice, or one for each slice.")
    ] = "binary",
    space: Annotated[MeshSpace, typer.Option(help="stl, ply, obj: world of the coordinates.")] = "LPS",
    fragments: Annotated[
        bool, typer.Option("--fragments", help="stl, ply, obj: each connected piece is a mesh of its own.")
    ] = False,
    smallest_mm3: Annotated[
        float, typer.Option("--smallest-mm3", min=0, help="stl, ply, obj: leave out connected pieces of less.")
    ] = 0.0,
    shapes: Annotated[MaskShape, typer.Option(help="coco: run-length codes, which are exact, or polygons.")] = "rle",
    link: Annotated[
        bool, typer.Option("--link", help="nnunet, decathlon: link to images instead of copying them.")
    ] = False,
    labels: Annotated[str | None, typer.Option(help="NAME=VALUE,… over what label files say.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in OUT that no export has written.")
    ] = False,
) -> None:
    """Write segmentations, a dataset or a model in the form that other programs take."""
    import osteon

    if len(sources) < 2:
        raise UsageError("a source and an output folder are needed", hint=f"osteon export {form} SOURCE… OUT")
    *given, folder = sources
    report = osteon.export(
        form,
        given,
        folder,
        source=source,
        ignore_references=ignore_references,
        encoding=encoding,
        space=space,
        fragments=fragments,
        smallest_mm3=smallest_mm3,
        shapes=shapes,
        link=link,
        labels=parse_labels(labels),
        overwrite=overwrite,
    )
    report_notes(report.notes)
    what = "model" if form in ("onnx", "openvino") else "case"
    done = f"{pluralise(len(report.done), what)} exported, {pluralise(len(report.files), 'file')}"
    out.print(f"{done}: {escape(str(folder))}")
    report_failures(report.failed, "failed")
