"""One case of scans and masks: what its files are to be read as, and reading them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from osteon.core.dice import count_overlap, dice
from osteon.core.errors import DatasetError, LabelError, OsteonError
from osteon.core.labels import Segmentation, Structure
from osteon.core.text import counted
from osteon.core.volume import Volume
from osteon.dataset.dataset import stack_channels
from osteon.dataset.label_placement import place_segmentation
from osteon.formats.annotation_fields import checked_label
from osteon.formats.dicom_series import read_series
from osteon.formats.label_tables import Table
from osteon.formats.mask_names import case_name, in_mask_folder, structure_key, structure_name
from osteon.formats.registry import own_table, read_geometry, read_segmentation, read_structures
from osteon.importing.masks.dicom import read_dicom_labels, read_structure_names
from osteon.importing.masks.files import MaskFile
from osteon.importing.masks.groups import ScanGroup
from osteon.importing.masks.merging import merge_masks, read_mask
from osteon.importing.masks.structures import case_names, find_vertebrae, read_value_names, structure_prefixes
from osteon.importing.masks.values import is_binary
from osteon.importing.options import ImportOptions
from osteon.importing.series_choice import describe_scans, series_hint
from osteon.importing.source_forms import ConvertedCase

_LISTED = 8
_AGREE = 0.9
"""A Dice below this, between two files that should show the same, is worth a look."""


@dataclass
class MaskCase:
    """What the label files of one case are.

    Attributes:
        group: Its scans and masks.
        id: In the dataset.
        structure_masks: Structure → its mask.
        label_maps: Label files of several structures, or of one that no name tells.
        dicom_labels: DICOM SEG and RTSTRUCT.
        skipped: Left out beside a folder of masks.
        names: The structures that its files name, in order.
        table: What names the values of its label map, beside it or in a folder above; None where nothing does.
        map_structures: The structures of its label map, by its header or its table.
        problem: Why the case cannot be read; None where it can.
    """

    group: ScanGroup
    id: str = ""
    structure_masks: dict[str, MaskFile] = field(default_factory=dict)
    label_maps: list[MaskFile] = field(default_factory=list)
    dicom_labels: list[MaskFile] = field(default_factory=list)
    skipped: list[MaskFile] = field(default_factory=list)
    names: tuple[str, ...] = ()
    table: Table | None = None
    map_structures: tuple[Structure, ...] = ()
    problem: OsteonError | None = None

    @property
    def is_unnamed(self) -> bool:
        """Whether its label file says a value only."""
        return bool(self.label_maps) and not self.names


def classify_masks(
    group: ScanGroup,
    spelling: dict[str, str],
    known: Sequence[str] | None,
    table_in: Callable[[Path], Path | None],
    *,
    single: bool = False,
    spine: bool = False,
    last: bool = False,
) -> MaskCase:
    """What each label file of a group is.

    Args:
        group: From `pairing.pair_files`.
        spelling: Key of a name → the name as first seen; new ones are added.
        known: Names of structures that the user or a table gives; None where nobody does.
        table_in: The table in a folder that belongs to no label map alone; None where there is none.
        single: Whether each case's one label file is a label map of several structures.
        spine: Whether there are masks of vertebrae in this or another case.
        last: Whether all masks are called after structure and case: `femur_p1`.
    """
    case = MaskCase(group, dicom_labels=[mask for mask in group.masks if mask.kind != "file"])
    files = [mask for mask in group.masks if mask.kind == "file"]
    inside = [mask for mask in files if in_mask_folder(mask.relative_path.relative_to(group.home))]
    if inside and len(inside) < len(files):
        case.skipped = [mask for mask in files if mask not in inside]
        files = inside
    scans = [scan.name for scan in group.scans]
    prefixes = [*scans, *(case_name(name) for name in scans), *structure_prefixes(group)]
    prefixes += [part for scan in group.scans for part in scan.folder.parts]
    vertebrae = find_vertebrae(group, known, spine=spine)
    for mask in files:
        name = vertebrae.get(mask) or structure_name(
            mask.relative_path.relative_to(group.home), prefixes, case_names(group) if last else ()
        )
        table = _read_table(mask, case)
        one = table is not None and len(table.structures) == 1 and len(files) > 1
        if table is not None and one:  # one of several masks, each with a table of its own
            name = table.structures[0].name
        if name is not None:
            try:
                name = checked_label(name, repr(str(mask.path)))
            except LabelError as error:
                case.problem = case.problem or error
                continue
            name = spelling.setdefault(structure_key(name), name)
        alone = len(files) == 1 and (single or (known is not None and name not in known))
        if name is None or alone or (_has_names(mask) and not one):
            case.label_maps.append(mask)
        elif name in case.structure_masks:
            case.problem = DatasetError(
                f"{case.structure_masks[name].path} and {mask.path} are both masks of {name}",
                hint="leave one in the case's folder",
            )
        else:
            case.structure_masks[name] = mask
    if group.is_ambiguous:
        case.problem = DatasetError(
            f"several scans, and nothing says to which its masks belong: {describe_scans(group.scans)}",
            hint=series_hint(
                group.scans, "leave one scan in the case's folder, or name them by their channel (T1, T2)"
            ),
        )
    elif len(case.label_maps) > 1 or (case.label_maps and case.structure_masks):
        files = [*case.label_maps, *case.structure_masks.values()]
        case.problem = DatasetError(
            f"several files that may all be its labels: {', '.join(str(mask.path) for mask in files)}",
            hint="leave one label map in the case's folder, or binary masks alone, each called after its structure "
            "(a vertebra beside an MR called T1: vertebra_T1.nii.gz)",
        )
    try:
        if len(case.label_maps) == 1:
            case.map_structures, case.table = read_value_names(case.label_maps[0], spelling, table_in)
        case.names = _structure_names(case)
    except OsteonError as error:
        case.problem = case.problem or error
    return case


def _structure_names(case: MaskCase) -> tuple[str, ...]:
    if case.structure_masks:
        return tuple(case.structure_masks)
    if case.label_maps:
        return tuple(structure.name for structure in case.map_structures)
    return tuple(dict.fromkeys(name for mask in case.dicom_labels for name in read_structure_names(mask)))


def _read_table(mask: MaskFile, case: MaskCase) -> Table | None:
    try:
        return own_table(mask.path)
    except OsteonError as error:
        case.problem = case.problem or error
        return None


def _has_names(mask: MaskFile) -> bool:
    try:
        return bool(read_structures(mask.path))
    except OsteonError:
        return False  # said when its case is read


def read_case(case: MaskCase, structures: Sequence[Structure] | None, options: ImportOptions) -> ConvertedCase:
    """Read the scan where it is DICOM, and the masks as one segmentation on the scan's grid.

    Args:
        case: What its files are.
        structures: The dataset's; None where only the label files say.
        options: Of the import.

    Raises:
        CaseError: A file cannot be read, a mask does not fit, or nobody knows which structure it shows.
    """
    if case.problem is not None:
        raise case.problem
    for scan in case.group.scans if len(case.group.scans) > 1 else ():
        if scan.series is None and is_binary(scan.path):
            raise DatasetError(
                f"{scan.path}: is named like a channel, but holds one value like a mask",
                hint="put masks into a folder `masks`",
            )
    volume, provenance, warnings = _read_scan(case, options)
    scan = case.group.scans[0]
    geometry = volume.geometry if volume is not None else read_geometry(scan.path)
    segmentation: Segmentation | None = None
    annotated: tuple[str, ...] | None = None
    if case.structure_masks and structures is not None:
        masks, placements = [], list[str]()
        for name, mask in case.structure_masks.items():
            array, change, placement = read_mask(mask.path, geometry, name=str(mask.path), image_name=str(scan.path))
            placements += [f"{mask.relative_path} is {placement}"] if placement else []
            provenance.append(f"{name} from {mask.relative_path}" + (f": {change}" if change else ""))
            masks.append((name, array))
        segmentation, overlaps = merge_masks(masks, structures, geometry, options.priority)
        more = f" (and {len(placements) - 1} more masks likewise)" if len(placements) > 1 else ""
        warnings += [*overlaps, *(line + more for line in placements[:1])]
    elif case.label_maps:
        [mask] = case.label_maps
        own = read_segmentation(mask.path, structures, table=case.table)
        segmentation, placement = place_segmentation(own, geometry, name=str(mask.path), image_name=str(scan.path))
        provenance.append(f"labels from {mask.relative_path}" + (f": {placement}" if placement else ""))
        provenance += [f"their values named by {case.table.path.name}"] if case.table is not None else []
        warnings += [f"{mask.relative_path} is {placement}"] if placement else []
    elif case.dicom_labels and structures is not None:
        found = [
            (s.name, own.mask(s))
            for mask in case.dicom_labels
            for own in [read_dicom_labels(mask, geometry, warnings)]
            for s in own.structures
        ]
        files = ", ".join(str(mask.path) for mask in case.dicom_labels)
        known = {s.name for s in structures}
        if unlisted := [name for name, array in found if name not in known and array.any()]:
            raise LabelError(
                f"{files}: marks {', '.join(unlisted[:_LISTED])}, which the list of structures does not name",
                hint="name them all: --labels femur=1,tibia=2; or leave --labels and the table of labels out",
            )
        found = [(name, array) for name, array in found if name in known]
        if len({name for name, _ in found}) < len(found):
            raise LabelError(f"{files}: name a structure twice", hint="leave one of these files in the case's folder")
        segmentation, overlaps = merge_masks(found, structures, geometry, options.priority)
        warnings += overlaps
        provenance += [f"labels from {mask.relative_path}" for mask in case.dicom_labels]
    if segmentation is not None and structures is not None and case.names:
        annotated = tuple(s.name for s in structures if s.name in case.names)
        annotated = None if len(annotated) == len(structures) else annotated
    if segmentation is not None and (case.structure_masks or case.label_maps):
        for mask in case.dicom_labels:
            line, low = _compare_dicom(mask, segmentation)
            provenance.append(line)
            warnings += [line] if low else []
    return ConvertedCase(volume, segmentation, annotated, tuple(provenance), tuple(warnings))


def _read_scan(case: MaskCase, options: ImportOptions) -> tuple[Volume | None, list[str], list[str]]:
    """The image of a DICOM case (None where its scans are files), from what it was made, and what was changed in it."""
    scans = case.group.scans
    series = [scan.series for scan in scans if scan.series is not None]
    if not series:
        return None, [], []
    if len(series) < len(scans):
        file = next(scan for scan in scans if scan.series is None)
        raise DatasetError(
            f"{file.path} is a file, and {series[0].folder} a DICOM series",
            hint="give all channels of a case as files, or all as series",
        )
    provenance: list[str] = []
    changed: list[str] = []

    def volumes() -> Iterator[Volume]:
        for scan, one in zip(scans, series, strict=True):
            volume, notes = read_series(one, accept_gaps=options.accept_gaps, resample_tilt=options.resample_tilt)
            provenance.extend([f"DICOM series of {counted(len(one.files), 'file')} in {scan.relative_path}", *notes])
            changed.extend(notes)
            yield volume

    whole = (
        stack_channels(volumes(), [str(scan.path) for scan in scans], case.id) if len(scans) > 1 else next(volumes())
    )
    return whole, provenance, changed


def _compare_dicom(mask: MaskFile, segmentation: Segmentation) -> tuple[str, bool]:
    """How well DICOM labels agree with the masks that were taken, and whether that is worth a look."""
    try:
        other = read_dicom_labels(mask, segmentation.geometry)
    except OsteonError as error:
        return f"{mask.relative_path}: was not compared: {error.message}", True
    pairs = [
        (s, t)
        for s in segmentation.structures
        for t in other.structures
        if structure_key(s.name) == structure_key(t.name)
    ]
    if not pairs and len(segmentation.structures) == len(other.structures) == 1:
        pairs = [(segmentation.structures[0], other.structures[0])]
    if not pairs:
        names = ", ".join(s.name for s in other.structures)
        return f"{mask.relative_path}: names other structures ({names}); passed over", True
    scores = []
    for mine, other_structure in pairs:
        counted = Structure(name="x", value=1, colour=mine.colour)
        both = count_overlap(
            segmentation.mask(mine).view(np.uint8), other.mask(other_structure).view(np.uint8), [counted]
        )
        scores.append((mine.name, other_structure.name, dice(both["x"])))
    listed = ", ".join(
        f"{mine} against {other_structure} Dice {'none' if d is None else f'{d:.3f}'}"
        for mine, other_structure, d in scores
    )
    low = any(d is not None and d < _AGREE for *_, d in scores)
    return f"{mask.relative_path}: shows the same: {listed}; the masks are taken", low
