"""Grids, checks, loading, folds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import add_hashes, two_boxes, write_dataset
from osteon.core.errors import DatasetError, FileError, GeometryError, ImageError, LabelError, UsageError
from osteon.core.geometry import AxisPermutation, Geometry, reorient_like
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.checks import (
    align_segmentation,
    check_image,
    check_labels,
    content_hash,
    present_structures,
    resample_labels,
)
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import (
    group_cases,
    groups_with_structure,
    make_folds,
    structures_only_held_out,
    structures_without_cases,
)
from osteon.dataset.manifest import Case, Channel, Manifest, read_manifest, write_manifest
from osteon.formats import read_volume, write_segmentation, write_volume

BONES = make_structures(["femur", "tibia"])


def rotated(degrees: float, spacing: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * spacing
    affine[:3, 3] = (-40, 12, 300)
    return affine


# -- geometry: what was repaired in core ----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(3)),
    flipped=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    degrees=st.sampled_from([0.0, 30.0, 44.9999, 45.0, 45.0001, 90.0]),
    shear=st.sampled_from([0.0, 0.3]),
)
def test_a_turned_grid_is_found_again_also_midway_between_the_worlds_axes(
    order: list[int], flipped: tuple[bool, bool, bool], degrees: float, shear: float
) -> None:
    affine = rotated(degrees, (0.5, 1, 5))
    affine[:3, 2] += shear * affine[:3, 0]
    image = Geometry((3, 4, 5), affine)
    turn = AxisPermutation(tuple(order), flipped)
    labels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    other = Segmentation(turn.apply(labels), turn.geometry(image), make_structures([f"s{n}" for n in range(60)]))
    back = align_segmentation(other, image, name="label", image_name="image")
    assert np.array_equal(back.array, labels)
    assert back.geometry is image
    assert reorient_like(image, image) == AxisPermutation((0, 1, 2), (False, False, False))


def test_small_differences_that_add_up_are_still_said() -> None:
    image = Geometry((100, 100, 100), np.eye(4))
    affine = np.diag([1.0009, 1.0009, 1.0009, 1])
    affine[:3, 3] = (0.05, 0.05, 0.05)
    assert image.explain_mismatch(Geometry((100, 100, 100), affine))
    assert not image.is_close(Geometry((100, 100, 100), affine))


# -- checks ----------------------------------------------------------------------------------------------------------


def test_nan_and_inf_are_counted_and_placed() -> None:
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    check_image(Volume(array, Geometry((3, 4, 5), np.eye(4))), "a")
    array[1, 0, 1, 2] = np.nan
    array[1, 2, 2, 2] = -np.inf
    with pytest.raises(ImageError, match=r"a, channel 1: 1 voxels are NaN and 1 .*, the first at \(0, 1, 2\)"):
        check_image(Volume(array, Geometry((3, 4, 5), np.eye(4))), "a")


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_an_image_of_one_value_is_refused(dtype: str) -> None:
    with pytest.raises(ImageError, match="every voxel is 7"):
        check_image(Volume(np.full((1, 3, 4, 5), 7, dtype), Geometry((3, 4, 5), np.eye(4))), "a")


@pytest.mark.parametrize("layers", [False, True])
def test_an_empty_label_is_refused(layers: bool) -> None:
    shape = (2, 3, 4, 5) if layers else (3, 4, 5)
    array = np.zeros(shape, np.uint8)
    segmentation = Segmentation(array, Geometry((3, 4, 5), np.eye(4)), BONES)
    with pytest.raises(LabelError, match=r"case 7.*empty"):
        check_labels(segmentation, "case 7")
    array[(1, 0, 0, 0) if layers else (0, 0, 0)] = 1 if layers else 2
    assert check_labels(segmentation, "case 7") == ("tibia",) == present_structures(segmentation)


@pytest.mark.parametrize(
    ("affine", "shape", "what"),
    [
        (np.diag([1.0, 1, 1, 1]), (3, 4, 6), "shape 3×4×5 against 3×4×6"),
        (np.diag([1.0, 1, 1.2, 1]), (3, 4, 5), "spacing"),
        (rotated(10), (3, 4, 5), "orientation"),
        (np.array([[1.0, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), (3, 4, 5), "position"),
    ],
)
def test_grids_that_differ_are_refused_with_both_named(
    affine: np.ndarray, shape: tuple[int, int, int], what: str
) -> None:
    segmentation = Segmentation(np.zeros(shape, np.uint8), Geometry(shape, affine), BONES)
    with pytest.raises(GeometryError, match=what) as caught:
        align_segmentation(segmentation, Geometry((3, 4, 5), np.eye(4)), name="label.nii", image_name="image.nii")
    assert "label.nii: " + segmentation.geometry.describe() in caught.value.message
    assert "image.nii: 3×4×5 voxels" in caught.value.message
    assert "--repair-geometry" in caught.value.hint


@pytest.mark.parametrize("layers", [False, True])
def test_labels_are_resampled_to_the_nearest_voxel(layers: bool) -> None:
    source = Geometry((4, 4, 4), np.diag([2.0, 2, 2, 1]))
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 2, 3] = 2  # centre (2, 4, 6), so [1, 3) × [3, 5) × [5, 7) in the world
    array = np.stack([labels == 1, labels == 2]).astype(np.uint8) if layers else labels
    target = Geometry((10, 10, 10), np.array([[0, 0, 1.0, 0], [-1, 0, 0, 9], [0, 1, 0, 0], [0, 0, 0, 1]]))
    again = resample_labels(Segmentation(array, source, BONES), target)
    assert again.geometry is target
    world = target.to_world(np.argwhere(again.mask(BONES[1])))
    assert sorted(map(tuple, world)) == [(x, y, z) for x in (1, 2) for y in (3, 4) for z in (5, 6)]
    assert not again.mask(BONES[0]).any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), degrees=st.floats(0, 90))
def test_resampling_to_a_larger_window_of_the_same_lattice_and_back_loses_nothing(seed: int, degrees: float) -> None:
    affine = rotated(degrees, (0.7, 1.1, 3))
    affine[:3, 1] += 0.2 * affine[:3, 0]
    small = Geometry((3, 4, 5), affine)
    larger = affine.copy()
    larger[:3, 3] = small.to_world([[-2, -1, -3]])[0]
    labels = Segmentation(np.random.default_rng(seed).integers(0, 3, (3, 4, 5)), small, BONES)
    there = resample_labels(labels, Geometry((8, 8, 9), larger))
    assert there.array.astype(bool).sum() == labels.array.astype(bool).sum()
    assert np.array_equal(resample_labels(there, small).array, labels.array)


def test_the_same_scan_has_one_hash_whatever_its_type_and_axes() -> None:
    array = np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5)
    geometry = Geometry((3, 4, 5), rotated(0))
    turn = AxisPermutation((2, 0, 1), (True, False, True))
    first = content_hash(Volume(array, geometry))
    assert content_hash(Volume(turn.apply(array).astype(np.float64), turn.geometry(geometry))) == first
    assert content_hash(Volume(array[:, :, ::-1], geometry)) != first
    assert content_hash(Volume(array.reshape(1, 3, 5, 4), Geometry((3, 5, 4), rotated(0)))) != first


def test_an_image_at_45_degrees_keeps_its_hash_in_a_file(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5)
    for degrees in (44.99999, 45, 45.00001, 135, 225):
        volume = Volume(array, Geometry((3, 4, 5), rotated(degrees, (0.7, 0.7, 1))))
        write_volume(tmp_path / "a.nii.gz", volume)
        assert content_hash(read_volume(tmp_path / "a.nii.gz")) == content_hash(volume)


# -- the dataset -----------------------------------------------------------------------------------------------------


def test_an_image_that_was_replaced_after_the_import_is_refused_with_the_way_out(tmp_path: Path) -> None:
    dataset = add_hashes(write_dataset(tmp_path, {name: two_boxes(seed=n) for n, name in enumerate("ab")}))
    shutil.copyfile(tmp_path / "images/b.nii.gz", tmp_path / "images/a.nii.gz")
    with pytest.raises(DatasetError, match="is not the image that was imported") as refused:
        dataset.load_image(dataset.case("a"))
    assert dataset.load_image(dataset.case("a"), verify=False).array.any()
    content = re.search(r"`content: (\w{64})`", refused.value.hint)
    assert content is not None
    meant = dataset.case("a").model_copy(update={"content": content[1]})
    dataset.load_image(meant)
    assert group_cases([meant, dataset.case("b")]) == [["a", "b"]]


def small_dataset(folder: Path, *, channels: int = 1, **changes: object) -> Dataset:
    grid = Geometry((3, 4, 5), np.eye(4))
    for n in range(2):
        write_volume(folder / f"a{n}.nii.gz", Volume(np.arange(60.0).reshape(1, 3, 4, 5) + n, grid))
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[0, 0, 0] = 2
    write_segmentation(folder / "label.nii.gz", Segmentation(labels, grid, BONES))
    case = {"id": "a", "images": [f"a{n}.nii.gz" for n in range(channels)], "segmentation": "label.nii.gz"} | changes
    names = [Channel(name=f"c{n}", modality="mr") for n in range(channels)]
    write_manifest(
        folder, Manifest(name="d", channels=names, structures=list(BONES), cases=[Case.model_validate(case)])
    )
    return Dataset.open(folder)


def test_channels_are_stacked_in_order(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path, channels=2)
    volume = dataset.load_image(dataset.case("a"))
    assert volume.array.shape == (2, 3, 4, 5)
    assert (volume.array[1] - volume.array[0] == 1).all()
    segmentation = dataset.load_segmentation(dataset.case("a"))
    assert segmentation.structures == BONES == dataset.structures
    assert np.argwhere(segmentation.array == 2).tolist() == [[0, 0, 0]]


def test_one_file_serves_all_channels(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path, channels=2)
    both = dataset.load_image(dataset.case("a"))
    write_volume(tmp_path / "both.nii.gz", both)
    case = dataset.case("a").model_copy(update={"images": ["both.nii.gz"]})
    assert np.array_equal(dataset.load_image(case).array, both.array)
    alone = dataset.case("a").model_copy(update={"images": ["a0.nii.gz"]})
    with pytest.raises(DatasetError, match=r"case a: .*holds 1 channels, the dataset has 2 \(c0, c1\)"):
        dataset.load_image(alone)
    with pytest.raises(DatasetError, match="holds 2 channels, but is listed for one"):
        dataset.load_image(case.model_copy(update={"images": ["both.nii.gz", "a1.nii.gz"]}))


def test_channels_and_labels_on_turned_axes_are_turned_back_and_others_refused(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path, channels=2)
    case = dataset.case("a")
    whole, labels = dataset.load_image(case), dataset.load_segmentation(case)
    turn = AxisPermutation((1, 2, 0), (True, True, False))
    turned = turn.geometry(whole.geometry)
    write_volume(tmp_path / "a1.nii.gz", Volume(turn.apply(whole.array[1:]), turned))
    write_segmentation(tmp_path / "label.nii.gz", Segmentation(turn.apply(labels.array), turned, BONES))
    assert np.array_equal(dataset.load_image(case).array, whole.array)
    assert np.array_equal(dataset.load_segmentation(case).array, labels.array)
    shifted = Geometry((3, 4, 5), np.diag([1.0, 1, 2, 1]))
    write_volume(tmp_path / "a1.nii.gz", Volume(whole.array[1:], shifted))
    write_segmentation(tmp_path / "label.nii.gz", Segmentation(labels.array, shifted, BONES))
    for load, file in ((dataset.load_image, "a1"), (dataset.load_segmentation, "label")):
        with pytest.raises(GeometryError, match=rf"case a: .*{file}\.nii\.gz .*a0\.nii\.gz: spacing") as refused:
            load(case)
        assert ("channels of one case must lie on one grid" in str(refused.value.hint)) == (file == "a1")
        assert ("--repair-geometry" in str(refused.value.hint)) == (file == "label")


def test_what_cannot_be_loaded_is_said_with_the_case(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path)
    write_volume(tmp_path / "a0.nii.gz", Volume(np.full((1, 3, 4, 5), np.nan), Geometry((3, 4, 5), np.eye(4))))
    with pytest.raises(ImageError, match=r"case a: .*a0\.nii\.gz: 60 voxels are NaN"):
        dataset.load_image(dataset.case("a"))
    with pytest.raises(DatasetError, match="case a: has no segmentation"):
        dataset.load_segmentation(dataset.case("a").model_copy(update={"segmentation": None}))
    with pytest.raises(UsageError, match="no case is called b"):
        dataset.case("b")
    with pytest.raises(FileError, match=r"dataset\.yaml"):
        Dataset.open(tmp_path / "nowhere")


def test_overlapping_datasets_load_layers_and_others_refuse_them(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path)
    case = dataset.case("a")
    loose = Dataset(tmp_path, dataset.manifest.model_copy(update={"overlapping": True}))
    assert loose.load_segmentation(case).array.shape == (2, 3, 4, 5)
    layers = np.ones((2, 3, 4, 5), np.uint8)
    write_segmentation(tmp_path / "l.seg.nrrd", Segmentation(layers, Geometry((3, 4, 5), np.eye(4)), BONES))
    both = case.model_copy(update={"segmentation": "l.seg.nrrd"})
    assert loose.load_segmentation(both).array.all()
    with pytest.raises(LabelError, match=r"case a: .*overlap in 60 voxels"):
        dataset.load_segmentation(both)


def test_nothing_annotated_is_not_everything_annotated(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path, annotated=[])
    assert dataset.case("a").annotated == []
    assert read_manifest(tmp_path).cases[0].annotated == []


# -- folds -----------------------------------------------------------------------------------------------------------


def manifest_of(*cases: Case) -> Manifest:
    return Manifest(name="d", channels=[Channel(name="c", modality="ct")], structures=list(BONES), cases=list(cases))


def case_of(case_id: str, **more: object) -> Case:
    return Case.model_validate({"id": case_id, "images": ["a.nii"], "segmentation": "b.nii"} | more)


def test_folds_hold_every_labelled_case_once_and_are_of_equal_size() -> None:
    cases = [case_of(f"c{n:02d}") for n in range(13)] + [case_of("unlabelled", segmentation=None)]
    folds = make_folds(manifest_of(*cases), 5, seed=3)
    assert sorted(c for fold in folds for c in fold) == [f"c{n:02d}" for n in range(13)]
    assert sorted(map(len, folds)) == [2, 2, 3, 3, 3]
    assert make_folds(manifest_of(*reversed(cases)), 5, seed=3) == folds
    assert make_folds(manifest_of(*cases), 5, seed=4) != folds


@pytest.mark.parametrize("seed", range(8))
def test_a_large_group_is_balanced_by_small_ones(seed: int) -> None:
    cases = [case_of(f"c{n}", subject="s" if n < 4 else None) for n in range(8)]
    assert [len(fold) for fold in make_folds(manifest_of(*cases), 2, seed)] == [4, 4]


def test_held_out_cases_are_in_no_fold() -> None:
    cases = [case_of(f"c{n}", held_out=n < 2) for n in range(6)]
    assert sorted(c for fold in make_folds(manifest_of(*cases), 2) for c in fold) == ["c2", "c3", "c4", "c5"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)), min_size=2, max_size=25),
    st.integers(0, 5),
)
def test_groups_are_never_parted(marks: list[tuple[int, int, int]], seed: int) -> None:
    cases = [
        case_of(f"c{n}", subject=f"s{subject}", content=f"h{content}", site=f"p{site}")
        for n, (subject, content, site) in enumerate(marks)
    ]
    for by, keys in (("subject", ("subject", "content")), ("site", ("subject", "content", "site"))):
        try:
            folds = make_folds(manifest_of(*cases), 2, seed, by=by)
        except DatasetError:
            continue
        left, right = ([c for c in cases if c.id in fold] for fold in folds)
        for key in keys:
            assert not {getattr(c, key) for c in left} & {getattr(c, key) for c in right}


def test_subject_and_content_chain_cases_together() -> None:
    cases = [
        case_of("a", subject="s", content="1"),
        case_of("b", subject="s", content="2"),
        case_of("c", content="2"),
        case_of("d"),
    ]
    assert sorted(make_folds(manifest_of(*cases), 2)) == [["a", "b", "c"], ["d"]]
    with pytest.raises(DatasetError, match="3 folds need 3 groups of cases; there are 4 labelled cases in 2") as caught:
        make_folds(manifest_of(*cases), 3)
    assert "--folds 2" in caught.value.hint


@pytest.mark.parametrize("cases", [[case_of("a")], [case_of("a"), case_of("u", segmentation=None)]])
def test_a_single_labelled_case_cannot_be_divided(cases: list[Case]) -> None:
    with pytest.raises(DatasetError, match="1 labelled case in 1 group") as caught:
        make_folds(manifest_of(*cases), 5)
    assert "--fold none" in caught.value.hint
    assert "--folds" not in caught.value.hint


def test_one_fold_is_none() -> None:
    with pytest.raises(UsageError, match="1 folds"):
        make_folds(manifest_of(case_of("a"), case_of("b")), 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdef")), min_size=5, max_size=15), st.integers(0, 5))
def test_a_structure_that_several_cases_have_lies_in_two_folds(shown: list[frozenset[str]], seed: int) -> None:
    cases = [case_of(f"c{n:02d}") for n in range(len(shown))]
    present = {case.id: names for case, names in zip(cases, shown, strict=True)}
    plain = make_folds(manifest_of(*cases), 3, seed)
    folds = make_folds(manifest_of(*cases), 3, seed, present=present)

    def alone(parts: list[list[str]]) -> set[str]:
        having = {name: [sum(name in present[c] for c in part) for part in parts] for name in "abcdef"}
        return {name for name, counts in having.items() if sum(counts) > 1 and sum(map(bool, counts)) == 1}

    assert sorted(c for fold in folds for c in fold) == sorted(present)
    assert sorted(map(len, folds)) == sorted(map(len, plain))
    assert not alone(folds)
    if not alone(plain):
        assert folds == plain
    assert make_folds(manifest_of(*reversed(cases)), 3, seed, present=present) == folds


def test_what_lies_in_one_group_alone_cannot_be_spread() -> None:
    cases = [case_of("a", subject="s"), case_of("b", subject="s"), case_of("c"), case_of("d", held_out=True)]
    present = {"a": ["femur", "tibia"], "b": ["tibia"], "c": ["femur"], "d": ["tibia"]}
    manifest = manifest_of(*cases)
    assert make_folds(manifest, 2, present=present) == make_folds(manifest, 2)
    assert groups_with_structure(manifest, present) == {"femur": [["a"], ["c"]], "tibia": [["a", "b"]]}
    assert structures_only_held_out(manifest, present) == {}
    assert structures_only_held_out(manifest, present | {"a": [], "b": []}) == {"tibia": ["d"]}


def test_structures_that_no_case_shows_are_found() -> None:
    present = {"a": ("femur",), "b": ("femur", "tibia")}
    assert structures_without_cases(BONES, present) == []
    assert structures_without_cases(BONES, {"a": present["a"]}) == ["tibia"]
    assert structures_without_cases(BONES, {}) == ["femur", "tibia"]
