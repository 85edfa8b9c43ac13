"""Predictions: made, scored, compared, exported. A verb imports what it needs when called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from osteon.api.models import load_model
from osteon.api.paths import PathLike

if TYPE_CHECKING:
    from osteon.dataset.modality import Modality
    from osteon.evaluating.record import Evaluation
    from osteon.exporting.export_form import Encoding, Shapes, Space
    from osteon.exporting.run import ExportReport
    from osteon.predicting.model import Model
    from osteon.predicting.predictor import PredictReport
    from osteon.reporting.comparison import ComparisonResult
    from osteon.reporting.run_case_reports import CaseReports


def predict(
    model: PathLike | Model,
    scans: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    speed: Literal["fast", "balanced", "best"] = "balanced",
    postprocess: PathLike = "auto",
    engine: str = "auto",
    device: str = "auto",
    memory: int | None = None,
    probabilities: bool = False,
    series: str | None = None,
    first_level: str | None = None,
    overwrite: bool = False,
) -> PredictReport:
    """Segment files, folders of files, or a dataset's held-out and unlabelled cases into a folder.

    Args:
        model: A loaded model, a model folder, or the run that made it.
        scans: One or several files or folders.
        out: Where the results go; what is done there is skipped.
        speed: How densely scans are looked at; `best` also averages over mirror images.
        postprocess: What follows: `auto`, as the model has it; `none`; or a postprocessing.yaml.
        engine: What runs the network, where `model` is a folder: `auto`, as `doctor` measured; or a name.
        device: What to load the model on, where `model` is a folder.
        memory: Bytes that may be used; None: most of what is free.
        probabilities: Keep them too, for a soft vote.
        series: Of several DICOM series of a study, the one with this number, SeriesInstanceUID or description.
        first_level: The name of the first body of the model's series of structures, of vertebrae the uppermost; None:
            the likeliest.
        overwrite: Do again what is done.

    Example:
        >>> report = osteon.predict("run", ["phantoms/source/images"], "fast", speed="fast", device="cpu")
        >>> len(report.done), report.failed
        (6, {})
    """
    from osteon.core.parallel import active_backend
    from osteon.machine.engine_timing import ModelSource, choose_engine, count_all_passes
    from osteon.predicting.model import Model
    from osteon.predicting.predictor import predict
    from osteon.predicting.records import find_model_folder
    from osteon.predicting.scans import find_scans
    from osteon.predicting.speed import find_speed
    from osteon.predicting.stages import PredictOptions

    sources = [scans] if isinstance(scans, str | os.PathLike) else list(scans)
    here = device if active_backend() is None else "cpu"  # workers of a cluster have theirs
    loaded = model if isinstance(model, Model) else load_model(model, device=here)
    load = None
    found = find_scans([Path(s) for s in sources], loaded.plan, series, seen=loaded.seen)
    if not isinstance(model, Model):
        folder, passes = find_model_folder(Path(model)).absolute(), count_all_passes(loaded.plan, found)
        load = ModelSource(folder, device, os.fspath(postprocess), engine, passes)
        loaded = choose_engine(loaded, folder, engine, passes)
    loaded = loaded.with_postprocessing(os.fspath(postprocess))
    options = PredictOptions(find_speed(speed), overwrite, memory, probabilities, first_level)
    return predict(loaded, found, Path(out), options, load=load)


def evaluate(
    prediction: PathLike,
    reference: PathLike,
    out: PathLike | None = None,
    *,
    by: str | None = None,
    tolerances: Sequence[float] = (2.0,),
    match_iou: float = 0.5,
    surfaces: bool = True,
    labels: Mapping[str, int | str] | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Score predictions against a dataset, a folder or a file; writes metrics.csv and metrics.json into `out`.

    Of structures whose pieces are numbered also the pieces: panoptic quality, F1, merges and splits, and pieces.csv.

    Args:
        prediction: A label file, or a folder of files named after the cases.
        reference: A dataset, a folder of label files with the same names, or one file.
        out: A folder; None writes nothing.
        by: A field of the dataset's cases (`site`) by whose values the results are grouped.
        tolerances: Of the NSD, in mm (px in pictures).
        match_iou: Pieces match above this IoU.
        surfaces: Whether distances between surfaces, pieces and levels are measured.
        labels: What numbers mean in predictions that name no structures, over a dataset.json beside them; the values of
            numbered pieces as text: `{"sacrum": "1-10", "femur": 30}`.
        workers: Processes; None decides by the cases' size.

    Example:
        >>> evaluation = osteon.evaluate("predictions", "spine", surfaces=False)
        >>> 0 <= evaluation.scores[0].dice <= 1
        True
    """
    from osteon.evaluating.evaluate import evaluate
    from osteon.evaluating.scores import MetricOptions

    measures = MetricOptions(surfaces=surfaces, tolerances=tuple(tolerances), match_iou=match_iou)
    folder = None if out is None else Path(out)
    return evaluate(Path(prediction), Path(reference), folder, measures=measures, by=by, labels=labels, workers=workers)


