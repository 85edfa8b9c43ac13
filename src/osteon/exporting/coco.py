"""Masks of pictures as one COCO file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from osteon.core.files import write_json
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, ExportOptions, OutputFile
from osteon.exporting.masks import picture_masks, picture_names
from osteon.formats.coco_writer import make_annotation

FILE_NAME = "coco.json"


@dataclass(frozen=True)
class _PictureAnnotations:
    """What the file will say of a picture: width and height, all structures, annotations, and what was not found."""

    case: ExportCase
    size: tuple[int, int]
    names: Sequence[str]
    marked: Sequence[tuple[str, Mapping[str, Any]]]
    absent: Sequence[str]


@dataclass(frozen=True)
class CocoExport(Exporter):
    """The export in progress."""

    options: ExportOptions

    def case(self, case: ExportCase) -> ExportedCase:
        """What is said of a picture: an annotation for each structure and numbered piece.

        Raises GeometryError where it is none.
        """
        segmentation = case.load(pieces=True)
        polygons = self.options.shapes == "polygons"
        marked: list[tuple[str, dict[str, Any]]] = []
        absent, with_holes = [], dict[str, None]()
        for name, mask in picture_masks(segmentation, case):
            if not mask.any():
                absent.append(name)
                continue
            marked.append((name, make_annotation(mask, polygons=polygons)))
            if polygons and isinstance(marked[-1][1]["segmentation"], dict):
                with_holes[name] = None
        notes = [f"{', '.join(with_holes)}: written as RLE, since no polygon has a hole"] if with_holes else []
        columns, rows, _ = segmentation.geometry.shape
        names = [structure.name for structure in segmentation.structures]
        return ExportedCase((), _PictureAnnotations(case, (columns, rows), names, marked, absent), notes)

    def finish(self, rows: Sequence[Any]) -> ExportedCase:
        """The one file: categories in the order in which the pictures name them."""
        numbers: dict[str, int] = {}
        for name in (name for picture in rows for name in picture.names):
            numbers.setdefault(name, len(numbers) + 1)
        images, annotations = [], list[dict[str, Any]]()
        files = picture_names([picture.case for picture in rows])
        for number, (file, picture) in enumerate(zip(files, rows, strict=True), start=1):
            head = {"id": number, "file_name": file, "width": picture.size[0], "height": picture.size[1]}
            images.append({**head, "neg_category_ids": [numbers[name] for name in picture.absent]})
            for name, entry in picture.marked:
                head = {"id": len(annotations) + 1, "image_id": number, "category_id": numbers[name]}
                annotations.append({**head, **entry})
        data = {
            "info": {"description": "written by osteon"},
            "images": images,
            "categories": [{"id": n, "name": name} for name, n in numbers.items()],
            "annotations": annotations,
        }
        return ExportedCase([OutputFile(Path(FILE_NAME), partial(write_json, data=data))])


FORM = ExportForm(
    "coco",
    "masks of pictures as COCO's JSON",
    lambda options, _: CocoExport(options),
    once=(FILE_NAME,),
    accepted=frozenset({"shapes"}),
)
