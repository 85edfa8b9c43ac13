"""The scans below a folder: image files and DICOM series at any depth, each with a telling name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.file_names import free_name, name_key
from osteon.core.folders import files_below, missing_files_below
from osteon.core.geometry import Geometry
from osteon.dataset.case_ids import safe_id
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import Channel
from osteon.formats.dicom import SUFFIXES as DICOM_SUFFIXES
from osteon.formats.dicom import check_series_choice, describe_series, select_series
from osteon.formats.dicom_inventory import Series, sort_dicom_files
from osteon.formats.dicom_series import series_geometry
from osteon.formats.mask_names import SCAN_WORDS, classify_name, name_words
from osteon.formats.raster import SUFFIXES as PICTURES
from osteon.formats.registry import may_be_data, stem_of, suffix_of
from osteon.formats.unsupported import unsupported_format, unsupported_images
from osteon.predicting.records import result_in

_NUMBERED = re.compile(r"(.+)_(\d{4})")
"""nnU-Net's names: case, channel."""
_SHOWN = 3


@dataclass(frozen=True)
class ScanCandidate:
    """Something that may be a scan, or one channel of it.

    Attributes:
        path: The file without its suffix, or the series' folder, relative to the source.
        channels: The files of each channel; a DICOM series has several.
        problem: Why it cannot be segmented; None where it can be tried.
        description: Of the series, where its folder has several.
        grid: Of a DICOM series, as its headers give it; None where its slices make none, or for a file.
    """

    path: PurePosixPath
    channels: tuple[tuple[Path, ...], ...]
    problem: OsteonError | None = None
    description: str = ""
    grid: Geometry | None = None

    @property
    def name(self) -> str:
        """What it is called: its name, or that of the next folder that tells something (`s0001/ct`, `p07/mr`)."""
        parts = [part for part in self.path.parts if not is_generic_name(part)]
        return parts[-1] if parts else self.path.name


@dataclass
class FolderScans:
    """The scans of a folder by id, in the order of their paths, and notes on what was ignored."""

    scans: dict[str, ScanCandidate] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def is_generic_name(name: str) -> bool:
    """Whether a name is the same for every patient: `ct`, `T1w_image`."""
    return set(name_words(name)) <= SCAN_WORDS


def find_scans_below(
    folder: Path, channels: Sequence[Channel] = (), *, pictures: bool = True, series: str | None = None
) -> FolderScans:
    """Find the scans below a folder.

    Files that are named like masks are skipped, where others are not; so are datasets and the results of earlier
    predictions, votes and runs, and pictures where the model takes none.

    Args:
        folder: A folder.
        channels: Of the model. With several, files that differ in the channel alone are one scan: by nnU-Net's
            endings (`p1_0000`, `p1_0001`), or by the channels' names (`p1_T1`, `p1_T2`; `p1/T1`, `p1/T2`).
        pictures: Whether the model segments pictures.
        series: Of several DICOM series of one study, the one with this number, SeriesInstanceUID or description.

    Returns:
        Scans by id. What cannot be segmented (a channel is missing, files are damaged) has a `problem`.
    """
    below = FolderScans()
    everything = list(files_below(folder, hidden=False))
    results = {above: result_in(above) for above in {path.parent for path in everything} if above != folder}
    ignored = {above: what for above, what in results.items() if what is not None}
    ignored |= {path.parent: "a dataset" for path in everything if path.name == MANIFEST and path.parent != folder}
    for path, what in sorted(ignored.items()):
        below.notes.append(f"{path}: is {what}, and skipped; give it as SCAN to segment what lies in it")
    files = [path for path in everything if ignored.keys().isdisjoint(path.parents)]
    others = [*_series_below(folder, files, series), *_unreadable_scans(folder, files, ignored.keys())]
    files = [path for path in files if suffix_of(path) not in (None, ".seg.nrrd", *DICOM_SUFFIXES)]
    kinds: list[tuple[str, Callable[[Path], bool]]] = [
        ("named like masks", lambda path: classify_name(_relative(path, folder)) == "mask")
    ]
    if not pictures:
        kinds.append(("pictures, which this model does not segment", lambda path: suffix_of(path) in PICTURES))
    for what, is_other in kinds:
        passed = [path for path in files if is_other(path)]
        if passed and (len(passed) < len(files) or others):
            files = [path for path in files if not is_other(path)]
            shown = ", ".join(str(path) for path in passed[:_SHOWN]) + (" …" if len(passed) > _SHOWN else "")
            below.notes.append(f"{folder}: {len(passed)} files are {what}, and skipped: {shown}")
    items = [ScanCandidate(_relative(path, folder).with_name(stem_of(path)), ((path,),)) for path in files]
    below.scans = _name_scans(join_channels([*items, *others], channels, below.notes))
    below.notes += [f"{name}: {item.description}" for name, item in below.scans.items() if item.description]
    return below


def candidates_of_files(paths: Sequence[Path]) -> list[ScanCandidate]:
    """Single files, each in its place."""
    return [
        ScanCandidate(PurePosixPath(path.absolute().with_name(stem_of(path)).as_posix()), ((path,),)) for path in paths
    ]


def _relative(path: Path, folder: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(folder).as_posix())


