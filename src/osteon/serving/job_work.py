"""The work on a job, in the predicting process: its scan segmented, or points in it answered."""

from __future__ import annotations

import math
import shutil
import time
import traceback
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.core.errors import CaseError, OsteonError, is_out_of_memory
from osteon.core.files import atomic_write, read_json, write_json, write_text
from osteon.core.pieces import split_pieces
from osteon.serving.click_tasks import ClickTask, read_click_task
from osteon.serving.jobs import CASE_JSON, RESULT, RESULT_JSON, SCAN

if TYPE_CHECKING:
    from osteon.core.geometry import Geometry
    from osteon.core.labels import Segmentation
    from osteon.predicting.model import Model
    from osteon.predicting.scans import Scan
    from osteon.predicting.stages import PredictOptions
    from osteon.serving.click_worker import ClickTools

MASK = "mask"
MOST_VOXELS = 10**9
"""Of a scan, unless the server says otherwise: a CT of the whole body has 0.7 of them."""
_DIGITS = 4


@dataclass(frozen=True)
class Worker:
    """What the predicting process works with.

    Attributes:
        model: The one that is served.
        how: How it predicts.
        clicks: Answers points.
        most_voxels: That a scan may have, on its own grid or the model's.
    """

    model: Model
    how: PredictOptions
    clicks: ClickTools
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


def run_task(task: PredictionTask, worker: Worker) -> TaskResult:
    """Segment a job's scan, or answer points in it. Whatever goes wrong is the result: the next is not to suffer."""
    try:
        scan, clicks = _find_scan(task.folder / SCAN), read_click_task(task.folder)
        (task.folder / RESULT).mkdir(exist_ok=True)
        if clicks is None:
            _segment(task, scan, worker)
        else:
            _answer_clicks(task, scan, clicks, worker)
    except OsteonError as error:
        return TaskResult(*(_hide_paths(text, task.folder) for text in (error.message, error.hint)))
    except Exception as error:  # noqa: BLE001 (a scan that nobody has thought of must not stop the others)
        if is_out_of_memory(error):
            return TaskResult("not enough memory", "crop the scan, or ask who runs the server")
        write_text(task.folder / "trouble.txt", traceback.format_exc())  # for whoever runs the server alone
        return TaskResult("an unexpected error", "the server's administrator finds it in the job's trouble.txt")
    return TaskResult()


def _segment(task: PredictionTask, scan: Scan, worker: Worker) -> None:
    from osteon.formats.io import read_segmentation

    mask, record = _predict(task, scan, worker)
    if scan.case is not None:  # of uploads nothing is kept
        worker.clicks.keep_found(scan, mask)
    keys = ("confidence", "calibrated", "review", "seen", "shape", "spacing_mm", "seconds", "model", "osteon")
    facts = {key: record[key] for key in keys if key in record}
    _write_result(task, mask, facts | {"volumes": _measure(split_pieces(read_segmentation(mask, pieces=True))[0])})


def _predict(task: PredictionTask, scan: Scan, worker: Worker) -> tuple[Path, dict[str, Any]]:
    """The mask's file in the job's folder, and what is recorded of it."""
    from osteon.predicting.predictor import output_path, predict
    from osteon.predicting.records import read_predictions

    result = task.folder / RESULT
    _check_size(task, scan, worker)
    report = predict(worker.model, [scan], result, worker.how)
    if report.failed:
        raise report.failed[MASK]
    return output_path(result, MASK, worker.model.plan), read_predictions(result)[MASK]


def _answer_clicks(task: PredictionTask, scan: Scan, clicks: ClickTask, worker: Worker) -> None:
    from osteon.formats.io import read_segmentation, write_segmentation

    _check_size(task, scan, worker)

    def find() -> Segmentation:
        kept = worker.clicks.found(scan)
        if kept is None:
            found, _ = _predict(task, scan, worker)
            worker.clicks.keep_found(scan, found)
        else:
            found = task.folder / RESULT / f"found{'.seg.nrrd' if worker.model.plan.overlapping else '.nii.gz'}"
            found.write_bytes(kept)
        return read_segmentation(found)

    began = time.perf_counter()
    answer = worker.clicks.answer(scan, clicks, find)
    mask = task.folder / RESULT / f"{MASK}.nii.gz"
    write_segmentation(mask, answer)
    counts = {s.name: {"voxels": count} for s in answer.structures if (count := int(answer.mask(s).sum()))}
    _write_result(task, mask, {"volumes": counts, "seconds": round(time.perf_counter() - began, _DIGITS)})


def _write_result(task: PredictionTask, mask: Path, facts: dict[str, Any]) -> None:
    """The forms that were asked for, beside a mask, and what is known of it."""
    from osteon.exporting.run import export

    result = task.folder / RESULT
    files, failed_forms = [mask.name], {}
    for form in task.forms:  # one that cannot be had (DICOM SEG of a scan that is no DICOM) costs nothing but itself
        exported = export(form, [mask], result / "made", overwrite=True)
        if exported.failed:
            failed_forms[form] = _hide_paths(exported.failed[MASK].message, task.folder)
        else:
            _write_zip(result / f"{form}.zip", result / "made", exported.files)
            files.append(f"{form}.zip")
        shutil.rmtree(result / "made", ignore_errors=True)
    write_json(result / RESULT_JSON, {**facts, "files": files, "not_made": failed_forms})


def _check_size(task: PredictionTask, scan: Scan, worker: Worker) -> None:
    """Refuse a scan that is too large, or for which there is no room, by its header, before its voxels are read."""
    from osteon.predicting.memory import plan_memory

    grid = scan.geometry()
    if (count := _count_voxels(scan, grid, worker.model)) > worker.most_voxels:
        raise CaseError(
            f"the scan has {count:,} voxels, on its own grid or the model's; {worker.most_voxels:,} are taken",
            hint="crop it, or check its spacing; or ask the server's administrator to raise --max-voxels",
        )
    if grid is not None:
        plan_memory(worker.model.plan, grid, worker.how.memory, task.folder / RESULT, "the scan")


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
