"""The predicting process: it loads the model once, and segments one scan after the other."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import traceback
import zipfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.core.errors import CaseError, OsteonError, is_out_of_memory
from osteon.core.files import atomic_write, read_json, write_json, write_text
from osteon.core.parallel import exit_with_parent
from osteon.core.pieces import split_pieces
from osteon.serving.jobs import CASE_JSON, RESULT, RESULT_JSON, SCAN

if TYPE_CHECKING:
    from osteon.core.geometry import Geometry
    from osteon.predicting.model import Model
    from osteon.predicting.scans import Scan
    from osteon.predicting.stages import PredictOptions

MASK = "mask"
MOST_VOXELS = 10**9
"""Of a scan, unless the server says otherwise: a CT of the whole body has 0.7 of them."""
_DIGITS = 4


@dataclass(frozen=True)
class ServedModel:
    """The model that is served, and how it predicts.

    Attributes:
        folder: A model's, or the run that made it.
        speed: A name of `predicting.speed`.
        engine: A name of `predicting.engines`, or auto.
        postprocess: auto, none, or a file.
        device: One of `core.devices.DEVICE_CHOICES`.
        memory: Bytes that a scan may take; None: most of what is free.
        most_voxels: That a scan may have, on its own grid or the model's.
    """

    folder: Path
    speed: str = "balanced"
    engine: str = "torch"
    postprocess: str = "auto"
    device: str = "auto"
    memory: int | None = None
    most_voxels: int = MOST_VOXELS


@dataclass(frozen=True)
class PredictionTask:
    """A job's folder, and the forms of export that were asked for."""

    folder: Path
    forms: tuple[str, ...]


@dataclass(frozen=True)
class TaskResult:
    """The outcome of a task; an empty error: all went well."""

    error: str = ""
    hint: str = ""


