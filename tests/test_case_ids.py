"""Ids of cases: one file each on every system, whatever tells capitals and forms of Unicode apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osteon.core.errors import UsageError
from osteon.core.file_names import name_key
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.exporting.mesh_files import unique_stems
from osteon.formats import write_volume
from osteon.formats.stl import Mesh, write_stl
from osteon.importing.run import import_dataset
from osteon.predicting.scans import find_scans

GRID = Geometry((6, 5, 4), np.diag([1.0, 1.5, 2, 1]))
COMPOSED, APART = "M\u00fcller", "Mu\u0308ller"
"""One name in Unicode's forms NFC and NFD."""
Make = Callable[[Path, tuple[str, str]], Path]


def scan(path: Path, seed: int) -> None:
    array = np.random.default_rng(seed).normal(size=(1, *GRID.shape)).astype(np.float32)
    write_volume(path, Volume(array, GRID))


def label(path: Path) -> None:
    array = np.zeros((1, *GRID.shape), np.uint8)
    array[0, :2] = 1
    write_volume(path, Volume(array, GRID))


def decathlon(folder: Path, names: tuple[str, str]) -> Path:
    for n, name in enumerate(names):
        scan(folder / "imagesTr" / f"{name}.nii.gz", n)
        label(folder / "labelsTr" / f"{name}.nii.gz")
    entries = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names]
    data = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "femur"}, "training": entries}
    (folder / "dataset.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def nnunet(folder: Path, names: tuple[str, str]) -> Path:
    for n, name in enumerate(names):
        scan(folder / "imagesTr" / f"{name}_0000.nii.gz", n)
        label(folder / "labelsTr" / f"{name}.nii.gz")
    data = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "femur": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**data, "numTraining": 2}), encoding="utf-8")
    return folder


def pairs(folder: Path, names: tuple[str, str]) -> Path:
    for n, name in enumerate(names):
        scan(folder / f"{name}.nii.gz", n)
        label(folder / f"{name}_seg.nii.gz")
    (folder / "pairs.txt").write_text("".join(f"{n}.nii.gz,{n}_seg.nii.gz\n" for n in names), encoding="utf-8")
    return folder


def masks(folder: Path, names: tuple[str, str]) -> Path:
    for n, name in enumerate(names):
        scan(folder / name / "ct.nii.gz", n)
        label(folder / name / "femur.nii.gz")
    return folder


def flat_masks(folder: Path, names: tuple[str, str]) -> Path:
    for n, name in enumerate(names):
        scan(folder / "images" / f"{name}.nii.gz", n)
        label(folder / "masks" / f"{name}_femur.nii.gz")
    return folder


def meshes(folder: Path, names: tuple[str, str]) -> Path:
    corners = np.array([[0, 0, 0], [5, 0, 0], [0, 6, 0], [0, 0, 6.0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    for n, name in enumerate(names):
        scan(folder / name / "ct.nii.gz", n)
        write_stl(folder / name / "red.stl", Mesh(corners, faces))
    return folder


def radiographs(folder: Path, names: tuple[str, str]) -> Path:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for n, name in enumerate(names):
        pixels = np.random.default_rng(n).integers(1, 200, (9, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        Image.fromarray(np.eye(9, 8, dtype=np.uint8)).save(folder / "masks" / f"{name}.png")
    return folder


@pytest.mark.parametrize("names", [("P1", "p1"), (APART, COMPOSED)], ids=["capitals", "unicode"])
@pytest.mark.parametrize("make", [decathlon, nnunet, pairs, masks, flat_masks, meshes, radiographs])
def test_two_cases_are_two_files_on_every_system(tmp_path: Path, make: Make, names: tuple[str, str]) -> None:
    (tmp_path / "a").touch()
    if (tmp_path / "A").exists():
        pytest.skip("this file system does not tell capitals apart")
    source = make(tmp_path / "raw", names)
    options = {"mesh_unit": "mm", "mesh_space": "RAS"} if make is meshes else {}
    report = import_dataset(source, tmp_path / "set", **options)  # type: ignore[arg-type]
    assert not report.failed
    assert not report.lost
    ids = [case.id for case in report.manifest.cases]
    assert len({name_key(name) for name in ids}) == 2
    assert all(safe_id(name) == name for name in ids)
    assert not report.duplicates
    if make in (masks, flat_masks):
        assert [line for line in report.warnings if f"the second becomes {ids[1]}" in line]


def test_ids_are_the_first_that_differ() -> None:
    notes: list[str] = []
    assert unique_ids([["p1", "P1"], ["a_p1", "b_P1"]], notes) == ["a_p1", "b_P1"]
    assert not notes
    assert unique_ids([["P1", "p1", "p1-2", "P1"], ["x", "x", "x", "x"]], notes) == ["P1", "p1-2", "p1-2-2", "P1-3"]
    assert notes[0] == (
        "two cases are called P1 and p1, which is one file name on Windows and macOS; the second becomes p1-2"
    )
    assert unique_ids([["", "b"]], notes) == ["case", "b"]
    assert unique_ids([[APART]], notes) == [COMPOSED] == [safe_id(APART)]


def test_files_of_structures_are_two_on_every_system() -> None:
    assert unique_stems(["L1", "l1", APART, COMPOSED]) == ["L1", "l1-2", COMPOSED, f"{COMPOSED}-2"]


@pytest.mark.parametrize("names", [("P1", "p1"), (APART, COMPOSED)], ids=["capitals", "unicode"])
def test_predictions_of_two_scans_are_two_files_on_every_system(tmp_path: Path, names: tuple[str, str]) -> None:
    first, second = tmp_path / "a" / f"{names[0]}.nii.gz", tmp_path / "b" / f"{names[1]}.nii.gz"
    for n, path in enumerate((first, second)):
        scan(path, n)
    with pytest.raises(UsageError, match=f"two scans are called {names[0]} and {names[1]} ") as refused:
        find_scans([first, second])
    assert str(first) in refused.value.message
    assert str(second) in refused.value.message
    below = find_scans([tmp_path])
    assert len({name_key(found.id) for found in below}) == 2
