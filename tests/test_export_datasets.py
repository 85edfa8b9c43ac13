"""nnU-Net and Decathlon folders: osteon's own importers take them back with the same images and labels."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

import osteon
from helpers import box, spacing_affine, two_boxes, write_dataset
from osteon.core.errors import DatasetError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Channel, write_manifest
from osteon.formats import read_volume, write_volume
from osteon.formats.raster import TO_RAS
from osteon.importing.run import import_dataset


def cohort(folder: Path, **changes: Any) -> Dataset:
    """Four cases: two to train on, one held out, one without labels; values 3 and 5."""
    write_dataset(folder, {f"c{n}": two_boxes(seed=n) for n in range(4)})
    return changed(folder, {"c2": {"held_out": True}, "c3": {"segmentation": None}}, **changes)


def changed(folder: Path, cases: dict[str, dict[str, Any]], **changes: Any) -> Dataset:
    """The dataset with some fields of its manifest changed."""
    manifest = Dataset.open(folder).manifest
    new = [case.model_copy(update=cases.get(case.id, {})) for case in manifest.cases]
    write_manifest(folder, manifest.model_copy(update={"cases": new, **changes}))
    return Dataset.open(folder)


def exported(form: str, dataset: Dataset, out: Path, **options: Any) -> dict[str, Any]:
    """Export without failures; what dataset.json says."""
    report = osteon.export(form, dataset.folder, out, **options)
    assert report.failed == {}
    data: dict[str, Any] = json.loads((out / "dataset.json").read_text())
    return data


def assert_taken_back(dataset: Dataset, out: Path, folder: Path, unlabelled: set[str]) -> Dataset:
    """osteon imports it: same images, same labels by name; some come in without labels."""
    report = import_dataset(out, folder)
    assert report.failed == {}
    back = Dataset.open(folder)
    assert {case.id for case in back.manifest.cases} == {case.id for case in dataset.manifest.cases}
    assert [channel.modality for channel in back.manifest.channels] == [
        channel.modality for channel in dataset.manifest.channels
    ]
    for case in back.manifest.cases:
        before = dataset.case(case.id)
        one, other = dataset.load_image(before), back.load_image(case)
        assert one.geometry.is_close(other.geometry)
        assert np.array_equal(one.array, other.array)
        assert (case.segmentation is None) == (case.id in unlabelled)
        if case.segmentation is None:
            continue
        labels, found = dataset.load_segmentation(before), back.load_segmentation(case)
        assert {s.name for s in found.structures} == {s.name for s in labels.structures}
        for structure in found.structures:
            own = next(s for s in labels.structures if s.name == structure.name)
            assert np.array_equal(found.mask(structure), labels.mask(own))
    return back


@pytest.mark.parametrize("form", ["nnunet", "decathlon"])
@pytest.mark.parametrize("link", [False, True])
def test_a_dataset_goes_and_comes_back(tmp_path: Path, form: str, link: bool) -> None:
    dataset = cohort(tmp_path / "set")
    data = exported(form, dataset, tmp_path / "out", link=link)
    back = assert_taken_back(dataset, tmp_path / "out", tmp_path / "back", {"c2", "c3"})
    assert [s.colour for s in back.structures] == [s.colour for s in dataset.structures]
    name = "c0_0000.nii.gz" if form == "nnunet" else "c0.nii.gz"
    image = tmp_path / "out/imagesTr" / name
    assert image.is_symlink() == link
    assert image.read_bytes() == (tmp_path / "set/images/c0.nii.gz").read_bytes()
    assert data["numTraining"] == 2
    values = np.unique(read_volume(tmp_path / "out/labelsTr/c0.nii.gz").array).tolist()
    if form == "nnunet":
        assert data["labels"] == {"background": 0, "femur": 1, "tibia": 2}  # without gaps, as nnU-Net wants them
        assert data["channel_names"] == {"0": "CT"}
        assert data["file_ending"] == ".nii.gz"
        assert values == [0, 1, 2]
        assert (tmp_path / "out/labelsTs/c2.nii.gz").is_file()
    else:
        assert data["labels"] == {"0": "background", "3": "femur", "5": "tibia"}
        assert data["modality"] == {"0": "CT"}
        assert values == [0, 3, 5]
        assert data["test"] == ["./imagesTs/c2.nii.gz", "./imagesTs/c3.nii.gz"]


@pytest.mark.parametrize("form", ["nnunet", "decathlon"])
def test_what_is_not_nifti_is_converted(tmp_path: Path, form: str) -> None:
    """Two channels in files of another format, and a label on turned axes."""
    folder = tmp_path / "set"
    image, labels, affine = two_boxes()
    write_dataset(folder, {"c0": (image, labels, affine)})
    geometry = Geometry(image.shape, affine)
    write_volume(folder / "images/t1.nrrd", Volume(image[None], geometry))
    write_volume(folder / "images/t2.nrrd", Volume(image[None, ::-1].copy(), geometry))
    channels = [Channel(name="T1", modality="mr"), Channel(name="mystery", modality="mr")]
    dataset = changed(folder, {"c0": {"images": ["images/t1.nrrd", "images/t2.nrrd"]}}, channels=channels)
    data = exported(form, dataset, tmp_path / "out")
    assert_taken_back(dataset, tmp_path / "out", tmp_path / "back", set())
    assert (data.get("channel_names") or data["modality"]) == {"0": "T1", "1": "MRI"}
    files = sorted(file.name for file in (tmp_path / "out/imagesTr").iterdir())
    assert files == (["c0_0000.nii.gz", "c0_0001.nii.gz"] if form == "nnunet" else ["c0.nii.gz"])


@pytest.mark.parametrize("form", ["nnunet", "decathlon"])
def test_pictures(tmp_path: Path, form: str) -> None:
    labels = box((9, 7, 1), (3, np.s_[1:4, 1:5]), (5, np.s_[5:8, 2:6]))
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 1)).astype(np.uint8)
    dataset = write_dataset(tmp_path / "set", {"x": (image, labels, TO_RAS)}, modality="xray", unit="px")
    exported(form, dataset, tmp_path / "out")
    assert_taken_back(dataset, tmp_path / "out", tmp_path / "back", set())


def nested(folder: Path) -> Dataset:
    """A bone, in it a lesion, in that a core, as layers; and beside them a plate that crosses the bone's border."""
    array = np.zeros((4, 14, 10, 6), np.uint8)
    array[0, 1:9, 1:9, 1:5] = 1
    array[1, 2:7, 2:7, 2:4] = 1
    array[2, 3:5, 3:5, 2:4] = 1
    array[3, 8:12, 2:4, 1:5] = 1
    image = np.random.default_rng(0).integers(0, 99, array.shape[1:]).astype(np.int16)
    structures = make_structures(["bone", "lesion", "core", "plate"])
    return write_dataset(folder, {"c0": (image, array, spacing_affine(1, 1, 2))}, structures, overlapping=True)


