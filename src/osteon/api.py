"""The verbs of the command line, for Python. Each imports what it needs when it is called."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

if TYPE_CHECKING:
    from osteon.auditing.augmented import AugmentedAudit
    from osteon.auditing.run import Audit
    from osteon.converting.convert import ConvertedModel
    from osteon.evaluating.record import Evaluation
    from osteon.exporting.export_form import Encoding, Shapes, Space
    from osteon.exporting.run import ExportReport
    from osteon.importing.options import ImportKeywords
    from osteon.importing.run import ImportReport
    from osteon.machine.doctor import DoctorReport
    from osteon.plan.schema import Plan
    from osteon.planning.options import PlanKeywords, PlanOptions
    from osteon.predicting.model import Model
    from osteon.predicting.predictor import PredictReport
    from osteon.reporting.comparison import ComparisonResult
    from osteon.runs.fit import TrainReport
    from osteon.runs.options import RunKeywords
    from osteon.sweeping.run import SweepReport
    from osteon.voting.fit import FittedParameter, VoteFit
    from osteon.voting.report import VoteReport
    from osteon.voting.rules import Method, Threshold, Weights

    class TrainKeywords(PlanKeywords, RunKeywords, total=False):
        """Keywords of `train`."""


logger = logging.getLogger(__name__)
PathLike = str | os.PathLike[str]


def import_dataset(
    source: PathLike,
    dataset: PathLike,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    announce: Callable[[str], None] | None = None,
    **options: Unpack[ImportKeywords],
) -> ImportReport:
    """Read and check every case of a source and write `dataset`/dataset.yaml; the user's files stay as they are.

    Args:
        source: The data, as it is: a folder or a list.
        dataset: The folder that becomes the dataset.
        overwrite: Replace an existing dataset.yaml.
        workers: Processes for reading the cases; None: as memory allows.
        announce: Is called, line by line and before anything is written, with how the source was understood.
        **options: Fields of `osteon.importing.options.ImportOptions` (form, hold_out, structures, modality, …).

    Example:
        >>> report = osteon.import_dataset("phantoms/source", "again", modality="mr", only="first:2")
        >>> report.form, [case.id for case in report.manifest.cases]
        ('pairs', ['spine_001', 'spine_002'])
    """
    from osteon.importing.run import import_dataset

    return import_dataset(
        Path(source), Path(dataset), overwrite=overwrite, workers=workers, announce=announce, **options
    )


def audit(dataset: PathLike, *, workers: int | None = None) -> Audit:
    """Look for what is wrong with a dataset; writes `dataset`/audit/report.html and audit.json.

    Args:
        dataset: A folder with dataset.yaml.
        workers: Processes for reading the cases; None: as memory allows.

    Example:
        >>> osteon.audit("spine").findings[0].severity in ("error", "warning", "note")
        True
    """
    from osteon.auditing.run import audit
    from osteon.dataset.dataset import Dataset

    return audit(Dataset.open(Path(dataset)), workers=workers)


def audit_augmented(
    dataset: PathLike, *, samples: int = 24, seed: int = 0, workers: int | None = None
) -> AugmentedAudit:
    """Show patches as training sees them; writes `dataset`/audit/augmented.html.

    Args:
        dataset: A folder with dataset.yaml and plan.yaml.
        samples: How many patches.
        seed: Of all that is drawn.
        workers: Processes for preparing the cases; None: as memory allows.

    Example:
        >>> len(osteon.audit_augmented("spine", samples=2).samples)
        2
    """
    from osteon.auditing.augmented import audit_augmented
    from osteon.dataset.dataset import Dataset

    return audit_augmented(Dataset.open(Path(dataset)), samples=samples, seed=seed, workers=workers)


def make_plan(
    dataset: PathLike,
    *,
    device: str = "auto",
    measure_cost: bool = True,
    measure_budget_s: float | None = None,
    budget_s: float | None = None,
    workers: int | None = None,
    **options: Unpack[PlanKeywords],
) -> Plan:
    """Measure a dataset, decide, and write its plan.yaml.

    Args:
        dataset: A folder with dataset.yaml.
        device: What sizes are chosen for.
        measure_cost: Measure the forecast and the faster precision with a few steps.
        measure_budget_s: Seconds of the clock that this may take; None: 15, or a fifth of a shorter budget.
        budget_s: Seconds that a training will have; sizes are then chosen for this machine's measured speed.
        workers: Processes for reading the cases; None: as memory allows.
        **options: Fields of `osteon.planning.options.PlanOptions`: recipe, dimensions, network, encoder, window, …

    Example:
        >>> plan = osteon.make_plan("spine", device="cpu", measure_cost=False)
        >>> plan.network.name, plan.training.recipe
        ('unet', 'osteon')
    """
    from osteon.plan.schema import FILE_NAME, write_plan
    from osteon.planning.dataset_plan import plan_dataset
    from osteon.planning.options import PlanOptions

    planned = plan_dataset(
        Path(dataset),
        PlanOptions(**options),
        device=device,
        measure_cost=measure_cost,
        measure_budget_s=measure_budget_s,
        budget_s=budget_s,
        workers=workers,
    )
    write_plan(Path(dataset) / FILE_NAME, planned.plan)
    for case_id, error in planned.failed.items():
        logger.warning(f"not measured: {case_id}: {error}")
    return planned.plan


def train(
    dataset: PathLike,
    run: PathLike,
    *,
    plan: Plan | PathLike | None = None,
    plan_options: PlanOptions | None = None,
    restart: bool = False,
    measure_cost: bool = True,
    **options: Unpack[TrainKeywords],
) -> TrainReport:
    """Train a model, or go on with an interrupted training.

    Args:
        dataset: A folder with dataset.yaml.
        run: The run's folder; `run/model` is made in it.
        plan: A plan or its file; the dataset's plan.yaml when None, which is made where it is missing. With `init`
            and no plan: network, grid and patch of that model, the rest the dataset's.
        plan_options: A plan is made by these for this run alone, and the dataset's plan is not used. Of a plan that is
            given only single keys can be changed (`settings`).
        restart: Throw away what the run has done.
        measure_cost: Measure the forecast and the faster precision of a plan that `plan_options` make (some 20 s).
        **options: Fields of `osteon.runs.options.TrainOptions` (budget_s, epochs, fold, seed, init, …), or of
            `osteon.planning.options.PlanOptions` in place of `plan_options` (recipe, network, encoder, loss, …).

    Raises:
        UsageError: A plan is given and options that contradict it; and as `osteon.runs.fit.train`.

    Example:
        >>> report = osteon.train("spine", "small", epochs=1, device="cpu", settings={"training.epoch_iterations": 2})
        >>> report.iterations, report.resumed
        (2, False)
    """
    from dataclasses import fields, replace

    from osteon.core.errors import UsageError
    from osteon.dataset.dataset import Dataset
    from osteon.plan.overlay import overlay
    from osteon.plan.schema import Plan, read_plan
    from osteon.planning.dataset_plan import load_or_make_plan
    from osteon.planning.inherited_plan import plan_from_model
    from osteon.planning.options import DEFAULTS, PlanOptions
    from osteon.planning.run_plan import plan_for_run
    from osteon.runs.cross_validation import train_all_folds
    from osteon.runs.fit import train
    from osteon.runs.options import TrainOptions

    given: dict[str, Any] = {**options}
    by_name = {field.name: given.pop(field.name) for field in fields(PlanOptions) if field.name in given}
    wanted = replace(plan_options or DEFAULTS, **by_name) if plan_options or by_name else None
    if given.get("init") is not None:
        given["init"] = os.fspath(given["init"])
    where: dict[str, Any] = {name: given.get(name) for name in ("budget_s", "workers")}
    where["device"] = given.get("device", "auto")
    if plan is not None:
        chosen = plan if isinstance(plan, Plan) else read_plan(Path(plan))
        settings = (wanted.settings if wanted else None) or {}
        if wanted is not None and wanted != replace(DEFAULTS, settings=wanted.settings):
            raise UsageError("a plan and choices contradict each other", hint="give one of them, or `settings` alone")
        chosen = overlay(chosen, settings)
    elif given.get("init") is not None:
        begin = given["init"]
        chosen = plan_from_model(Path(dataset), Path(run), begin, wanted or DEFAULTS, restart=restart, **where)
    elif wanted is not None:
        chosen = plan_for_run(Path(dataset), Path(run), wanted, restart=restart, measure_cost=measure_cost, **where)
    else:
        chosen = load_or_make_plan(Path(dataset), **where)
    asked = TrainOptions(**given)
    start = train_all_folds if asked.fold == "all" else train
    return start(Dataset.open(Path(dataset)), chosen, Path(run), asked, restart=restart)


def sweep(file: PathLike, *, dry: bool = False) -> SweepReport:
    """Try many plans with one budget, each a run of its own; see `osteon.sweeping.spec.Sweep` for the file.

    Args:
        file: SWEEP.yaml.
        dry: Make every trial's plan, and run nothing.
    """
    from osteon.sweeping.run import run_sweep

    return run_sweep(Path(file), dry=dry)


def load_model(folder: PathLike, *, device: str = "cpu") -> Model:
    """Load a trained model (a run, or its folder `model`); `.predict(scan)` segments a file or a Volume.

    Example:
        >>> model = osteon.load_model("run")
        >>> segmentation = model.predict("phantoms/source/images/spine_001_image.nrrd")
        >>> segmentation.array.shape
        (12, 24, 8)
    """
    from osteon.core.devices import resolve_device
    from osteon.predicting.model_folder import load_model

    return load_model(Path(folder), device=resolve_device(device))


def import_model(
    form: Literal["nnunet"],
    folder: PathLike,
    model: PathLike,
    *,
    folds: Sequence[str] | None = None,
    checkpoint: Literal["final", "best", "latest"] | None = None,
    before: PathLike | None = None,
    orientation: str | None = None,
    overwrite: bool = False,
) -> ConvertedModel:
    """Turn another program's trained model into one of osteon's; nothing in its files is run.

    Args:
        form: Whose it is: `nnunet`, version 2.
        folder: TRAINER__PLANS__CONFIGURATION as nnU-Net wrote it, or a folder or a zip that holds a single one.
        model: The model folder to make.
        folds: Those to average; None: every fold that is there.
        checkpoint: Of each fold; None: the final one, or else the best or the latest.
        before: Folder of the first model of a cascade; None: it lies beside the second.
        orientation: How the training scans lay in their files, as RAS; None: scans are taken as they lie.
        overwrite: Replace a model that is there.
    """
    from osteon.converting.convert import CONVERTERS, ConvertOptions
    from osteon.core.errors import UsageError

    if form not in CONVERTERS:
        raise UsageError(f"there are no models of {form}", hint=f"one of {', '.join(CONVERTERS)}")
    first = None if before is None else Path(before)
    return CONVERTERS[form](Path(folder), Path(model), ConvertOptions(folds, checkpoint, first, orientation, overwrite))


def doctor(model: PathLike | None = None, dataset: PathLike | None = None) -> DoctorReport:
    """Check the installation; with a model measure engines on this machine; with its dataset gate those that round.

    Example:
        >>> [check.name for check in osteon.doctor().checks][:2]
        ['Python', 'torch']
    """
    from osteon.machine.doctor import examine_machine

    return examine_machine(*(None if path is None else Path(path) for path in (model, dataset)))


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
        overwrite: Do again what is done.

    Example:
        >>> report = osteon.predict("run", ["phantoms/source/images"], "fast", speed="fast", device="cpu")
        >>> len(report.done), report.failed
        (6, {})
    """
    from osteon.machine.engine_timing import choose_engine, count_all_passes
    from osteon.predicting.model import Model
    from osteon.predicting.model_folder import find_model_folder
    from osteon.predicting.predictor import predict
    from osteon.predicting.scans import find_scans
    from osteon.predicting.speed import find_speed
    from osteon.predicting.stages import PredictOptions

    sources = [scans] if isinstance(scans, str | os.PathLike) else list(scans)
    loaded = model if isinstance(model, Model) else load_model(model, device=device)
    found = find_scans([Path(s) for s in sources], loaded.plan, series, seen=loaded.seen)
    if not isinstance(model, Model):
        loaded = choose_engine(loaded, find_model_folder(Path(model)), engine, count_all_passes(loaded.plan, found))
    loaded = loaded.with_postprocessing(os.fspath(postprocess))
    return predict(loaded, found, Path(out), PredictOptions(find_speed(speed), overwrite, memory, probabilities))


