"""Which cases are meant: one way of saying it for --only and --hold-out.

A selection is `first:N`, `last:N`, a number N (the last N), a share such as `0.2`, or ids with commas between. First
and last go by id in natural order: c2 stands before c10.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Collection, Sequence

from osteon.core.errors import DatasetError, UsageError
from osteon.core.file_names import natural_key
from osteon.dataset.folds import SUBJECT_HINT, describe_main_subject, group_cases
from osteon.dataset.manifest import Manifest
from osteon.importing.source_forms import SourceCase

SYNTAX = "first:N, last:N, N (the last N), a share such as 0.2, or ids with commas between"
_SEED = 0
"""The seed of a share: the same cases and the same share give the same choice everywhere."""
_SHOWN = 5
_COUNT = re.compile(r"(?:(first|last):)?(\d+)", re.IGNORECASE)
_SHARE = re.compile(r"\d*\.\d+|\d+\.")


def select_cases(
    selection: str | Sequence[str],
    ids: Collection[str],
    option: str,
    *,
    counted: Collection[str] | None = None,
    groups: Sequence[Sequence[str]] | None = None,
) -> list[str]:
    """The chosen ids, in natural order.

    Args:
        selection: See the module; several of them mean all that any of them chooses.
        ids: Every id that there is; an id says the same whatever it looks like.
        option: `--only` or `--hold-out`, for messages.
        counted: The ids that numbers and shares choose from; all when None.
        groups: Ids that a share must not part; every id for itself when None.

    Raises:
        UsageError: An id is unknown, more cases are wanted than there are, or the text is none of the forms.
    """
    ordered = sorted(ids if counted is None else counted, key=natural_key)
    texts = [selection] if isinstance(selection, str) else list(selection)
    parts = [part for text in texts for part in ([text] if text in ids else text.split(","))]
    alone = len(parts) == 1
    chosen: set[str] = set()
    for part in (text.strip() for text in parts):
        count, share = _COUNT.fullmatch(part), _SHARE.fullmatch(part)
        if part in ids:
            if alone and (count or share):
                meant = f"`{option} last:{part}` for the last {part} cases, " if count and not count[1] else ""
                raise UsageError(
                    f"{option} {part}: is the id of a case and also a number of cases",
                    hint=f"{meant}`{option} {part},` for the case called {part}",
                )
            chosen.add(part)
        elif count and (alone or count[1]):
            chosen.update(_ends(int(count[2]), count[1], ordered, f"{option} {part}"))
        elif share and alone:
            chosen.update(_share(float(part), ordered, groups, f"{option} {part}"))
        elif part:
            some = ", ".join(sorted(ids, key=natural_key)[:_SHOWN]) + " …" * (len(ids) > _SHOWN)
            raise UsageError(f"{option} {part}: no case {part}", hint=f"ids are {some}; or say {SYNTAX}")
    if not chosen:
        raise UsageError(f"{option}: chooses nothing", hint=f"say {SYNTAX}")
    return sorted(chosen, key=natural_key)


def _ends(number: int, end: str | None, ordered: Sequence[str], what: str) -> Sequence[str]:
    if not 1 <= number <= len(ordered):
        raise UsageError(f"{what}: there are {len(ordered)} cases to choose from", hint=f"say {SYNTAX}")
    return ordered[:number] if (end or "last").lower() == "first" else ordered[-number:]


def _share(share: float, ordered: Sequence[str], groups: Sequence[Sequence[str]] | None, what: str) -> list[str]:
    """About that share of `ordered`, by whole groups in an order drawn by the seed; at least one group."""
    if not 0 < share < 1:
        raise UsageError(f"{what}: a share lies between 0 and 1", hint="such as 0.2 for a fifth of the cases")
    wanted = max(1, math.floor(share * len(ordered) + 0.5))
    counted = set(ordered)
    whole = [[i for i in group if i in counted] for group in (groups or [[i] for i in ordered])]
    drawn = sorted((group for group in whole if group), key=lambda group: natural_key(group[0]))
    random.Random(_SEED).shuffle(drawn)
    chosen: list[str] = []
    for group in drawn:
        if len(chosen) + len(group) <= wanted:
            chosen += group
    return chosen if chosen or not drawn else min(drawn, key=len)


def choose_cases(
    cases: Sequence[SourceCase], only: str | Sequence[str] | None, hold_out: str | None
) -> list[SourceCase]:
    """The cases to be read, in the source's order; what `hold_out` asks for is checked before anything is read.

    Raises:
        UsageError: As `select_cases`; or no case has a label, though some are to be held out.
        DatasetError: No labelled case would be left to train on.
    """
    chosen = None if only is None else set(select_cases(only, [case.id for case in cases], "--only"))
    kept = [case for case in cases if chosen is None or case.id in chosen]
    if hold_out is not None and kept:
        labelled = [case.id for case in kept if case.labelled]
        if not labelled:
            raise UsageError(
                f"--hold-out {hold_out}: none of the {len(kept)} cases has a label, so no test can score them",
                hint="leave it out",
            )
        if set(select_cases(hold_out, [case.id for case in kept], "--hold-out", counted=labelled)) >= set(labelled):
            raise no_training_cases(len(labelled))
    return kept


def hold_out_cases(
    manifest: Manifest, selection: str | Sequence[str], *, dropped: Collection[str] = ()
) -> tuple[Manifest, list[str]]:
    """Mark the chosen cases as held out, with every case that shares a subject or an image's voxels with one of them.

    Numbers and shares choose from the labelled cases; a final test needs references.

    Args:
        manifest: The cases.
        selection: What `select_cases` takes.
        dropped: Ids that the source has, but that could not be imported: they are skipped with a warning.

    Returns:
        The manifest with `held_out` set, and warnings.

    Raises:
        UsageError: As `select_cases`.
        DatasetError: No labelled case is left to train on, or none to test with.
    """
    labelled = [case.id for case in manifest.labelled]
    groups = group_cases(manifest.cases)
    known = {case.id for case in manifest.cases}
    chosen = select_cases(selection, known | set(dropped), "--hold-out", counted=labelled, groups=groups)
    warnings = [f"case {i} was to be held out, but is not in the dataset" for i in chosen if i not in known]
    wanted = {i for i in chosen if i in known}
    held: set[str] = set()
    for group in groups:
        chosen_here, others = sorted(wanted & set(group), key=natural_key), sorted(set(group) - wanted, key=natural_key)
        held |= set(group) if chosen_here else set()
        if chosen_here and others:
            one = len(others) == 1
            warnings.append(
                f"{', '.join(others)}: held out too, since {'it shares' if one else 'they share'} subject or image "
                f"with {', '.join(chosen_here)}"
            )
    unlabelled = sorted(wanted - set(labelled), key=natural_key)
    if unlabelled:
        warnings.append(f"{', '.join(unlabelled)}: held out without a label, so no test can score them")
    cases = [case.model_copy(update={"held_out": case.id in held}) for case in manifest.cases]
    marked = manifest.model_copy(update={"cases": cases})
    if not marked.trainable:
        raise no_training_cases(len(labelled), describe_main_subject(manifest.labelled))
    if not held & set(labelled):
        raise DatasetError("--hold-out: no labelled case is held out, so nothing can be tested", hint=f"say {SYNTAX}")
    return marked, warnings


def no_training_cases(labelled: int, why: str = "") -> DatasetError:
    """The error for a selection that takes all cases there are to train on; `why` is from `describe_main_subject`."""
    return DatasetError(
        f"--hold-out: of {labelled} labelled cases none is left to train on{why and f': {why}'}",
        hint=SUBJECT_HINT if why else "hold out fewer; cases of one subject, and copies of one image, go together",
    )
