"""`--zoom` on the hand phantom: the Dice of its smallest bones with and without enlarged crops, on unseen radiographs.

    python benchmarks/zoom.py
    python benchmarks/zoom.py --cases 6 --size 128 --image-size 64 --iterations 20

An UPerNet on a ResNet18 is trained, from a random start. Radiographs of `--size` pixels are brought to `--image-size`;
the zoom sees the named bones at twice that. Both ways take the same number of iterations with the same pixels in a
batch: with the zoom a part of the patches are crops.
"First look" is the model trained with the zoom without its closer look in predicting.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from pathlib import Path
from statistics import fmean

from five_kinds import osteon

from osteon.phantoms.registry import KINDS
from osteon.plan.schema import read_plan, write_plan


def dice_of(predicted: Path, folder: Path) -> dict[str, float]:
    """Mean Dice of each bone over the radiographs held out."""
    osteon("evaluate", predicted, folder)
    found = json.loads((predicted / "metrics.json").read_text())["structures"]
    return {name: line["dice"]["mean"] for name, line in found.items() if line["dice"]["mean"] is not None}


def train(name: str, folder: Path, seed: int, options: argparse.Namespace, *more: object) -> Path:
    """Plan and train; the run's folder."""
    settings = [f"training.epoch_iterations={max(1, options.iterations // 5)}", "training.precision=fp32"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    sizes = ("--image-size", options.image_size, "--batch", options.batch)
    network = ("--network", "upernet", "--encoder", "resnet18", "--weights", "none")
    osteon("plan", folder, "--force", "--no-cost", *network, *sizes, *chosen, *more)
    run = options.work / f"run-{name}-{seed}"
    began = time.perf_counter()
    osteon("train", folder, run, "--epochs", 5, "--fold", "none", "--seed", seed, "--restart")
    print(f"{name}, seed {seed}: trained {time.perf_counter() - began:.0f} s", flush=True)
    return run


def compare(folder: Path, seed: int, options: argparse.Namespace) -> tuple[list[str], dict[str, dict[str, float]]]:
    """The zoomed bones, and the Dice of all bones in three ways."""
    found = {}
    plain = train("plain", folder, seed, options)
    predicted = options.work / f"predicted-plain-{seed}"
    osteon("predict", plain, folder, predicted, "--overwrite")
    found["without"] = dice_of(predicted, folder)
    share = ("--set", f"zoom.share={options.share:g}")
    zoomed = train("zoom", folder, seed, options, "--zoom", f"smallest:{options.bones}", *share)
    plan = read_plan(zoomed / "model" / "plan.yaml")
    if plan.zoom is None:
        raise SystemExit("the plan has no zoom")
    for way, predict in (("first look", False), ("with", True)):
        changed = plan.model_copy(update={"zoom": plan.zoom.model_copy(update={"predict": predict})})
        write_plan(zoomed / "model" / "plan.yaml", changed)
        predicted = options.work / f"predicted-{way.replace(' ', '-')}-{seed}"
        osteon("predict", zoomed, folder, predicted, "--overwrite")
        found[way] = dice_of(predicted, folder)
    return list(plan.zoom.structures), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20, help="radiographs, those held out among them")
    parser.add_argument("--held-out", type=int, default=6)
    parser.add_argument("--size", type=int, default=384, help="pixels of a radiograph's edge")
    parser.add_argument("--image-size", type=int, default=128, help="pixels that the network sees")
    parser.add_argument("--iterations", type=int, default=500, help="of each training; a multiple of 5")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--bones", type=int, default=5, help="how many of the smallest")
    parser.add_argument("--share", type=float, default=0.25, help="part of the patches that are crops")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "zoom")
    options = parser.parse_args()
    cohort, folder = options.work / "hand", options.work / "dataset"
    osteon("phantom", "hand", cohort, "--cases", options.cases, "--size", options.size, "--overwrite")
    kind = KINDS["hand"]
    arguments = [*shlex.split(kind.options), "--hold-out", f"last:{options.held_out}", "--overwrite"]
    osteon("import", cohort / kind.source, folder, *arguments)
    compared = [compare(folder, seed, options) for seed in options.seeds]
    bones, ways = compared[0][0], ["without", "first look", "with"]

    def mean(way: str, names: list[str]) -> str:
        return f"{fmean(fmean(found[way].get(name, 0.0) for name in names) for _, found in compared):.3f}"

    everything = list(compared[0][1]["without"])
    others = [name for name in everything if name not in bones]
    rows = [[name, *(mean(way, [name]) for way in ways)] for name in bones]
    rows += [
        [f"**mean of the {what}**", *(mean(way, names) for way in ways)]
        for what, names in (("smallest", bones), ("others", others))
    ]
    print(f"\n{options.iterations} iterations of {options.batch} patches each; seeds {options.seeds}\n")
    head = ["bone", "without zoom", "with zoom, first look", "with zoom"]
    print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))


if __name__ == "__main__":
    main()
