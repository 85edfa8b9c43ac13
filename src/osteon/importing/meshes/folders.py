"""Which meshes belong to which scan by their folders, and in a heap by their names.

By folder: a scan's home is its own folder; or the nearest folder above it that holds meshes, where no other scan lies
below that, or where meshes lie directly in it. A mesh belongs to the nearest folder above it that is a home. Where that
holds several scans (a heap), or where there is none, names decide: the longest run of words that a mesh's name shares
with one scan's, which must hold what tells this scan from the others; among equally long ones the first in the name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from osteon.core.errors import DatasetError, OsteonError
from osteon.formats.mask_names import MASK_WORDS, SCAN_WORDS, strip_words
from osteon.importing.masks.files import Scan
from osteon.importing.series_choice import describe_scans, series_hint

_LONGEST = 20
"""Words of a name that are looked at."""


def split_words(text: str) -> list[str]:
    """`P07-BlueFragment` → `p`, `07`, `blue`, `fragment`: at marks, capitals, and between letters and digits."""
    return [word.lower() for word in re.findall(r"[A-Z]?[^\W\d_A-Z]+|[^\W\d_]+|\d+", text)]


_MESH_WORDS = frozenset(split_words("stl stls mesh meshes surface surfaces fragment fragments frag model models"))
IGNORED_WORDS = frozenset(word for word in SCAN_WORDS | MASK_WORDS | _MESH_WORDS if not word.isdigit())
"""Words that say what a file is, and not whose."""


class ScanNames:
    """What the names of several scans hold, to find the scan that a mesh's name means."""

    def __init__(self, scans: Sequence[Scan], home: PurePosixPath) -> None:
        self.home = home
        self.runs: dict[tuple[str, ...], list[Scan]] = defaultdict(list)
        words = [
            self._words(scan.relative_path if scan.series else scan.relative_path.with_name(scan.name))
            for scan in scans
        ]
        common = set.intersection(*map(set, words)) if len(words) > 1 else set()
        for scan, scan_words in zip(scans, words, strict=True):
            distinctive = set(scan_words) - common or set(scan_words)
            for run in {run for run, _ in _runs(scan_words)}:
                if distinctive.issubset(run):
                    self.runs[run].append(scan)

    def _words(self, place: PurePosixPath) -> list[str]:
        below = place.relative_to(self.home)
        return [word for part in below.parts for word in split_words(part) if word not in IGNORED_WORDS]

    def owner(self, mesh: PurePosixPath) -> Scan | None:
        """The scan that a mesh's name means; None where it means none, or several."""
        words = self._words(mesh.with_suffix(""))
        found = [(len(run), -start, self.runs[run]) for run, start in _runs(words) if run in self.runs]
        if not found:
            return None
        scans = max(found, key=lambda item: item[:2])[2]
        return scans[0] if len(scans) == 1 else None


def _runs(words: Sequence[str]) -> Iterator[tuple[tuple[str, ...], int]]:
    """All runs of words that stand one behind the other, and where each begins."""
    words = words[:_LONGEST]
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield tuple(words[start:end]), start


ROOT = PurePosixPath()

Places = Sequence[PurePosixPath]
Choose = Callable[[Iterable[Sequence[Scan]]], list[list[Scan]]]


@dataclass
class MeshCase:
    """A scan and its meshes.

    Attributes:
        name: As people call it; becomes the id.
        scan: None where there is none, or nothing says which of several.
        meshes: Relative to the source, in order.
        home: The folder that holds it all, relative to the source.
        problem: Why the case cannot be used.
        skipped_scans: Scans beside its own that are not taken; empty where there are none.
    """

    name: str
    scan: Scan | None
    meshes: list[PurePosixPath] = field(default_factory=list)
    home: PurePosixPath = ROOT
    problem: OsteonError | None = None
    skipped_scans: str = ""

    @property
    def words(self) -> frozenset[str]:
        """The words of the scan's own name and folder, which say nothing about a mesh."""
        return frozenset(split_words(self.home.name) + (split_words(self.scan.name) if self.scan else []))


