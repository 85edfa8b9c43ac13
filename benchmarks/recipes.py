"""The five jobs' recipes: from made-up files to scores with shrunken sizes, and what their published sizes would cost.

    python benchmarks/recipes.py
    python benchmarks/recipes.py --recipes hand lung --seconds 60

For each recipe: `osteon phantom`, `import`, `train --recipe` with its sizes made small (`SMALL`), `predict` and
`evaluate` of two scans held out; then `osteon plan --recipe` as it is, and its forecast. ImageNet weights are not
fetched: with small sizes the encoders start at random, and a forecast does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import yaml
from five_kinds import osteon

from osteon.phantoms.registry import KINDS

SMALL: dict[str, list[str]] = {
    "humerus": [],
    "humerus-pretrained": ["--weights", "none", "--encoder", "resnet18"],
    "limb": ["--weights", "none", "--encoder", "resnet18", "--image-size", "64", "--batch", "8"],
    "spine": [],
    "hand": ["--weights", "none", "--encoder", "efficientnet-b0", "--image-size", "128", "--batch", "4"],
    "lung": ["--image-size", "64", "--drop-slices", "0:4"],
}
COMMON = ["--set", "training.epoch_iterations=10", "--set", "training.patience_epochs=null"]


def forecast(folder: Path, recipe: str) -> dict[str, Any]:
    """What the recipe's own sizes cost, as plan.yaml says it."""
    print(osteon("plan", folder, "--recipe", recipe, "--force").strip())
    plan: dict[str, Any] = yaml.safe_load((folder / "plan.yaml").read_text())
    return plan


def run(recipe: str, options: argparse.Namespace) -> list[str]:
    """One row of the table."""
    kind = recipe.split("-")[0]
    cohort, folder = options.work / kind, options.work / f"{kind}-dataset"
    row = KINDS[kind]
    if not (folder / "dataset.yaml").is_file():
        size = ("--size", 512) if kind == "hand" else ()
        osteon("phantom", kind, cohort, "--cases", options.cases, *size)
        osteon("import", cohort / row.source, folder, *shlex.split(row.options), "--hold-out", "last:2")
    trained, predicted = options.work / f"{recipe}-run", options.work / f"{recipe}-predicted"
    small = ["--recipe", recipe, *SMALL[recipe], *COMMON]
    osteon("train", folder, trained, *small, "--budget", f"{options.seconds}s", "--fold", "none", "--restart")
    osteon("predict", trained, folder, predicted, "--overwrite")
    print(f"\n{recipe}\n{osteon('evaluate', predicted, folder)}")
    dice = json.loads((predicted / "metrics.json").read_text())["overall"]["dice"]["mean"]
    done = json.loads((trained / "model" / "validation.json").read_text())["training"]["iterations"]
    full = forecast(folder, recipe)
    size, cost = "×".join(map(str, full["patch"]["size"])), full["forecast"]
    network = full["network"]["name"] + (f", {full['network']['encoder']}" if "encoder" in full["network"] else "")
    seconds = cost.get("seconds_per_iteration")
    memory = f"{cost['training_bytes'] / 1e9:.1f} GB" if cost.get("training_bytes") else cost["why"][0]
    each = f"{seconds:.2f}" if seconds else "–"
    return [recipe, str(done), f"{dice:.3f}", network, f"{size}, batch {full['patch']['batch']}", each, memory]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=list(SMALL), default=list(SMALL))
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=120, help="of each training")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "recipes")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = [run(recipe, options) for recipe in options.recipes]
    head = ["recipe", "small: iterations", "Dice", "as published", "patch", "s/iteration", "training memory"]
    print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))


if __name__ == "__main__":
    main()
