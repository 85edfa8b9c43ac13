"""`osteon vote --fit`: thresholds or weights chosen on cases whose labels are known, in a file to read and edit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from osteon.core.errors import CaseError, DatasetError, OsteonError, UsageError
from osteon.core.files import write_yaml
from osteon.core.progress import track
from osteon.core.text import significant
from osteon.core.version import __version__
from osteon.dataset.dataset import Dataset
from osteon.predicting.training_cases import TRAINED
from osteon.voting.label_maps import open_label_maps
from osteon.voting.members import MemberKind, cases_of, member_kind, open_folder, role_of
from osteon.voting.picture_sizes import PictureSizes, find_case
from osteon.voting.report import Problem
from osteon.voting.rules import Method, VoteRules
from osteon.voting.soft import open_probabilities
from osteon.voting.tables import TableVote, open_tables
from osteon.voting.vote_counts import Samples, VoteSample, label_map_samples, soft_samples, table_samples
from osteon.voting.weight_search import FittedVote, choose_threshold, choose_weights

FEW = 10
"""Fewer cases than this say little of the next one."""

FittedParameter = Literal["threshold", "weights"]


@dataclass(frozen=True)
class VoteFit:
    """What was chosen.

    Attributes:
        out: The file.
        part: What was chosen, thresholds or weights.
        structures: For each structure.
        cases: Ids of the cases that it was chosen on.
        held_out: Those of them that the dataset keeps for the final test.
        trained_on: Ids of cases that a member was trained on, which were left out for that.
        failed: Cases that could not be used.
        problems: Rows and files that could not.
    """

    out: Path
    part: FittedParameter
    structures: dict[str, FittedVote]
    cases: tuple[str, ...]
    held_out: tuple[str, ...]
    trained_on: tuple[str, ...]
    failed: dict[str, OsteonError]
    problems: list[Problem]


def fit(
    members: Sequence[Path],
    dataset: Path,
    out: Path,
    *,
    method: Method = "hard",
    part: FittedParameter | None = None,
    overwrite: bool = False,
) -> VoteFit:
    """Choose for each structure what gives the best mean Dice, and write it for `threshold` or `weights` of `vote`.

    Args:
        members: As for `vote`.
        dataset: With labels of cases that the members have predicted, and that they were not trained on.
        out: A .yaml file.
        method: `hard` or `soft`.
        part: `threshold` (with `hard` alone) or `weights`; None: thresholds for `hard`, weights for `soft`.
        overwrite: Replace a file that is there.

    Raises:
        UsageError: The members do not go together, or with the method; or `out` is there, or is no .yaml.
        DatasetError: The dataset has no labels of what the members have, or these were trained on all of it.
        FileError, LabelError: As `vote`.
    """
    paths, out = [Path(path) for path in members], Path(out)
    kind = member_kind(paths)
    wanted: FittedParameter = part or ("weights" if method == "soft" else "threshold")
    _check(out, kind, method, wanted, overwrite=overwrite)
    known = Dataset.open(Path(dataset))
    problems: list[Problem] = []
    trained: list[str] = []
    samples, used, failed = _gather(_sources(paths, kind, known, method, problems, trained))
    if not samples and trained:
        raise DatasetError(
            f"{dataset}: a member was trained on each labelled case that is there ({len(trained)}): what does best on "
            "these says nothing of others",
            hint="predict cases with all members that none of them was trained on, and fit on these",
        )
    if not samples:
        raise DatasetError(
            f"{dataset}: has no labels of a case that a member has", hint="give the dataset that was predicted"
        )
    choose = choose_weights if wanted == "weights" else choose_threshold
    chosen = {s.name: choose(samples[s.name], len(paths)) for s in known.structures if s.name in samples}
    held = tuple(case.id for case in known.manifest.cases if case.held_out and case.id in used)
    result = VoteFit(out, wanted, chosen, tuple(used), held, tuple(trained), failed, problems)
    _write(result, paths, known, method)
    return result


Source = tuple[str, Callable[[], Samples]]
"""A case's name, and what gives its samples."""


def _sources(
    paths: Sequence[Path], kind: MemberKind, known: Dataset, method: Method, problems: list[Problem], trained: list[str]
) -> list[Source]:
    """The labelled cases that a member has; ids of those that one was trained on are put into `trained` instead."""
    rules = VoteRules(method)
    if kind == "tables":
        going = TableVote(open_tables(paths, rules, known.structures), rules, PictureSizes(None, known))
        problems += going.tables.problems
        images = going.tables.pictures.written
        labelled = [n for n, image in enumerate(images) if (case := find_case(known, image)) and case.segmentation]
        return [(images[n], partial(table_samples, going, known, problems, n)) for n in labelled]
    folders = [open_folder(path, probabilities=method == "soft") for path in paths]
    there = set(cases_of(folders))
    cases = [case for case in known.manifest.labelled if case.id in there]
    trained += [case.id for case in cases if role_of(folders, case.id) == TRAINED]
    cases = [case for case in cases if case.id not in trained]
    if method == "soft":
        soft = open_probabilities(folders, rules, known)
        return [(case.id, partial(soft_samples, soft, known, problems, case)) for case in cases]
    maps = open_label_maps(folders, rules, known)
    return [(case.id, partial(label_map_samples, maps, known, problems, case)) for case in cases]


def _check(out: Path, kind: str, method: Method, part: FittedParameter, *, overwrite: bool) -> None:
    if method == "staple":
        raise UsageError("--method staple has nothing to fit", hint="--method hard or soft")
    if method == "soft" and part == "threshold":
        raise UsageError("a soft vote has no thresholds", hint="fit its weights")
    if method == "soft" and kind == "tables":
        raise UsageError("a table of RLE holds no probabilities", hint="give folders predicted with --probabilities")
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(f"{out}: what is fitted is written as YAML", hint="give an output that ends in .yaml")
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: is there already", hint="--overwrite to replace it")


def _gather(sources: Sequence[Source]) -> tuple[dict[str, list[VoteSample]], list[str], dict[str, OsteonError]]:
    samples: dict[str, list[VoteSample]] = defaultdict(list)
    used: dict[str, None] = {}
    failed: dict[str, OsteonError] = {}
    for name, source in track(sources, "reading"):
        try:
            for case, structure, sample in source():
                samples[structure].append(sample)
                used[case] = None
        except CaseError as error:
            failed[name] = error
    return samples, list(used), failed


def _write(result: VoteFit, members: Sequence[Path], dataset: Dataset, method: Method) -> None:
    used = {name: chosen for name, chosen in result.structures.items() if chosen.replaces_default}
    count = len(result.cases)
    data: dict[str, Any] = {
        "osteon": __version__,
        "method": method,
        "members": [str(path) for path in members],
        "dataset": str(dataset.folder),
        "cases": count,
        "held_out": len(result.held_out),
        "trained_on": len(result.trained_on),
    }
    if result.part == "threshold":
        data["thresholds"] = {name: chosen.threshold for name, chosen in used.items()}
    else:
        data["weights"] = {name: list(cast(tuple[float, ...], chosen.weights)) for name, chosen in used.items()}
    data["dice"] = {
        name: {"cases": chosen.cases}
        | {key: value if value is None else significant(value) for key, value in chosen.figures.items()}
        for name, chosen in result.structures.items()
    }
    head = (
        f"Fitted by `osteon vote --fit` on {count} case{'s' * (count != 1)}. What is not named here did no better\n"
        "than the usual rule on cases that were left out of the fitting, and stays with it."
    )
    write_yaml(result.out, data, head=head)
