"""Made-up humeri with surfaces, and what all kinds of phantoms have in common."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import typer
from scipy import ndimage

from helpers import to_index
from osteon.cli.main import app
from osteon.cli.option_values import PhantomKind, PhantomLayout, PhantomVariants
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.formats import read_segmentation, read_volume
from osteon.formats.stl import read_stl
from osteon.phantoms.fragments import KIND, enclosed_mm3, surface
from osteon.phantoms.registry import KINDS, make_request, write_phantoms
from runs import command

SIZE = 40
VARIANTS = [name for kind in KINDS.values() for name in kind.variants]


@pytest.fixture(scope="module")
def humeri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("humeri")
    write_phantoms(folder, make_request("humerus", cases=4, seed=5, size=SIZE))
    return folder


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def fill(triangles: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels inside a closed surface `[m, 3, 3]` in index coordinates, by the parity of crossings along k."""
    crossings = np.zeros(shape, dtype=np.int32)
    # Nudged off the centres, so that no ray meets an edge.
    for a, b, c in triangles + np.array([1.3e-5, 2.7e-5, 0]):
        low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c)), 0).astype(int)
        high = np.floor(np.maximum(np.maximum(a, b), c)).astype(int)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        for i in range(low[0], min(high[0], shape[0] - 1) + 1):
            for j in range(low[1], min(high[1], shape[1] - 1) + 1):
                u = ((i - a[0]) * (c[1] - a[1]) - (j - a[1]) * (c[0] - a[0])) / area
                v = ((b[0] - a[0]) * (j - a[1]) - (b[1] - a[1]) * (i - a[0])) / area
                if u >= 0 and v >= 0 and u + v <= 1:
                    k = int(np.ceil(a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2])))
                    if k < shape[2]:
                        crossings[i, j, max(k, 0)] += 1
    return np.cumsum(crossings, axis=2) % 2 == 1


def test_a_ball_becomes_a_closed_surface_that_faces_outward() -> None:
    affine = np.array([[0, 0, -2.0, 7], [1.5, 0, 0, 3], [0, 1.0, 0, -4], [0, 0, 0, 1]])
    grid = Geometry((20, 30, 15), affine)
    world = grid.to_world(np.indices(grid.shape).reshape(3, -1).T)
    centre = grid.to_world([[9.5, 14.5, 7]])[0]
    depth = 10 - np.linalg.norm(world - centre, axis=1).reshape(grid.shape)
    mesh = surface(depth.astype(np.float32), grid)
    assert mesh is not None
    assert enclosed_mm3(mesh.vertices, mesh.faces) == pytest.approx(4 / 3 * np.pi * 1000, rel=0.03)
    assert mesh.vertices.mean(axis=0) == pytest.approx(centre * [-1, -1, 1], abs=0.3)  # LPS
    assert surface(np.full(grid.shape, -1, dtype=np.float32), grid) is None


def test_surfaces_fill_back_to_the_truth(humeri: Path) -> None:
    recorded = json.loads((humeri / "truth.json").read_text())["cases"]
    several = 0
    for case in ("P001", "P002", "P003"):
        truth = read_segmentation(humeri / recorded[case]["labels"])
        own = humeri / "source" / case
        lead = "" if own.is_dir() else f"{case}_"
        place = own if own.is_dir() else humeri / "source/heap"
        assert read_volume(place / f"{lead}CT.nii.gz").geometry.is_close(truth.geometry)
        for structure in truth.structures:
            files = sorted(place.glob(f"{lead}{structure.name}*.stl"))
            assert len(files) == recorded[case]["pieces"].get(structure.name, 0)
            several += len(files) > 1
            if not files:
                continue
            filled = np.zeros(truth.geometry.shape, dtype=bool)
            for file in files:
                mesh = read_stl(file)
                assert enclosed_mm3(mesh.vertices, mesh.faces) > 0
                ras = mesh.triangles.reshape(-1, 3) * [-1, -1, 1]
                filled |= fill(to_index(truth.geometry, ras).reshape(-1, 3, 3), truth.geometry.shape)
            assert dice(filled, truth.mask(structure)) >= 0.995, (case, structure.name)
    assert several >= 2


def test_pieces_of_one_colour_are_apart_in_the_truth(humeri: Path) -> None:
    recorded = json.loads((humeri / "truth.json").read_text())["cases"]
    assert {sum(case["pieces"].values()) - len(case["pieces"]) for case in recorded.values()} == {0, 1, 2}
    truth = read_segmentation(humeri / recorded["P002"]["labels"])
    green = truth.mask(truth.structures[1])
    sizes = np.sort(np.bincount(ndimage.label(green)[0].ravel())[1:])
    assert recorded["P002"]["pieces"]["green"] == 2
    assert sizes[-2] > 0.1 * sizes.sum()


@pytest.mark.parametrize(("layout", "folders", "heap"), [("mixed", 2, "heap"), ("folders", 4, None), ("heap", 0, "")])
def test_layouts(layout: str, folders: int, heap: str | None, humeri: Path, tmp_path: Path) -> None:
    if layout != "mixed":
        write_phantoms(tmp_path, make_request("humerus", cases=4, size=24, layout=layout))
    source = (humeri if layout == "mixed" else tmp_path) / "source"
    assert len(list(source.glob("P*/CT.nii.gz"))) == folders
    assert all(list(folder.glob("*.stl")) for folder in source.glob("P*/"))
    if heap is not None:
        assert len(list((source / heap).glob("P*_CT.nii.gz"))) == 4 - folders
        assert list((source / heap).glob("P*_green.stl"))


