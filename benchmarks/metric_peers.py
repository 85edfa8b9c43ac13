"""What others make of the same label pairs, for metrics.py: each gives the figures of every structure of one pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.geometry import Geometry

TOLERANCES = (1.0, 2.0)
Figures = dict[str, float]


def by_surface_distance(found: np.ndarray, truth: np.ndarray, geometry: Geometry, structures: Any) -> list[Figures]:
    import surface_distance as sd

    rows = []
    for s in structures:
        masks = truth == s.value, found == s.value
        made = sd.compute_surface_distances(*masks, geometry.spacing_mm)
        ways = [(made[f"distances_{a}_to_{b}"], made[f"surfel_areas_{a}"]) for a, b in (("gt", "pred"), ("pred", "gt"))]
        rows.append(
            {
                "dice": sd.compute_dice_coefficient(*masks),
                "hd_mm": sd.compute_robust_hausdorff(made, 100),
                "hd95_mm": sd.compute_robust_hausdorff(made, 95),
                "assd_mm": sum((d * a).sum() for d, a in ways) / sum(a.sum() for _, a in ways),
                **{f"nsd_{t:g}mm": sd.compute_surface_dice_at_tolerance(made, t) for t in TOLERANCES},
            }
        )
    return rows


def by_monai(
    found: np.ndarray, truth: np.ndarray, geometry: Geometry, structures: Any, subvoxels: bool = True
) -> list[Figures]:
    import torch
    from monai import metrics

    arrays = [np.stack([labels == s.value for s in structures])[None] for labels in (found, truth)]
    one, other = (torch.from_numpy(array.astype(np.uint8)) for array in arrays)
    options: dict[str, Any] = {"include_background": True, "spacing": geometry.spacing_mm}
    counts = metrics.get_confusion_matrix(one, other, include_background=True)
    columns = {
        "dice": metrics.compute_dice(one, other, include_background=True),
        "iou": metrics.compute_iou(one, other, include_background=True),
        "precision": metrics.compute_confusion_matrix_metric("precision", counts),
        "recall": metrics.compute_confusion_matrix_metric("sensitivity", counts),
        "hd_mm": metrics.compute_hausdorff_distance(one, other, **options),
        "hd95_mm": metrics.compute_hausdorff_distance(one, other, percentile=95, **options),
        "assd_mm": metrics.compute_average_surface_distance(one, other, symmetric=True, **options),
    }
    for tolerance in TOLERANCES:
        limits = [tolerance] * len(structures)
        columns[f"nsd_{tolerance:g}mm"] = metrics.compute_surface_dice(
            one, other, limits, use_subvoxels=subvoxels, **options
        )
    return [{name: float(values[0, n]) for name, values in columns.items()} for n in range(len(structures))]


def by_nnunet(files: list[tuple[Path, Path]], labels: list[int], *, arrays: bool = False) -> list[dict[str, Any]]:
    """nnU-Net's evaluation of one case after the other; `arrays` hands it arrays that were read before."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    reader: Any = SimpleITKIO()
    if arrays:
        if not _READ:
            _READ.update({str(path): reader.read_seg(str(path)) for pair in files for path in pair})
        reader = type("Ready", (), {"read_seg": staticmethod(_READ.__getitem__)})
    return [compute_metrics(str(truth), str(found), reader, labels) for truth, found in files]


_READ: dict[str, Any] = {}
