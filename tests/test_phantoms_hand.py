"""Made-up radiographs: 29 bones that overlap, outlined and run-length coded."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from osteon.core.labels import Segmentation
from osteon.formats import read_segmentation, read_volume
from osteon.formats.polygons import fill_polygons, read_outlines
from osteon.formats.rle import decode_rle
from osteon.phantoms.hand_bones import NAMES
from osteon.phantoms.registry import make_request, write_phantoms
from phantom_checks import best_threshold_dice

SIZE = 512


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hands")
    write_phantoms(folder, make_request("hand", cases=3, seed=6, size=SIZE))
    return folder


@pytest.fixture(scope="module")
def truths(hands: Path) -> dict[str, Segmentation]:
    return {
        path.name.removesuffix(".seg.nrrd"): read_segmentation(path) for path in sorted((hands / "truth").iterdir())
    }


def test_pictures_lie_by_subject_and_fit_the_truth(hands: Path, truths: dict[str, Segmentation]) -> None:
    pictures = sorted((hands / "source/DCM").rglob("*.png"))
    assert [path.parent.name for path in pictures] == ["ID001", "ID001", "ID002"]
    assert [path.stem for path in pictures] == sorted(truths)
    depths = []
    for path in pictures:
        image, truth = read_volume(path), truths[path.stem]
        assert truth.geometry.is_close(image.geometry)
        assert tuple(s.name for s in truth.structures) == NAMES
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (SIZE, SIZE)
        depths.append(pixels.dtype.itemsize * 8)
        bone, flat = truth.array.any(axis=0), image.array[0].astype(float)
        near = cv2.dilate(bone[..., 0].astype(np.uint8), np.ones((9, 9))) > bone[..., 0]
        assert np.median(flat[bone]) > 1.2 * np.median(flat[near[..., None]])
    assert depths == [8, 8, 16]
    assert not list((hands / "source").rglob(".*"))


def test_polygons_and_truth_agree(hands: Path, truths: dict[str, Segmentation]) -> None:
    for path in (hands / "source/outputs_json").rglob("*.json"):
        outlines, truth = read_outlines(path), truths[path.stem]
        assert outlines.size == (SIZE, SIZE)
        assert list(outlines.polygons) == list(NAMES)
        for structure in truth.structures:
            mask = truth.mask(structure)[..., 0].T
            drawn = fill_polygons(outlines.polygons[structure.name], (SIZE, SIZE))
            dice = 2 * (mask & drawn).sum() / (mask.sum() + drawn.sum())
            assert dice >= 0.99, (path.stem, structure.name, dice)


def test_runs_are_the_truth(hands: Path, truths: dict[str, Segmentation]) -> None:
    with (hands / "source/annotations.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image_name", "class", "rle"]
    assert len(rows) == 3 * len(NAMES)
    for row in rows:
        truth = truths[row["image_name"].removesuffix(".png")]
        mask = truth.mask(truth.structures[NAMES.index(row["class"])])[..., 0].T
        assert (decode_rle(row["rle"], (SIZE, SIZE)) == mask).all()


def test_bones_overlap_where_hands_do(hands: Path, truths: dict[str, Segmentation]) -> None:
    recorded = json.loads((hands / "truth.json").read_text())["cases"]
    for name, truth in truths.items():
        bone = {s.name: truth.mask(s) for s in truth.structures}
        assert (bone["Pisiform"] & bone["Triquetrum"]).sum() > 0.3 * bone["Pisiform"].sum()
        assert (bone["Trapezium"] & bone["Trapezoid"]).any()
        assert (truth.array.sum(axis=0) > 1).sum() > 0.01 * truth.array.any(axis=0).sum()
        row = {n: np.argwhere(mask)[:, 1].mean() for n, mask in bone.items()}
        column = {n: np.argwhere(mask)[:, 0].mean() for n, mask in bone.items()}
        tips = ("finger-4", "finger-8", "finger-12", "finger-16")
        for tip in tips:  # from tip to metacarpal, from the top of the picture to the wrist
            number = int(tip.split("-")[1])
            assert row[tip] < row[f"finger-{number + 1}"] < row[f"finger-{number + 2}"] < row[f"finger-{number + 3}"]
        assert row["finger-7"] < row["Capitate"] < row["Lunate"] < row["Radius"]
        thumb_right = column["finger-1"] > column["finger-16"]
        assert thumb_right == (recorded[name]["side"] == "left")  # as seen from the back of the hand
        assert (column["Radius"] > column["Ulna"]) == thumb_right
    assert [case["side"] for case in recorded.values()] == ["left", "right", "left"]
    assert [case["subject"] for case in recorded.values()] == ["ID001", "ID001", "ID002"]


def test_areas_in_the_sidecar(hands: Path, truths: dict[str, Segmentation]) -> None:
    recorded = json.loads((hands / "truth.json").read_text())["cases"]
    for name, truth in truths.items():
        assert recorded[name]["area_px"] == {s.name: int(truth.mask(s).sum()) for s in truth.structures}
        assert min(recorded[name]["area_px"].values()) > 100


def test_a_threshold_does_not_tell_the_bones_apart(hands: Path, truths: dict[str, Segmentation]) -> None:
    path = next((hands / "source/DCM").rglob("*.png"))
    image, truth = read_volume(path).array[0], truths[path.stem]
    assert (
        max(best_threshold_dice(image, truth.mask(truth.structures[NAMES.index(n)])) for n in ("Lunate", "Ulna")) < 0.6
    )
