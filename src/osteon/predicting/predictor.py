"""Many scans in, one file for each out; what is done stays done, and a failed scan never stops the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from osteon.core.errors import CaseError, OsteonError, UsageError, missing_file, out_of_memory
from osteon.core.files import read_json, write_error, write_json
from osteon.core.labels import Segmentation
from osteon.core.progress import console, track
from osteon.core.version import __version__
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import Case
from osteon.formats.dicom import SUFFIXES as DICOM_SUFFIXES
from osteon.formats.dicom import read_dicom_files
from osteon.formats.dicom_series import find_series
from osteon.formats.registry import known_suffixes, read_volume, stem_of, suffix_of, write_segmentation
from osteon.planning.plan import Plan
from osteon.predicting.keeping import Keeper, kept, probabilities_path
from osteon.predicting.model import Model

RECORD = "predictions.json"


@dataclass(frozen=True)
class Scan:
    """A scan to be segmented: its id, its file or files, and the dataset that lists them where there is one."""

    id: str
    files: tuple[Path, ...]
    dataset: Dataset | None = None
    case: Case | None = None

    def load(self) -> Volume:
        """The image with all channels. Raises as the readers do."""
        if self.dataset is not None and self.case is not None:
            return self.dataset.load_image(self.case)
        if len(self.files) > 1:
            return read_dicom_files(self.files)
        return read_volume(self.files[0])

    def fingerprint(self) -> list[list[Any]]:
        """What tells whether the files are still the same: path, size, time of change."""
        found = []
        for file in self.files:
            if not file.is_file():
                raise missing_file(file, "the scan")
            facts = file.stat()
            found.append([str(file.resolve()), facts.st_size, facts.st_mtime_ns])
        return found


@dataclass(frozen=True)
class PredictReport:
    """What came of it: ids by what happened to them; the files lie in `out`."""

    out: Path
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)


def output_path(out: Path, case_id: str, plan: Plan) -> Path:
    """Where a case's segmentation is written: .nii.gz, or .seg.nrrd where structures overlap."""
    return out / f"{case_id}{'.seg.nrrd' if plan.overlapping else '.nii.gz'}"


def find_scans(sources: Sequence[Path]) -> list[Scan]:
    """The scans that paths stand for.

    A file is a scan. A folder with dataset.yaml stands for its held-out and unlabelled cases (for all of them where
    there are none of these), any other folder for the images that lie in it, or for the DICOM series below it.

    Raises:
        FileError: A path does not exist.
        UsageError: A folder holds no image, or two scans have the same name.
    """
    scans: list[Scan] = []
    for source in map(Path, sources):
        if source.is_file():
            scans.append(Scan(stem_of(source), (source,)))
        elif (source / MANIFEST).is_file():
            dataset = Dataset.open(source)
            cases = [c for c in dataset.manifest.cases if c.held_out or c.segmentation is None]
            if not cases:
                console.print(f"[yellow]{escape(str(source))}: holds no case out; a training may have seen these[/]")
            for case in cases or dataset.manifest.cases:
                scans.append(Scan(case.id, tuple(dataset.resolve(image) for image in case.images), dataset, case))
        elif source.is_dir():
            images = [p for p in sorted(source.iterdir()) if p.is_file() and _is_image(p)]
            found = [Scan(stem_of(image), (image,)) for image in images] or _series(source)
            if not found:
                raise UsageError(
                    f"{source}: no image lies in this folder",
                    hint=f"give a folder with a DICOM series, or with files that end in {', '.join(known_suffixes())}",
                )
            scans += found
        else:
            raise missing_file(source, "the scan")
    _refuse_twins(scans)
    return scans


def _is_image(path: Path) -> bool:
    return suffix_of(path) not in (None, ".seg.nrrd", *DICOM_SUFFIXES) and not path.name.startswith(".")


def _series(folder: Path) -> list[Scan]:
    """The DICOM series below a folder: called by their folders, or by their files where they are pictures."""
    scans: list[Scan] = []
    for series in find_series(folder).series:
        single = len(series.files) == 1
        name = stem_of(series.files[0]) if single else series.folder.resolve().name
        taken = [scan.id for scan in scans]
        others = (f"{name}-{n}" for n in range(2, len(taken) + 3))
        scans.append(Scan(name if name not in taken else next(o for o in others if o not in taken), series.files))
    return scans


