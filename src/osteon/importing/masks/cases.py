"""One case of scans and masks: what its files are to be read as, and reading them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from osteon.core.dice import count_overlap, dice
from osteon.core.errors import DatasetError, LabelError, OsteonError
from osteon.core.labels import Segmentation, Structure
from osteon.core.text import pluralise
from osteon.core.volume import Volume
from osteon.dataset.dataset import stacked
from osteon.dataset.label_placement import lay_segmentation
from osteon.formats.annotation_fields import check_label
from osteon.formats.dicom_series import read_series
from osteon.formats.label_tables import LabelTable
from osteon.formats.mask_names import case_of, in_mask_folder, same_name, structure_of
from osteon.formats.registry import read_geometry, read_segmentation, read_structures, table_of
from osteon.importing.masks.dicom import names_in, read_labels
from osteon.importing.masks.files import Mask
from osteon.importing.masks.groups import Group
from osteon.importing.masks.merging import merge, read_mask
from osteon.importing.masks.structures import before_structure, case_names, values_of, vertebrae_of
from osteon.importing.masks.values import is_binary
from osteon.importing.series_choice import listed, way_out
from osteon.importing.source_forms import Converted, Options

_LISTED = 8
_AGREE = 0.9
"""A Dice below this, between two files that should show the same, is worth a look."""


@dataclass
class MaskCase:
    """What the label files of one case are.

    Attributes:
        group: Its scans and masks.
        id: In the dataset.
        named: Structure → its mask.
        maps: Label files of several structures, or of one that no name tells.
        dicom: DICOM SEG and RTSTRUCT.
        passed: Left out beside a folder of masks.
        names: The structures that its files name, in order.
        table: What names the values of its label map, beside it or in a folder above; None where nothing does.
        own: The structures of its label map, by its header or its table.
        problem: Why the case cannot be read; None where it can.
    """

    group: Group
    id: str = ""
    named: dict[str, Mask] = field(default_factory=dict)
    maps: list[Mask] = field(default_factory=list)
    dicom: list[Mask] = field(default_factory=list)
    passed: list[Mask] = field(default_factory=list)
    names: tuple[str, ...] = ()
    table: LabelTable | None = None
    own: tuple[Structure, ...] = ()
    problem: OsteonError | None = None

    @property
    def unnamed(self) -> bool:
        """Whether its label file says a value only."""
        return bool(self.maps) and not self.names


def sort_masks(
    group: Group,
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
        group: From `mask_pairing.pair`.
        spelling: Key of a name → the name as first seen; new ones are added.
        known: Names of structures that the user or a table gives; None where nobody does.
        table_in: The table in a folder that belongs to no label map alone; None where there is none.
        single: Whether each case's one label file is a label map of several structures.
        spine: Whether there are masks of vertebrae in this or another case.
        last: Whether all masks are called after structure and case: `femur_p1`.
    """
    case = MaskCase(group, dicom=[mask for mask in group.masks if mask.kind != "file"])
    files = [mask for mask in group.masks if mask.kind == "file"]
    inside = [mask for mask in files if in_mask_folder(mask.place.relative_to(group.home))]
    if inside and len(inside) < len(files):
        case.passed = [mask for mask in files if mask not in inside]
        files = inside
    scans = [scan.name for scan in group.scans]
    prefixes = [*scans, *(case_of(name) for name in scans), *before_structure(group)]
    prefixes += [part for scan in group.scans for part in scan.folder.parts]
    vertebrae = vertebrae_of(group, known, spine=spine)
    for mask in files:
        name = vertebrae.get(mask) or structure_of(
            mask.place.relative_to(group.home), prefixes, case_names(group) if last else ()
        )
        table = _own_table(mask, case)
        one = table is not None and len(table.structures) == 1 and len(files) > 1
        if table is not None and one:  # one of several masks, each with a table of its own
            name = table.structures[0].name
        if name is not None:
            try:
                name = check_label(name, repr(str(mask.path)))
            except LabelError as error:
                case.problem = case.problem or error
                continue
            name = spelling.setdefault(same_name(name), name)
        alone = len(files) == 1 and (single or (known is not None and name not in known))
        if name is None or alone or (_names_itself(mask) and not one):
            case.maps.append(mask)
        elif name in case.named:
            case.problem = DatasetError(
                f"{case.named[name].path} and {mask.path} are both masks of {name}",
                hint="leave one in the case's folder",
            )
        else:
            case.named[name] = mask
    if group.several:
        case.problem = DatasetError(
            f"several scans, and nothing says to which its masks belong: {listed(group.scans)}",
            hint=way_out(group.scans, "leave one scan in the case's folder, or name them by their channel (T1, T2)"),
        )
    elif len(case.maps) > 1 or (case.maps and case.named):
        files = [*case.maps, *case.named.values()]
        case.problem = DatasetError(
            f"several files that may all be its labels: {', '.join(str(mask.path) for mask in files)}",
            hint="leave one label map in the case's folder, or binary masks alone, each called after its structure "
            "(a vertebra beside an MR called T1: vertebra_T1.nii.gz)",
        )
    try:
        if len(case.maps) == 1:
            case.own, case.table = values_of(case.maps[0], spelling, table_in)
        case.names = _names(case)
    except OsteonError as error:
        case.problem = case.problem or error
    return case


