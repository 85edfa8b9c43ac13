"""How scans lie: known sides, angles, and the numbers of a preview's slices."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicom_writing import image, save
from helpers import spacing_affine
from osteon.app.orientation import (
    is_orientation_known,
    oblique_degrees,
    picture_edge_letters,
    shear_degrees,
    slice_steps,
)
from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.formats.io import read_geometry
from osteon.formats.raster import TO_RAS, has_unknown_sides

GRID = Geometry((4, 5, 6), np.eye(4))


def picture(folder: Path, orientation: str | None) -> Path:
    """A radiograph that says which way its rows and columns run, as far as anything is said."""
    nowhere = dict.fromkeys(("ImageOrientationPatient", "ImagePositionPatient"))
    tags = {} if orientation is None else {"PatientOrientation": orientation}
    return save(image(np.ones((4, 6), dtype=np.uint16), Modality="DX", **nowhere, **tags), folder / "hand.dcm")


@pytest.mark.parametrize(
    ("orientation", "marks"),
    [
        (r"L\F", ("R", "L", "S", "I")),
        (r"R\FP", ("L", "R", "S", "I")),
        (r"A\F", ("P", "A", "S", "I")),
        (r"P\H", ("A", "P", "I", "S")),
        ("", None),
        (r"L", None),
        (r"X\F", None),
        (None, None),
    ],
)
def test_letters_of_a_radiograph_are_those_of_dicom(
    tmp_path: Path, orientation: str | None, marks: tuple[str, ...] | None
) -> None:
    path = picture(tmp_path, orientation)
    geometry = read_geometry(path)
    assert has_unknown_sides(geometry)
    assert not is_orientation_known(path, geometry)
    assert picture_edge_letters(path) == marks


def test_a_converted_picture_still_has_no_orientation() -> None:
    assert has_unknown_sides(Geometry((6, 4, 1), TO_RAS, "px"))
    assert has_unknown_sides(Geometry((6, 4, 1), TO_RAS @ np.diag([0.25, 0.5, 1, 1])))
    made_up = Geometry((6, 4, 1), TO_RAS @ np.diag([0.25, 0.5, 1, 1]))
    assert has_unknown_sides(reorient_to_ras(made_up).geometry(made_up))
    assert not has_unknown_sides(Geometry((6, 4, 1), spacing_affine(1, 1, 1)))
    moved = TO_RAS.copy()
    moved[0, 3] = 3
    assert not has_unknown_sides(Geometry((6, 4, 1), moved))
    assert not has_unknown_sides(Geometry((6, 4, 3), TO_RAS))


@pytest.mark.parametrize("code", [0, 1])
def test_a_nifti_without_an_orientation_has_no_letters(tmp_path: Path, code: int) -> None:
    made = nibabel.Nifti1Image(np.ones(GRID.shape, dtype=np.int16), np.eye(4))
    made.set_sform(np.eye(4), code)
    made.set_qform(np.eye(4), code)
    nibabel.save(made, tmp_path / "a.nii.gz")
    assert is_orientation_known(tmp_path / "a.nii.gz", read_geometry(tmp_path / "a.nii.gz")) == bool(code)


def test_angles() -> None:
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    turned = Geometry((4, 5, 6), np.array([[0, -c, -s, 1], [2, 0, 0, 2], [0, -s, c, 3], [0, 0, 0, 1]]))
    assert oblique_degrees(turned) == pytest.approx(20)
    assert shear_degrees(turned) == pytest.approx(0, abs=1e-5)
    assert oblique_degrees(GRID) == 0
    tilted = np.eye(4)
    tilted[1, 2] = np.tan(np.radians(12))
    assert shear_degrees(Geometry((4, 5, 6), tilted)) == pytest.approx(12)


def test_slices_are_numbered_along_the_patients_axes() -> None:
    turned = Geometry((4, 5, 6), np.array([[0, -1, 0, 1], [0, 0, 2, 2], [-1, 0, 0, 3], [0, 0, 0, 1.0]]))
    assert slice_steps(turned, (2, 3, 1)) == [
        {"count": 5, "step": 3, "flipped": True},
        {"count": 6, "step": 1, "flipped": False},
        {"count": 4, "step": 2, "flipped": True},
    ]
