"""Radiographs of hands by projection: what the rays lose in flesh, cortex and marrow adds up where bones overlap.

Bones are taken as round in depth: a ray that passes `d` inside an outline goes through `2·√(d·(2R − d))` of the bone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.files import atomic_write, read_json, write_json
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.random_streams import item_generator
from osteon.formats.raster import TO_RAS
from osteon.formats.rle import encode_rle, write_rle_csv
from osteon.phantoms.hand_bones import NAMES, FlatBone, FlatHand, draw_hand
from osteon.phantoms.record import SOURCE, CaseTruth, CohortRequest, PhantomKind, write_truth
from osteon.phantoms.shapes import Field, Points, rod, smooth_union

STRUCTURES = make_structures(NAMES)
HEIGHT_MM = 245.0
LOWEST_MM = -55.0
FLESH, CORTEX, MARROW = 0.021, 0.105, 0.026
"""Attenuation in 1/mm at about 50 kV; marrow's is what its trabeculae add to flesh."""

Outline = list[list[int]]


def make_hand(folder: Path, number: int, request: CohortRequest) -> CaseTruth:
    """Write one radiograph and its outlines; two in a row are the hands of one subject.

    Raises:
        FileError: A file cannot be written.
    """
    rng = request.rng(number)
    subject = item_generator(request.seed, number // 2, 29)
    hand = draw_hand(subject, rng)
    lateral = 1 if number % 2 == 0 else -1
    points = _places(rng, request.size, lateral)
    masks = np.zeros((len(NAMES), request.size, request.size), dtype=np.uint8)
    lost = _through_flesh(hand, points)
    grain = _grain(rng, request.size)
    for bone in hand.bones:
        _through_bone(bone, points, grain, lost, masks[NAMES.index(bone.name)] if bone.name else None)
    side = "L" if lateral > 0 else "R"
    pixels = _expose(rng, lost, side, bits=16 if number // 2 % 2 else 8)

    name = f"image{1661392103627 + number * 11170}"
    patient = f"ID{number // 2 + 1:03d}"
    outlines = {label: _outline(mask) for label, mask in zip(NAMES, masks, strict=True) if mask.any()}
    _write_png(folder / SOURCE / "DCM" / patient / f"{name}.png", pixels)
    annotations = [
        {"id": f"{number}-{n}", "type": "poly_seg", "attributes": {}, "points": outline, "label": label}
        for n, (label, outline) in enumerate(outlines.items())
    ]
    about = {"annotations": annotations, "attributes": {}, "file_id": str(number), "filename": f"{name}.png"}
    about["metadata"] = {"width": request.size, "height": request.size}
    write_json(folder / SOURCE / "outputs_json" / patient / f"{name}.json", about)
    # A picture's arrays run along its rows first: i is the column.
    labels = np.ascontiguousarray(masks.transpose(0, 2, 1)[..., None])
    segmentation = Segmentation(labels, Geometry(labels.shape[1:], TO_RAS, "px"), STRUCTURES)
    rle = {label: encode_rle(mask) for label, mask in zip(NAMES, masks, strict=True) if mask.any()}
    write_json(folder / _rle_part(name), rle)
    return write_truth(folder, name, segmentation, subject=patient, side="left" if side == "L" else "right")


def write_rle(folder: Path, cases: Sequence[CaseTruth]) -> None:
    """Write the table of all pictures' runs. Raises FileError."""
    rows = []
    for case in cases:
        part = folder / _rle_part(case.id)
        found: dict[str, str] = read_json(part, "the picture's runs")
        rows += [(f"{case.id}.png", label, runs) for label, runs in found.items()]
        part.unlink()
    write_rle_csv(folder / SOURCE / "annotations.csv", rows)


def _rle_part(name: str) -> Path:
    return Path(SOURCE) / f".{name}.runs.json"


def _places(rng: np.random.Generator, size: int, lateral: int) -> Points:
    """Millimetres of the hand's frame `[3, row, column]` under each pixel."""
    step = np.float32(HEIGHT_MM / size)
    along = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * step
    x, y = np.meshgrid(along - np.float32(HEIGHT_MM / 2), np.float32(HEIGHT_MM) - along)
    turn = np.radians(rng.uniform(-7, 7))
    shift = rng.uniform(-6, 6, 2) + np.array([4.0, LOWEST_MM + 4])
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    middle = np.float32(HEIGHT_MM / 2)
    x, y = x * np.float32(lateral), y - middle
    return np.stack(
        [x * cos - y * sin + np.float32(shift[0]), x * sin + y * cos + middle + np.float32(shift[1]), np.zeros_like(x)]
    )


def _through_flesh(hand: FlatHand, points: Points) -> Field:
    """What the rays lose in skin and muscle `[row, column]`; smooth, so every fourth pixel is computed."""
    import cv2

    size = points.shape[1]
    step = 4 if size >= 512 else 1
    coarse = np.ascontiguousarray(points[:, ::step, ::step])
    flat = coarse.reshape(3, -1)
    whole = np.full(flat.shape[1], 99, dtype=np.float32)
    for a, b, radii in hand.flesh:
        whole = smooth_union(whole, rod(flat, [*a, 0], [*b, 0], radii), 7)
    deep = np.clip(-whole, 0, 13)
    path = (2 * np.sqrt(deep * (26 - deep)) * np.float32(FLESH)).reshape(coarse.shape[1:])
    if step == 1:
        return np.asarray(path, dtype=np.float32)
    # The coarse pixel's centre is the fine one's at its corner.
    move = np.array([[step, 0, 0], [0, step, 0]], dtype=np.float32)
    return np.asarray(
        cv2.warpAffine(path, move, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        dtype=np.float32,
    )


def _through_bone(
    bone: FlatBone, points: Points, grain: Field, lost: Field, mask: npt.NDArray[np.uint8] | None
) -> None:
    """Add what the rays lose in one bone, and mark its pixels."""
    box = bone.box(2.0)
    inside = (points[0] > box[0, 0]) & (points[0] < box[1, 0]) & (points[1] > box[0, 1]) & (points[1] < box[1, 1])
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    place = np.ascontiguousarray(points[(slice(None), *window)])
    flat = place.reshape(3, -1)
    depth = -bone.distance(flat)
    wall = bone.wall(flat)
    whole = _path(depth, bone.half_mm)
    marrow = _path(depth - wall, bone.half_mm - wall)
    # Trabeculae stand close at the ends and thin out in the shaft.
    spongy = 1.7 - 0.9 * (wall - bone.cortex_mm[1]) / max(bone.cortex_mm[0] - bone.cortex_mm[1], 0.1)
    texture = 1 + np.float32(0.22) * grain[window].ravel()
    added = np.float32(CORTEX) * (whole - marrow) + np.float32(MARROW) * spongy * texture * marrow
    lost[window] += added.reshape(place.shape[1:])
    if mask is not None:
        mask[window] = (depth > 0).reshape(place.shape[1:])


def _path(depth: Field, half: npt.ArrayLike) -> Field:
    """How far a ray goes through a round body of half depth `half`, `depth` inside its outline, in mm."""
    half = np.asarray(half, dtype=np.float32)
    deep = np.clip(depth, 0, np.maximum(half, 0))
    return np.asarray(2 * np.sqrt(np.maximum(deep * (2 * half - deep), 0)), dtype=np.float32)


def _grain(rng: np.random.Generator, size: int) -> Field:
    """Texture of unit deviation, about 0.7 mm fine."""
    import cv2

    sigma = max(0.35 * size / HEIGHT_MM, 0.4)
    values = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), sigma)
    return np.asarray(values / values.std(), dtype=np.float32)


def _expose(rng: np.random.Generator, lost: Field, side: str, *, bits: int) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Pixels `[row, column]`: blur, the quanta's noise, a heel of the anode, collimation, the marker of the side."""
    import cv2

    size = len(lost)
    blurred = cv2.GaussianBlur(lost, (0, 0), max(0.12 * size / HEIGHT_MM, 0.3))
    quanta = np.float32(rng.uniform(2500, 6000)) * np.exp(-blurred)
    noisy = blurred + rng.standard_normal(lost.shape, dtype=np.float32) / np.sqrt(np.maximum(quanta, 1))
    down, across = np.meshgrid(*[np.linspace(-1, 1, size, dtype=np.float32)] * 2, indexing="ij", sparse=True)
    a, b = (np.float32(v) for v in rng.normal(0, 0.05, 2))
    grey = (0.12 + noisy / np.float32(rng.uniform(2.0, 2.5)) + a * down * 0.5 + b * across * 0.5) ** np.float32(0.85)
    scale = size / 2048
    place = (round(rng.uniform(150, 260) * scale), round(rng.uniform(260, 420) * scale))
    marker = np.zeros((size, size), dtype=np.uint8)
    cv2.putText(marker, side, place, cv2.FONT_HERSHEY_SIMPLEX, 5 * scale, 255, max(round(14 * scale), 1), cv2.LINE_AA)
    grey = np.maximum(grey, marker.astype(np.float32) / 255)
    left, right = (round(v * size) for v in rng.uniform(0.0, 0.035, 2))
    grey[:, :left], grey[:, size - right :] = 0.02, 0.02
    top = 2**bits - 1
    return np.rint(np.clip(grey, 0, 1) * top).astype(np.uint8 if bits == 8 else np.uint16)


def _outline(mask: npt.NDArray[np.uint8]) -> Outline:
    """Corners [x, y] of the longest outline in whole pixels, as an annotator's tool writes them."""
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(contours, key=len)
    # At 2048 pixels a corner may be off by half a pixel: less than the eye sees, and a tenth of the points.
    short = cv2.approxPolyDP(longest, 0.5 * min(len(mask) / 1024, 1), closed=True)
    return [[int(x), int(y)] for x, y in (short if len(short) > 2 else longest)[:, 0]]


def _write_png(path: Path, pixels: npt.NDArray[np.unsignedinteger[Any]]) -> None:
    from PIL import Image

    with atomic_write(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=1)


KIND = PhantomKind(
    name="hand",
    what="radiographs of both hands of each subject, polygons as JSON and a table of RLE for 29 overlapping bones",
    size=2048,
    make=make_hand,
    finish=write_rle,
)
