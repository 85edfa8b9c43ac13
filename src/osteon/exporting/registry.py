"""Which form of export is written by what: a table. A new form is one file and one row."""

from __future__ import annotations

from osteon.core.errors import UsageError
from osteon.exporting import coco, decathlon, dicom_seg, mesh_files, nnunet, rle_table, rtstruct, seg_nrrd, table
from osteon.exporting.export_form import ExportForm

FORMS: tuple[ExportForm, ...] = (
    mesh_files.STL,
    mesh_files.PLY,
    mesh_files.OBJ,
    dicom_seg.FORM,
    rtstruct.FORM,
    seg_nrrd.FORM,
    rle_table.FORM,
    coco.FORM,
    table.FORM,
    nnunet.FORM,
    decathlon.FORM,
)


MODEL_FORMS = ("onnx", "openvino")
"""Forms of models: `model_files`."""


def find_form(name: str) -> ExportForm:
    """The row of that name. Raises UsageError that lists the known ones."""
    for form in FORMS:
        if form.name == name:
            return form
    raise UsageError(
        f"{name}: no form of export", hint=f"use one of {', '.join([*(form.name for form in FORMS), *MODEL_FORMS])}"
    )