def vote(
    members: Sequence[PathLike],
    out: PathLike,
    *,
    method: Method = "hard",
    threshold: Threshold | None = None,
    weights: Weights | None = None,
    image_size: tuple[int, int] | None = None,
    dataset: PathLike | None = None,
    overwrite: bool = False,
) -> VoteReport:
    """Make one answer of several models' predictions.

    Args:
        members: Folders of predictions, or tables of RLE.
        out: A folder, or a .csv where the members are tables.
        method: `hard`, `soft` (folders with probabilities), or `staple`.
        threshold: Votes that a structure needs: one number, a number by structure, or a file; None: more than half.
        weights: What each member's vote counts: a number each, or a file; None: 1.
        image_size: Rows and columns of the pictures of tables; None: the dataset's, or 2048 x 2048.
        dataset: A dataset whose structures, grids and picture sizes count.
        overwrite: Do again what is done, and replace what no vote has written.

    Example:
        >>> report = osteon.vote(["predictions", "run/predictions"], "voted")
        >>> len(report.cases)
        6
    """
    from osteon.voting.run import vote

    paths, known = [Path(member) for member in members], None if dataset is None else Path(dataset)
    return vote(
        paths,
        Path(out),
        method=method,
        threshold=threshold,
        weights=weights,
        image_size=image_size,
        dataset=known,
        overwrite=overwrite,
    )


