"""A torchvision built for CUDA beside a torch built for the CPU, patched.

pip may pair the two: `import torchvision` then ends in `RuntimeError: operator torchvision::nms does not exist`, and
takes timm, segmentation-models-pytorch, torchmetrics and Lightning with it. None of them calls these operators; all
they need is that the names exist. `patch_torchvision_ops` is called before they are imported, in one place for each.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

SYMPTOM = "operator torchvision::nms does not exist"
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_defined: list[Any] = []
"""torch forgets operators with the library object that defined them."""


def patch_torchvision_ops() -> bool:
    """Define the missing operators where `import torchvision` fails for lack of them; a second call costs nothing.

    Returns:
        Whether it was patched: `nms` itself stays unusable then.

    Raises:
        RuntimeError: torchvision fails for another reason.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return bool(_defined)
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if SYMPTOM not in str(error):
            raise
    else:
        return False
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)
    _defined.append(library)
    importlib.import_module("torchvision")
    return True
