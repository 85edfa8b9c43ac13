"""Does low confidence mean low Dice, and are bad scans flagged? On real lumbar spines that no network has seen.

    python benchmarks/confidence.py
    python benchmarks/confidence.py --budget 2min

A model of five folds is trained on the first 18 cases (`osteon train --fold all`), which also calibrates its
confidence. The last six are predicted as they are; then each once more with a fault: noise in place of the image,
strong noise over it, the image upside down, the upper half cut away, a knee MR in its place. Printed: Spearman's rank
correlation between the expected and the true Dice of each structure, and how many scans of each kind are flagged. True
Dice is given where the reference still holds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
from five_kinds import osteon
from scipy import stats

from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.formats import write_volume
from osteon.formats.dicom import read_dicom

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def noise_alone(volume: Volume) -> Volume:
    """White noise on the same grid."""
    values = np.random.default_rng(0).normal(100, 50, volume.array.shape).astype(np.float32)
    return Volume(values, volume.geometry)


def noisy(volume: Volume) -> Volume:
    """Noise of three times the image's own standard deviation on top."""
    values = np.random.default_rng(0).normal(0, 3 * volume.array.std(), volume.array.shape)
    return Volume((volume.array + values).astype(np.float32), volume.geometry)


def upside_down(volume: Volume) -> Volume:
    """Head and feet exchanged, the header left."""
    axis = int(np.argmax(np.abs(volume.geometry.affine_ras[2, :3])))
    return Volume(np.ascontiguousarray(np.flip(volume.array, 1 + axis)), volume.geometry)


def cut(volume: Volume) -> Volume:
    """The upper half of the field of view is missing."""
    axis = int(np.argmax(np.abs(volume.geometry.affine_ras[2, :3])))
    rising = volume.geometry.affine_ras[2, axis] > 0
    count = volume.array.shape[1 + axis] // 2
    kept = [slice(None)] * 4
    kept[1 + axis] = slice(0, count) if rising else slice(volume.array.shape[1 + axis] - count, None)
    affine = volume.geometry.affine_ras.copy()
    affine[:3, 3] += affine[:3, axis] * (0 if rising else volume.array.shape[1 + axis] - count)
    array = np.ascontiguousarray(volume.array[tuple(kept)])
    return Volume(array, Geometry(array.shape[1:], affine, volume.geometry.unit))  # type: ignore[arg-type]


def knee(_: Volume) -> Volume:
    """Another part of the body."""
    return read_dicom(next(p for p in sorted((SHARED / "knee-mr").rglob("*")) if p.is_dir() and any(p.glob("*.dcm"))))


FAULTS: dict[str, Callable[[Volume], Volume]] = {
    "as it is": lambda volume: volume,
    "noise alone": noise_alone,
    "strong noise": noisy,
    "upside down": upside_down,
    "upper half cut away": cut,
    "a knee": knee,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="4min", help="of each fold")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "confidence")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    data, run = options.work / "lumbar", options.work / "run"
    if not (data / "dataset.yaml").is_file():
        labels = ["--modality", "mr", "--labels", "L1=1,L2=2,L3=3,L4=4,L5=5", "--hold-out", "last:6"]
        osteon("import", SHARED / "spine-mr-lumbar" / "pairs.txt", data, *labels)
    print(osteon("train", data, run, "--fold", "all", "--dimensions", 3, "--budget", options.budget))
    dataset = Dataset.open(data)
    unseen = [case for case in dataset.manifest.cases if case.held_out]
    rows = []
    for name, change in FAULTS.items():
        scans, out = options.work / "scans" / name.replace(" ", "-"), options.work / "out" / name.replace(" ", "-")
        for case in unseen:
            write_volume(scans / f"{case.id}.nii.gz", change(dataset.load_image(case)))
        osteon("predict", run, scans, out, "--overwrite")
        records = json.loads((out / "predictions.json").read_text())
        flagged = {case: facts["review"] for case, facts in records.items() if facts["review"]}
        expected = [v for facts in records.values() for v in facts["confidence"].values() if v is not None]
        mean = f"{np.mean(expected):.2f}" if expected else "–"
        true = "–"
        if name in ("as it is", "noise alone", "strong noise"):
            osteon("evaluate", out, data)
            metrics = json.loads((out / "metrics.json").read_text())
            true = f"{metrics['overall']['dice']['mean']:.2f}"
        if name == "as it is":
            dice = metrics["cases"]
            pairs = [
                (facts["confidence"][s], figures["dice"])
                for case, facts in records.items()
                for s, figures in dice[case].items()
                if facts["confidence"].get(s) is not None and figures["dice"] is not None
            ]
        rows.append([name, f"{len(flagged)} of {len(records)}", mean, true, next(iter(flagged.values()), ["–"])[0]])
    confidence = json.loads((run / "model" / "validation.json").read_text())["confidence"]
    rank = stats.spearmanr(*zip(*pairs, strict=True)).statistic
    error = np.mean([abs(a - b) for a, b in pairs])
    print(f"{date.today()}, {len(os.sched_getaffinity(0))} core(s), {options.budget} for each of five folds\n")
    known = f"{confidence['pairs']} structures out of fold (rank correlation {confidence['rank_correlation']})"
    print(f"calibrated on {known}")
    print(f"unseen: {len(pairs)} structures, rank correlation {rank:.2f}, mean |expected − true| {error:.3f}\n")
    head = ["scan", "flagged", "mean expected Dice", "mean true Dice", "first reason of the first"]
    print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))


if __name__ == "__main__":
    main()
