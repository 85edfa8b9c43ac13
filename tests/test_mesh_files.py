"""STL, PLY and OBJ of structures: closed, outward, in the right world and colour, and readable by others' rules."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import osteon
from helpers import box
from mesh_checks import assert_watertight, volume_inside, weld
from osteon.core.errors import GeometryError, LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.formats.obj import write_materials, write_obj
from osteon.formats.ply import write_ply
from osteon.formats.stl import Mesh, read_stl, write_stl
from osteon.importing.meshes.voxelisation import voxelise
from osteon.importing.run import import_dataset

OBLIQUE = np.array([[-0.9, 0.2, 0.1, 40], [0.2, 0.9, 0.3, -20], [0.1, -0.2, 2.0, 7], [0, 0, 0, 1]])
STRUCTURES = (
    Structure(name="femur left", value=3, colour="#ff8000", side="left"),
    Structure(name="tibia/2", value=5, colour="#0040ff"),
    Structure(name="absent", value=9, colour="#00ff00"),
)


def labels(folder: Path, affine: np.ndarray = OBLIQUE) -> Path:
    """A femur in two pieces that touches the border, and a tibia."""
    array = box((14, 12, 9), (3, np.s_[0:5, 2:9, 0:6]), (3, np.s_[7:9, 0:3, 6:9]), (5, np.s_[10:14, 5:12, 2:9]))
    path = folder / "p1.nii.gz"
    write_segmentation(path, Segmentation(array, Geometry(array.shape, affine), STRUCTURES))
    return path


def read_ply(path: Path) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Head, vertices, colours and faces, by the format's own description."""
    head, body = path.read_bytes().split(b"end_header\n", 1)
    text = head.decode()
    count, faces = (int(re.search(rf"element {what} (\d+)", text)[1]) for what in ("vertex", "face"))  # type: ignore[index]
    rows = np.frombuffer(body, np.dtype([("p", "<f4", 3), ("c", "u1", 3)]), count)
    corners = np.frombuffer(body, np.dtype([("n", "u1"), ("v", "<i4", 3)]), faces, rows.nbytes)
    assert len(body) == rows.nbytes + corners.nbytes
    assert (corners["n"] == 3).all()
    return text, rows["p"], rows["c"], corners["v"]