def test_sidecar_and_truth_agree(humeri: Path) -> None:
    recorded = json.loads((humeri / "truth.json").read_text())
    assert recorded["phantoms"] == {"kind": "humerus", "cases": 4, "seed": 5, "size": SIZE, "layout": "mixed"}
    for case in recorded["cases"].values():
        truth = read_segmentation(humeri / case["labels"])
        for structure in truth.structures:
            volume = truth.mask(structure).sum() * truth.geometry.voxel_volume_mm3 / 1000
            assert case["volume_cm3"].get(structure.name, 0) == pytest.approx(volume, abs=1e-3)


def test_some_files_say_their_colour(humeri: Path) -> None:
    colours = {read_stl(path).colour for path in humeri.rglob("*_red.stl")} | {
        read_stl(path).colour for path in humeri.rglob("P*/red.stl")
    }
    assert colours == {None, "#e5484d"}


@pytest.mark.parametrize(
    ("kind", "labels", "mean"),
    [
        ("spine", "e130077058bd3d17", 243.094401),
        ("humerus", "3a36cf7d1dd125db", -472.666926),
    ],
)
def test_without_variants_a_cohort_is_what_it_has_always_been(
    kind: str, labels: str, mean: float, tmp_path: Path
) -> None:
    write_phantoms(tmp_path, make_request(kind, cases=1, seed=5, size=48))
    assert "variants" not in json.loads((tmp_path / "truth.json").read_text())["phantoms"]
    truth = read_segmentation(next((tmp_path / "truth").iterdir()))
    assert hashlib.sha256(truth.array.tobytes()).hexdigest()[:16] == labels
    image = next(path for path in (tmp_path / "source").rglob("*") if re.search("CT|image[.]|_image", path.name))
    assert read_volume(image).array.mean() == pytest.approx(mean, rel=1e-4)  # a processor may round another way


# All kinds


def test_the_command_knows_all_kinds_and_layouts() -> None:
    assert list(get_args(PhantomKind)) == list(KINDS)
    assert list(get_args(PhantomLayout)) == list(KIND.layouts)
    assert list(get_args(PhantomVariants)) == VARIANTS


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    arguments = ("phantom", "humerus", folder, "--cases", "1", "--size", "24")
    assert command(*arguments) == 0
    output = capsys.readouterr().out
    assert f"osteon import {folder}/source DATASET --modality ct" in output
    assert f"{folder}/truth.json" in output
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert command(*arguments) == 0
    assert "is there already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert command(*arguments, "--seed", "1") == 2
    assert "holds other phantoms (kind humerus, cases 1, seed 0, size 24, layout mixed)" in capsys.readouterr().err
    assert command(*arguments, "--seed", "1", "--overwrite") == 0
    assert json.loads((folder / "truth.json").read_text())["phantoms"]["seed"] == 1


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/scan.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other things"):
        write_phantoms(tmp_path, make_request("humerus", cases=1, size=24), overwrite=True)
    assert (tmp_path / "source/scan.txt").read_text() == "mine"


def test_what_was_interrupted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from osteon.phantoms import registry

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    request = make_request("humerus", cases=2, size=24)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "track", stop)
        with pytest.raises(KeyboardInterrupt):
            write_phantoms(tmp_path, request)
    assert write_phantoms(tmp_path, request)
    assert not write_phantoms(tmp_path, request)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "stone"}, "no phantom stone"),
        ({"cases": 0}, "0 cases"),
        ({"seed": -1}, "seed -1"),
        ({"size": 3}, "24 to 320"),
        ({"layout": "pile"}, "layout pile"),
        ({"variants": "people"}, "variants people is not known for humerus"),
        ({"variants": "pieces", "layout": "heap"}, "layout heap"),
        ({"kind": "hand", "variants": "all"}, "variants all is not known for hand"),
    ],
)
def test_what_cannot_be_asked_for(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make_request(**{"kind": "humerus", **wrong})
    assert caught.value.hint


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "variants"), [(kind.name, name) for kind in KINDS.values() for name in (None, *kind.variants)]
)
def test_a_case_follows_from_seed_and_number(kind: str, variants: str | None, tmp_path: Path) -> None:
    size = {"hand": 192}.get(kind, 32)
    for name, cases, seed in (("a", 1, 3), ("b", 2, 3), ("c", 1, 4)):
        write_phantoms(tmp_path / name, make_request(kind, cases=cases, seed=seed, size=size, variants=variants))
    a, b, c = (files(tmp_path / name / "truth") for name in "abc")
    assert len(b) == 2 * len(a)
    assert all(b[name] == data for name, data in a.items())
    assert all(c[name] != data for name, data in a.items())
    one, two = files(tmp_path / "a/source"), files(tmp_path / "b/source")
    shared = [name for name in one if Path(name).suffix not in (".txt", ".csv") and Path(name).name != "dataset.json"]
    assert shared
    assert all(two[name] == one[name] for name in shared)


def test_the_page_describes_kinds_sizes_and_options() -> None:
    page = (Path(__file__).parents[1] / "docs/phantom.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [*KINDS, *VARIANTS]
    assert all(f"{kind.size} ({kind.name})" in page for kind in KINDS.values())
    parameters = typer.main.get_command(app).commands["phantom"].params  # type: ignore[attr-defined]
    options = {option for row in parameters for option in row.opts if option.startswith("--")}
    assert set(re.findall(r"--[a-z][a-z-]+", page)) == options
