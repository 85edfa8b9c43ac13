"""Which meshes belong to which scan: by folder, else by what their names share, or by the user's pattern.

By folder: a scan's home is its own folder; or the nearest folder above it that holds meshes, where no other scan lies
below that, or where meshes lie directly in it. A mesh belongs to the nearest folder above it that is a home. Where that
holds several scans (a heap), or where there is none, names decide: the longest run of words that a mesh's name shares
with one scan's, which must hold what tells this scan from the others; among equally long ones the first in the name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.folders import files_below, is_pointer_file
from osteon.core.text import pluralise
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.dicom_folders import contains_dicom
from osteon.formats.mask_names import kind_of, without_words
from osteon.importing.masks.files import Heap, Scan, find_dicom, some, volume_files
from osteon.importing.meshes.names import PASSED_OVER, Names, split_words
from osteon.importing.patterns import PROPOSALS, path_finder
from osteon.importing.series_choice import choose_series, listed, way_out

ROOT = PurePosixPath()

Places = Sequence[PurePosixPath]
Choose = Callable[[Iterable[Sequence[Scan]]], list[list[Scan]]]


@dataclass
class MeshCase:
    """A scan and its meshes.

    Attributes:
        name: As people call it; becomes the id.
        scan: None where there is none, or none that can be told.
        meshes: Relative to the source, in order.
        home: The folder that holds it all, relative to the source.
        problem: Why the case cannot be used.
        passed: Scans beside its own that are not taken; empty where there are none.
    """

    name: str
    scan: Scan | None
    meshes: list[PurePosixPath] = field(default_factory=list)
    home: PurePosixPath = ROOT
    problem: OsteonError | None = None
    passed: str = ""

    @property
    def words(self) -> frozenset[str]:
        """The words of the scan's own name and folder, which say nothing about a mesh."""
        return frozenset(split_words(self.home.name) + (split_words(self.scan.name) if self.scan else []))


@dataclass
class Sorted:
    """A heap, sorted.

    Attributes:
        cases: In order of their files.
        ids: One for each case.
        understood: How it was sorted, in sentences.
        warnings: What a person should look at.
        lost: What fits no case, label files beside the meshes, and series that could not be read or chosen.
    """

    cases: list[MeshCase]
    ids: list[str]
    understood: list[str]
    warnings: list[str]
    lost: list[str] = field(default_factory=list)


def mesh_files(source: Path) -> Iterator[Path]:
    """The STL files below `source`, hidden ones and those of osteon's datasets passed over."""
    below = files_below(source, hidden=False, skip_with=FILE_NAME)
    yield from (path for path in below if path.suffix.lower() == ".stl" and not is_pointer_file(path))


def sort_heap(source: Path, pattern: str | None, series: str | None = None) -> Sorted:
    """Sort scans and meshes below `source` into cases; reads headers of DICOM files alone.

    Raises:
        UsageError: `pattern` is no regular expression with a group, or finds no case; or no `series` is called so.
        DatasetError: There is no scan.
    """
    meshes = sorted(PurePosixPath(path.relative_to(source).as_posix()) for path in mesh_files(source))
    heap = _scans(source)
    scans, warnings = heap.scans, heap.warnings
    choose = partial(choose_series, which=series, warnings=warnings, lost=heap.lost)
    if not scans:
        raise DatasetError(f"{source}: no CT beside the meshes", hint="put the CT (NIfTI, NRRD, DICOM) beside them")
    find = path_finder(pattern, "--case-pattern")
    if find is not None:
        cases, stray = _by_pattern(scans, meshes, find, choose)
        understood = [f"cases by the pattern {pattern}"]
        if not any(case.scan and case.meshes for case in cases):
            raise UsageError(
                f"--case-pattern {pattern}: brings no CT and mesh together",
                hint=f"its first group must be the same in the paths of both, such as {scans[0].place} and {meshes[0]}",
            )
    else:
        cases, stray, named = _by_place(scans, meshes, choose)
        stray += _contradicted(cases)
        understood = _explained(cases, named)
    heap.lost += some([f"{mesh}: fits no case" for mesh in stray], "meshes that fit no case")
    without = [case.name for case in cases if not case.meshes and case.scan]
    if without:
        warnings.append(f"no meshes, so taken without labels: {', '.join(without)}")
    heap.lost += [case.passed for case in cases if case.passed]
    return Sorted(cases, _ids(cases, warnings), understood, warnings, heap.lost)


