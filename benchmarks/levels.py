"""Are vertebrae named right, in whole scans and in ones that end early? Five folds on the 24 real lumbar spines.

    python benchmarks/levels.py --budget 5min
    python benchmarks/levels.py --run .bench/levels/run --data .bench/levels/lumbar
    python benchmarks/levels.py --run RUN --data DATASET --held-out

Each scan is predicted by the fold that has not seen it: as it is, and cropped by 20, 40 and 60 mm at its upper or lower
end. A scan is named right where each vertebra of which at least 30 % of its usual volume is seen has most of its voxels
under its own name. The margin is what the prediction itself says of its names (the least confidence of a structure,
where the model gives no margin): AUROC says how well it tells scans with a wrong name from the others. How much a
fold's levels are believed is fitted on the other folds' validation scans. With `--held-out` the cases that were held
out are predicted by one run's model.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from five_kinds import osteon

from osteon.core.boxes import Box
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.predicting.model import Model, Prediction
from osteon.predicting.model_folder import load_model
from osteon.runs.level_calibration import LevelView, fit_trust

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
CROPS_MM = (0, 20, 40, 60)
VISIBLE = 0.3
"""Part of a vertebra's usual volume that must be seen for its name to count."""


def crop(volume: Volume, end: str, amount_mm: float) -> tuple[Volume, Box]:
    """A scan without so many mm at its upper or lower end, and what is left of its array."""
    geometry = volume.geometry
    axis = int(np.argmax(np.abs(geometry.affine_ras[2, :3])))
    rising = geometry.affine_ras[2, axis] > 0
    count = round(amount_mm / geometry.spacing_mm[axis])
    first, stop = [0, 0, 0], list(geometry.shape)
    if (end == "upper") == rising:
        stop[axis] -= count
    else:
        first[axis] += count
    box = Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))
    return volume.crop(box), box


def usual_volumes(dataset: Dataset) -> dict[str, float]:
    """Median mm³ of each vertebra."""
    volumes = defaultdict(list)
    for case in dataset.manifest.labelled:
        reference = dataset.load_segmentation(case)
        for structure in reference.structures:
            if count := np.count_nonzero(reference.mask(structure)):
                volumes[structure.name].append(count * float(np.prod(reference.geometry.spacing_mm)))
    return {name: float(np.median(each)) for name, each in volumes.items()}


def judge(
    prediction: Segmentation, reference: Segmentation, box: Box, usual: dict[str, float]
) -> tuple[bool, list[float]]:
    """Whether every name is right, and the Dice of each vertebra that counts."""
    right, dices = True, list[float]()
    voxel = float(np.prod(reference.geometry.spacing_mm))
    values = [structure.value for structure in reference.structures]
    for structure in reference.structures:
        here = reference.mask(structure)[box.slices]
        if not here.any() or here.sum() * voxel < VISIBLE * usual[structure.name]:
            continue
        counts = np.bincount(prediction.array[here], minlength=max(values) + 1)
        right &= int(counts.argmax()) == structure.value
        found = prediction.mask(structure)
        dices.append(float(2 * (found & here).sum() / (found.sum() + here.sum())))
    return right, dices


def margin_of(prediction: Prediction) -> float:
    """What a prediction says of its names: the higher, the surer."""
    if prediction.levels is not None:
        return prediction.levels.margin
    known = [value for value in prediction.raw.values() if value is not None]
    return min(known) if known else 0.0


def auroc(margins: list[float], right: list[bool]) -> float | None:
    """Probability that a scan with a wrong name has a lower margin than one without; None where one kind is missing."""
    good, bad = np.array(margins)[np.array(right)], np.array(margins)[~np.array(right)]
    if not len(good) or not len(bad):
        return None
    return float(((bad[:, None] < good) + 0.5 * (bad[:, None] == good)).mean())