def make_case(name: str, scans: Sequence[Scan], meshes: list[PurePosixPath], home: PurePosixPath = ROOT) -> MeshCase:
    """A case of one scan, or one that says why it has none."""
    if len(scans) == 1:
        return MeshCase(name, scans[0], meshes, home)
    if len(scans) > 1:
        by_word = [scan for scan in scans if {"ct", "cbct"}.intersection(split_words(scan.name))]
        if len(by_word) == 1:
            others = describe_scans([scan for scan in scans if scan is not by_word[0]])
            return MeshCase(
                name, by_word[0], meshes, home, skipped_scans=f"{others}: {by_word[0].relative_path} is the CT"
            )
        problem = DatasetError(
            f"case {name}: {len(scans)} scans, and nothing says to which the meshes belong: {describe_scans(scans)}",
            hint=series_hint(scans, "leave one, put `ct` into its name, or pass --case-pattern"),
        )
    else:
        problem = DatasetError(
            f"case {name}: meshes without a CT: {', '.join(map(str, meshes[:4]))}", hint="put the CT beside them"
        )
    return MeshCase(name, None, meshes, home, problem)


def sort_by_place(
    scans: Sequence[Scan], meshes: Places, choose: Choose
) -> tuple[list[MeshCase], list[PurePosixPath], list[MeshCase]]:
    """Cases by folder and names, the meshes that fit none, and those of the cases that names made."""
    homes: dict[PurePosixPath, list[Scan]] = defaultdict(list)
    for scan, home in zip(scans, _homes(scans, meshes), strict=True):
        homes[home].append(scan)
    homes = {
        home: scans_here for home, scans_here in zip(list(homes), choose(homes.values()), strict=True) if scans_here
    }
    names = {home: ScanNames(scans_here, home) for home, scans_here in homes.items() if len(scans_here) > 1}
    everywhere = ScanNames(scans, ROOT)
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
    cases, unmatched = [], []
    for home, scans_here in homes.items():
        if len(scans_here) > 1 and lost[home] and not any(scan in owned for scan in scans_here):
            cases.append(make_case(home.name or scans_here[0].path.parent.name, scans_here, lost.pop(home), home))
            continue
        unmatched += lost.pop(home, [])
        cases += [MeshCase(_name(scan, home, len(scans_here)), scan, owned[scan], home) for scan in scans_here]
    folders: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for mesh in lost[None]:
        folders[mesh.parent].append(mesh)
    unmatched += folders.pop(ROOT, [])
    cases += [make_case(folder.name, (), meshes_here, folder) for folder, meshes_here in folders.items()]
    cases.sort(key=lambda case: (str(case.home), case.name))
    return cases, unmatched, [case for case in cases if case.scan in by_name]


def skip_contradictions(cases: Sequence[MeshCase]) -> list[PurePosixPath]:
    """Meshes beside the one scan that are named like another case, taken from it; a case in whose folder another's
    mesh lies gets a `problem`.
    """
    names = {tuple(split_words(case.name)) for case in cases}
    unmatched = []
    for case in cases:
        case_words = tuple(split_words(case.name))
        for mesh in list(case.meshes):
            mesh_words = split_words(strip_words(mesh.stem, IGNORED_WORDS))
            heads = {tuple(mesh_words[:length]) for length in range(1, len(mesh_words))}
            beginning = tuple(mesh_words[: len(case_words)])
            if case_words in heads or "".join(case_words).isdigit():  # `02_red` may be the second fragment
                continue
            if (
                len(cases) == 1
                and case.home == ROOT
                and _number_pattern(beginning) == _number_pattern(case_words) != case_words
                and beginning in heads
            ):
                case.meshes.remove(mesh)
                unmatched.append(mesh)
            elif other := {
                name for name in heads & names - {case_words} if _number_pattern(name) != name and len(name) > 1
            }:
                case.problem = case.problem or DatasetError(
                    f"case {case.name}: {mesh} lies with it, but is named after {''.join(min(other))}",
                    hint="move or rename the mesh, or say which part of a path is the case: --case-pattern",
                )
    return unmatched


def _number_pattern(name: Sequence[str]) -> tuple[str, ...]:
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
    return (home.name if scans == 1 else "") or strip_words(scan.name, IGNORED_WORDS) or scan.name
