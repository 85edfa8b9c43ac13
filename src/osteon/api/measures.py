"""What is measured of segmentations. A verb imports what it needs when called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.api.paths import PathLike

if TYPE_CHECKING:
    from osteon.measuring.run import MeasureReport


def measure(
    source: PathLike,
    out: PathLike,
    *,
    what: Collection[str] | None = None,
    structures: Collection[str] | None = None,
    dataset: PathLike | None = None,
    members: Sequence[PathLike] = (),
    modality: str | None = None,
    visits: PathLike | None = None,
    labels: Mapping[str, int | str] | None = None,
    template: PathLike | None = None,
    bones: Mapping[str, Sequence[str]] | None = None,
    reduce: bool = False,
    sr: bool = False,
    series: PathLike | None = None,
    ignore_references: bool = False,
    forms: Sequence[str] = (),
    workers: int | None = None,
    overwrite: bool = False,
) -> MeasureReport:
    """Volumes, lengths, angles and more of every structure, each with its 95 % interval.

    Args:
        source: A label file, a folder of them, or a dataset with references.
        out: Folder of measures.csv, measures.json, cohort.csv and changes.csv; what is done there is skipped.
        what: Names of measures or of their families (docs/measure.md); None: all.
        structures: Which are measured, by name; None: all.
        dataset: Of predictions: lists their cases, with scans, modality and subjects.
        members: Folders of label files of the same cases by other folds or readers, for the intervals.
        modality: Of the scans: `ct`, `mr`, `xray`, `other`; None: as the dataset says.
        visits: A CSV with the columns `case`, `subject` and `date`, for changes over time.
        labels: What numbers mean in files that name none; the values of numbered pieces as text: `11-20`.
        template: Whole bones of others (STL, masks; a file or a folder) that broken ones without another side are
            compared with.
        bones: Bone → structures that are its pieces, where pieces are not numbered.
        reduce: Write where the pieces of broken bones belong: STL and 4×4 matrices, below reductions.
        sr: Write a DICOM SR (TID 1500) of each case that comes from a DICOM series, and the SEG it refers to.
        series: With `sr`: the folder with the scans' DICOM series; None: the files that were predicted.
        ignore_references: With `series`: take a series by its grid, as `export` does.
        forms: Write a report of each case, and one of all, as `html`, `pdf`, or both.
        workers: Processes; None: as memory and cores allow.
        overwrite: Measure again what is done.

    Example:
        >>> report = osteon.measure("spine", "measured", what=["volume"], structures=["L3"])
        >>> len(report.figures), report.figures[0].name
        (6, 'volume_cm3')
    """
    from osteon.core.errors import UsageError
    from osteon.dataset.modality import parse_modality
    from osteon.measuring.cases import CaseOptions
    from osteon.measuring.run import measure

    options = CaseOptions(
        dataset=None if dataset is None else Path(dataset),
        members=tuple(Path(folder) for folder in members),
        modality=parse_modality(modality),
        visits=None if visits is None else Path(visits),
        labels=labels,
        template=None if template is None else Path(template),
        bones=None if bones is None else {bone: tuple(pieces) for bone, pieces in bones.items()},
        reduce=reduce,
    )
    if not sr and (series is not None or ignore_references):
        raise UsageError("series: means nothing without a DICOM SR", hint="leave it out, or ask for one: --sr")
    if forms:
        from osteon.reporting.run_measure_reports import check_forms

        check_forms(forms)
    report = measure(
        Path(source), Path(out), what=what, structures=structures, options=options, workers=workers, overwrite=overwrite
    )
    if sr:
        from osteon.exporting.measured_sr import write_measured_srs

        folder = None if series is None else Path(series)
        written = write_measured_srs(
            Path(source), Path(out), report.figures, options, series=folder, by_grid=ignore_references
        )
        report.failed.update(written.failed)
        report.notes.extend(written.notes)
    if forms:
        from osteon.reporting.run_measure_reports import write_measure_reports

        report.failed.update(write_measure_reports(Path(source), report, options, forms).failed)
    return report
