"""The made-up humerus: tissues, fragments, axes, and the cohort on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from helpers import to_index
from osteon.core.errors import UsageError
from osteon.core.geometry import reorient_to_ras
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.formats.nifti import read_nifti, read_nifti_segmentation
from osteon.phantoms.cohort import make_cohort, write_humerus_cohort
from osteon.phantoms.grid import AXES
from osteon.phantoms.humerus import STRUCTURES, draw_humerus
from osteon.phantoms.shapes import RigidTransform, ellipsoid, rotation

RED, GREEN, BLUE, YELLOW = (s.value for s in STRUCTURES)
FINE = {"shape": (96, 96, 110), "spacing_mm": (1.2, 1.2, 1.5)}


def make_humerus(rng: np.random.Generator, **how: object) -> tuple[Volume, Segmentation]:
    return draw_humerus(rng, **how).scan(rng)


def turned(pair: tuple[Volume, Segmentation]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU and labels along R, A, S, and the spacing."""
    volume, segmentation = pair
    turn = reorient_to_ras(volume.geometry)
    return turn.apply(volume.array[0]), turn.apply(segmentation.array), turn.geometry(volume.geometry).spacing_mm


@pytest.fixture(scope="module")
def fine() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return turned(make_humerus(np.random.default_rng(3), fragments=4, side="right", **FINE))


@pytest.fixture(scope="module")
def cohort() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [turned((m.volume, m.segmentation)) for m in make_cohort(cases=12, unseen=0, seed=7)]


def test_tissues_have_their_hounsfield_numbers(fine) -> None:
    hu, labels, _ = fine
    # By depth in the shaft: compact bone near the surface, marrow in the canal.
    depth = ndimage.distance_transform_edt(labels == GREEN, sampling=(1.2, 1.2, 1.5))
    low = np.zeros(labels.shape, dtype=bool)
    low[:, :, 12:30] = True  # well below the fracture
    cortex = hu[(depth > 1.3) & (depth < 2.6) & low]
    canal = hu[(depth > 7) & low]
    assert 1200 < np.median(cortex) < 1800
    assert -60 < np.median(canal) < 120
    head = ndimage.binary_erosion(labels == RED, iterations=5)
    assert 180 < np.median(hu[head]) < 340
    assert hu[head].std() > 40  # trabeculae, not a plain ball
    near = ndimage.binary_dilation(labels > 0, iterations=6) & ~ndimage.binary_dilation(labels > 0, iterations=3)
    assert 35 < np.median(hu[near]) < 70  # muscle
    corner = hu[-5:, :5, -5:]
    assert -1024 <= np.median(corner) < -970
    assert corner.std() > 1  # the scanner's noise
    body = ndimage.binary_opening(hu > -500, iterations=2)
    under_skin = ndimage.distance_transform_edt(body, sampling=(1.2, 1.2, 1.5))
    assert -130 < np.median(hu[(under_skin > 2.5) & (under_skin < 4) & (labels == 0)]) < -70  # fat
    assert hu.dtype == np.int16


def test_noise_is_correlated_between_neighbours() -> None:
    first, second = (make_humerus(np.random.default_rng(3), fragments=2, side="right", axes="RAS") for _ in range(2))
    assert (first[0].array == second[0].array).all()
    air = first[0].array[0, -6:, :6, -20:].astype(float)
    air -= air.mean()
    assert (air[1:] * air[:-1]).mean() / (air**2).mean() > 0.2


def test_fragments_are_apart_and_whole(cohort) -> None:
    for _, labels, spacing in cohort:
        voxel_cm3 = np.prod(spacing) / 1000
        for value in np.unique(labels[labels > 0]):
            parts, count = ndimage.label(labels == value)
            sizes = np.bincount(parts.ravel())[1:]
            assert sizes.max() > 0.97 * sizes.sum(), f"fragment {value} lies in {count} pieces"
            assert sizes.sum() * voxel_cm3 > 1.5
        # Gaps: hardly any voxel of one fragment touches another's, though they were one bone.
        touching = total = 0
        for axis in range(3):
            one, other = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
            touching += int(((one != other) & (one > 0) & (other > 0)).sum())
            total += int(((one == other) & (one > 0)).sum())
        assert touching < 0.01 * total


def test_two_to_four_fragments_occur_and_mean_the_same_everywhere(cohort) -> None:
    kinds = [frozenset(np.unique(labels)) - {0} for _, labels, _ in cohort]
    assert set(kinds) == {
        frozenset({RED, GREEN}),
        frozenset({RED, GREEN, BLUE}),
        frozenset({RED, GREEN, BLUE, YELLOW}),
    }
    for _, labels, spacing in cohort:
        centre = {v: np.argwhere(labels == v).mean(axis=0) * spacing for v in np.unique(labels) if v}
        assert centre[RED][2] > centre[GREEN][2] + 30  # the head is proximal
        if YELLOW in centre:
            assert centre[RED][2] > centre[YELLOW][2] > centre[GREEN][2]


@pytest.mark.parametrize(("side", "lateral"), [("right", 1), ("left", -1)])
def test_the_tuberosity_is_lateral(side: str, lateral: int) -> None:
    for seed in range(4):
        _, labels, spacing = turned(make_humerus(np.random.default_rng(seed), fragments=4, side=side))
        x = {v: np.argwhere(labels == v)[:, 0].mean() * spacing[0] for v in (RED, BLUE, YELLOW)}
        assert lateral * (x[BLUE] - x[RED]) > 10
        assert lateral * (x[BLUE] - x[YELLOW]) > 5


