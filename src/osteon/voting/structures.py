"""Which structures are voted on: found by name among the members, never by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from osteon.core.errors import LabelError, UsageError
from osteon.core.labels import Structure, palette
from osteon.core.text import shorten_list
from osteon.formats.labelmap import is_placeholder
from osteon.voting.rules import VoteRules

UNKNOWN_NAME = "no other member and no dataset knows"
HINT = "correct the name; or make it known with --dataset DIR, or --threshold NAME=VOTES"


def known_names(
    named: Sequence[Collection[str]], dataset: Sequence[Structure] | None, rules: VoteRules
) -> tuple[str, ...]:
    """The names that count: the dataset's, or those that two members have; and those with a threshold of their own.

    Args:
        named: The names that each member has, in its order.
        dataset: The dataset's structures; None without one.
        rules: With thresholds.

    Raises:
        UsageError: A threshold is given by hand for a name that nobody has.
        LabelError: No name counts.
    """
    everywhere = list(dict.fromkeys(name for names in named for name in names))
    listed = [structure.name for structure in dataset or ()]
    unknown = [name for name in rules.named if name not in everywhere and name not in listed]
    if unknown:
        raise UsageError(
            f"--threshold: no member and no dataset has a structure {unknown[0]}",
            hint=f"the structures are {shorten_list(listed or everywhere) or 'none'}",
        )
    counts = Counter(name for names in named for name in set(names))
    extra = [name for name in everywhere if name in rules.named and name not in listed]
    found = [*listed, *extra] if dataset is not None else [n for n in everywhere if counts[n] > 1 or n in rules.named]
    if not found:
        each = "; ".join(shorten_list(sorted(names)) or "none" for names in named)
        raise LabelError(
            f"no structure is in more than one member: {each}",
            hint="give members that call structures by the same names, or --dataset DIR with the names that count",
        )
    return tuple(found)


def resolve_structures(
    names: Sequence[str], described: Iterable[Structure], dataset: Sequence[Structure] | None
) -> tuple[Structure, ...]:
    """Structures of these names, with values and colours: the dataset's, or else those of the first that describes it.

    A value that an earlier structure has is replaced by the next free one: members number structures as they like.
    """
    first: dict[str, Structure] = {}
    for structure in (*(dataset or ()), *described):
        first.setdefault(structure.name, structure)
    settled: list[Structure] = []
    taken: set[int] = set()
    for name, colour in zip(names, palette(len(names)), strict=True):
        structure = first.get(name) or Structure(name=name, value=1, colour=colour)
        value = structure.value
        while value in taken:
            value += 1
        taken.add(value)
        changes = {"value": value, "counterpart": structure.counterpart if structure.counterpart in names else None}
        if is_placeholder(name):
            changes["colour"] = colour
        settled.append(structure.model_copy(update=changes))
    return tuple(settled)
