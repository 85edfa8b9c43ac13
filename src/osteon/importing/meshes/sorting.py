"""Which meshes belong to which scan: by folder, else by what their names share, or by the user's pattern."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from osteon.core.errors import DatasetError, UsageError
from osteon.core.folders import files_below, is_pointer_file
from osteon.core.text import pluralise
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.mask_names import classify_name
from osteon.formats.registry import contains_dicom
from osteon.importing.masks.files import (
    Scan,
    SourceInventory,
    find_dicom_scans,
    path_below,
    shorten_lines,
    volume_files,
)
from osteon.importing.meshes.folders import Choose, MeshCase, Places, make_case, skip_contradictions, sort_by_place
from osteon.importing.series_choice import choose_series
from osteon.importing.source_forms import COMMON_PATTERNS, compile_path_pattern


@dataclass
class SortedMeshes:
    """Scans and meshes, sorted.

    Attributes:
        cases: In order of their files.
        ids: One for each case.
        summary: How it was sorted, in sentences.
        warnings: What a person should look at.
        lost: What fits no case, label files beside the meshes, and series that could not be read or chosen.
    """

    cases: list[MeshCase]
    ids: list[str]
    summary: list[str]
    warnings: list[str]
    lost: list[str] = field(default_factory=list)


def mesh_files(source: Path) -> Iterator[Path]:
    """The STL files below `source`, hidden ones and those of osteon's datasets skipped."""
    below = files_below(source, hidden=False, skip_with=FILE_NAME)
    yield from (path for path in below if path.suffix.lower() == ".stl" and not is_pointer_file(path))


def sort_files(source: Path, pattern: str | None, series: str | None = None) -> SortedMeshes:
    """Sort scans and meshes below `source` into cases; reads headers of DICOM files alone.

    Raises:
        UsageError: `pattern` is no regular expression with a group, or finds no case; or no `series` is called so.
        DatasetError: There is no scan.
    """
    meshes = sorted(path_below(source, path) for path in mesh_files(source))
    inventory = _scans(source)
    scans, warnings = inventory.scans, inventory.warnings
    choose = partial(choose_series, which=series, warnings=warnings, lost=inventory.lost)
    if not scans:
        raise DatasetError(f"{source}: no CT beside the meshes", hint="put the CT (NIfTI, NRRD, DICOM) beside them")
    find = compile_path_pattern(pattern)
    if find is not None:
        cases, unmatched = _sort_by_pattern(scans, meshes, find, choose)
        summary = [f"cases by the pattern {pattern}"]
        if not any(case.scan and case.meshes for case in cases):
            raise UsageError(
                f"--case-pattern {pattern}: brings no CT and mesh together",
                hint=f"its first group must be the same in the paths of both, "
                f"such as {scans[0].relative_path} and {meshes[0]}",
            )
    else:
        cases, unmatched, named = sort_by_place(scans, meshes, choose)
        unmatched += skip_contradictions(cases)
        summary = _summarise(cases, named)
    inventory.lost += shorten_lines([f"{mesh}: fits no case" for mesh in unmatched], "meshes that fit no case")
    without = [case.name for case in cases if not case.meshes and case.scan]
    if without:
        warnings.append(f"no meshes, so taken without labels: {', '.join(without)}")
    inventory.lost += [case.skipped_scans for case in cases if case.skipped_scans]
    return SortedMeshes(cases, _ids(cases, warnings), summary, warnings, inventory.lost)


def _scans(source: Path) -> SourceInventory:
    """Image files and DICOM series; what is not taken, files that are called masks too, is lost."""
    inventory = find_dicom_scans(source)[0] if contains_dicom(source) else SourceInventory()
    masks = []
    for path in volume_files(source):
        place = path_below(source, path)
        if classify_name(place) == "mask":
            masks.append(place)
        else:
            inventory.scans.append(Scan(path, place))
    inventory.lost += shorten_lines(
        [f"{mask}: is a label file, and the meshes are the labels" for mask in masks], "label files"
    )
    return inventory


def _sort_by_pattern(
    scans: Sequence[Scan], meshes: Places, find: Callable[[str], str | None], choose: Choose
) -> tuple[list[MeshCase], list[PurePosixPath]]:
    """Cases by the pattern's first group, capitals or not; and the meshes in which it finds nothing."""
    spelling: dict[str, str] = {}
    scans_of: dict[str, list[Scan]] = defaultdict(list)
    meshes_of: dict[str, list[PurePosixPath]] = defaultdict(list)
    unmatched = []
    for scan in scans:
        if key := find(str(scan.relative_path)):
            scans_of[spelling.setdefault(key.casefold(), key)].append(scan)
    for mesh in meshes:
        if key := find(str(mesh)):
            meshes_of[spelling.setdefault(key.casefold(), key)].append(mesh)
        else:
            unmatched.append(mesh)
    left = choose([scans_of[name] for name in spelling.values()])
    return [
        make_case(name, scans, meshes_of[name]) for name, scans in zip(spelling.values(), left, strict=True)
    ], unmatched


def _summarise(cases: Sequence[MeshCase], named: Sequence[MeshCase]) -> list[str]:
    """How the cases came about."""
    whole = [case for case in cases if case.scan and case.meshes]
    lines = [f"{pluralise(len(whole) - len(named), 'case')} by folder: a CT with the meshes beside or below it"]
    if not named:
        return lines
    shown = named[0]
    meshes = ", ".join(str(mesh) for mesh in shown.meshes[:3]) + (", …" if len(shown.meshes) > 3 else "")
    scan = shown.scan.relative_path if shown.scan else ""
    lines.append(f"{len(named)} cases by what names share: {shown.name} is {scan} with {meshes}")
    proposal = next((pattern for pattern in COMMON_PATTERNS if _sorts_same(pattern, whole)), None)
    if proposal is not None:
        lines.append(f"the same as --case-pattern '{proposal}'")
    return lines if len(whole) > len(named) else lines[1:]


def _sorts_same(pattern: str, cases: Sequence[MeshCase]) -> bool:
    """Whether the pattern gives all files of a case one key, and every case its own."""
    find = compile_path_pattern(pattern) or str
    places = ([*([case.scan.relative_path] if case.scan else []), *case.meshes] for case in cases)
    keys = [{(find(str(place)) or "").casefold() for place in paths} for paths in places]
    flat = [key for found in keys for key in found]
    return "" not in flat and len(flat) == len(cases) == len(set(flat))


def _ids(cases: Sequence[MeshCase], warnings: list[str]) -> list[str]:
    short = [safe_id(case.name) for case in cases]
    names = [(case.scan.name if case.scan else "") for case in cases]
    long = [safe_id("_".join((*case.home.parts, name))) for case, name in zip(cases, names, strict=True)]
    whole = [safe_id("_".join(case.scan.relative_path.parts if case.scan else case.home.parts)) for case in cases]
    return unique_ids([short, long, whole], warnings)