def read_obj(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Objects by name, with all vertices of the file and their own faces, from 0."""
    vertices, faces, found = list[list[float]](), list[list[int]](), {}
    for line in path.read_text().splitlines():
        word, *rest = line.split()
        if word == "o":
            faces = []
            found[rest[0]] = faces
        elif word == "v":
            vertices.append([float(value) for value in rest])
        elif word == "f":
            faces.append([int(value) - 1 for value in rest])
    return {name: (np.array(vertices), np.array(own)) for name, own in found.items()}


@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_an_stl_gives_the_voxels_again(tmp_path: Path, space: str) -> None:
    path = labels(tmp_path)
    report = osteon.export("stl", path, tmp_path / "out", space=space)
    assert [file.name for file in report.files] == ["femur left.stl", "tibia_2.stl"]
    segmentation = read_segmentation(path)
    for file, structure in zip(report.files, STRUCTURES, strict=False):
        mesh = read_stl(file)
        assert mesh.colour == structure.colour
        head = file.read_bytes()[:80].decode("latin1")
        assert f"SPACE={space} UNIT=mm" in head
        vertices, faces = weld(mesh.triangles)
        assert_watertight(faces)
        mask = segmentation.mask(structure)
        volume = mask.sum() * segmentation.geometry.voxel_volume_mm3
        assert volume_inside(vertices, faces) == pytest.approx(volume, rel=1e-3)
        turned = mesh.triangles * ([-1, -1, 1] if space == "LPS" else [1, 1, 1])
        filled = voxelise(turned, segmentation.geometry)
        found = np.zeros_like(mask)
        found[filled.box] = filled.mask
        assert np.array_equal(found, mask)


def test_ply_and_obj_say_the_same(tmp_path: Path) -> None:
    path = labels(tmp_path)
    osteon.export("stl", path, tmp_path / "stl")
    osteon.export("ply", path, tmp_path / "ply")
    osteon.export("obj", path, tmp_path / "obj")
    text, vertices, colours, faces = read_ply(tmp_path / "ply/p1/femur left.ply")
    assert "comment SPACE=LPS\ncomment UNIT=mm\n" in text
    assert (colours == [255, 128, 0]).all()
    assert_watertight(faces)
    assert np.array_equal(vertices[faces], read_stl(tmp_path / "stl/p1/femur left.stl").triangles)
    objects = read_obj(tmp_path / "obj/p1.obj")
    assert list(objects) == ["femur_left", "tibia_2"]
    for name, stem in (("femur_left", "femur left"), ("tibia_2", "tibia_2")):
        vertices, faces = objects[name]
        assert_watertight(faces)
        assert np.abs(vertices[faces] - read_stl(tmp_path / f"stl/p1/{stem}.stl").triangles).max() < 1e-4
    written = (tmp_path / "obj/p1.obj").read_text()
    assert "# SPACE=LPS\n" in written
    assert "mtllib p1.mtl\n" in written
    assert "usemtl femur_left\n" in written
    assert "newmtl femur_left\nKd 1.000000 0.501961 0.000000\n" in (tmp_path / "obj/p1.mtl").read_text()


def test_fragments_are_files_of_their_own_the_largest_first(tmp_path: Path) -> None:
    path = labels(tmp_path, np.diag([1.0, 1, 2, 1]))
    report = osteon.export("stl", path, tmp_path / "out", fragments=True)
    assert [file.name for file in report.files] == ["femur left_1.stl", "femur left_2.stl", "tibia_2_1.stl"]
    volumes = []
    for file in report.files:
        vertices, faces = weld(read_stl(file).triangles)
        assert_watertight(faces)
        volumes.append(volume_inside(vertices, faces))
    assert volumes == pytest.approx([2 * 5 * 7 * 6, 2 * 2 * 3 * 3, 2 * 4 * 7 * 7], rel=1e-3)
    report = osteon.export("stl", path, tmp_path / "out", fragments=True, smallest_mm3=50)
    assert [file.name for file in report.files] == ["femur left_1.stl", "tibia_2_1.stl"]
    assert not (tmp_path / "out/p1/femur left_2.stl").exists()  # it was of the export before
    report = osteon.export("stl", path, tmp_path / "out", smallest_mm3=400)
    assert [file.name for file in report.files] == ["femur left.stl"]
    assert report.notes == ["p1: tibia/2: no piece is large enough"]
    failed = osteon.export("stl", path, tmp_path / "out", smallest_mm3=4000).failed
    assert isinstance(failed["p1"], LabelError)


def test_structures_that_overlap_keep_their_own_surfaces(tmp_path: Path) -> None:
    array = np.zeros((2, 8, 7, 6), np.uint8)
    array[0, 1:6, 1:6, 1:5] = 1
    array[1, 3:8, 2:6, 1:4] = 1
    geometry = Geometry((8, 7, 6), np.eye(4))
    write_segmentation(tmp_path / "p1.seg.nrrd", Segmentation(array, geometry, STRUCTURES[:2]))
    report = osteon.export("ply", tmp_path / "p1.seg.nrrd", tmp_path / "out")
    found = [read_ply(file) for file in report.files]
    assert [volume_inside(v, f) for _, v, _, f in found] == pytest.approx([100, 60], rel=1e-3)


def test_a_picture_has_no_surface(tmp_path: Path) -> None:
    array = np.ones((4, 5, 1), np.uint8)
    path = tmp_path / "p1.nii.gz"
    write_segmentation(path, Segmentation(array * 3, Geometry((4, 5, 1), np.eye(4), "px"), STRUCTURES))
    failed = osteon.export("stl", path, tmp_path / "out").failed
    assert isinstance(failed["p1"], GeometryError)
    assert "measured in px" in failed["p1"].message


def test_what_is_exported_can_be_imported(tmp_path: Path) -> None:
    """CT and STL back to the same voxels, though nobody says which world the STL is in."""
    path = labels(tmp_path)
    segmentation = read_segmentation(path)
    noise = np.random.default_rng(0).normal(0, 5, segmentation.geometry.shape)
    image = (noise + 400 * (segmentation.array > 0)).astype(np.int16)
    osteon.export("stl", path, tmp_path / "heap")
    write_volume(tmp_path / "heap/p1/ct.nii.gz", Volume(image[None], segmentation.geometry))
    report = import_dataset(tmp_path / "heap", tmp_path / "set", form="meshes", group="none")
    dataset = Dataset.open(tmp_path / "set")
    found = dataset.load_segmentation(report.manifest.cases[0])
    masks = {structure.name: found.mask(structure) for structure in found.structures}
    assert set(masks) == {"femur left", "tibia_2"}
    assert np.array_equal(masks["femur left"], segmentation.array == 3)
    assert np.array_equal(masks["tibia_2"], segmentation.array == 5)


TETRAHEDRON = Mesh(
    np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
    "#010203",
)


def test_a_tetrahedron_in_each_format(tmp_path: Path) -> None:
    write_stl(tmp_path / "t.stl", TETRAHEDRON, space="RAS")
    assert np.array_equal(read_stl(tmp_path / "t.stl").triangles, TETRAHEDRON.triangles)
    write_stl(tmp_path / "plain.stl", TETRAHEDRON)
    assert b"SPACE" not in (tmp_path / "plain.stl").read_bytes()[:80]
    write_ply(tmp_path / "t.ply", TETRAHEDRON, space="RAS")
    _, vertices, colours, faces = read_ply(tmp_path / "t.ply")
    assert np.array_equal(vertices, TETRAHEDRON.vertices)
    assert np.array_equal(faces, TETRAHEDRON.faces)
    assert (colours == [1, 2, 3]).all()
    write_obj(tmp_path / "t.obj", {"one": TETRAHEDRON, "the other": TETRAHEDRON}, materials="t.mtl", space="RAS")
    write_materials(tmp_path / "t.mtl", {"one": "#010203", "the other": "#ffffff"})
    vertices, faces = read_obj(tmp_path / "t.obj")["the_other"]
    assert np.array_equal(faces, TETRAHEDRON.faces + 4)
    assert "newmtl the_other\n" in (tmp_path / "t.mtl").read_text()
