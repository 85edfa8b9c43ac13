"""Pieces whose numbers mean nothing: as instances, and (the way that does not work) as a class for each number.

    python benchmarks/fragments.py --cases 24 --test 12 --epochs 15
    python benchmarks/fragments.py --pelvis --epochs 10

Phantom humeri in 2 to 6 pieces with shuffled numbers: both are trained on the same cases for the same number of epochs,
and scored on others. With `--pelvis`: real pelves with fractures, three patients of three bones each, every patient
predicted by a training on the other two; that is a sanity check, not a measurement.

A piece matches where its IoU is above one half. Merges and splits are those of a case; Dice and HD95 those of pieces
that match; the bone's Dice is that of all pieces together.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from five_kinds import osteon

from osteon.core.dice import OverlapCounts, dice
from osteon.dataset.dataset import Dataset
from osteon.evaluating.instance_summary import summarise_instances
from osteon.evaluating.instances import score_instances
from osteon.formats import read_segmentation

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
NUMBERS = 6
"""Pieces of a phantom at most."""


def score(name: str, predictions: Path, dataset: Dataset, cases: Sequence[str]) -> str:
    """One row of the table."""
    scores, bones = [], []
    for case_id in cases:
        reference = dataset.load_segmentation(dataset.case(case_id), pieces=True)
        found = read_segmentation(predictions / f"{case_id}.nii.gz", pieces=True).array  # a class is a piece, too
        scores.append(score_instances(case_id, "piece", found, reference.array.astype(np.int64), reference.geometry))
        masks = found > 0, reference.array > 0
        counts = OverlapCounts(int(masks[0].sum()), int(masks[1].sum()), int((masks[0] & masks[1]).sum()))
        bones.append(dice(counts) or 0.0)
    (summary,) = summarise_instances(scores)
    pooled, each, pairs = summary.pooled, summary.metrics, summary.pair_metrics
    return (
        f"| {name} | {len(cases)} | {pooled.f1 or 0:.3f} | {pooled.panoptic_quality or 0:.3f} | "
        f"{each['merges'].mean or 0:.2f} | {each['splits'].mean or 0:.2f} | "
        + (f"{pairs['dice'].mean:.3f} | {pairs['hd95_mm'].mean:.1f}" if pooled.pairs else "– | –")
        + f" | {np.mean(bones):.3f} |"
    )


def phantoms(options: argparse.Namespace) -> list[str]:
    """Rows of both ways on phantom humeri."""
    folder, total = options.work / "humeri", options.cases + options.test
    if not folder.exists():
        osteon("phantom", "humerus", folder, "--cases", total, "--seed", options.seed, "--variants", "pieces")
    classes = ",".join(f"fragment_{n}={n}" for n in range(1, NUMBERS + 1))
    rows = []
    for name, labels in (("instances", "humerus=1-99"), ("a class for each number", classes)):
        data, run, out = (options.work / f"{part}-{name.split()[0]}" for part in ("data", "run", "out"))
        shared = ("--modality", "ct", "--labels", labels, "--hold-out", f"last:{options.test}", "--overwrite")
        osteon("import", folder / "source", data, *shared)
        osteon("train", data, run, "--fold", "none", "--epochs", options.epochs, "--dimensions", 3)
        dataset = Dataset.open(data)
        cases = [case.id for case in dataset.manifest.labelled if case.held_out]
        images = [dataset.resolve(dataset.case(case).images[0]) for case in cases]
        osteon("predict", run, *images, out)
        for case, image in zip(cases, images, strict=True):
            (out / f"{image.name.removesuffix('.nii.gz')}.nii.gz").rename(out / f"{case}.nii.gz")
        rows.append(score(name, out, dataset, cases))
    return rows


def pelves(options: argparse.Namespace) -> list[str]:
    """The row of three patients, each by a training on the other two."""
    data, run = options.work / "data-pelves", options.work / "run-pelves"
    shared = ("--modality", "ct", "--fragments", "instances", "--overwrite", "--subject", r"^(\d+)")
    osteon("import", SHARED / "pelvis-fracture-ct", data, *shared)
    osteon("train", data, run, "--fold", "all", "--folds", 3, "--epochs", options.epochs, "--dimensions", 3)
    dataset = Dataset.open(data)
    return [
        score("pelves, a patient left out", run / "predictions", dataset, [c.id for c in dataset.manifest.labelled])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--test", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=15, help="of 100 iterations")
    parser.add_argument("--pelvis", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "fragments")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = pelves(options) if options.pelvis else phantoms(options)
    print(f"{date.today()}, {len(os.sched_getaffinity(0))} core(s), {options.epochs} epochs\n")
    print("| way | cases | F1 | PQ | merges | splits | Dice of pieces | HD95, mm | Dice of the bone |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
