"""Rare structures: BCE against Dice, and drawing around tumours against plain drawing, on slices of the lung phantom.

    python benchmarks/weighted_sampling.py
    python benchmarks/weighted_sampling.py --cases 6 --held-out 2 --size 48 --iterations 20 --seeds 0

Each of the four trainings (loss × `training.foreground_share`) takes the same number of iterations with the same
slices in a batch. A tumour is a connected piece of the reference; it is found where the prediction has a voxel of it.
A false find is a piece of the prediction that touches no tumour. Dice is the mean over the unseen scans. With several
seeds, counts are sums and Dice the mean over seeds.
"""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from five_kinds import osteon
from scipy import ndimage

from osteon.dataset.dataset import Dataset
from osteon.formats import read_segmentation
from osteon.phantoms.registry import KINDS

CORNERS = np.ones((3, 3, 3))


def pieces_hit(pieces_of: npt.NDArray[np.bool_], touched_by: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """How many connected pieces of one mask have a voxel of another, and how many there are."""
    pieces, count = ndimage.label(pieces_of, CORNERS)
    return len(set(pieces[touched_by].tolist()) - {0}), count


def scores(data: Dataset, predicted: Path) -> tuple[int, int, int, float]:
    """Tumours found, tumours, false finds, mean Dice over the cases held out."""
    found = tumours = false = 0
    dices = []
    for case in data.manifest.cases:
        if not case.held_out:
            continue
        reference = data.load_segmentation(case).array > 0
        prediction = read_segmentation(predicted / f"{case.id}.nii.gz").array > 0
        hit, count = pieces_hit(reference, prediction)
        right, all_of = pieces_hit(prediction, reference)
        found, tumours, false = found + hit, tumours + count, false + all_of - right
        dices.append(2 * np.count_nonzero(reference & prediction) / (reference.sum() + prediction.sum()))
    return found, tumours, false, fmean(dices)


def run(loss: str, share: float, seed: int, folder: Path, options: argparse.Namespace) -> tuple[int, int, int, float]:
    """One training, its predictions of the unseen scans, and their scores."""
    name = f"{loss}-{share:g}-{seed}"
    settings = [
        f"training.foreground_share={share:g}",
        f"training.epoch_iterations={max(1, options.iterations // 5)}",
        "training.precision=fp32",
    ]
    chosen = [word for setting in settings for word in ("--set", setting)]
    osteon("plan", folder, "--force", "--no-cost", "--dimensions", 2, "--loss", loss, "--batch", options.batch, *chosen)
    trained, predicted = options.work / f"run-{name}", options.work / f"predicted-{name}"
    began = time.perf_counter()
    osteon("train", folder, trained, "--epochs", 5, "--fold", "none", "--seed", seed, "--restart")
    seconds = time.perf_counter() - began
    osteon("predict", trained, folder, predicted, "--overwrite")
    result = scores(Dataset.open(folder), predicted)
    print(
        f"{name}: {result[0]} of {result[1]} tumours, {result[2]} false, Dice {result[3]:.3f}, trained {seconds:.0f} s"
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=16, help="scans, those held out among them")
    parser.add_argument("--held-out", type=int, default=6)
    parser.add_argument("--size", type=int, default=80, help="voxels along the longest axis")
    parser.add_argument("--iterations", type=int, default=800, help="of each training; a multiple of 5")
    parser.add_argument("--batch", type=int, default=8, help="slices")
    parser.add_argument("--losses", nargs="+", default=["bce", "dice"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.5])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "weighted")
    options = parser.parse_args()
    cohort, folder = options.work / "lung", options.work / "dataset"
    osteon("phantom", "lung", cohort, "--cases", options.cases, "--size", options.size, "--overwrite")
    kind = KINDS["lung"]
    arguments = [*shlex.split(kind.options), "--hold-out", f"last:{options.held_out}", "--overwrite"]
    osteon("import", cohort / kind.source, folder, *arguments)
    rows = []
    for loss in options.losses:
        for share in options.shares:
            results = [run(loss, share, seed, folder, options) for seed in options.seeds]
            found, tumours, false = (sum(result[n] for result in results) for n in range(3))
            dice = f"{fmean(result[3] for result in results):.3f}"
            rows.append([loss, f"{share:g}", f"{found} of {tumours}", str(false), dice])
    print(f"\n{options.iterations} iterations of {options.batch} slices each; seeds {options.seeds}\n")
    head = ["loss", "share around tumours", "tumours found", "false finds", "Dice"]
    print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))


if __name__ == "__main__":
    main()
