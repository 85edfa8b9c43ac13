"""Bones of others to compare with, from files: surfaces (STL) and masks. Of each kind of bone one model is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from osteon.core.errors import FileError, UsageError, missing_file_error
from osteon.core.file_stamps import file_times
from osteon.core.labels import Structure, side_of
from osteon.formats.label_meanings import read_named_labels
from osteon.formats.registry import suffix_of
from osteon.formats.stl import read_stl
from osteon.measuring.anatomy import kind_of
from osteon.measuring.registration import spread_points
from osteon.measuring.registration_pairs import Cloud
from osteon.measuring.scene import make_scene
from osteon.measuring.shape_model import POINTS, ShapeModel, make_model
from osteon.measuring.surface import Surface, surface_of

SUFFIX = ".stl"
MIN_LENGTH_MM = 8.0
"""Of a surface: a shorter one is in another unit."""
_LEFT_OUT = {"left", "right", "l", "r", "lv", "rv", "template", "mean", "bone", "smooth", "mask", "label", "seg"}
"""Words of a name that do not say which bone it is."""


def template_files(path: Path) -> tuple[Path, ...]:
    """A surface or a mask, or those of a folder.

    Raises:
        FileError: It does not exist.
        UsageError: It holds none.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise missing_file_error(path, "the template")
    files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
    found = tuple(file for file in files if file.suffix.lower() == SUFFIX or suffix_of(file) is not None)
    if not found:
        raise UsageError(f"{path}: holds no template", hint="give STL surfaces or masks of whole bones")
    return found


def load_templates(files: Sequence[Path]) -> tuple[ShapeModel, ...]:
    """A model for each kind of bone.

    Raises:
        FileError: A file cannot be read, or holds no whole bone.
    """
    return _load(tuple((str(file), file_times(file)) for file in files))


@lru_cache(maxsize=2)
def _load(stamped: tuple[tuple[str, str], ...]) -> tuple[ShapeModel, ...]:
    groups: dict[str, list[tuple[Structure, Surface]]] = {}
    for text, _ in stamped:
        bones = list(_read(Path(text)))
        if not bones:
            raise FileError(f"{text}: holds no whole bone", hint="give surfaces or masks of whole bones as templates")
        for structure, surface in bones:
            groups.setdefault(kind_of(structure) or bone_name(structure.name), []).append((structure, surface))
    return tuple(_model(name, found) for name, found in groups.items())


def bone_name(name: str) -> str:
    """A bone's name without side, numbers, and words that say nothing of which bone it is."""
    return " ".join(word for word in re.findall(r"[^\W\d_]+", name.lower()) if word not in _LEFT_OUT)


def _read(file: Path) -> Iterable[tuple[Structure, Surface]]:
    if file.suffix.lower() != SUFFIX:
        scene = make_scene(file.name, read_named_labels(file, None, None))
        yield from ((one.structure, one.surface) for one in scene.bodies.values() if not len(one.cut))
        return
    mesh = read_stl(file)
    points, cells = np.unique(mesh.triangles.reshape(-1, 3), axis=0, return_inverse=True)
    length = float(np.ptp(points, axis=0).max())
    if length < MIN_LENGTH_MM:
        raise FileError(f"{file}: is {length:.3g} mm long, which no bone is", hint="export it in millimetres")
    structure = Structure(name=file.stem, value=1, colour="#cccccc", side=side_of(file.stem)[0])
    yield structure, surface_of(points, cells.reshape(-1, 3))


def _model(name: str, bones: Sequence[tuple[Structure, Surface]]) -> ShapeModel:
    """Of bones of one kind; those of the other side than the first's are mirrored."""
    side = bones[0][0].side
    clouds = []
    for structure, surface in bones:
        chosen = spread_points(surface, POINTS)
        turn = np.array([-1.0 if {side, structure.side} == {"left", "right"} else 1.0, 1.0, 1.0])
        clouds.append(Cloud(surface.points[chosen] * turn, surface.normals[chosen] * turn))
    about = bones[0][0].name if len(bones) == 1 else f"{name}, a model of {len(bones)}"
    return make_model(bones[0][0].model_copy(update={"name": f"template {about}"}), clouds)
