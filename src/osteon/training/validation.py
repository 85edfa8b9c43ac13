"""Case-level validation: Dice of whole scans, never of patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
import torch
from torch import nn

from osteon.core.dice import count_overlap, dice
from osteon.core.labels import Structure
from osteon.core.random_streams import item_generator
from osteon.plan.schema import Plan
from osteon.predicting.sequence import name_sequence
from osteon.predicting.tiles import predict_probabilities
from osteon.preparing.cache import CachedCase
from osteon.training import ranks
from osteon.training.click_validation import click_through

Scores = dict[str, float | None]


def validate(
    network: nn.Module,
    cases: Iterable[CachedCase],
    plan: Plan,
    on_case: Callable[[int, CachedCase, np.ndarray, Plan], None] | None = None,
) -> Scores:
    """Mean Dice of each structure over whole cached scans, on the plan's grid.

    A structure counts in the cases in which it was annotated and either reference or prediction has a voxel of it.
    A plan's zoom plays no part: the closer look belongs to the scan's own grid, at the end of a run and in predicting.
    Ranks take turns with the cases, and all of them get the scores of all.

    Args:
        network: What is asked.
        cases: The scans.
        plan: Structures, grid.
        on_case: Is told each scan's number, the scan, what was found in it, and the plan.

    Returns:
        By structure name; None where it counted in no case.
    """
    was_training = network.training
    network.eval()
    numbered = tuple(s.model_copy(update={"value": n + 1}) for n, s in enumerate(plan.structures))
    scores: list[Scores] = []
    for number, case in enumerate(cases):
        if number % ranks.world_size() != ranks.rank():
            scores.append({})
            continue
        if plan.clicks is not None:
            prediction = click_through(network, case, plan)
            scores.append(case_dice(prediction, np.asarray(case.labels), numbered, case.annotated))
            if on_case is not None:
                on_case(number, case, prediction, plan)
            continue
        image = torch.from_numpy(np.asarray(case.image, dtype=np.float32))
        class_probabilities, _ = name_sequence(predict_probabilities(network, image, plan), plan)
        prediction = (class_probabilities > 0.5).numpy() if plan.overlapping else class_probabilities.argmax(0).numpy()
        if on_case is not None:
            on_case(number, case, prediction, plan)
        scores.append(case_dice(prediction, np.asarray(case.labels), numbered, case.annotated))
    network.train(was_training)
    return mean_scores(_share_scores(scores, [s.name for s in plan.structures]), plan.structures)


def _share_scores(scores: Sequence[Scores], names: Sequence[str]) -> Sequence[Scores]:
    """The scores of all cases, each of which one rank knows, on all ranks."""
    if ranks.world_size() == 1:
        return scores
    rows = [[case.get(name) for name in names] for case in scores]
    values = torch.tensor([[-1.0 if v is None else v for v in row] for row in rows], dtype=torch.float64)
    shared = ranks.largest(values).tolist()
    return [{name: v if v >= 0 else None for name, v in zip(names, row, strict=True)} for row in shared]


def order_representatively(cases: Sequence[CachedCase], seed: int) -> list[CachedCase]:
    """The cases in an order whose every beginning stands for all of them.

    They are shuffled; those come first that show a structure which none before them shows.
    """
    shuffled = [cases[int(number)] for number in item_generator(seed).permutation(len(cases))]
    shown: set[int] = set()
    first: dict[str, CachedCase] = {}
    for case in shuffled:
        if not shown.issuperset(case.present):
            first[case.id] = case
            shown.update(case.present)
    return [*first.values(), *(case for case in shuffled if case.id not in first)]


def case_dice(
    prediction: np.ndarray, reference: np.ndarray, structures: Sequence[Structure], annotated: Sequence[bool]
) -> Scores:
    """Dice of each annotated structure in one case; None where it is in neither array.

    Both arrays are index `[i, j, k]` or multi-hot `[structure, i, j, k]`, on one grid.
    """
    counts = count_overlap(prediction, reference, structures)
    return {s.name: dice(counts[s.name]) for s, known in zip(structures, annotated, strict=True) if known}


def mean_scores(scores: Sequence[Mapping[str, float | None]], structures: Sequence[Structure]) -> Scores:
    """Mean of each structure over the cases in which it counts."""
    means: Scores = {}
    for structure in structures:
        values = [value for case in scores if (value := case.get(structure.name)) is not None]
        means[structure.name] = fmean(values) if values else None
    return means


def mean_over_structures(scores: Scores) -> float | None:
    """Mean over the structures that counted."""
    values = [value for value in scores.values() if value is not None]
    return fmean(values) if values else None