def _refuse_twins(scans: list[Scan]) -> None:
    seen: dict[str, Scan] = {}
    for scan in scans:
        if scan.id in seen:
            raise UsageError(
                f"two scans are called {scan.id}: {seen[scan.id].files[0]} and {scan.files[0]}",
                hint="predict them into different folders, or rename one",
            )
        seen[scan.id] = scan


def predict(
    model: Model,
    scans: Sequence[Scan],
    out: Path,
    *,
    mirror: bool = False,
    probabilities: bool = False,
    overwrite: bool = False,
) -> PredictReport:
    """Segment scans into `out`, and keep a record of each in predictions.json.

    A scan whose output was made from the same file by the same model is skipped.

    Args:
        model: A loaded model.
        scans: From `find_scans`.
        out: The folder; made if it does not exist.
        mirror: Average over mirror images.
        probabilities: Keep them too, in `<case>.probabilities.npz`.
        overwrite: Do everything again.

    Raises:
        FileError: `out` cannot be written (a full disk stops the batch; what is done is kept).
        UsageError: A file in `out` that `predict` did not write would be replaced.
    """
    report = PredictReport(out)
    path = out / RECORD
    records: dict[str, Any] = {} if not path.is_file() else read_json(path, "the record of predictions")
    targets = {scan.id: output_path(out, scan.id, model.plan) for scan in scans}
    _refuse_to_replace(scans, targets, records, overwrite=overwrite)
    for scan in track(scans, "predicting"):
        target, shares = targets[scan.id], probabilities_path(out, scan.id)
        try:
            made_from = {"input": scan.fingerprint(), "model": model.sha256, "mirror": mirror}
        except CaseError as error:
            report.failed[scan.id] = error
            continue
        before = records.get(scan.id, {})
        there = target.is_file() and (not probabilities or (bool(before.get("probabilities")) and shares.is_file()))
        if not overwrite and there and {k: before.get(k) for k in made_from} == made_from:
            report.skipped.append(scan.id)
            continue
        began = time.monotonic()
        with kept(shares, model, wanted=probabilities) as keeper:
            segmentation = _attempt(model, scan, report, keeper, mirror=mirror)
        if segmentation is None:
            continue
        records[scan.id] = {
            **made_from,
            "output": target.name,
            **({"probabilities": shares.name} if probabilities else {}),
            "shape": list(segmentation.geometry.shape),
            "spacing_mm": [round(s, 6) for s in segmentation.geometry.spacing_mm],
            "seconds": round(time.monotonic() - began, 3),
            "osteon": __version__,
        }
        _remove(target)  # the record is written first, and must not pass an older result off as this one
        if not probabilities:
            _remove(shares)
        write_json(path, records)
        write_segmentation(target, segmentation)
        report.done.append(scan.id)
    return report


def _attempt(model: Model, scan: Scan, report: PredictReport, keeper: Keeper, *, mirror: bool) -> Segmentation | None:
    """The scan's segmentation; None where it fails, which the report then says."""
    try:
        volume = scan.load()
        keep = keeper(volume.geometry)
        more = {} if keep is None else {"keep": keep}
        return model.predict(volume, name=scan.id, mirror=mirror, **more)
    except CaseError as error:
        report.failed[scan.id] = error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        hint = "close other programs, or use a machine with more memory"
        report.failed[scan.id] = CaseError(f"{scan.id}: not enough memory", hint=hint)
    return None


def _refuse_to_replace(
    scans: Sequence[Scan], targets: Mapping[str, Path], records: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Raise UsageError where a result would take the place of a scan, or of a file that is no earlier result."""
    inputs = {file.resolve() for scan in scans for file in scan.files}
    for case_id, target in targets.items():
        if target.resolve() in inputs:
            raise UsageError(f"{target}: is a scan itself", hint="choose another output folder")
        if target.exists() and case_id not in records and not overwrite:
            raise UsageError(
                f"{target}: is there already, and {RECORD} beside it does not say that it was predicted",
                hint="choose another output folder, or --overwrite to replace the file",
            )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
