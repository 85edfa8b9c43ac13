"""Structures whose pieces are numbered: values, files, manifests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, check_values
from osteon.formats.io import read_segmentation, write_segmentation

SACRUM = Structure(name="sacrum", value=1, colour="#112233", instances=True, last_value=10)
HIP = Structure(name="hip", value=11, colour="#445566", instances=True, last_value=20)
FEMUR = Structure(name="femur", value=30, colour="#778899")


@pytest.fixture
def pelvis() -> Segmentation:
    """Sacrum in pieces 1 and 3, hip in piece 2, femur."""
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0], labels[1], labels[2, :2], labels[3] = 1, 3, 12, 30
    return Segmentation(labels, Geometry(labels.shape, np.eye(4)), (SACRUM, HIP, FEMUR))


def test_a_structure_owns_the_values_of_its_pieces(pelvis: Segmentation) -> None:
    assert pelvis.mask(SACRUM).sum() == 60
    assert set(np.unique(pelvis.pieces(SACRUM))) == {0, 1, 3}
    assert set(np.unique(pelvis.pieces(HIP))) == {0, 2}
    assert set(np.unique(pelvis.pieces(FEMUR))) == {0, 1}
    assert set(np.unique(pelvis.merged().array)) == {0, 1, 11, 30}
    assert set(np.unique(pelvis.array)) == {0, 1, 3, 12, 30}


def test_files_keep_pieces_and_give_them_only_who_asks(tmp_path: Path, pelvis: Segmentation) -> None:
    path = tmp_path / "pelvis.nii.gz"
    write_segmentation(path, pelvis)
    assert read_segmentation(path).structures == pelvis.structures
    assert set(np.unique(read_segmentation(path).array)) == {0, 1, 11, 30}
    assert np.array_equal(read_segmentation(path, pieces=True).array, pelvis.array)


def test_pieces_keep_their_numbers_under_another_value(tmp_path: Path, pelvis: Segmentation) -> None:
    path = tmp_path / "pelvis.nii.gz"
    write_segmentation(path, pelvis)
    moved = HIP.model_copy(update={"value": 101, "last_value": 110})
    found = read_segmentation(path, (FEMUR, moved, SACRUM), pieces=True)
    assert set(np.unique(found.array)) == {0, 1, 3, 30, 102}


def test_where_nothing_is_said_ninety_nine_pieces_have_values() -> None:
    structure = Structure.model_validate({"name": "tibia", "value": 3, "colour": "#112233", "instances": True})
    assert structure.values == range(3, 102)
    plain = Structure.model_validate({"name": "tibia", "value": 3, "colour": "#112233", "instances": False})
    assert plain.model_dump(exclude_none=True) == {"name": "tibia", "value": 3, "colour": "#112233"}


@pytest.mark.parametrize(
    ("more", "what"),
    [({"last_value": 5}, "where `instances` is true"), ({"instances": True, "last_value": 2}, "below value")],
)
def test_ranges_that_make_no_sense(more: dict[str, object], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Structure.model_validate({"name": "tibia", "value": 3, "colour": "#112233", **more})


def test_values_belong_to_one_structure() -> None:
    check_values([SACRUM, HIP, FEMUR])
    inside = FEMUR.model_copy(update={"value": 15})
    with pytest.raises(ValueError, match="femur has 15, which is a piece of hip"):
        check_values([SACRUM, HIP, inside])
    with pytest.raises(ValueError, match="overlap, and pieces of sacrum"):
        check_values([SACRUM, FEMUR], overlapping=True)