def _scans(source: Path) -> Heap:
    """Image files and DICOM series; what is not taken, files that are called masks too, is lost."""
    heap = find_dicom(source)[0] if contains_dicom(source) else Heap()
    masks = []
    for path in volume_files(source):
        place = PurePosixPath(path.relative_to(source).as_posix())
        if kind_of(place) == "mask":
            masks.append(place)
        else:
            heap.scans.append(Scan(path, place))
    heap.lost += some([f"{mask}: is a label file, and the meshes are the labels" for mask in masks], "label files")
    return heap


def _by_pattern(
    scans: Sequence[Scan], meshes: Places, find: Callable[[str], str | None], choose: Choose
) -> tuple[list[MeshCase], list[PurePosixPath]]:
    """Cases by the pattern's first group, capitals or not; and the meshes in which it finds nothing."""
    spelt: dict[str, str] = {}
    own: dict[str, list[Scan]] = defaultdict(list)
    theirs: dict[str, list[PurePosixPath]] = defaultdict(list)
    stray = []
    for scan in scans:
        if key := find(str(scan.place)):
            own[spelt.setdefault(key.casefold(), key)].append(scan)
    for mesh in meshes:
        if key := find(str(mesh)):
            theirs[spelt.setdefault(key.casefold(), key)].append(mesh)
        else:
            stray.append(mesh)
    left = choose([own[name] for name in spelt.values()])
    return [_case(name, scans, theirs[name]) for name, scans in zip(spelt.values(), left, strict=True)], stray


def _case(name: str, scans: Sequence[Scan], meshes: list[PurePosixPath], home: PurePosixPath = ROOT) -> MeshCase:
    """A case of one scan, or one that says why it has none."""
    if len(scans) == 1:
        return MeshCase(name, scans[0], meshes, home)
    if len(scans) > 1:
        by_word = [scan for scan in scans if {"ct", "cbct"}.intersection(split_words(scan.name))]
        if len(by_word) == 1:
            others = listed([scan for scan in scans if scan is not by_word[0]])
            return MeshCase(name, by_word[0], meshes, home, passed=f"{others}: {by_word[0].place} is the CT")
        problem = DatasetError(
            f"case {name}: {len(scans)} scans, and no telling which the meshes belong to: {listed(scans)}",
            hint=way_out(scans, "leave one, put `ct` into its name, or pass --case-pattern"),
        )
    else:
        problem = DatasetError(
            f"case {name}: meshes without a CT: {', '.join(map(str, meshes[:4]))}", hint="put the CT beside them"
        )
    return MeshCase(name, None, meshes, home, problem)


def _by_place(
    scans: Sequence[Scan], meshes: Places, choose: Choose
) -> tuple[list[MeshCase], list[PurePosixPath], list[MeshCase]]:
    """Cases by folder and names, the meshes that fit none, and those of the cases that names made."""
    homes: dict[PurePosixPath, list[Scan]] = defaultdict(list)
    for scan, home in zip(scans, _homes(scans, meshes), strict=True):
        homes[home].append(scan)
    homes = {home: own for home, own in zip(list(homes), choose(homes.values()), strict=True) if own}
    names = {home: Names(own, home) for home, own in homes.items() if len(own) > 1}
    everywhere = Names(scans, ROOT)
    owned: dict[Scan, list[PurePosixPath]] = defaultdict(list)
    lost: dict[PurePosixPath | None, list[PurePosixPath]] = defaultdict(list)
    by_name: set[Scan] = set()
    for mesh in meshes:
        nearest = next((folder for folder in mesh.parents if folder in homes), None)
        if nearest is not None and nearest not in names:
            owned[homes[nearest][0]].append(mesh)
            continue
        owner = (everywhere if nearest is None else names[nearest]).owner(mesh)
        if owner is None:
            lost[nearest].append(mesh)
        else:
            owned[owner].append(mesh)
            by_name.add(owner)
    cases, stray = [], []
    for home, own in homes.items():
        if len(own) > 1 and lost[home] and not any(scan in owned for scan in own):
            cases.append(_case(home.name or own[0].path.parent.name, own, lost.pop(home), home))
            continue
        stray += lost.pop(home, [])
        cases += [MeshCase(_name(scan, home, len(own)), scan, owned[scan], home) for scan in own]
    folders: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for mesh in lost[None]:
        folders[mesh.parent].append(mesh)
    stray += folders.pop(ROOT, [])
    cases += [_case(folder.name, (), theirs, folder) for folder, theirs in folders.items()]
    cases.sort(key=lambda case: (str(case.home), case.name))
    return cases, stray, [case for case in cases if case.scan in by_name]


