"""Values that options take. They stand here, since the rooms that know them are slow to import; a test compares."""

from __future__ import annotations

from enum import StrEnum


class By(StrEnum):
    """What a fold never parts (osteon.dataset.folds.By)."""

    subject = "subject"
    site = "site"


class Precisions(StrEnum):
    """Numbers in which the network computes."""

    bf16 = "bf16"
    fp32 = "fp32"


class Groups(StrEnum):
    """Which meshes become one structure (osteon.importing.source_forms.Group)."""

    color = "color"
    all = "all"
    none = "none"


class MeshUnits(StrEnum):
    """Units of meshes' coordinates (osteon.importing.source_forms.MeshUnit)."""

    mm = "mm"
    cm = "cm"
    m = "m"


class MeshSpaces(StrEnum):
    """Worlds of meshes' coordinates (osteon.formats.stl.MeshSpace)."""

    LPS = "LPS"
    RAS = "RAS"


class Between(StrEnum):
    """What becomes of slices between those that were labelled (osteon.importing.source_forms.BetweenSlices)."""

    fill = "fill"
    leave = "leave"


class RleOrders(StrEnum):
    """Along what runs count pixels (osteon.importing.source_forms.RleOrder)."""

    rows = "rows"
    columns = "columns"


class MaskMarks(StrEnum):
    """Which pixels of a picture's mask are the structure (osteon.importing.source_forms.MaskMarks)."""

    bright = "bright"
    dark = "dark"


class Encodings(StrEnum):
    """Kinds of DICOM SEG (osteon.exporting.export_form.Encoding)."""

    binary = "binary"
    labelmap = "labelmap"


class Shapes(StrEnum):
    """How COCO has masks (osteon.exporting.export_form.Shapes)."""

    rle = "rle"
    polygons = "polygons"


class Methods(StrEnum):
    """How members are made one (osteon.voting.rules.Method)."""

    hard = "hard"
    soft = "soft"
    staple = "staple"


class Parts(StrEnum):
    """What a vote is fitted in (osteon.voting.fit.FittedParameter)."""

    threshold = "threshold"
    weights = "weights"


RECIPES = ("osteon", "nnunet", "hand", "humerus", "humerus-pretrained", "limb", "lung", "spine")
"""The rows of osteon.planning.recipes, then the files of osteon.planning.published."""
EXPORTS = (
    "stl",
    "ply",
    "obj",
    "dicom-seg",
    "rtstruct",
    "seg-nrrd",
    "rle-csv",
    "coco",
    "table",
    "nnunet",
    "decathlon",
    "onnx",
    "openvino",
)
"""Forms of export (osteon.exporting.registry.FORMS and MODEL_FORMS). Plugins add others."""