def _series_below(folder: Path, files: Sequence[Path], which: str | None) -> list[ScanCandidate]:
    """The DICOM series among files, those that `which` names, and for each folder what cannot be read."""
    found = sort_dicom_files(path for path in files if suffix_of(path) in (None, *DICOM_SUFFIXES))
    several = found.series if which is None else _choose_series(found.series, which)
    counts = Counter(one.folder for one in several)
    items = []
    for series in several:
        several_here = not series.picture and counts[series.folder] > 1
        description = describe_series(series) if several_here else ""
        single = len(series.files) == 1
        place = _relative(series.files[0], folder) if single else _relative(series.folder, folder)
        if place == PurePosixPath():
            place = PurePosixPath(folder.resolve().name)
        place = place.with_name(stem_of(Path(place))) if single else place
        items.append(ScanCandidate(place, (series.files,), description=description, grid=_grid(series)))
    refused: dict[Path, list[str]] = defaultdict(list)
    for path, reason in found.refused:
        refused[path.parent].append(f"{path}: {reason}")
    for parent, reasons in refused.items():
        problem = DatasetError(
            f"{len(reasons)} DICOM files in {parent} cannot be read; {reasons[0]}",
            hint="copy them again from their source",
        )
        items.append(ScanCandidate(_relative(parent, folder) / f"{parent.name}-damaged", (), problem))
    return items


def _grid(series: Series) -> Geometry | None:
    try:
        return series_geometry(series)
    except OsteonError:
        return None  # reported when it is read


def _choose_series(series: Sequence[Series], which: str) -> list[Series]:
    """Of several series of one study those that `--series` names; the only one of a study stays."""
    check_series_choice(series, which)
    kept, without = select_series(series, which)
    for study in without:
        raise UsageError(
            f"--series {which}: of one study no series is called so: {'; '.join(map(describe_series, study))}",
            hint="predict this study apart",
        )
    return kept


def _unreadable_scans(folder: Path, files: Sequence[Path], ignored: Set[Path]) -> list[ScanCandidate]:
    """What would be a scan, but is of a format that is not read, or is not there: each fails by its name."""
    there = set(files)
    absent = [path for path, _ in missing_files_below(folder) if may_be_data(path) and path not in there]
    bare = {
        path: path.name[: -len(row.suffix_of(path))]
        for path in unsupported_images(files)
        if (row := unsupported_format(path))
    }
    bare |= {path: stem_of(path) for path in absent if ignored.isdisjoint(path.parents)}
    places = {path: _relative(path, folder) for path in bare}
    return [
        ScanCandidate(places[path].with_name(name), ((path,),))
        for path, name in bare.items()
        if classify_name(places[path]) != "mask"
    ]


def join_channels(items: Sequence[ScanCandidate], channels: Sequence[Channel], notes: list[str]) -> list[ScanCandidate]:
    """The scans in the order of their paths, those that differ in the channel alone joined to one."""
    items = sorted(items, key=lambda item: item.path)
    numbered = {item: match for item in items if (match := _NUMBERED.fullmatch(item.path.name))}
    groups: dict[PurePosixPath, dict[int, ScanCandidate]] = defaultdict(dict)
    for item, match in numbered.items():
        groups[item.path.with_name(match[1])][int(match[2])] = item
    if len(channels) < 2:
        if not numbered or any(set(group) != {0} for group in groups.values()):
            if several := next((group for group in groups.values() if len(group) > 1), None):
                listed = " and ".join(item.path.name for _, item in sorted(several.items()))
                notes.append(f"{listed} are taken as scans of their own: the model has one channel")
            return items
        return [
            replace(item, path=item.path.with_name(numbered[item][1])) if item in numbered else item for item in items
        ]
    names = [channel.name for channel in channels]
    wanted = {name_words(name): number for number, name in enumerate(names)}
    for item in items:
        candidate_words = name_words(item.path.name)
        for key, number in wanted.items():
            if item not in numbered and candidate_words[-len(key) :] == key:
                rest = item.path.name[: len(item.path.name) - len("_".join(key))].rstrip("_-. ")
                place = item.path.with_name(rest) if rest else item.path.parent
                groups[place][number] = item
    scans, taken = [], set()
    for place, group in groups.items():
        if len(group) < 2 and not any(item in numbered for item in group.values()):
            continue  # one file may hold all channels, whatever it is called
        taken |= set(group.values())
        files = tuple(files for _, item in sorted(group.items()) for files in item.channels)
        problem = None
        if set(group) != set(range(len(channels))):
            there = ", ".join(sorted(item.path.name for item in group.values()))
            problem = DatasetError(
                f"has the channels {there}; the model needs {len(channels)} ({', '.join(names)})",
                hint="put the other channels beside it, called as these, or give one file that holds all",
            )
        scans.append(ScanCandidate(place, files, problem, grid=group[min(group)].grid))
    return sorted([*scans, *(item for item in items if item not in taken)], key=lambda item: item.path)


def _name_scans(items: Sequence[ScanCandidate]) -> dict[str, ScanCandidate]:
    """Scans by ids that are different files on every system: names; where these repeat, places; and last a number."""
    names = [safe_id(item.name) for item in items]
    counts = Counter(name_key(name) for name in names)
    named: dict[str, ScanCandidate] = {}
    taken: set[str] = set()
    tried: dict[str, int] = {}
    for item, name in zip(items, names, strict=True):
        wanted = name if counts[name_key(name)] == 1 else safe_id("_".join(item.path.parts))
        name = free_name(wanted, taken, tried)
        taken.add(name_key(name))
        named[name] = item
    return named