def test_structures_that_overlap_become_regions(tmp_path: Path) -> None:
    dataset = nested(tmp_path / "set")
    report = osteon.export("nnunet", dataset.folder, tmp_path / "out")
    assert "in which the smaller of two that overlap stays" in report.notes[0]
    data = json.loads((tmp_path / "out/dataset.json").read_text())
    names = [name for name in data["labels"] if name != "background"]
    assert names == ["bone", "lesion", "plate", "core"]  # from the largest to the smallest
    assert_taken_back(dataset, tmp_path / "out", tmp_path / "back", set())
    # What nnU-Net makes of its own regions: each is drawn over those before it.
    labels = read_volume(tmp_path / "out/labelsTr/c0.nii.gz").array[0]
    drawn = np.zeros_like(labels)
    for name, value in zip(names, data["regions_class_order"], strict=True):
        drawn[np.isin(labels, data["labels"][name])] = value
    truth = {name: np.isin(labels, data["labels"][name]) for name in names}
    truth["bone"] &= ~truth["plate"]  # where the plate crosses it, the plate stays
    for name in names:
        assert np.array_equal(np.isin(drawn, data["labels"][name]), truth[name])


def test_the_decathlon_has_no_regions(tmp_path: Path) -> None:
    dataset = nested(tmp_path / "set")
    with pytest.raises(UsageError, match="its structures overlap") as refused:
        osteon.export("decathlon", dataset.folder, tmp_path / "out")
    assert "nnunet" in refused.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["nnunet", "decathlon"])
def test_what_nobody_looked_for_is_not_called_background(tmp_path: Path, form: str) -> None:
    cohort(tmp_path / "set")
    changed(tmp_path / "set", {"c1": {"annotated": ["femur"]}, "c3": {"annotated": ["femur"]}})
    report = osteon.export(form, tmp_path / "set", tmp_path / "out")
    assert report.done == ["c0", "c2", "c3"]
    assert isinstance(report.failed["c1"], DatasetError)
    assert "tibia not annotated" in report.failed["c1"].message
    assert json.loads((tmp_path / "out/dataset.json").read_text())["numTraining"] == 1
    assert not list((tmp_path / "out").rglob("c1*"))


def test_a_dataset_is_wanted(tmp_path: Path) -> None:
    cohort(tmp_path / "set")
    with pytest.raises(UsageError, match="takes one dataset"):
        osteon.export("nnunet", tmp_path / "set/labels", tmp_path / "out")
    with pytest.raises(UsageError, match="takes one dataset"):
        osteon.export("decathlon", [tmp_path / "set", tmp_path / "set"], tmp_path / "out")


def test_a_real_dataset(shared_data: Path, tmp_path: Path) -> None:
    import_dataset(shared_data / "msd-hippocampus", tmp_path / "set", only="first:3", hold_out="last:1")
    dataset = Dataset.open(tmp_path / "set")
    held = {case.id for case in dataset.manifest.cases if case.held_out}
    for form in ("nnunet", "decathlon"):
        exported(form, dataset, tmp_path / form, link=True)
        assert_taken_back(dataset, tmp_path / form, tmp_path / f"{form}-back", held)


@pytest.mark.parametrize("form", ["nnunet", "decathlon"])
def test_an_image_that_others_would_place_elsewhere_is_written_anew(tmp_path: Path, form: str) -> None:
    """nnU-Net reads with SimpleITK: image and label must lie at one place for it, too."""
    dataset = cohort(tmp_path / "data")
    path = dataset.folder / "images/c0.nii.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    header = np.frombuffer(raw, dtype=nib.Nifti1Header.template_dtype, count=1)  # a view: changes the bytes
    header["sform_code"], header["qoffset_x"] = 2, header["qoffset_x"] + 30  # then ITK takes the qform
    path.write_bytes(gzip.compress(raw))
    exported(form, dataset, tmp_path / "out")
    images, labels = (sorted((tmp_path / "out" / folder).glob("c0*.nii.gz")) for folder in ("imagesTr", "labelsTr"))
    one, other = (SimpleITK.ReadImage(str(found[0])) for found in (images, labels))
    assert one.GetOrigin() == pytest.approx(other.GetOrigin())
    assert read_volume(images[0]).geometry.is_close(read_volume(path).geometry)
