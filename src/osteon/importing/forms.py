"""What every form in which data arrives has in common: how it is recognised, and what reading it gives.

A new form is one file with a `FORM`, and one row in `recognise.FORMS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osteon.core.errors import UsageError
from osteon.core.labels import BACKGROUND, Structure, make_structures
from osteon.dataset.manifest import Channel, Modality

MODALITIES: tuple[Modality, ...] = ("ct", "mr", "xray", "other")
_WORDS: dict[Modality, tuple[str, ...]] = {
    "ct": ("ct", "cbct", "hu", "computed tomography"),
    "mr": ("mr", "mri", "t1", "t1w", "t1gd", "t1ce", "t1c", "t2", "t2w", "flair", "adc", "dwi", "pd", "dess"),
    "xray": ("xray", "x-ray", "radiograph", "cr", "dx", "dr"),
}


@dataclass(frozen=True)
class FoundCase:
    """One case as its form names it, not yet read.

    Attributes:
        id: Unique in the source.
        images: One file for each channel, or one for all.
        label: The label file; None where there is none.
        subject: Where the source says so.
        site: Likewise.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None = None
    subject: str | None = None
    site: str | None = None


@dataclass
class Found:
    """What a source holds.

    Attributes:
        name: The dataset's name.
        channels: Image channels in order.
        cases: In the source's order.
        structures: None where only the label files say.
        warnings: What is odd but no obstacle, for people.
    """

    name: str
    channels: list[Channel]
    cases: list[FoundCase]
    structures: tuple[Structure, ...] | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """What the user says about the data.

    Attributes:
        structures: Name → value, over what the source says.
        modality: For all channels, over what the source says.
    """

    structures: Mapping[str, int] | None = None
    modality: Modality | None = None

    def named_structures(self) -> tuple[Structure, ...] | None:
        """The structures of `structures`, `background` = 0 left out; None where the user gave none.

        Raises:
            UsageError: A name is empty, a value below 1 or given twice, or only the background is named.
        """
        if not self.structures:
            return None
        named = {n: v for n, v in self.structures.items() if (n.lower(), v) != ("background", BACKGROUND)}
        hint = "--labels L1=1,L2=2, for example; 0 is the background and needs no name"
        if not named:
            raise UsageError("--labels: names no structure", hint=hint)
        for name, value in named.items():
            if not name:
                raise UsageError(f"--labels: the value {value} has no name", hint=hint)
            if value <= BACKGROUND:
                raise UsageError(f"--labels: {name}={value}: a structure's value is at least 1", hint=hint)
            if others := [other for other in named if other != name and named[other] == value]:
                raise UsageError(f"--labels: {name} and {others[0]} both have the value {value}", hint=hint)
        return make_structures(list(named), list(named.values()))


@dataclass(frozen=True)
class Form:
    """One way in which data arrives.

    Attributes:
        name: As `--form` takes it.
        what: One line for help.
        misses: What `source` lacks to be of this form; None where it is.
        read: Lists the cases without reading their voxels.
    """

    name: str
    what: str
    misses: Callable[[Path], str | None]
    read: Callable[[Path, Options], Found]


def parse_modality(text: str | None) -> Modality | None:
    """`--modality` as a modality. Raises UsageError for another word."""
    for modality in MODALITIES:
        if text is not None and text.lower() == modality:
            return modality
    if text is None:
        return None
    raise UsageError(f"--modality {text}: not a modality", hint=f"use one of {', '.join(MODALITIES)}")


def modality_of(name: str) -> Modality:
    """The modality that a channel's name tells (`MRI`, `T2w`, `CT`); `other` where it tells none."""
    lowered = name.strip().lower()
    return next((modality for modality, words in _WORDS.items() if lowered in words), "other")


def unique_ids(candidates: Sequence[Sequence[str]]) -> list[str] | None:
    """The first list of ids in which every id is given once and none is empty; None where there is no such list."""
    for ids in candidates:
        if all(ids) and not [name for name, times in Counter(ids).items() if times > 1]:
            return list(ids)
    return None
