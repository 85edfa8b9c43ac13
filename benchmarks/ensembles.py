"""Four different models of the hand phantom, and their votes: hard at thresholds 1 to 3, and soft.

    python benchmarks/ensembles.py
    python benchmarks/ensembles.py --iterations 20 --cases 8

Four networks are trained on made-up radiographs for the same number of iterations and predict six others. Predictions
become tables of RLE (`osteon export rle-csv`); hard votes are taken over these tables, soft ones over kept
probabilities. Then all are compared (`osteon compare`).
"""

from __future__ import annotations

import argparse
import os
import shlex
from datetime import date
from pathlib import Path

from five_kinds import osteon

from osteon.phantoms.registry import KINDS

MODELS = {
    "UPerNet, ResNet18": ["--network", "upernet", "--encoder", "resnet18"],
    "SegFormer, ResNet18": ["--network", "segformer", "--encoder", "resnet18"],
    "DeepLabV3+, ResNet18": ["--network", "deeplabv3plus", "--encoder", "resnet18"],
    "UPerNet, ResNet34": ["--network", "upernet", "--encoder", "resnet34"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--held-out", type=int, default=6)
    parser.add_argument("--image-size", type=int, default=192)
    parser.add_argument("--iterations", type=int, default=150, help="of each training; a multiple of 5")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "ensembles")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    cohort, data = options.work / "hand", options.work / "dataset"
    if not (data / "dataset.yaml").is_file():
        osteon("phantom", "hand", cohort, "--cases", options.cases, "--size", 384, "--overwrite")
        flags = [*shlex.split(KINDS["hand"].options), "--hold-out", f"last:{options.held_out}", "--overwrite"]
        osteon("import", cohort / KINDS["hand"].source, data, *flags)
    tables, folders = [], []
    for name, network in MODELS.items():
        run, out = options.work / "runs" / name, options.work / "predicted" / name
        sizes = ["--image-size", options.image_size, "--batch", 4]
        often = ["--set", f"training.epoch_iterations={max(1, options.iterations // 5)}"]
        if not (run / "model" / "weights.safetensors").is_file():
            osteon("plan", data, "--force", "--no-cost", *network, "--weights", "none", *sizes, *often)
            osteon("train", data, run, "--epochs", 5, "--fold", "none")
        osteon("predict", run, data, out, "--probabilities")
        osteon("export", "rle-csv", out, options.work / "tables" / name)
        tables.append((options.work / "tables" / name / "masks.csv").rename(options.work / "tables" / f"{name}.csv"))
        folders.append(out)
        print(f"{name}: trained and predicted", flush=True)
    compared = list(tables)
    for threshold in (1, 2, 3):
        out = options.work / "tables" / f"hard vote, threshold {threshold}.csv"
        osteon("vote", *tables, out, "--threshold", threshold, "--dataset", data, "--overwrite")
        compared.append(out)
    soft = options.work / "predicted" / "soft vote"
    osteon("vote", *folders, soft, "--method", "soft", "--dataset", data, "--overwrite")
    compared.append(soft)
    print(f"{date.today()}, {len(os.sched_getaffinity(0))} core(s), {options.iterations} iterations for each model\n")
    print(osteon("compare", *compared, "--reference", data, "--to", options.work / "comparison"))
    lines = (options.work / "comparison" / "comparison.csv").read_text().splitlines()
    print("\n".join(",".join(line.split(",")[:9]) for line in lines))


if __name__ == "__main__":
    main()
