"""Made-up humeri in numbered pieces: numbers without meaning, pieces in one part, contact with a faint line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from osteon.formats import read_segmentation, read_volume
from osteon.importing.options import ImportOptions
from osteon.importing.pairs import read
from osteon.phantoms.humerus import draw_humerus
from osteon.phantoms.pieces import COUNTS, break_bone
from osteon.phantoms.registry import make_request, write_phantoms
from phantom_checks import best_threshold_dice

CASES = 10


@pytest.fixture(scope="module")
def humeri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pieces")
    write_phantoms(folder, make_request("humerus", cases=CASES, seed=1, size=48, variants="pieces"))
    return folder


def recorded(humeri: Path) -> dict[str, dict]:
    return json.loads((humeri / "truth.json").read_text())["cases"]


def test_the_list_names_pairs_that_agree_with_the_truth(humeri: Path) -> None:
    found = read(humeri / "source", ImportOptions(modality="ct"))
    assert [case.id for case in found.cases] == list(recorded(humeri)) != []
    for case in found.cases:
        truth = read_segmentation(humeri / f"truth/{case.id}.nii.gz")
        assert case.label is not None
        label = read_volume(case.label)
        assert read_volume(case.images[0]).geometry.is_close(label.geometry)
        assert (label.array[0] == truth.array).all()


def test_pieces_are_counted_measured_and_in_one_part(humeri: Path) -> None:
    counts = []
    for row in recorded(humeri).values():
        truth = read_segmentation(humeri / row["labels"])
        counts.append(row["pieces"])
        assert list(np.unique(truth.array)) == list(range(row["pieces"] + 1))
        for value in range(1, row["pieces"] + 1):
            mask = truth.array == value
            assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == 1
            volume = mask.sum() * truth.geometry.voxel_volume_mm3 / 1000
            assert row["volume_cm3"][f"fragment_{value}"] == pytest.approx(volume, abs=1e-3)
            assert volume > 3
    assert counts == [*COUNTS, *COUNTS]
    assert set(counts) == {2, 3, 4, 5, 6}


def test_numbers_mean_nothing(humeri: Path) -> None:
    """The uppermost piece has another number in another case."""
    tops = set()
    for row in recorded(humeri).values():
        truth = read_segmentation(humeri / row["labels"])
        heights = {
            v: truth.geometry.to_world(np.argwhere(truth.array == v))[:, 2].mean() for v in range(1, row["pieces"] + 1)
        }
        tops.add(max(heights, key=lambda v: heights[v]))
    assert len(tops) >= 3


def test_some_pieces_touch_and_some_do_not(humeri: Path) -> None:
    touching = {case: row["touching"] for case, row in recorded(humeri).items()}
    assert sum(map(len, touching.values())) >= CASES / 2
    apart = [case for case, row in recorded(humeri).items() if len(touching[case]) < row["pieces"] - 1]
    assert apart
    assert all(low < high <= recorded(humeri)[case]["pieces"] for case, rows in touching.items() for low, high in rows)


def test_bone_in_contact_has_moved_hardly_at_all() -> None:
    rng = np.random.default_rng(4)
    humerus = draw_humerus(rng, shape=(40, 40, 50), spacing_mm=(3, 3, 4))
    one, other = (f.movement for f in break_bone(rng, humerus, 2).fragments)
    at = np.array([[0.0], [0.0], [-30.0]], dtype=np.float32)
    assert np.linalg.norm(one.undo(at) - other.undo(at)) < 0.8


def test_a_threshold_does_not_find_the_pieces(humeri: Path) -> None:
    image = read_volume(humeri / "source/images/humerus_001_image.nii.gz").array[0]
    truth = read_segmentation(humeri / "truth/humerus_001.nii.gz").array
    assert all(best_threshold_dice(image, truth == value) < 0.6 for value in range(1, 5))
