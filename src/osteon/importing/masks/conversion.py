"""A case of scans and masks, read: its scan, and its label files as one segmentation on the scan's grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

from osteon.core.dice import count_overlap, dice
from osteon.core.errors import DatasetError, LabelError, OsteonError
from osteon.core.file_names import natural_key
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.text import pluralise
from osteon.core.volume import Volume
from osteon.dataset.dataset import stack_channels
from osteon.dataset.label_placement import place_segmentation
from osteon.formats.dicom_series import read_series
from osteon.formats.io import read_geometry, read_segmentation
from osteon.formats.mask_names import structure_key
from osteon.importing.masks.cases import MaskCase
from osteon.importing.masks.dicom import read_dicom_labels
from osteon.importing.masks.files import MaskFile, is_binary
from osteon.importing.masks.merging import merge_masks, read_mask, read_pieces
from osteon.importing.options import ImportOptions
from osteon.importing.pieces import owner_of
from osteon.importing.source_forms import ConvertedCase

_LISTED = 8
_AGREE = 0.9
"""A Dice below this, between two files that should show the same, is worth a look."""


@dataclass
class _Conversion:
    """A case in conversion.

    Attributes:
        case: What its files are.
        geometry: The scan's grid.
        priority: As the user gave it.
        provenance: From what it was made so far.
        warnings: What a person should look at.
    """

    case: MaskCase
    geometry: Geometry
    priority: Sequence[str] | None
    provenance: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def scan(self) -> Path:
        """The scan's file, or the folder of its series."""
        return self.case.group.scans[0].path

    def read_masks(self, structures: Sequence[Structure]) -> Segmentation:
        """One mask file for each structure."""
        masks, placements = [], list[str]()
        numbered = {structure.name for structure in structures if structure.instances}
        for name, mask in sorted(self.case.structure_masks.items(), key=lambda item: natural_key(item[0])):
            owner = owner_of(name, structures) or name
            read = read_pieces if owner in numbered else read_mask
            arrays, change, placement = read(mask.path, self.geometry, name=str(mask.path), image_name=str(self.scan))
            placements += [f"{mask.relative_path} is {placement}"] if placement else []
            self.provenance.append(f"{name} from {mask.relative_path}" + (f": {change}" if change else ""))
            masks.append(zip(repeat(owner), arrays, strict=False))
        segmentation, overlaps = merge_masks(chain(*masks), structures, self.geometry, self.priority)
        more = f" (the same for {len(placements) - 1} more masks)" if len(placements) > 1 else ""
        self.warnings += [*overlaps, *(line + more for line in placements[:1])]
        return segmentation

    def read_label_map(self, structures: Sequence[Structure] | None) -> Segmentation:
        """A label map of several structures."""
        [mask], table = self.case.label_maps, self.case.table
        labels = read_segmentation(mask.path, structures, table=table, pieces=True)
        segmentation, placement = place_segmentation(
            labels, self.geometry, name=str(mask.path), image_name=str(self.scan)
        )
        self.provenance.append(f"labels from {mask.relative_path}" + (f": {placement}" if placement else ""))
        self.provenance += [f"their values named by {table.path.name}"] if table is not None else []
        self.warnings += [f"{mask.relative_path} is {placement}"] if placement else []
        return segmentation

    def read_dicom(self, structures: Sequence[Structure]) -> Segmentation:
        """DICOM SEG and RTSTRUCT."""
        dicom = self.case.dicom_labels
        read = [read_dicom_labels(mask, self.geometry, self.warnings) for mask in dicom]
        masks = [(structure.name, labels.mask(structure)) for labels in read for structure in labels.structures]
        files = ", ".join(str(mask.path) for mask in dicom)
        owners = {name: owner_of(name, structures) for name, _ in masks}
        if unlisted := [name for name, array in masks if owners[name] is None and array.any()]:
            raise LabelError(
                f"{files}: marks {', '.join(unlisted[:_LISTED])}, which the list of structures does not name",
                hint="name them all: --labels femur=1,tibia=2; or leave --labels and the table of labels out",
            )
        if len({name for name, _ in masks if owners[name]}) < sum(owners[name] is not None for name, _ in masks):
            raise LabelError(f"{files}: name a structure twice", hint="leave one of these files in the case's folder")
        owned = [(owner, array) for name, array in masks if (owner := owners[name]) is not None]
        segmentation, overlaps = merge_masks(owned, structures, self.geometry, self.priority)
        self.warnings += overlaps
        self.provenance += [f"labels from {mask.relative_path}" for mask in dicom]
        return segmentation


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
    geometry = volume.geometry if volume is not None else read_geometry(case.group.scans[0].path)
    conversion = _Conversion(case, geometry, options.priority, provenance, warnings)
    segmentation: Segmentation | None = None
    if case.structure_masks and structures is not None:
        segmentation = conversion.read_masks(structures)
    elif case.label_maps:
        segmentation = conversion.read_label_map(structures)
    elif case.dicom_labels and structures is not None:
        segmentation = conversion.read_dicom(structures)
    annotated: tuple[str, ...] | None = None
    if segmentation is not None and structures is not None and case.names:
        owned = {owner_of(name, structures) for name in case.names}
        annotated = tuple(s.name for s in structures if s.name in owned)
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
            provenance.extend([f"DICOM series of {pluralise(len(one.files), 'file')} in {scan.relative_path}", *notes])
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
        return f"{mask.relative_path}: names other structures ({names}); skipped", True
    scores = []
    for structure, counterpart in pairs:
        both = count_overlap(segmentation.mask(structure)[None], other.mask(counterpart)[None], [structure])
        scores.append((structure.name, counterpart.name, dice(both[structure.name])))
    listed = ", ".join(f"{s} against {t} Dice {'none' if d is None else f'{d:.3f}'}" for s, t, d in scores)
    low = any(d is not None and d < _AGREE for *_, d in scores)
    return f"{mask.relative_path}: shows the same: {listed}; the masks are taken", low
