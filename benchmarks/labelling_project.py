"""A whole labelling project without a person: how long does drawing take with a model that learns on, and without?

    python benchmarks/labelling_project.py
    python benchmarks/labelling_project.py --size 64 --iterations 150 --set patch.batch=8

12 made-up legs (`osteon phantom limb`) come without labels. Two are drawn by hand; a model learns from them. Then,
until 10 are approved, `osteon suggest` names two, their predictions are corrected and approved, and the model learns on
(`osteon train --update`, each with as many iterations as the first training). Every label goes through the same files
as a person's.

The annotator is a model, too. For each case 20 s to open and to look it through. For each slice of each structure whose
outline is not right (Dice below 0.9 there) 3 s, and 0.15 s for each voxel along the outline of what is added or taken
away, or along the whole true outline where that is shorter (a mouse that follows an outline at some seven voxels a
second; what lies within is filled for nothing). Such a slice is right afterwards; the others stay as they were found.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from five_kinds import osteon as command
from scipy import ndimage

import osteon
from osteon.core.dice import count_overlap, dice
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import LabelWork, judge_label, save_label
from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.formats import read_segmentation
from osteon.formats.labelmap import to_index_map
from osteon.plan.overlay import parse_settings
from osteon.runs.update import model_in_use
from osteon.runs.update_files import HISTORY
from osteon.runs.update_history import read_update

CASE_S, SLICE_S, OUTLINE_S = 20.0, 3.0, 0.15
RIGHT = 0.9
"""Dice of a structure in a slice that nobody mends."""
SCANS, APPROVED, BY_HAND, ROUND = 12, 10, 2, 2
Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Work:
    """What somebody did to a case: the label, the seconds, the slices (of each structure) that were changed."""

    label: Labels
    seconds: float
    slices: int


def work_on(start: Labels, truth: Labels, structures: Iterable[Structure]) -> Work:
    """Mend what is not right in `start`."""
    axis = int(np.argmin(truth.shape))  # of a series the slices, which are drawn in
    found, true, result = (np.moveaxis(labels.copy(), axis, 0) for labels in (start, truth, start))
    seconds, slices = CASE_S, 0
    for structure in structures:
        for here, there, mended in zip(
            found == structure.value, true == structure.value, range(len(true)), strict=True
        ):
            if not (here | there).any() or 2 * (here & there).sum() >= RIGHT * (here.sum() + there.sum()):
                continue
            slices += 1
            seconds += SLICE_S + OUTLINE_S * min(_outline(here ^ there), _outline(there))
            result[mended][here | there] = true[mended][here | there]
    return Work(np.moveaxis(result, 0, axis), seconds, slices)


def _outline(mask: npt.NDArray[np.bool_]) -> int:
    return int((mask & ~ndimage.binary_erosion(mask)).sum())


def mean_dice(label: Labels, truth: Labels, structures: tuple[Structure, ...]) -> float:
    """Over the structures that are there."""
    values = [dice(count) for count in count_overlap(label, truth, structures).values()]
    return fmean(value for value in values if value is not None)


class Project:
    """A dataset without labels, and the truth that the annotator sees."""

    def __init__(self, work: Path, size: int) -> None:
        self.folder = work / "data"
        if not (work / "whole/dataset.yaml").is_file():
            command("phantom", "limb", work / "phantoms", "--cases", SCANS, "--size", size)
            command("import", work / "phantoms/source", work / "whole", "--modality", "mr")
        shutil.rmtree(self.folder, ignore_errors=True)
        manifest = read_manifest(work / "whole")
        cases = []
        for case in manifest.cases:
            images = [str((work / "whole" / image).resolve()) for image in case.images]
            cases.append(case.model_copy(update={"images": images, "segmentation": None}))
        self.folder.mkdir(parents=True)
        write_manifest(self.folder, manifest.model_copy(update={"cases": cases}))
        whole = Dataset.open(work / "whole")
        self.truth = {case.id: whole.load_segmentation(case).array for case in whole.manifest.cases}
        self.structures = whole.structures
        self.scratch = {i: work_on(np.zeros_like(t), t, self.structures) for i, t in self.truth.items()}
        self.done: dict[str, Work] = {}

    def approve(self, case_id: str, start: Labels | None) -> Work:
        """Draw a case, or correct what a model has found in it, and approve that."""
        truth, dataset = self.truth[case_id], Dataset.open(self.folder)
        done = self.scratch[case_id] if start is None else work_on(start, truth, self.structures)
        label = Segmentation(done.label.astype(truth.dtype), dataset.geometry(dataset.case(case_id)), self.structures)
        save_label(dataset, case_id, label, LabelWork("simulated", seconds=done.seconds), base=0)
        judge_label(dataset, case_id, "approved")
        self.done[case_id] = done
        return done

    def prediction(self, folder: Path, case_id: str) -> Labels:
        """What a model has found in a case."""
        found = read_segmentation(next(folder.glob(f"{case_id}.nii.gz")), self.structures)
        return to_index_map(found, case_id).array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="voxels along the scans' longest axis")
    parser.add_argument("--iterations", type=int, default=300, help="of each training")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the plan")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "project")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for old in options.work.glob("run-*"):
        shutil.rmtree(old)
    project = Project(options.work, options.size)
    print("| round | scans | model's Dice on them | minutes by hand | minutes from scratch | label's Dice | update |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case_id in sorted(project.truth)[:BY_HAND]:
        project.approve(case_id, None)
    hand = sum(work.seconds for work in project.done.values()) / 60
    run = options.work / "run-0"
    settings = parse_settings([f"training.epoch_iterations={options.iterations}", *options.set])
    osteon.train(
        project.folder, run, dimensions=2, settings=settings, measure_cost=False, epochs=1, folds=2, device="cpu"
    )
    print(f"| by hand | {', '.join(project.done)} | – | {hand:.1f} | {hand:.1f} | 1.000 | – |", flush=True)
    number, newest = 0, run
    while len(project.done) < APPROVED:
        number += 1
        report = osteon.suggest(project.folder, newest, count=ROUND, device="cpu")
        row = report.suggested[: APPROVED - len(project.done)]
        starts = [project.prediction(report.out / "predictions", case_id) for case_id in row]
        found = [mean_dice(s, project.truth[i], project.structures) for s, i in zip(starts, row, strict=True)]
        works = [project.approve(case_id, start) for case_id, start in zip(row, starts, strict=True)]
        kept = fmean(mean_dice(w.label, project.truth[i], project.structures) for w, i in zip(works, row, strict=True))
        scratch = sum(project.scratch[i].seconds for i in row) / 60
        run = options.work / f"run-{number}"
        osteon.train(project.folder, run, update=newest, epochs=1, device="cpu")
        record = read_update(run)
        verdict = None if record is None else record.verdict
        words = "–" if verdict is None else f"{verdict.dice.describe()}, {'taken' if verdict.taken else 'not taken'}"
        newest = model_in_use(run).parent
        minutes = sum(work.seconds for work in works) / 60
        figures = f"{fmean(found):.3f} | {minutes:.1f} | {scratch:.1f} | {kept:.3f}"
        print(f"| {number} | {', '.join(row)} | {figures} | {words} |", flush=True)
    total = sum(work.seconds for work in project.done.values()) / 60
    scratch = sum(project.scratch[case_id].seconds for case_id in project.done) / 60
    print(
        f"\n{date.today()}, {len(os.sched_getaffinity(0))} core(s); {len(project.done)} approved: {total:.1f} minutes "
        f"of simulated drawing, {scratch:.1f} from scratch ({1 - total / scratch:.0%} less)\n"
    )
    print((run / HISTORY).read_text())


if __name__ == "__main__":
    main()
