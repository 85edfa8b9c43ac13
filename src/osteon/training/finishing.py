"""The end of a run: the model predicts the validation cases as it would any scan, and is written with the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.markup import escape

from osteon.core.errors import OsteonError
from osteon.core.labels import Segmentation, Structure
from osteon.core.progress import console, track
from osteon.core.version import __version__
from osteon.dataset.dataset import Dataset
from osteon.formats.registry import write_segmentation
from osteon.planning.plan import Plan
from osteon.predicting.model import WEIGHTS, Model, load_model, save_model
from osteon.predicting.predictor import output_path
from osteon.training.checkpoint import State
from osteon.training.options import TrainOptions
from osteon.training.validating import Scores, case_dice, mean_scores, overall


def finish(
    dataset: Dataset,
    plan: Plan,
    run: Path,
    network: torch.nn.Module,
    device: str,
    validation_ids: list[str],
    training_cases: int,
    state: State,
    options: TrainOptions,
    failed: dict[str, OsteonError],
) -> dict[str, Any]:
    """Validate on the scans' own grids, write predictions/ and model/; nothing where that is done already.

    A case that cannot be validated is added to `failed`, and the others go on.

    Returns:
        validation.json's content: Dice of each case and structure, the means, how the model was trained.
    """
    folder = run / "model"
    if (folder / WEIGHTS).is_file():
        return load_model(folder).validation
    network.to(device)
    model = Model(network, plan, {}, "")
    cases: dict[str, Scores] = {}
    for case_id in track(validation_ids, "validating"):
        try:
            cases[case_id] = _validate_case(dataset, model, case_id, run)
        except OsteonError as error:
            failed[case_id] = error
            console.print(f"[yellow]not validated: {escape(f'{case_id}: {error}')}[/]", soft_wrap=True)
    means = mean_scores(list(cases.values()), plan.structures)
    result: dict[str, Any] = {
        "dice": _rounded(overall(means)),
        "structures": {name: _rounded(value) for name, value in means.items()},
        "cases": {case_id: {k: _rounded(v) for k, v in scores.items()} for case_id, scores in cases.items()},
        "training": {
            "cases": training_cases,
            "iterations": state.iteration,
            "seconds": round(state.elapsed_s, 1),
            "ended": state.finished,
            **{key: value for key, value in asdict(options).items() if key != "workers"},
        },
        "versions": {"osteon": __version__, "torch": str(torch.__version__)},
    }
    save_model(folder, network, plan, result, _card(dataset, plan, result))
    return result


def _validate_case(dataset: Dataset, model: Model, case_id: str, run: Path) -> Scores:
    case = dataset.case(case_id)
    segmentation = model.segment(dataset.load_image(case))
    reference = dataset.load_segmentation(case)
    write_segmentation(output_path(run / "predictions", case_id, model.plan), segmentation)
    known = case.annotated
    annotated = [known is None or s.name in known for s in model.plan.structures]
    return case_dice(segmentation.array, as_planned(reference, model.plan.structures), model.plan.structures, annotated)


def as_planned(reference: Segmentation, structures: Sequence[Structure]) -> npt.NDArray[np.integer]:
    """The reference's array with the plan's structures alone and their values: a plan may leave some out."""
    numbers = {structure.name: n for n, structure in enumerate(reference.structures)}
    if reference.overlapping:
        return reference.array[[numbers[s.name] for s in structures]]
    table = np.zeros(max(s.value for s in reference.structures) + 1, dtype=np.int64)
    for structure in structures:
        table[reference.structures[numbers[structure.name]].value] = structure.value
    return table[reference.array]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _card(dataset: Dataset, plan: Plan, result: dict[str, Any]) -> str:
    """card.md: what the model is, for whoever finds the folder."""
    training = result["training"]
    held = len(result["cases"])
    lines = [
        f"# {plan.dataset}",
        "",
        f"A {plan.grid.dimensions}D {plan.network.name} made by osteon {__version__}.",
        "",
        f"- Channels: {', '.join(f'{c.name} ({c.modality})' for c in plan.channels)}",
        f"- Structures: {', '.join(s.name for s in plan.structures)}",
        f"- Trained on {training['cases']} cases, {training['iterations']} iterations, {training['seconds']:.0f} s, "
        f"seed {training['seed']}",
        f"- Source of the data: {Path(dataset.manifest.source).name or 'not recorded'}",
        "",
        "## Validation",
        "",
    ]
    if held:
        lines += [f"Dice on {held} whole scans that were not trained on:", "", "| structure | Dice |", "| --- | --- |"]
        scores = {**result["structures"], "mean": result["dice"]}
        lines += [f"| {name} | {'–' if value is None else f'{value:.3f}'} |" for name, value in scores.items()]
    else:
        lines += ["None: all cases were trained on. Test the model on scans that it has not seen."]
    return "\n".join(lines) + "\n"
