"""Which form of export is written by what: a table. A new form is one file and one row, here or in a package's
entry points `osteon.exports`.
"""

from __future__ import annotations

from osteon.core.errors import UsageError
from osteon.core.plugins import with_plugins
from osteon.exporting import (
    coco,
    decathlon,
    dicom_seg,
    itk_snap,
    mesh_files,
    nnunet,
    rle_table,
    rtstruct,
    seg_nrrd,
    table,
)
from osteon.exporting.export_form import ExportForm

FORMS: tuple[ExportForm, ...] = (
    mesh_files.STL,
    mesh_files.PLY,
    mesh_files.OBJ,
    dicom_seg.FORM,
    rtstruct.FORM,
    seg_nrrd.FORM,
    itk_snap.FORM,
    rle_table.FORM,
    coco.FORM,
    table.FORM,
    nnunet.FORM,
    decathlon.FORM,
)
MODEL_FORMS = ("onnx", "openvino")
"""Forms of models: `model_files`."""


def export_forms() -> dict[str, ExportForm]:
    """All forms by name, plugins' too. Raises UsageError where a plugin's row is none."""
    return with_plugins("osteon.exports", {form.name: form for form in FORMS}, ExportForm)


def find_form(name: str) -> ExportForm:
    """The row of that name. Raises UsageError that lists the known ones."""
    forms = export_forms()
    if name not in forms:
        raise UsageError(f"{name}: no form of export", hint=f"use one of {', '.join([*forms, *MODEL_FORMS])}")
    return forms[name]
