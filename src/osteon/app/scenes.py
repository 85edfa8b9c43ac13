"""Scenes: what a viewer shows of a case, as files in a folder of the cache, made once in the reader's process.

CACHE/<id>/info.json        what is there; written last
CACHE/<id>/image.nii.gz     the image, a preview or whole
CACHE/<id>/<part>-N.nii.gz  label volumes in which nothing overlaps: `a` the reference, `b` the result, `d` differences
CACHE/<id>/poster.png       three slices, shown until the viewer is ready
CACHE/<id>/image.bin        pictures: grey, uint16 `[row, column]`
CACHE/<id>/<part>-N.bin     pictures: uint32 `[row, column]`, a bit for each of 32 structures
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from osteon.app.layers import LabelLayer, difference_map, pack_bits, split_layers
from osteon.app.orientation import (
    PictureOrientation,
    is_orientation_known,
    oblique_degrees,
    picture_edge_letters,
    shear_degrees,
    slice_steps,
)
from osteon.app.pieces import split_pieces
from osteon.app.previews import (
    ShrinkFactors,
    intensity_window,
    render_poster,
    shrink_factors,
    shrink_geometry,
    shrink_image,
    shrink_labels,
)
from osteon.app.scene_files import narrow_dtype, write_gzip, write_packed_nifti
from osteon.core.boxes import Index3
from osteon.core.errors import DatasetError
from osteon.core.file_stamps import age_key, file_times
from osteon.core.files import atomic_write, read_json, write_json
from osteon.core.geometry import reorient_to_ras
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_placement import place_segmentation
from osteon.dataset.modality import Modality
from osteon.formats.io import read_scan
from osteon.formats.label_meanings import label_meanings_for, read_named_labels

INFO = "info.json"
VERSION = "5"
"""Of the files; a scene of another version is made again."""
MAX_CACHE_BYTES = 4 * 10**9
"""Bytes of the cache; the scenes that were not looked at for longest go first."""
ScenePart = Literal["a", "b", "d"]


@dataclass(frozen=True)
class LabelSource:
    """A label file and what its values mean.

    Attributes:
        path: The file.
        structures: What its values mean; None takes the file's own names.
    """

    path: Path
    structures: tuple[Structure, ...] | None = None


@dataclass(frozen=True)
class SceneRequest:
    """A case that is to be shown.

    Attributes:
        name: For messages.
        images: One file for each channel, one with all and what is read with it, or those of a DICOM series.
        modality: Of the channel shown.
        first: Labels shown as `a`.
        second: Labels shown as `b`; where both are there, their differences are shown as `d`.
        channel: Which channel.
        full_resolution: Whether the scan is not made smaller.
        dataset: A dataset's folder, and `name` its case, where the case is read as the dataset has it.
        upright: Whether a volume's axes are turned to the nearest right, anterior, superior, for what
            draws on it; in full resolution, without labels.
    """

    name: str
    images: tuple[Path, ...]
    modality: Modality = "other"
    first: LabelSource | None = None
    second: LabelSource | None = None
    channel: int = 0
    full_resolution: bool = False
    dataset: Path | None = None
    upright: bool = False

    def for_drawing(self) -> SceneRequest:
        """The scan alone, each voxel of it."""
        return replace(self, first=None, second=None, full_resolution=True, upright=True)

    def cache_key(self) -> str:
        """A hash of what is shown and of the times of its files."""
        paths = [*self.images, *(labels.path for labels in (self.first, self.second) if labels is not None)]
        names = [[s.model_dump() for s in part.structures or ()] for part in (self.first, self.second) if part]
        parts = [
            VERSION,
            self.modality,
            self.channel,
            self.full_resolution,
            self.upright,
            names,
            [[str(p), file_times(p)] for p in paths],
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_scene(request: SceneRequest, folder: Path) -> dict[str, Any]:
    """Make the files of a scene, where they are not there yet.

    Args:
        request: The case.
        folder: Where they go.

    Returns:
        info.json's content: `kind` (`volume` or `picture`), `size` and `full` (voxels along each axis), `spacing_mm`,
        `unit`, `window`, `range`, `modality`, `oriented` (whether right, front and top are known), `oblique_deg`,
        `shear_deg`, and `parts`: for each, files with their structures, in order; of a numbered piece also `piece`: its
        structure, its value, its voxels, and `at`, a place in it: in mm (RAS), or column and row of a picture.

    Raises:
        OsteonError: A file cannot be read, or labels do not lie on the image's grid.
    """
    if (folder / INFO).is_file():
        os.utime(folder / INFO)
        found: dict[str, Any] = read_json(folder / INFO, "the preview's record")
        return found
    volume, first, second = _read(request)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    flat = 1 in volume.geometry.shape
    named: list[tuple[ScenePart, Segmentation | None]] = [("a", first), ("b", second)]
    parts = {name: segmentation for name, segmentation in named if segmentation is not None}
    if first is not None and second is not None:
        names = list(dict.fromkeys(s.name for s in (*first.structures, *second.structures)))
        parts["d"] = difference_map(first, second, names)
    window = intensity_window(volume.array[0], request.modality)
    oriented = is_orientation_known(request.images[0], volume.geometry)
    info = {
        "full": list(volume.geometry.shape),
        "spacing_mm": [round(s, 4) for s in volume.geometry.spacing_mm],
        "unit": volume.geometry.unit,
        "modality": request.modality,
        "window": list(window),
        "range": [float(volume.array.min()), float(volume.array.max())],
        "oriented": oriented,
        "oblique_deg": round(oblique_degrees(volume.geometry), 1),
        "shear_deg": round(shear_degrees(volume.geometry), 1),
        **(
            _picture(volume, parts, folder, request.images[0], oriented=oriented)
            if flat
            else _volume(volume, parts, folder, window, request)
        ),
    }
    write_json(folder / INFO, info)
    _prune_cache(folder.parent, keep=folder)
    return info


def _read(request: SceneRequest) -> tuple[Volume, Segmentation | None, Segmentation | None]:
    dataset = None if request.dataset is None else Dataset.open(request.dataset)
    if dataset is not None:
        volume = dataset.load_image(dataset.case(request.name), verify=False)
    else:
        volume = read_scan(request.images)
    if request.channel >= len(volume.array):
        raise DatasetError(f"{request.name}: has {len(volume.array)} channels", hint="choose another channel")
    volume = Volume(volume.array[request.channel : request.channel + 1], volume.geometry)
    segmentations: list[Segmentation | None] = []
    for labels in (request.first, request.second):
        if labels is None:
            segmentations.append(None)
            continue
        legend = label_meanings_for([labels.path])
        legend = legend if labels.structures is None else None
        segmentation = read_named_labels(labels.path, labels.structures, legend, pieces=True)
        laid, _ = place_segmentation(
            segmentation, volume.geometry, name=labels.path.name, image_name=f"the scan {request.name}"
        )
        segmentations.append(laid)
    return volume, segmentations[0], segmentations[1]


def _volume(
    volume: Volume,
    parts: dict[ScenePart, Segmentation],
    folder: Path,
    window: tuple[float, float],
    request: SceneRequest,
) -> dict[str, Any]:
    factors: ShrinkFactors = (1, 1, 1) if request.full_resolution else shrink_factors(volume.geometry.shape)
    slices = slice_steps(volume.geometry, factors)
    if request.upright:
        turn = reorient_to_ras(volume.geometry)
        volume = Volume(turn.apply(volume.array), turn.geometry(volume.geometry))
    geometry = shrink_geometry(volume.geometry, factors)
    small = Volume(narrow_dtype(shrink_image(volume.array[0], factors))[None], geometry)
    write_packed_nifti(folder / "image.nii.gz", small)
    with atomic_write(folder / "poster.png") as temporary:
        temporary.write_bytes(render_poster(small, window))

    def write(path: Path, layer: npt.NDArray[np.integer]) -> None:
        write_packed_nifti(path, Volume(shrink_labels(layer, factors).astype(np.uint8, copy=False)[None], geometry))

    affine = volume.geometry.affine_ras[:3]
    rows = _write_parts(parts, folder, ".nii.gz", split_layers, write, lambda index: (affine @ [*index, 1]).tolist())
    return {"kind": "volume", "size": list(geometry.shape), "slices": slices, "parts": rows}


def _picture(
    volume: Volume, parts: dict[ScenePart, Segmentation], folder: Path, path: Path, *, oriented: bool
) -> dict[str, Any]:
    orientation = PictureOrientation.from_geometry(volume.geometry)
    marks = orientation.marks if oriented else picture_edge_letters(path)
    grey = orientation.to_picture(volume.array[0])
    low, high = float(grey.min()), float(grey.max())
    slope = 1.0 if grey.dtype.kind in "iu" and high - low < 65_536 else max(high - low, 1e-9) / 65_535
    write_gzip(folder / "image.bin", np.rint((grey.astype(np.float32) - low) / slope).astype("<u2"))

    def write(path: Path, bits: npt.NDArray[np.integer]) -> None:
        write_gzip(path, orientation.to_picture(bits).astype("<u4"))

    return {
        "kind": "picture",
        "size": [orientation.columns, orientation.rows],
        "slope": slope,
        "intercept": low,
        "pixel_mm": list(orientation.pixel_mm),
        "marks": list(marks or ()),
        "oriented": marks is not None,
        "parts": _write_parts(parts, folder, ".bin", pack_bits, write, orientation.to_pixel),
    }


def _write_parts(
    parts: dict[ScenePart, Segmentation],
    folder: Path,
    suffix: str,
    split: Callable[[Segmentation], Sequence[LabelLayer]],
    write: Callable[[Path, npt.NDArray[np.integer]], None],
    locate: Callable[[Index3], Sequence[float]],
) -> dict[ScenePart, list[dict[str, Any]]]:
    """Write the layers of each part; info.json's rows of them."""
    rows: dict[ScenePart, list[dict[str, Any]]] = {part: [] for part in parts}
    for part, segmentation in parts.items():
        separate, pieces = split_pieces(segmentation)
        for number, layer in enumerate(split(separate)):
            name = f"{part}-{number}{suffix}"
            write(folder / name, layer.array)
            structures = [
                {"name": s.name, "colour": s.colour, "side": s.side or "", "piece": entry and entry.to_dict(locate)}
                for s in layer.structures
                for entry in [pieces.get(s.name)]
            ]
            rows[part].append({"file": name, "structures": structures})
    return rows


def _prune_cache(cache: Path, keep: Path) -> None:
    """Keep the cache within its size."""
    scenes = [path for path in cache.iterdir() if (path / INFO).is_file() and path != keep]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in scenes}
    total = sum(sizes.values())
    for path in sorted(scenes, key=lambda path: age_key(path / INFO)):
        if total <= MAX_CACHE_BYTES:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= sizes[path]