def compare(
    predictions: Sequence[PathLike],
    reference: PathLike,
    out: PathLike | None = None,
    *,
    tolerances: Sequence[float] = (2.0,),
    surfaces: bool = True,
    labels: Mapping[str, int | str] | None = None,
) -> ComparisonResult:
    """Compare runs, folders of predictions and CSVs of RLE on the cases that all have.

    Args:
        predictions: A run stands for its validation's predictions.
        reference: A dataset, or a folder of label files.
        out: Folder of report.html, comparison.csv, cases.csv and, of numbered pieces, pieces.csv; None writes nothing.
        tolerances: Of the NSD, in mm (px in pictures).
        surfaces: Whether distances between surfaces, pieces and levels are measured.
        labels: What numbers mean in predictions that name no structures, over a dataset.json beside them; the values of
            numbered pieces as text: `{"sacrum": "1-10", "femur": 30}`.

    Example:
        >>> comparison = osteon.compare(["run", "predictions"], "spine", surfaces=False)
        >>> [entry.name for entry in comparison.entries]
        ['run', 'predictions']
    """
    from osteon.evaluating.scores import MetricOptions
    from osteon.reporting.compare import compare

    measures = MetricOptions(surfaces=surfaces, tolerances=tuple(tolerances))
    folder = None if out is None else Path(out)
    paths = [Path(path) for path in predictions]
    return compare(paths, Path(reference), folder, measures=measures, labels=labels)


def export(
    form: str,
    sources: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    overwrite: bool = False,
    labels: Mapping[str, int] | None = None,
    space: Space = "LPS",
    fragments: bool = False,
    smallest_mm3: float = 0.0,
    source: PathLike | None = None,
    ignore_references: bool = False,
    encoding: Encoding = "binary",
    shapes: Shapes = "rle",
    link: bool = False,
) -> ExportReport:
    """Write segmentations, a dataset or a model in the form that other programs take.

    Args:
        form: `stl`, `ply`, `obj`, `dicom-seg`, `rtstruct`, `seg-nrrd`, `itk-snap`, `rle-csv`, `coco`, `table`,
            `nnunet`, `decathlon`, `onnx`, `openvino`, or a plugin's.
        sources: Label files, folders of them, or datasets; one dataset for `nnunet` and `decathlon`, one model for
            `onnx` and `openvino`.
        out: Where the files go.
        overwrite: Replace files in `out` that no export has written.
        labels: Name → value, over what label files say.
        space: Meshes: the world of the coordinates, `LPS` or `RAS`.
        fragments: Meshes: each connected piece of a structure is a mesh of its own.
        smallest_mm3: Meshes: connected pieces of less are left out.
        source: DICOM: a folder below which the scans' series lie.
        ignore_references: DICOM: take a series by its grid, also where the scan refers to another.
        encoding: DICOM SEG: a frame for each structure and slice (`binary`), or one for each slice (`labelmap`).
        shapes: COCO: `rle`, which is exact, or `polygons`.
        link: Datasets: link to images instead of copying them.

    Example:
        >>> report = osteon.export("stl", "predictions", "meshes", smallest_mm3=5)
        >>> len(report.done)
        6
    """
    from osteon.exporting.export_form import ExportOptions
    from osteon.exporting.run import export

    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    chosen = ExportOptions(
        labels=labels,
        space=space,
        fragments=fragments,
        smallest_mm3=smallest_mm3,
        source=None if source is None else Path(source),
        ignore_references=ignore_references,
        encoding=encoding,
        shapes=shapes,
        link=link,
    )
    return export(form, [Path(s) for s in given], Path(out), chosen, overwrite=overwrite)


def report(
    folder: PathLike,
    cases: Sequence[str] = (),
    out: PathLike | None = None,
    *,
    predictions: PathLike | None = None,
    modality: Modality = "other",
    forms: Sequence[str] = ("html", "pdf"),
) -> CaseReports:
    """Write a report of each case: pictures, volumes, confidence and reasons, who approved it, versions, notes.

    Args:
        folder: A dataset, or a folder of predictions.
        cases: Their ids; all where there is none.
        out: Folder of CASE.html and CASE.pdf; None: `reports` in `folder`.
        predictions: Of a dataset: a folder of predictions of its cases, for confidences, reasons and names.
        modality: Of predictions: the window of grey; a dataset knows its own.
        forms: `html`, `pdf`.

    Example:
        >>> made = osteon.report("spine", ["spine_001"], "reports", predictions="predictions")
        >>> [path.name for path in made.written["spine_001"]]
        ['spine_001.html', 'spine_001.pdf']
    """
    from osteon.reporting.run_case_reports import report_cases

    given = None if predictions is None else Path(predictions)
    folder_out = None if out is None else Path(out)
    return report_cases(Path(folder), cases, folder_out, predictions=given, modality=modality, forms=forms)
