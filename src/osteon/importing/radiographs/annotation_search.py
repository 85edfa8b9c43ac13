"""Pictures and what marks them, from all files of a source together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from osteon.core.errors import DatasetError, FileError
from osteon.core.file_names import natural_key
from osteon.core.labels import Structure, make_structures
from osteon.core.text import pluralise, shorten_list
from osteon.formats.raster import read_orientation
from osteon.formats.rle import is_rle_csv
from osteon.importing.options import ImportOptions
from osteon.importing.pieces import FRAGMENT, lay_out, number_pieces, owner_of
from osteon.importing.radiographs.annotations import Annotation, PictureAnnotations, conflicting_annotation
from osteon.importing.radiographs.files import FileIndex, PictureInventory, SourceFile
from osteon.importing.radiographs.json_files import JsonAnnotations
from osteon.importing.radiographs.mask_files import separate_masks
from osteon.importing.radiographs.mask_tables import is_mask_table, read_mask_table, read_table_annotations
from osteon.importing.radiographs.pictures import add_dicom, report_dicom
from osteon.importing.radiographs.rle import read_rle_annotations
from osteon.importing.source_forms import Source, compile_path_pattern
from osteon.importing.structure_names import user_structures

_LISTED = 6


@dataclass
class AnnotatedPictures:
    """Pictures and what marks them.

    Attributes:
        pictures: All of them, in order.
        annotations: Of each picture that is marked the surest.
        kinds: The kinds of all its annotations, the surest first.
        structure_order: Names in the order that a source gives.
    """

    pictures: list[SourceFile]
    annotations: dict[SourceFile, Annotation] = field(default_factory=dict)
    kinds: dict[SourceFile, list[str]] = field(default_factory=lambda: defaultdict(list))
    structure_order: tuple[str, ...] = ()

    def add(self, annotations: PictureAnnotations) -> None:
        """Take annotations, the surest first; two of one kind for a picture make its case fail."""
        for picture, annotation in annotations:
            first = self.annotations.setdefault(picture, annotation)
            if first is not annotation and first.kind == annotation.kind:
                self.annotations[picture] = conflicting_annotation(picture, first, annotation)
            self.kinds[picture].append(annotation.kind)

    def find_structures(self, options: ImportOptions, folder: Path) -> tuple[Structure, ...] | None:
        """By `--labels`; else in the order of COCO's categories, the others in natural order.

        None for label maps alone. The annotations' `annotated` are then limited to these structures.
        """
        structures = self._structures(options, folder)
        if structures and options.fragments == "instances":
            structures = self._number_pieces(structures, by_user=options.structures is not None)
        self.annotations = {
            picture: _limit_to_structures(annotation, structures or ())
            for picture, annotation in self.annotations.items()
        }
        return structures

    def _structures(self, options: ImportOptions, folder: Path) -> tuple[Structure, ...] | None:
        if (named := user_structures(options.structures)) is not None:
            return named
        names = {name for annotation in self.annotations.values() for name in annotation.names}
        if not names and not self.structure_order:
            return None
        if any(annotation.label is not None for annotation in self.annotations.values()):
            raise DatasetError(
                f"{folder}: some pictures have label maps, whose values have no names, others structures with names",
                hint="name the values: --labels NAME=VALUE,…",
            )
        ordered = [*self.structure_order, *sorted(names - set(self.structure_order), key=natural_key)]
        return make_structures(ordered)

    def _number_pieces(self, structures: tuple[Structure, ...], *, by_user: bool) -> tuple[Structure, ...]:
        """Structures that a picture has several of as pieces; where none has, those whose names are numbered."""
        times = {
            s.name: max((annotation.times.get(s.name, 1) for annotation in self.annotations.values()), default=1)
            for s in structures
        }
        several = {name: count for name, count in times.items() if count > 1}
        if by_user or not several:
            return number_pieces(structures, FRAGMENT)
        return lay_out([structure.name for structure in structures], several)

    def turned(self) -> list[SourceFile]:
        """The marked pictures that are not DICOM and are turned upright by their EXIF orientation."""
        return [picture for picture in self.annotations if not picture.dicom and _is_turned(picture)]

    def describe(self, structures: Sequence[Structure] | None) -> list[str]:
        """What marks the pictures, in sentences."""
        counts = Counter(annotation.kind for annotation in self.annotations.values())
        lines = [
            f"{pluralise(len(self.pictures), 'picture')}; marked by {kind}: {count}" for kind, count in counts.items()
        ]
        if unmarked := sum(picture not in self.annotations for picture in self.pictures):
            lines.append(f"{pluralise(unmarked, 'picture')} without annotation, taken without labels")
        if twice := [picture for picture, kinds in self.kinds.items() if len(set(kinds)) > 1]:
            first, second = dict.fromkeys(self.kinds[twice[0]])
            lines.append(
                f"{len(twice)} pictures are marked by {first} and by {second}: the first is taken "
                "(give the other's file as SOURCE to take that)"
            )
        if structures is not None:
            lines.append(
                f"{pluralise(len(structures), 'structure')}: {shorten_list([s.name for s in structures], _LISTED)}"
            )
            lines.append("a structure that is not marked in a picture is taken as not being there")
        if any(annotation.label is not None for annotation in self.annotations.values()):
            lines.append("label maps: grey levels are the values of structures; --labels gives them names")
        return lines


def find_annotations(
    inventory: PictureInventory, options: ImportOptions, found: Source, *, dicom: bool
) -> AnnotatedPictures:
    """The pictures of a source and all that marks them.

    DICOM files are among the pictures where `dicom` says so, or where a file may mark them.
    """
    case_of_path = compile_path_pattern(options.case_pattern)
    tables = [(file, *read_mask_table(file, inventory.pictures)) for file in inventory.csv if is_mask_table(file.path)]
    listed = {mask for _, _, masks in tables for mask in masks}
    rest = [file for file in inventory.pictures if file not in listed]
    masks, by_name, lost = separate_masks(rest, case_of_path, options.mask_marks)
    pictures = [file for file in rest if file not in masks]
    if inventory.dicom and (dicom or inventory.json or inventory.csv):
        pictures = add_dicom(pictures, inventory.dicom, found)
    elif inventory.dicom:
        report_dicom(pictures, inventory.dicom, found)
    if case_of_path is not None:
        unknown = [file for file in pictures if case_of_path(file.relative_path.as_posix()) is None]
        pictures = [file for file in pictures if file not in set(unknown)]
        if unknown:
            found.lost.append(
                f"--case-pattern finds no case in {pluralise(len(unknown), 'picture')}, "
                f"such as {unknown[0].relative_path}"
            )
    if lost:
        found.lost.append(f"{len(lost)} mask files belong to no picture, such as {lost[0]}; skipped")
    index = FileIndex(pictures, case_of_path)
    in_json = JsonAnnotations(inventory.json, index, found)
    annotated = AnnotatedPictures(pictures, structure_order=tuple(in_json.structure_order))
    annotated.add(in_json.annotations)
    rle = [file for file in inventory.csv if is_rle_csv(file.path)]
    if len(rle) > 1:
        raise DatasetError(
            f"{rle[0].path} and {rle[1].path} are both tables of RLE", hint="give the right one as SOURCE"
        )
    for file in rle:
        annotated.add(read_rle_annotations(file, index, options, found))
    for file, rows, _ in tables:
        annotated.add(read_table_annotations(file, rows, index, found, options.mask_marks))
    annotated.add(by_name)
    if index.renamed:
        name, picture = next(iter(index.renamed.items()))
        found.warnings.append(
            f"{len(index.renamed)} pictures are named as annotation programs name them, such as {name}: taken as "
            f"{picture.relative_path}"
        )
    return annotated


def _limit_to_structures(annotation: Annotation, structures: Sequence[Structure]) -> Annotation:
    """The marks with what was looked for among the structures; None for all of them."""
    if annotation.annotated is None:
        return annotation
    owners = dict.fromkeys(owner_of(name, structures) for name in annotation.annotated)
    annotated = tuple(name for name in owners if name is not None)
    return replace(annotation, annotated=None if len(annotated) == len(structures) else annotated)


def _is_turned(picture: SourceFile) -> bool:
    with suppress(FileError):  # reported when the case is read
        return read_orientation(picture.path) != 1
    return False