@pytest.mark.parametrize("axes", AXES)
def test_axes_of_the_file_do_not_move_the_arm(axes: str) -> None:
    volume, segmentation = make_humerus(np.random.default_rng(11), fragments=4, axes=axes)
    plain, plain_labels = make_humerus(np.random.default_rng(11), fragments=4, axes="RAS")
    assert volume.geometry.axis_codes == axes
    rng = np.random.default_rng(0)
    index = np.stack([rng.integers(0, n, 500) for n in volume.geometry.shape], axis=1)
    other = np.rint(to_index(plain.geometry, volume.geometry.to_world(index))).astype(int)
    assert (volume.array[0][tuple(index.T)] == plain.array[0][tuple(other.T)]).all()
    assert (segmentation.array[tuple(index.T)] == plain_labels.array[tuple(other.T)]).all()
    assert segmentation.geometry.is_close(volume.geometry)


def test_sizes_do_not_depend_on_the_grid() -> None:
    volumes = []
    for spacing in ((1.2, 1.2, 1.5), (1.8, 1.8, 1.5)):
        shape = (round(120 / spacing[0]), round(120 / spacing[1]), 110)
        _, labels, edges = turned(
            make_humerus(
                np.random.default_rng(2), fragments=3, side="left", axes="LPS", shape=shape, spacing_mm=spacing
            )
        )
        volumes.append(np.bincount(labels.ravel())[1:] * np.prod(edges) / 1000)
    assert volumes[0] == pytest.approx(volumes[1], rel=0.04)
    assert 40 < volumes[0][0] < 80  # a head of 21–25 mm radius has 39–65 cm³, with the neck a little more


@pytest.mark.parametrize("wrong", [{"fragments": 5}, {"side": "middle"}, {"axes": "LPP"}])
def test_nonsense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"not (5|middle|LPP)"):
        make_humerus(np.random.default_rng(0), **wrong)


def test_shapes_by_hand() -> None:
    points = np.array([[0, 0, 0], [3, 0, 0], [0, 5, 0]], dtype=np.float32).T
    assert ellipsoid(points, (0, 0, 0), (2, 2, 2)).tolist() == [-2, 1, 3]
    quarter = rotation((0, 0, 90))
    assert quarter @ [1, 0, 0] == pytest.approx([0, 1, 0], abs=1e-12)
    move = RigidTransform(quarter, np.array([1.0, 0, 0]), np.array([0.0, 0, 7]))
    there = quarter @ (np.array([2.0, 0, 0]) - [1, 0, 0]) + [1, 0, 0] + [0, 0, 7]
    assert move.undo(there.astype(np.float32)[:, None])[:, 0] == pytest.approx([2, 0, 0], abs=1e-5)


def test_a_case_follows_from_the_seed_and_its_number() -> None:
    few, many = list(make_cohort(cases=1, unseen=1, seed=1)), list(make_cohort(cases=3, unseen=0, seed=1))
    for one, other in zip(few, many[:2], strict=True):
        assert one.id == other.id
        assert (one.volume.array == other.volume.array).all()
    assert [m.training for m in few] == [True, False]
    other_seed = next(make_cohort(cases=1, unseen=0, seed=2))
    assert not np.array_equal(other_seed.volume.array, few[0].volume.array)
    spacings = {m.volume.geometry.voxel_volume_mm3 for m in many}
    assert len(spacings) == len(many)  # no two patients are drawn alike


def test_decathlon_on_disk(tmp_path: Path) -> None:
    folder = write_humerus_cohort(tmp_path / "msd", cases=2, unseen=1, seed=4)
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"] == {"0": "background", "1": "red", "2": "green", "3": "blue", "4": "yellow"}
    assert (description["numTraining"], description["numTest"], description["modality"]) == (2, 1, {"0": "CT"})
    assert description["training"][1] == {
        "image": "./imagesTr/humerus_002.nii.gz",
        "label": "./labelsTr/humerus_002.nii.gz",
    }
    assert description["test"] == ["./imagesTs/humerus_003.nii.gz"]
    members = list(make_cohort(cases=2, unseen=1, seed=4))
    for member, kind in zip(members, ("Tr", "Tr", "Ts"), strict=True):
        image = read_nifti(folder / f"images{kind}" / f"{member.id}.nii.gz")
        labels = read_nifti_segmentation(folder / f"labels{kind}" / f"{member.id}.nii.gz")
        assert (image.array == member.volume.array).all()
        assert image.array.dtype == np.int16
        assert image.geometry.is_close(member.volume.geometry, tolerance=1e-4)
        assert (labels.array == member.segmentation.array).all()
        assert labels.geometry.is_close(image.geometry)
        assert labels.structures == STRUCTURES


@pytest.mark.parametrize("wrong", [{"cases": -1}, {"cases": 0, "unseen": 0}])
def test_a_cohort_that_cannot_be_written(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(UsageError) as caught:
        write_humerus_cohort(tmp_path, **wrong)
    assert caught.value.hint
    assert not list(tmp_path.iterdir())