def _names(case: MaskCase) -> tuple[str, ...]:
    if case.named:
        return tuple(case.named)
    if case.maps:
        return tuple(structure.name for structure in case.own)
    return tuple(dict.fromkeys(name for mask in case.dicom for name in names_in(mask)))


def _own_table(mask: Mask, case: MaskCase) -> LabelTable | None:
    try:
        return table_of(mask.path)
    except OsteonError as error:
        case.problem = case.problem or error
        return None


def _names_itself(mask: Mask) -> bool:
    try:
        return bool(read_structures(mask.path))
    except OsteonError:
        return False  # said when its case is read


def read_case(case: MaskCase, structures: Sequence[Structure] | None, options: Options) -> Converted:
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
    volume, done, warnings = _scan(case, options)
    scan = case.group.scans[0]
    geometry = volume.geometry if volume is not None else read_geometry(scan.path)
    segmentation: Segmentation | None = None
    annotated: tuple[str, ...] | None = None
    if case.named and structures is not None:
        masks, laid = [], list[str]()
        for name, mask in case.named.items():
            array, said, how = read_mask(mask.path, geometry, name=str(mask.path), image_name=str(scan.path))
            laid += [f"{mask.place} is {how}"] if how else []
            done.append(f"{name} from {mask.place}" + (f": {said}" if said else ""))
            masks.append((name, array))
        segmentation, overlaps = merge(masks, structures, geometry, options.priority)
        more = f" (and {len(laid) - 1} more masks likewise)" if len(laid) > 1 else ""
        warnings += [*overlaps, *(line + more for line in laid[:1])]
    elif case.maps:
        [mask] = case.maps
        own = read_segmentation(mask.path, structures, table=case.table)
        segmentation, how = lay_segmentation(own, geometry, name=str(mask.path), image_name=str(scan.path))
        done.append(f"labels from {mask.place}" + (f": {how}" if how else ""))
        done += [f"their values named by {case.table.path.name}"] if case.table is not None else []
        warnings += [f"{mask.place} is {how}"] if how else []
    elif case.dicom and structures is not None:
        found = [
            (s.name, own.mask(s))
            for mask in case.dicom
            for own in [read_labels(mask, geometry, warnings)]
            for s in own.structures
        ]
        files = ", ".join(str(mask.path) for mask in case.dicom)
        known = {s.name for s in structures}
        if strange := [name for name, array in found if name not in known and array.any()]:
            raise LabelError(
                f"{files}: marks {', '.join(strange[:_LISTED])}, which the list of structures does not name",
                hint="name them all: --labels femur=1,tibia=2; or leave --labels and the table of labels out",
            )
        found = [(name, array) for name, array in found if name in known]
        if len({name for name, _ in found}) < len(found):
            raise LabelError(f"{files}: name a structure twice", hint="leave one of these files in the case's folder")
        segmentation, overlaps = merge(found, structures, geometry, options.priority)
        warnings += overlaps
        done += [f"labels from {mask.place}" for mask in case.dicom]
    if segmentation is not None and structures is not None and case.names:
        annotated = tuple(s.name for s in structures if s.name in case.names)
        annotated = None if len(annotated) == len(structures) else annotated
    if segmentation is not None and (case.named or case.maps):
        for mask in case.dicom:
            line, low = _compared(mask, segmentation)
            done.append(line)
            warnings += [line] if low else []
    return Converted(volume, segmentation, annotated, tuple(done), tuple(warnings))


def _scan(case: MaskCase, options: Options) -> tuple[Volume | None, list[str], list[str]]:
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
    done: list[str] = []
    changed: list[str] = []

    def volumes() -> Iterator[Volume]:
        for scan, own in zip(scans, series, strict=True):
            volume, said = read_series(own, accept_gaps=options.accept_gaps, resample_tilt=options.resample_tilt)
            done.extend([f"DICOM series of {pluralise(len(own.files), 'file')} in {scan.place}", *said])
            changed.extend(said)
            yield volume

    whole = stacked(volumes(), [str(scan.path) for scan in scans], case.id) if len(scans) > 1 else next(volumes())
    return whole, done, changed


def _compared(mask: Mask, segmentation: Segmentation) -> tuple[str, bool]:
    """How well DICOM labels agree with the masks that were taken, and whether that is worth a look."""
    try:
        other = read_labels(mask, segmentation.geometry)
    except OsteonError as error:
        return f"{mask.place}: was not compared: {error.message}", True
    pairs = [
        (s, t) for s in segmentation.structures for t in other.structures if same_name(s.name) == same_name(t.name)
    ]
    if not pairs and len(segmentation.structures) == len(other.structures) == 1:
        pairs = [(segmentation.structures[0], other.structures[0])]
    if not pairs:
        names = ", ".join(s.name for s in other.structures)
        return f"{mask.place}: names other structures ({names}); passed over", True
    scores = []
    for own, theirs in pairs:
        counted = Structure(name="x", value=1, colour=own.colour)
        both = count_overlap(segmentation.mask(own).view(np.uint8), other.mask(theirs).view(np.uint8), [counted])
        scores.append((own.name, theirs.name, dice(both["x"])))
    said = ", ".join(f"{own} against {theirs} Dice {'none' if d is None else f'{d:.3f}'}" for own, theirs, d in scores)
    low = any(d is not None and d < _AGREE for *_, d in scores)
    return f"{mask.place}: shows the same: {said}; the masks are taken", low
