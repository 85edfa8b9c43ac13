"""The numbered pieces of the validation cases' predictions: which are found, merged or split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from osteon.core.instances import InstanceScores, match_instances
from osteon.core.progress import track
from osteon.dataset.dataset import Dataset
from osteon.formats.io import read_segmentation
from osteon.plan.schema import Plan
from osteon.predicting.predictor import output_path

_DIGITS = 5
_FIGURES = ("f1", "merges", "splits")


def score_predicted_pieces(dataset: Dataset, plan: Plan, case_ids: Iterable[str], folder: Path) -> dict[str, Any]:
    """F1, merges and splits of the structures whose pieces are numbered; empty where the plan has none.

    Args:
        dataset: With the references.
        plan: What was predicted.
        case_ids: Cases whose predictions lie in `folder`.
        folder: The predictions.

    Returns:
        `structures`: of each the means over the cases that have a piece on either side, and how many these are;
        `cases`: the figures of each case and structure. See docs/evaluate.md.
    """
    counted = [structure for structure in plan.structures if structure.instances]
    if not counted:
        return {}
    scores: list[InstanceScores] = []
    for case_id in track(list(case_ids), "scoring pieces"):
        case = dataset.case(case_id)
        prediction = read_segmentation(output_path(folder, case_id, plan), plan.structures, pieces=True)
        reference = dataset.load_segmentation(case, pieces=True)
        named = {structure.name: structure for structure in reference.structures}
        for structure in counted:
            if case.annotated is None or structure.name in case.annotated:
                found, truth = prediction.pieces(structure), reference.pieces(named[structure.name])
                scores.append(match_instances(case_id, structure.name, found, truth))
    cases: dict[str, dict[str, Any]] = {}
    for score in scores:
        if not score.is_absent:
            cases.setdefault(score.case, {})[score.structure] = {
                name: round(getattr(score, name), _DIGITS) for name in _FIGURES
            }
    means: dict[str, dict[str, float | None]] = {}
    for structure in counted:
        own = [figures[structure.name] for figures in cases.values() if structure.name in figures]
        means[structure.name] = {
            **{name: round(fmean(each[name] for each in own), _DIGITS) if own else None for name in _FIGURES},
            "cases": len(own),
        }
    return {"structures": means, "cases": cases}


def describe_piece_scores(pieces: dict[str, Any]) -> list[tuple[str, str]]:
    """Structure and figures in words, of what `score_predicted_pieces` returned; none where it is empty."""
    return [
        (name, f"F1 {own['f1']:.3f}, merges {own['merges']:.2f} and splits {own['splits']:.2f} a case")
        for name, own in pieces.get("structures", {}).items()
        if own["f1"] is not None
    ]