def _contradicted(cases: Sequence[MeshCase]) -> list[PurePosixPath]:
    """Meshes beside the one scan that are named like another case, taken from it; a case in whose folder another's
    mesh lies gets a `problem`.
    """
    names = {tuple(split_words(case.name)) for case in cases}
    stray = []
    for case in cases:
        own = tuple(split_words(case.name))
        for mesh in list(case.meshes):
            told = split_words(without_words(mesh.stem, PASSED_OVER))
            heads = {tuple(told[:length]) for length in range(1, len(told))}
            like = tuple(told[: len(own)])
            if own in heads or "".join(own).isdigit():  # `02_red` may be the second fragment
                continue
            if len(cases) == 1 and case.home == ROOT and _numbered(like) == _numbered(own) != own and like in heads:
                case.meshes.remove(mesh)
                stray.append(mesh)
            elif other := {name for name in heads & names - {own} if _numbered(name) != name and len(name) > 1}:
                case.problem = case.problem or DatasetError(
                    f"case {case.name}: {mesh} lies with it, but is named after {''.join(min(other))}",
                    hint="move or rename the mesh, or say which part of a path is the case: --case-pattern",
                )
    return stray


def _numbered(name: Sequence[str]) -> tuple[str, ...]:
    return tuple("#" if word.isdigit() else word for word in name)


def _homes(scans: Sequence[Scan], meshes: Places) -> Iterator[PurePosixPath]:
    """The folder in and below which each scan's meshes are looked for."""
    direct = {mesh.parent for mesh in meshes}
    holding = {folder for mesh in meshes for folder in mesh.parents}
    below = Counter(folder for scan in scans for folder in (scan.folder, *scan.folder.parents))
    for scan in scans:
        above = (folder for folder in (scan.folder, *scan.folder.parents) if folder in holding)
        nearest = next(above, scan.folder)
        yield nearest if nearest in direct or below[nearest] == 1 else scan.folder


def _name(scan: Scan, home: PurePosixPath, scans: int) -> str:
    """The folder's name where it holds this scan alone, else the scan's."""
    return (home.name if scans == 1 else "") or without_words(scan.name, PASSED_OVER) or scan.name


def _explained(cases: Sequence[MeshCase], named: Sequence[MeshCase]) -> list[str]:
    """How the cases came about."""
    whole = [case for case in cases if case.scan and case.meshes]
    lines = [f"{pluralise(len(whole) - len(named), 'case')} by folder: a CT with the meshes beside or below it"]
    if not named:
        return lines
    shown = named[0]
    meshes = ", ".join(str(mesh) for mesh in shown.meshes[:3]) + (", …" if len(shown.meshes) > 3 else "")
    scan = shown.scan.place if shown.scan else ""
    lines.append(f"{len(named)} cases by what names share: {shown.name} is {scan} with {meshes}")
    proposal = next((pattern for pattern in PROPOSALS if _sorts_alike(pattern, whole)), None)
    if proposal is not None:
        lines.append(f"the same as --case-pattern '{proposal}'")
    return lines if len(whole) > len(named) else lines[1:]


def _sorts_alike(pattern: str, cases: Sequence[MeshCase]) -> bool:
    """Whether the pattern gives all files of a case one key, and every case its own."""
    find = path_finder(pattern, "--case-pattern") or str
    places = ([*([case.scan.place] if case.scan else []), *case.meshes] for case in cases)
    keys = [{(find(str(place)) or "").casefold() for place in own} for own in places]
    flat = [key for found in keys for key in found]
    return "" not in flat and len(flat) == len(cases) == len(set(flat))


def _ids(cases: Sequence[MeshCase], warnings: list[str]) -> list[str]:
    short = [safe_id(case.name) for case in cases]
    names = [(case.scan.name if case.scan else "") for case in cases]
    long = [safe_id("_".join((*case.home.parts, name))) for case, name in zip(cases, names, strict=True)]
    whole = [safe_id("_".join(case.scan.place.parts if case.scan else case.home.parts)) for case in cases]
    return unique_ids([short, long, whole], warnings)