def read_views(model: Model) -> list[LevelView]:
    """What a fold's network said of the bodies in its validation scans."""
    cases = model.validation.get("levels", {}).get("cases", {})
    return [LevelView.model_validate(view) for views in cases.values() for view in views]


def models_of_folds(run: Path) -> Iterator[tuple[Model, list[str]]]:
    """Each fold's model, how sharp its margins are as the others say, and the scans that it has not seen."""
    models = {folder: load_model(folder / "model") for folder in sorted(run.glob("fold-*"))}
    views = {folder: read_views(model) for folder, model in models.items()}
    for folder, model in models.items():
        others = [view for other, found in views.items() if other != folder for view in found]
        if model.plan.sequence is not None and (trust := fit_trust(others, model.plan.sequence)) is not None:
            model = replace(model, validation=model.validation | {"levels": trust.model_dump()})
        yield model, yaml.safe_load((folder / "splits.yaml").read_text())["validation"]


def evaluate(
    models: Iterable[tuple[Model, Sequence[str]]], dataset: Dataset
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Each scan, whole and cropped, by the model that has not seen it."""
    results, usual = defaultdict(list), usual_volumes(dataset)
    for model, case_ids in models:
        for case_id in case_ids:
            case = dataset.case(case_id)
            image, reference = dataset.load_image(case), dataset.load_segmentation(case)
            for amount in CROPS_MM:
                for end in ("upper", "lower") if amount else ("whole",):
                    part, box = crop(image, end, amount)
                    prediction = model.examine(part, name=case_id)
                    right, dices = judge(prediction.segmentation, reference, box, usual)
                    row = {"case": case_id, "right": right, "dice": float(np.mean(dices)) if dices else np.nan}
                    results[end, amount].append(row | {"margin": margin_of(prediction)})
    return results


def print_table(results: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    """The table, and the scans with wrong names."""
    print("| scan | every name right | mean Dice | AUROC of the margin | wrong |\n| --- | --- | --- | --- | --- |")
    everything: list[dict[str, Any]] = []
    cropped: list[dict[str, Any]] = []
    rows = {f"{end} end cropped by {amount} mm" if amount else "whole": r for (end, amount), r in results.items()}
    for (_, amount), found in results.items():
        everything += found
        cropped += found if amount else []
    for name, found in (rows | {"all cropped": cropped, "all": everything}).items():
        right = [row["right"] for row in found]
        figure = auroc([row["margin"] for row in found], right)
        wrong = [row["case"].removeprefix("lumbar_") for row in found if not row["right"]] if name in rows else []
        print(
            f"| {name} | {sum(right)} of {len(right)} ({100 * np.mean(right):.0f} %) | "
            f"{np.nanmean([row['dice'] for row in found]):.3f} | {'–' if figure is None else f'{figure:.3f}'} | "
            f"{', '.join(wrong)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="5min", help="of each fold")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "levels")
    parser.add_argument("--run", type=Path, help="a run of `--fold all`; without it one is trained")
    parser.add_argument("--data", type=Path, help="the dataset of that run")
    parser.add_argument("--held-out", action="store_true", help="predict the cases that were held out, by RUN/model")
    options = parser.parse_args()
    data = options.data or options.work / "lumbar"
    if not (data / "dataset.yaml").is_file():
        labels = ["--modality", "mr", "--labels", "L1=1,L2=2,L3=3,L4=4,L5=5"]
        osteon("import", SHARED / "spine-mr-lumbar" / "pairs.txt", data, *labels)
    run = options.run or options.work / "run"
    if options.run is None:
        print(osteon("train", data, run, "--fold", "all", "--budget", options.budget))
    print(f"{date.today()}, {len(os.sched_getaffinity(0))} core(s), {run}\n")
    dataset = Dataset.open(data)
    held_out = [case.id for case in dataset.manifest.labelled if case.held_out]
    models = [(load_model(run / "model"), held_out)] if options.held_out else models_of_folds(run)
    print_table(evaluate(models, dataset))


if __name__ == "__main__":
    main()
