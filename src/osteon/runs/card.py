"""card.md: what a model is, for whoever finds the folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from osteon.core.statistics import sample_statistics
from osteon.core.text import pluralise
from osteon.core.version import __version__
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Plan, Pretrained
from osteon.predicting.model import Model
from osteon.predicting.training_cases import KEY
from osteon.runs.piece_scores import describe_piece_scores

WEAK_DICE = 0.7
"""Mean Dice below which a structure is called weak."""
MAX_LISTED = 50
"""Ids of cases that are written out."""


def model_card(dataset: Dataset, model: Model) -> str:
    """The card of a model, from its plan and validation."""
    plan, validation = model.plan, model.validation
    lines = [
        f"# {plan.dataset}",
        "",
        f"A {plan.grid.dimensions}D {plan.network.description}, made by osteon {__version__}. Research software, no "
        "medical device.",
        "",
        *_data(dataset, plan, validation),
        "",
        *_training(validation),
    ]
    lines += ["", *describe_validation(validation), "", *describe_postprocessing(model)]
    return "\n".join(lines) + "\n"


def _data(dataset: Dataset, plan: Plan, validation: dict[str, Any]) -> list[str]:
    spacing = "×".join(f"{s:.3g}" for s in plan.grid.spacing_mm)
    lines = [
        "## Data",
        "",
        f"- Source: {Path(dataset.manifest.source).name or 'not recorded'}, "
        f"{pluralise(validation['training']['cases'], 'case')} trained on",
        f"- Channels: {', '.join(f'{c.name} ({c.modality})' for c in plan.channels)}",
        f"- Structures: {', '.join(s.name for s in plan.structures)}",
        f"- Grid: {spacing} {plan.unit} along {'-'.join(plan.grid.axes)}",
    ]
    subjects = {case.subject for case in dataset.manifest.trainable if case.subject}
    sites = {case.site for case in dataset.manifest.trainable if case.site}
    if seen := validation.get(KEY):
        for what, part in (("Trained on", "training"), ("Validated on", "validation"), ("Begun with", "before")):
            lines += [f"- {what}: {_list_ids(seen[part])}"] if seen[part] else []
    if subjects:
        lines.append(f"- Subjects: {len(subjects)}" + (f", from {len(sites)} sites" if sites else ""))
    return lines


def _list_ids(ids: Iterable[str]) -> str:
    listed = list(ids)
    rest = f" and {len(listed) - MAX_LISTED} more, which validation.json lists" if len(listed) > MAX_LISTED else ""
    return ", ".join(listed[:MAX_LISTED]) + rest


def _training(validation: dict[str, Any]) -> list[str]:
    training = validation["training"]
    fold, grouping = training["fold"], f"parted by {training['folds_by']}"
    done = f"{training['iterations']} iterations, {training['seconds']:.0f} s"
    if fold == "all":
        line = f"{training['folds']} folds, {grouping}: {done} in all, seed {training['seed']}"
    else:
        held = "none held out" if fold is None else f"fold {fold} of {training['folds']}, {grouping}"
        held = "judged by cases that its parent had not seen" if training.get("update") else held
        line = f"{done}, seed {training['seed']}; {held}"
    versions = validation["versions"]
    begun = [f"- Started from the weights of {training['init']}"] if training.get("init") else []
    begun += [f"- An update of {training['update']}"] if training.get("update") else []
    made_by = f"- osteon {versions['osteon']}, torch {versions['torch']}; plan {versions['plan']}"
    return ["## Training", "", f"- {line}", made_by, *begun]


def describe_validation(validation: dict[str, Any]) -> list[str]:
    """Lines of Markdown with the Dice of each structure; no case is named."""
    cases = validation["cases"]
    if not cases:
        return [
            "## Validation",
            "",
            "None: all cases were trained on. Test the model on scans that it has not seen.",
        ]
    lines = [
        "## Validation",
        "",
        f"Dice on {len(cases)} whole scans that were not trained on, with the post-processing below:",
        "",
        "| structure | mean | 95% interval | SD | least | cases |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    weak = []
    for name, mean in validation["structures"].items():
        values = [scores[name] for scores in cases.values() if scores.get(name) is not None]
        if mean is None:
            lines.append(f"| {name} | – | – | – | – | 0 |")
            continue
        over = sample_statistics(values)
        interval = "–" if over.low is None or over.high is None else f"{over.low:.3f} – {over.high:.3f}"
        sd = "–" if over.sd is None else f"{over.sd:.3f}"
        lines.append(f"| {name} | {over.mean:.3f} | {interval} | {sd} | {min(values):.3f} | {over.n} |")
        weak += [name] if mean < WEAK_DICE else []
    mean = validation["dice"]
    lines.append(f"| mean | {'–' if mean is None else f'{mean:.3f}'} | | | | |")
    for name, figures in describe_piece_scores(validation.get("pieces", {})):
        lines += ["", f"Numbered pieces of {name}: {figures}."]
    if weak:
        lines += ["", f"Weak (below {WEAK_DICE}): {', '.join(weak)}."]
    confidence = validation["confidence"]
    if confidence["pairs"]:
        rank = confidence["rank_correlation"]
        description = "" if rank is None else f"; rank correlation with the Dice that they had {rank:.2f}"
        lines += ["", f"Confidence: calibrated on {confidence['pairs']} structures of these scans{description}."]
    speeds = {name: facts for name, facts in validation.get("speeds", {}).items() if facts["dice"] is not None}
    if speeds:
        dices = [f"{name} {facts['dice']:.3f} ({facts['seconds']:.2g} s a scan)" for name, facts in speeds.items()]
        lines += ["", f"Dice by `--speed`, without post-processing: {', '.join(dices)}."]
    return lines


def describe_postprocessing(model: Model) -> list[str]:
    """Lines of Markdown with the steps, and the licence of the weights that the training started from."""
    steps = model.postprocessing
    lines = ["## Post-processing", ""]
    for step, description in zip(steps.steps, steps.describe(pixels=model.plan.unit == "px"), strict=True):
        gain = "" if step.gain is None else f" (Dice {step.gain:+.3f} on {step.cases} cases)"
        lines.append(f"- {description}{gain}")
    if not steps.steps:
        lines += [f"None. {'; '.join(steps.why)}".strip()]
    if isinstance(model.plan.network, Pretrained) and model.plan.network.why:
        lines += ["", "## Licences", "", *(f"- {why}" for why in model.plan.network.why if "licence" in why)]
    return lines