def run_worker(connection: Connection, served: ServedModel) -> None:
    """Load the model, send a description of it, then work on tasks until the server ends."""
    threading.Thread(target=exit_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    try:
        model, how = _load_model(served)
    except OsteonError as error:
        connection.send(error)
        return
    connection.send(describe_model(model, served))
    while True:
        try:
            task: PredictionTask = connection.recv()
        except EOFError:
            return
        connection.send(run_task(task, model, how, served.most_voxels))


def _load_model(served: ServedModel) -> tuple[Model, PredictOptions]:
    from osteon.core.devices import resolve_device
    from osteon.machine.engine_timing import choose_engine
    from osteon.predicting.model_folder import load_model
    from osteon.predicting.records import find_model_folder
    from osteon.predicting.speed import find_speed
    from osteon.predicting.stages import PredictOptions

    how = PredictOptions(find_speed(served.speed), memory=served.memory)
    folder = find_model_folder(served.folder)
    model = load_model(folder, device=resolve_device(served.device))
    model = model.with_postprocessing(served.postprocess)
    return choose_engine(model, folder, served.engine, MANY_PATCHES), how


MANY_PATCHES = 1_000_000
"""That a server predicts: how long an engine takes to get ready counts little."""


def describe_model(model: Model, served: ServedModel) -> dict[str, Any]:
    """What clients may know of the model."""
    plan = model.plan
    return {
        "sha256": model.sha256,
        "structures": [s.model_dump(exclude_none=True) for s in plan.structures],
        "channels": [c.model_dump() for c in plan.channels],
        "overlapping": plan.overlapping,
        "unit": plan.unit,
        "dimensions": plan.grid.dimensions,
        "validation_dice": model.validation.get("dice"),
        "speed": served.speed,
        "engine": model.engine,
    }


def run_task(task: PredictionTask, model: Model, how: PredictOptions, most_voxels: int = MOST_VOXELS) -> TaskResult:
    """Segment a job's scan. Whatever goes wrong is the result: the next scan is not to suffer from it."""
    try:
        _segment(task, model, how, most_voxels)
    except OsteonError as error:
        return TaskResult(*(_hide_paths(text, task.folder) for text in (error.message, error.hint)))
    except Exception as error:  # noqa: BLE001 (a scan that nobody has thought of must not stop the others)
        if is_out_of_memory(error):
            return TaskResult("not enough memory", "crop the scan, or ask who runs the server")
        write_text(task.folder / "trouble.txt", traceback.format_exc())  # for whoever runs the server alone
        return TaskResult("an unexpected error", "the server's administrator finds it in the job's trouble.txt")
    return TaskResult()


def _segment(task: PredictionTask, model: Model, how: PredictOptions, most_voxels: int) -> None:
    from osteon.exporting.run import export
    from osteon.formats.io import read_segmentation
    from osteon.predicting.memory import plan_memory
    from osteon.predicting.predictor import output_path, predict
    from osteon.predicting.records import read_predictions

    scan = _find_scan(task.folder / SCAN)
    result = task.folder / RESULT
    result.mkdir(exist_ok=True)
    grid = scan.geometry()
    if (count := _count_voxels(scan, grid, model)) > most_voxels:
        raise CaseError(
            f"the scan has {count:,} voxels, on its own grid or the model's; {most_voxels:,} are taken",
            hint="crop it, or check its spacing; or ask the server's administrator to raise --max-voxels",
        )
    if grid is not None:  # the header alone says whether there is room: asked before the voxels are read
        plan_memory(model.plan, grid, how.memory, result, "the scan")
    report = predict(model, [scan], result, how)
    if report.failed:
        raise report.failed[MASK]
    mask = output_path(result, MASK, model.plan)
    record = read_predictions(result)[MASK]
    files, failed_forms = [mask.name], {}
    for form in task.forms:  # one that cannot be had (DICOM SEG of a scan that is no DICOM) costs nothing but itself
        exported = export(form, [mask], result / "made", overwrite=True)
        if exported.failed:
            failed_forms[form] = _hide_paths(exported.failed[MASK].message, task.folder)
        else:
            _write_zip(result / f"{form}.zip", result / "made", exported.files)
            files.append(f"{form}.zip")
        shutil.rmtree(result / "made", ignore_errors=True)
    keys = ("confidence", "calibrated", "review", "seen", "shape", "spacing_mm", "seconds", "model", "osteon")
    facts = {key: record[key] for key in keys if key in record}
    volumes = _measure(split_pieces(read_segmentation(mask, pieces=True))[0])
    write_json(result / RESULT_JSON, {**facts, "volumes": volumes, "files": files, "not_made": failed_forms})


def _find_scan(folder: Path) -> Scan:
    """The one scan of an upload, or a dataset's case, under a name that says nothing."""
    from osteon.core.errors import UsageError
    from osteon.dataset.dataset import Dataset
    from osteon.predicting.scans import Scan, find_scans

    if (folder / CASE_JSON).is_file():  # no upload is called so
        named = read_json(folder / CASE_JSON, "the case")
        dataset = Dataset.open(Path(named["dataset"]))
        case = dataset.case(named["case"])
        channels = tuple((dataset.resolve(image),) for image in case.images)
        return Scan(MASK, channels, dataset.restrict_to(case), case)
    files = list(folder.iterdir())
    if len(files) == 1 and files[0].is_file():
        return Scan(MASK, ((files[0],),))
    try:
        scans = find_scans([folder / SCAN])
    except UsageError as error:
        raise CaseError(
            "the archive holds no scan that osteon reads", hint="zip the files of one DICOM series"
        ) from error
    if len(scans) > 1:
        raise CaseError(f"the archive holds {len(scans)} scans", hint="send each by itself, in a zip of its own")
    return Scan(MASK, scans[0].channels, problem=scans[0].problem)


def _count_voxels(scan: Scan, grid: Geometry | None, model: Model) -> int:
    """Voxels by the headers alone, on the scan's grid or the model's, where there are more."""
    from osteon.formats.dicom_files import element_number, read_dataset
    from osteon.preparing.strategies import grid_strategy

    if grid is not None:
        return max(math.prod(grid.shape), math.prod(grid_strategy(model.plan).transform(grid).shape))
    files = scan.channels[0]
    first = read_dataset(files[0], pixels=False)
    sizes = (element_number(first, word) or 1 for word in ("Rows", "Columns", "NumberOfFrames"))
    return len(files) * round(math.prod(sizes))


def _measure(segmentation: Any) -> dict[str, dict[str, float | int]]:
    """The measures of each structure, and numbered piece, that is there: columns as in `osteon export table`."""
    from osteon.exporting.masks import crop_masks
    from osteon.exporting.table import measure_mask

    return {
        cut.structure.name: {k: round(v, _DIGITS) if isinstance(v, float) else v for k, v in measure_mask(cut).items()}
        for cut in crop_masks(segmentation)
    }


def _write_zip(path: Path, folder: Path, files: list[Path]) -> None:
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(folder))


def _hide_paths(text: str, folder: Path) -> str:
    """A message without where on the server the scan lies."""
    if (case := folder / SCAN / CASE_JSON).is_file():
        text = text.replace(read_json(case, "the case")["dataset"], "the dataset")
    for path in sorted((folder / SCAN).rglob("*"), key=lambda p: -len(str(p))):
        if str(path) in text:
            text = text.replace(str(path), "the scan" if path.is_file() else "the archive")
    return text.replace(str(folder), "the job").replace(f"{MASK}: ", "the scan: ")
