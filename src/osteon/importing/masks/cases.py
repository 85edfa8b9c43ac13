"""One case of scans and masks: what its files are to be read as, and reading them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osteon.core.errors import DatasetError, LabelError, OsteonError
from osteon.core.labels import Structure
from osteon.formats.annotation_fields import check_label
from osteon.formats.io import read_structures, table_of
from osteon.formats.label_tables import LabelTable
from osteon.formats.mask_names import case_name, in_mask_folder, structure_key, structure_name
from osteon.importing.masks.dicom import read_structure_names
from osteon.importing.masks.files import MaskFile
from osteon.importing.masks.groups import ScanGroup
from osteon.importing.masks.structures import case_names, find_vertebrae, read_value_names, structure_prefixes
from osteon.importing.series_choice import describe_scans, series_hint


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
    table: LabelTable | None = None
    map_structures: tuple[Structure, ...] = ()
    problem: OsteonError | None = None

    @property
    def is_unnamed(self) -> bool:
        """Whether its label file says a value only."""
        return bool(self.label_maps) and not self.names


@dataclass
class MaskClassifier:
    """What the label files of cases are, by what is known of all of them.

    Attributes:
        spelling: Key of a name → the name as first seen; new ones are added.
        known: Names of structures that the user or a table gives; None where nobody does.
        table_in: The table in a folder that belongs to no label map alone; None where there is none.
        single: Whether each case's one label file is a label map of several structures.
        spine: Whether there are masks of vertebrae in any case.
        case_last: Whether all masks are called after structure and case: `femur_p1`.
    """

    spelling: dict[str, str]
    known: Sequence[str] | None
    table_in: Callable[[Path], Path | None]
    single: bool = False
    spine: bool = False
    case_last: bool = False

    def classify(self, group: ScanGroup) -> MaskCase:
        """What each label file of a group is."""
        case = MaskCase(group, dicom_labels=[mask for mask in group.masks if mask.kind != "file"])
        files = [mask for mask in group.masks if mask.kind == "file"]
        inside = [mask for mask in files if in_mask_folder(mask.relative_path.relative_to(group.home))]
        if inside and len(inside) < len(files):
            case.skipped = [mask for mask in files if mask not in inside]
            files = inside
        scans = [scan.name for scan in group.scans]
        prefixes = [*scans, *(case_name(name) for name in scans), *structure_prefixes(group)]
        prefixes += [part for scan in group.scans for part in scan.folder.parts]
        suffixes = case_names(group) if self.case_last else ()
        vertebrae = find_vertebrae(group, self.known, spine=self.spine)
        for mask in files:
            path = mask.relative_path.relative_to(group.home)
            name = vertebrae.get(mask) or structure_name(path, prefixes, suffixes)
            self._add(case, mask, name, alone=len(files) == 1)
        case.problem = _ambiguity(case) or case.problem
        try:
            if len(case.label_maps) == 1:
                case.map_structures, case.table = read_value_names(case.label_maps[0], self.spelling, self.table_in)
            case.names = _structure_names(case)
        except OsteonError as error:
            case.problem = case.problem or error
        return case

    def _add(self, case: MaskCase, mask: MaskFile, name: str | None, *, alone: bool) -> None:
        """Take a file as the mask of a structure or as a label map; `alone` where the case has no other."""
        table = _read_table(mask, case)
        single = table is not None and len(table.structures) == 1 and not alone
        if table is not None and single:  # one of several masks, each with a table of its own
            name = table.structures[0].name
        if name is not None:
            try:
                name = check_label(name, repr(str(mask.path)))
            except LabelError as error:
                case.problem = case.problem or error
                return
            name = self.spelling.setdefault(structure_key(name), name)
        is_map = alone and (self.single or (self.known is not None and name not in self.known))
        if name is None or is_map or (_has_names(mask) and not single):
            case.label_maps.append(mask)
        elif name in case.structure_masks:
            case.problem = DatasetError(
                f"{case.structure_masks[name].path} and {mask.path} are both masks of {name}",
                hint="leave one in the case's folder",
            )
        else:
            case.structure_masks[name] = mask


def _ambiguity(case: MaskCase) -> DatasetError | None:
    """Why nobody can tell which scan or which label file counts; None where one can."""
    scans = case.group.scans
    if case.group.is_ambiguous:
        return DatasetError(
            f"several scans, and nothing says to which its masks belong: {describe_scans(scans)}",
            hint=series_hint(scans, "leave one scan in the case's folder, or name them by their channel (T1, T2)"),
        )
    if len(case.label_maps) > 1 or (case.label_maps and case.structure_masks):
        files = [*case.label_maps, *case.structure_masks.values()]
        return DatasetError(
            f"several files that may all be its labels: {', '.join(str(mask.path) for mask in files)}",
            hint="leave one label map in the case's folder, or binary masks alone, each called after its structure "
            "(a vertebra beside an MR called T1: vertebra_T1.nii.gz)",
        )
    return None


def _structure_names(case: MaskCase) -> tuple[str, ...]:
    if case.structure_masks:
        return tuple(case.structure_masks)
    if case.label_maps:
        return tuple(structure.name for structure in case.map_structures)
    return tuple(dict.fromkeys(name for mask in case.dicom_labels for name in read_structure_names(mask)))


def _read_table(mask: MaskFile, case: MaskCase) -> LabelTable | None:
    try:
        return table_of(mask.path)
    except OsteonError as error:
        case.problem = case.problem or error
        return None


def _has_names(mask: MaskFile) -> bool:
    try:
        return bool(read_structures(mask.path))
    except OsteonError:
        return False  # reported when its case is read
