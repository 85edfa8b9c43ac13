"""Which cases an update of a model trains on, how often each is seen, and which cases judge it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from osteon.core.errors import UsageError
from osteon.core.labels import Structure
from osteon.core.text import pluralise, shorten_list
from osteon.dataset.case_history import NO_HISTORY, State, read_histories
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import group_cases
from osteon.plan.schema import Plan
from osteon.predicting.training_cases import TRAINED, VALIDATED, SeenScans
from osteon.runs.update_files import label_versions

JUDGING_SHARE = 0.2
"""So many of all groups of cases are approved ones that judge, as far as there are enough: as many as a fold has."""
MIN_JUDGING = 2
"""Fewer groups of cases than that are filled up with such as nobody has approved."""
MIN_REPEATS, MAX_REPEATS = 2, 8
"""How often a new or corrected case is seen where an old one is seen once: they are half of all, within these."""


@dataclass(frozen=True)
class UpdateCases:
    """The cases of an update.

    Attributes:
        training: Ids of all to train on.
        validation: Ids of those that judge both models, and that neither was trained on.
        new: Those to train on that the model before was not trained on.
        corrected: Those that it was trained on with another label.
        repeats: How often each of these is seen where the others are seen once.
        why: Where the cases that judge come from, in words.
    """

    training: list[str]
    validation: list[str]
    new: list[str]
    corrected: list[str]
    repeats: dict[str, int] = field(default_factory=dict)
    why: str = ""


def choose_cases(dataset: Dataset, seen: SeenScans, labels: Mapping[str, str]) -> UpdateCases:
    """Divide the labelled cases that are not held out into those to train on and those that judge.

    Those that the model before was validated on judge again. Approved cases that it was not trained on join them until
    approved ones are a fifth of all; where fewer than two would judge, so do others that it was not trained on. One
    new case at least is always left to learn from. Cases of a subject stay together.

    Args:
        dataset: As it is now.
        seen: By the model before, and those before that.
        labels: Of the cases that it was trained on, as `label_versions` has them.

    Raises:
        UsageError: The model does not say what it has seen; nothing was labelled or corrected since; there is nothing
            to judge by.
    """
    if not seen.known:
        raise UsageError(
            "the model does not say which scans it was trained on, so no case can judge an update of it",
            hint="start a new training from its weights with --init",
        )
    cases = {case.id: case for case in dataset.manifest.trainable}
    roles = {case_id: seen.role_of(case_id, case.content) for case_id, case in cases.items()}
    now = label_versions(dataset, cases)
    corrected = [i for i in cases if roles[i] == TRAINED and now.get(i, "") != labels.get(i, "")]
    groups = group_cases(list(cases.values()))
    free = [group for group in groups if all(roles[i] != TRAINED for i in group)]
    own = [group for group in free if any(roles[i] == VALIDATED for i in group)]
    fresh = sorted((group for group in free if group not in own), key=_random_place)
    states = case_states(dataset, cases)
    approved = [group for group in fresh if all(states[i] == "approved" for i in group)]
    others = [group for group in fresh if group not in approved]
    spare = len(fresh) if corrected else len(fresh) - 1
    approved_own = sum(all(states[i] == "approved" for i in group) for group in own)
    wanted = max(1, round(JUDGING_SHARE * len(groups))) - approved_own
    joining = approved[: max(0, min(wanted, spare))]
    missing = min(MIN_JUDGING - len(own) - len(joining), spare - len(joining))
    joining += [*(group for group in approved if group not in joining), *others][: max(0, missing)]
    judging = {i for group in (*own, *joining) for i in group}
    training = [i for i in cases if i not in judging]
    new = [i for i in training if roles[i] != TRAINED]
    _check(new, corrected, judging, fresh)
    learnt = [*new, *corrected]
    repeats = dict.fromkeys(learnt, count_repeats(len(training) - len(learnt), len(learnt)))
    why = _describe([i for group in own for i in group], [i for group in joining for i in group], states)
    return UpdateCases(training, [i for i in cases if i in judging], new, corrected, repeats, why)


def check_updatable(dataset: Dataset, plan: Plan) -> None:
    """Whether a model of that plan can learn on from a dataset. Raises UsageError, which says what differs."""
    manifest = dataset.manifest
    if [(c.name, c.modality) for c in plan.channels] != [(c.name, c.modality) for c in manifest.channels]:
        problem = "channels"
    elif plan.overlapping != manifest.overlapping:
        problem = "overlapping"
    elif gone := [s.name for s in plan.structures if s.name not in {own.name for own in manifest.structures}]:
        problem = f"structures: it has no {shorten_list(gone)} any more"
    else:
        return
    raise UsageError(
        f"{dataset.folder}: is another dataset than the model's: {problem}",
        hint="start a new training from its weights with --init; what both have is taken over",
    )


def find_new_structures(dataset: Dataset, plan: Plan) -> list[Structure]:
    """Those that a dataset has and a model with that plan does not know.

    Raises:
        UsageError: The plan cannot take them in without being made anew.
    """
    known = {structure.name for structure in plan.structures}
    added = [structure for structure in dataset.structures if structure.name not in known]
    numbered = any(structure.instances for structure in added)
    if added and (numbered or plan.sequence is not None or isinstance(plan.sampling.weights, dict)):
        raise UsageError(
            f"the model does not know {shorten_list([structure.name for structure in added])}, which its plan cannot "
            "take in: numbered pieces, a series, or weights by structure need a new one",
            hint="make a new plan with `osteon plan DATASET --force`, and train with --init",
        )
    return added


def count_repeats(old: int, learnt: int) -> int:
    """How often each of so many new and corrected cases is seen where so many old ones are seen once."""
    return min(MAX_REPEATS, max(MIN_REPEATS, -(-old // learnt))) if old else 1


def count_learnable(dataset: Dataset, seen: SeenScans, labels: Mapping[str, str]) -> int:
    """How many cases a model could learn from that it has not seen with the label that they have now."""
    now = label_versions(dataset, [case.id for case in dataset.manifest.trainable])
    count = 0
    for case in dataset.manifest.trainable if seen.known else ():
        role = seen.role_of(case.id, case.content)
        count += role == TRAINED and now.get(case.id, "") != labels.get(case.id, "")
        count += role not in (TRAINED, VALIDATED)
    return count


def case_states(dataset: Dataset, case_ids: Collection[str]) -> dict[str, State]:
    """How far the label of each case is."""
    histories = read_histories(dataset.folder)
    return {i: histories.get(i, NO_HISTORY).state(dataset.imported.case(i)) for i in case_ids}


def _random_place(group: Sequence[str]) -> str:
    """By its name alone, so that an order by difficulty (`osteon suggest`) does not decide who judges."""
    return hashlib.sha256(group[0].encode()).hexdigest()


def _check(new: Sequence[str], corrected: Sequence[str], judging: Collection[str], fresh: Sequence[object]) -> None:
    if not fresh and not corrected:
        raise UsageError(
            "nothing was labelled or corrected since the model was trained: there is nothing to learn",
            hint="`osteon suggest` says what to label next",
        )
    if not judging or not (new or corrected):
        raise UsageError(
            "there is nothing to judge the new model by: every case but "
            f"{pluralise(len(fresh), 'one')} was trained on, and that one is needed to learn from",
            hint="label and approve one scan more; or start a new training with --init",
        )


def _describe(own: Sequence[str], joining: Sequence[str], states: Mapping[str, State]) -> str:
    parts = [f"{pluralise(len(own), 'case')} that the model before was validated on"] if own else []
    approved = sum(states[i] == "approved" for i in joining)
    if approved:
        parts.append(f"{pluralise(approved, 'approved case')} that it was not trained on")
    if rest := len(joining) - approved:
        parts.append(f"{pluralise(rest, 'case')} that nobody has approved, since approved ones are too few")
    return ", ".join(parts)