def fit_vote(
    members: Sequence[PathLike],
    dataset: PathLike,
    out: PathLike,
    *,
    method: Method = "hard",
    part: FittedParameter | None = None,
    overwrite: bool = False,
) -> VoteFit:
    """Choose for each structure what gives the best mean Dice, and write it for `threshold` or `weights` of `vote`.

    Args:
        members: As for `vote`.
        dataset: With labels of cases that the members have predicted, and that they were not trained on.
        out: A .yaml file.
        method: `hard` or `soft`.
        part: `threshold` (with `hard` alone) or `weights`; None: thresholds for `hard`, weights for `soft`.
        overwrite: Replace a file that is there.

    Example:
        >>> fit = osteon.fit_vote(["predictions", "run/predictions"], "spine", "thresholds.yaml")
        >>> fit.part
        'threshold'
    """
    from osteon.voting.fit import fit

    paths = [Path(member) for member in members]
    return fit(paths, Path(dataset), Path(out), method=method, part=part, overwrite=overwrite)


def evaluate(
    prediction: PathLike,
    reference: PathLike,
    out: PathLike | None = None,
    *,
    by: str | None = None,
    tolerances: Sequence[float] = (2.0,),
    match_iou: float = 0.5,
    surfaces: bool = True,
    labels: Mapping[str, int] | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Score predictions against a dataset, a folder or a file; writes metrics.csv and metrics.json into `out`.

    Args:
        prediction: A label file, or a folder of files named after the cases.
        reference: A dataset, a folder of label files with the same names, or one file.
        out: A folder; None writes nothing.
        by: A field of the dataset's cases (`site`) by whose values the results are grouped.
        tolerances: Of the NSD, in mm (px in pictures).
        match_iou: Pieces match above this IoU.
        surfaces: Whether distances between surfaces, pieces and levels are measured.
        labels: What numbers mean in predictions that name no structures, over a dataset.json beside them.
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
    contestants: Sequence[PathLike],
    reference: PathLike,
    out: PathLike | None = None,
    *,
    tolerances: Sequence[float] = (2.0,),
    surfaces: bool = True,
    labels: Mapping[str, int] | None = None,
) -> ComparisonResult:
    """Compare runs, folders of predictions and CSVs of RLE on the cases that all have.

    Args:
        contestants: A run stands for its validation's predictions.
        reference: A dataset, or a folder of label files.
        out: Folder of report.html, comparison.csv and cases.csv; None writes nothing.
        tolerances: Of the NSD, in mm (px in pictures).
        surfaces: Whether distances between surfaces, pieces and levels are measured.
        labels: What numbers mean in predictions that name no structures, over a dataset.json beside them.

    Example:
        >>> comparison = osteon.compare(["run", "predictions"], "spine", surfaces=False)
        >>> [entry.contestant.name for entry in comparison.entries]
        ['run', 'predictions']
    """
    from osteon.evaluating.scores import MetricOptions
    from osteon.reporting.compare import compare

    measures = MetricOptions(surfaces=surfaces, tolerances=tuple(tolerances))
    folder = None if out is None else Path(out)
    paths = [Path(path) for path in contestants]
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
        form: `stl`, `ply`, `obj`, `dicom-seg`, `rtstruct`, `seg-nrrd`, `rle-csv`, `coco`, `table`, `nnunet`,
            `decathlon`, `onnx`, `openvino`, or a plugin's.
        sources: Label files, folders of them, or datasets; one dataset for `nnunet` and `decathlon`, one model for
            `onnx` and `openvino`.
        out: Where the files go.
        overwrite: Replace files in `out` that no export has written.
        labels: Name → value, over what label files say.
        space: MeshExport: the world of the coordinates, `LPS` or `RAS`.
        fragments: MeshExport: each connected piece of a structure is a mesh of its own.
        smallest_mm3: MeshExport: connected component_boxes of less are left out.
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
