"""The scans below a folder: image files and DICOM series at any depth, called so that each tells whose it is."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from osteon.core.errors import DatasetError, FileError, OsteonError
from osteon.core.files import free_name, name_key
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import Channel
from osteon.formats.dicom import SUFFIXES as DICOM_SUFFIXES
from osteon.formats.dicom_files import files_below
from osteon.formats.dicom_found import sort_files
from osteon.formats.raster import SUFFIXES as PICTURES
from osteon.formats.registry import stem_of, suffix_of
from osteon.importing.forms import safe_id
from osteon.importing.mask_names import SCAN_WORDS, kind_of, words

RECORD = "predictions.json"
"""In a folder of predictions: what each was made from."""
_NUMBERED = re.compile(r"(.+)_(\d{4})")
"""nnU-Net's names: case, channel."""
_SHOWN = 3


@dataclass(frozen=True)
class Item:
    """Something that may be a scan, or one channel of it.

    Attributes:
        place: The file without its suffix, or the series' folder, relative to the source.
        channels: The files of each channel; a DICOM series has several.
        problem: Why it cannot be segmented; None where it can be tried.
    """

    place: PurePosixPath
    channels: tuple[tuple[Path, ...], ...]
    problem: OsteonError | None = None

    @property
    def name(self) -> str:
        """What it is called: its name, or that of the next folder that tells something (`s0001/ct`, `p07/mr`)."""
        parts = [part for part in self.place.parts if not says_nothing(part)]
        return parts[-1] if parts else self.place.name


@dataclass
class Below:
    """What lies below a folder: scans by id, in the order of their places, and what was passed over, in sentences."""

    scans: dict[str, Item] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def says_nothing(name: str) -> bool:
    """Whether a name is the same for every patient: `ct`, `T1w_image`."""
    return set(words(name)) <= SCAN_WORDS


