"""Values that options take. They stand here, since the rooms that know them are slow to import; a test compares."""

from __future__ import annotations

from typing import Any, Literal, get_args

Speed = Literal["fast", "balanced", "best"]
FoldsBy = Literal["subject", "site"]
Precision = Literal["bf16", "fp32"]
ServeProtocol = Literal["osteon", "monailabel"]
MeshSpace = Literal["LPS", "RAS"]
ExportForm = Literal[
    "stl",
    "ply",
    "obj",
    "dicom-seg",
    "rtstruct",
    "seg-nrrd",
    "itk-snap",
    "rle-csv",
    "coco",
    "table",
    "nnunet",
    "decathlon",
    "onnx",
    "openvino",
]
Encoding = Literal["binary", "labelmap"]
MaskShape = Literal["rle", "polygons"]
VoteMethod = Literal["hard", "soft", "staple"]
FitPart = Literal["threshold", "weights"]
PhantomKind = Literal["humerus", "limb", "spine", "hand", "lung"]
PhantomLayout = Literal["mixed", "folders", "heap"]
PhantomVariants = Literal["pieces", "people", "all"]


def choices(values: Any) -> str:
    """A table's own names as help shows them, where plugins may add others, so that the table itself checks."""
    return f"{{{'|'.join(get_args(values))}}}"