def scans_below(folder: Path, channels: Sequence[Channel] = (), *, pictures: bool = True) -> Below:
    """Find the scans below a folder.

    Files that are named like masks are passed over, where others are not; so are datasets and the results of earlier
    predictions, and pictures where the model takes none.

    Args:
        folder: A folder.
        channels: Of the model. With several, files that differ in the channel alone are one scan: by nnU-Net's
            endings (`p1_0000`, `p1_0001`), or by the channels' names (`p1_T1`, `p1_T2`; `p1/T1`, `p1/T2`).
        pictures: Whether the model segments pictures.

    Returns:
        Scans by id. What cannot be segmented (a channel is missing, files are damaged) has a `problem`.
    """
    below = Below()
    made = {path.parent for name in (MANIFEST, RECORD) for path in folder.rglob(name)} - {folder}
    for path in sorted(made):
        what = "a dataset" if (path / MANIFEST).is_file() else "an earlier prediction"
        below.notes.append(f"{path}: is {what}, and passed over; give it as SCAN to segment what lies in it")
    files = [
        path
        for path in files_below(folder)
        if made.isdisjoint(path.parents) and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
    series = _series(folder, files)
    files = [path for path in files if suffix_of(path) not in (None, ".seg.nrrd", *DICOM_SUFFIXES)]
    kinds: list[tuple[str, Callable[[Path], bool]]] = [
        ("named like masks", lambda path: kind_of(_place(path, folder)) == "mask")
    ]
    if not pictures:
        kinds.append(("pictures, which this model does not segment", lambda path: suffix_of(path) in PICTURES))
    for what, is_other in kinds:
        others = [path for path in files if is_other(path)]
        if others and (len(others) < len(files) or series):
            files = [path for path in files if path not in set(others)]
            shown = ", ".join(str(path) for path in others[:_SHOWN]) + (" …" if len(others) > _SHOWN else "")
            below.notes.append(f"{folder}: {len(others)} files are {what}, and passed over: {shown}")
    items = [Item(_place(path, folder).with_name(stem_of(path)), ((path,),)) for path in files]
    below.scans = _called(joined([*items, *series], channels, below.notes))
    return below


def files_as_items(paths: Sequence[Path]) -> list[Item]:
    """Single files, each in its place."""
    return [Item(PurePosixPath(path.absolute().with_name(stem_of(path)).as_posix()), ((path,),)) for path in paths]


def _place(path: Path, folder: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(folder).as_posix())


def _series(folder: Path, files: Sequence[Path]) -> list[Item]:
    """The DICOM series among files, and for each folder what cannot be read."""
    found = sort_files(path for path in files if suffix_of(path) in (None, *DICOM_SUFFIXES))
    items = []
    for series in found.series:
        single = len(series.files) == 1
        place = _place(series.files[0], folder) if single else _place(series.folder, folder)
        if place == PurePosixPath():
            place = PurePosixPath(folder.resolve().name)
        items.append(Item(place.with_name(stem_of(Path(place))) if single else place, (series.files,)))
    damaged: dict[Path, list[FileError]] = defaultdict(list)
    for path, error in found.damaged:
        damaged[path.parent].append(error)
    for parent, errors in damaged.items():
        first = errors[0]
        problem = DatasetError(
            f"{len(errors)} DICOM files in {parent} cannot be read; {first.message}", hint=first.hint
        )
        items.append(Item(_place(parent, folder) / f"{parent.name}-damaged", (), problem))
    return items


def joined(items: Sequence[Item], channels: Sequence[Channel], notes: list[str]) -> list[Item]:
    """The scans in the order of their places, those that differ in the channel alone made one."""
    items = sorted(items, key=lambda item: item.place)
    numbered = {item: match for item in items if (match := _NUMBERED.fullmatch(item.place.name))}
    groups: dict[PurePosixPath, dict[int, Item]] = defaultdict(dict)
    for item, match in numbered.items():
        groups[item.place.with_name(match[1])][int(match[2])] = item
    if len(channels) < 2:
        if not numbered or any(set(group) != {0} for group in groups.values()):
            if several := next((group for group in groups.values() if len(group) > 1), None):
                listed = " and ".join(item.place.name for _, item in sorted(several.items()))
                notes.append(f"{listed} are taken as scans of their own: the model has one channel")
            return items
        return [
            replace(item, place=item.place.with_name(numbered[item][1])) if item in numbered else item for item in items
        ]
    names = [channel.name for channel in channels]
    wanted = {words(name): number for number, name in enumerate(names)}
    for item in items:
        told = words(item.place.name)
        for key, number in wanted.items():
            if item not in numbered and told[-len(key) :] == key:
                rest = item.place.name[: len(item.place.name) - len("_".join(key))].rstrip("_-. ")
                place = item.place.with_name(rest) if rest else item.place.parent
                groups[place][number] = item
    scans, taken = [], set()
    for place, group in groups.items():
        if len(group) < 2 and not any(item in numbered for item in group.values()):
            continue  # one file may hold all channels, whatever it is called
        taken |= set(group.values())
        files = tuple(files for _, item in sorted(group.items()) for files in item.channels)
        problem = None
        if set(group) != set(range(len(channels))):
            there = ", ".join(sorted(item.place.name for item in group.values()))
            problem = DatasetError(
                f"has the channels {there}; the model needs {len(channels)} ({', '.join(names)})",
                hint="put the other channels beside it, called as these, or give one file that holds all",
            )
        scans.append(Item(place, files, problem))
    return sorted([*scans, *(item for item in items if item not in taken)], key=lambda item: item.place)


def _called(items: Sequence[Item]) -> dict[str, Item]:
    """Scans by ids that are different files on every system: names; where these repeat, places; and last a number."""
    names = [safe_id(item.name) for item in items]
    often = Counter(name_key(name) for name in names)
    called: dict[str, Item] = {}
    taken: set[str] = set()
    for item, name in zip(items, names, strict=True):
        own = free_name(name if often[name_key(name)] == 1 else safe_id("_".join(item.place.parts)), taken)
        taken.add(name_key(own))
        called[own] = item
    return called
