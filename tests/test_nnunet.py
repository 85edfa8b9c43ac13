"""nnU-Net's raw folders: channels, regions, the ignore label, explicit lists; and which form a dataset.json is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.formats import write_volume
from osteon.importing.recognition import FORMS, recognise
from osteon.importing.run import import_dataset

GRID = Geometry((6, 5, 4), np.diag([1.0, 1.5, 2, 1]))
LABELS = np.zeros(GRID.shape, np.uint8)
LABELS[0, 0, :3] = 1, 2, 3


def image(path: Path, seed: int = 0) -> np.ndarray:
    array = np.random.default_rng(seed).normal(size=(1, *GRID.shape)).astype(np.float32)
    write_volume(path, Volume(array, GRID))
    return array[0]


def label(path: Path, array: np.ndarray = LABELS) -> None:
    write_volume(path, Volume(array[None], GRID))


def raw(folder: Path, *, channels: int = 2, ending: str = ".nii.gz", **changes: Any) -> Path:
    for n, case in enumerate(("b_1", "b_10")):
        for channel in range(channels):
            image(folder / "imagesTr" / f"{case}_{channel:04d}{ending}", 10 * n + channel)
        label(folder / "labelsTr" / f"{case}{ending}")
    data = {
        "channel_names": {str(n): name for n, name in enumerate(("T1", "CT")[:channels])},
        "labels": {"background": 0, "femur": 1, "tibia": 2, "fibula": 3},
        "numTraining": 2,
        "file_ending": ending,
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    return folder


def opened(source: Path, **options: Any) -> Dataset:
    report = import_dataset(source, source.parent / "set", **options)
    assert report.form == "nnunet"
    assert not report.failed
    return Dataset.open(source.parent / "set")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_channels_and_labels(tmp_path: Path, ending: str) -> None:
    source = raw(tmp_path / "Dataset001_Legs", ending=ending)
    third = [image(source / "imagesTs" / f"new_{n:04d}{ending}", 50 + n) for n in range(2)]
    dataset = opened(source)
    manifest = dataset.manifest
    assert [(c.name, c.modality) for c in manifest.channels] == [("T1", "mr"), ("CT", "ct")]
    assert {s.name: s.value for s in manifest.structures} == {"femur": 1, "tibia": 2, "fibula": 3}
    assert [(case.id, case.segmentation is not None) for case in manifest.cases] == [
        ("b_1", True),
        ("b_10", True),
        ("new", False),
    ]
    assert manifest.cases[0].segmentation == f"../Dataset001_Legs/labelsTr/b_1{ending}"
    np.testing.assert_array_equal(dataset.load_image(manifest.cases[2]).array, np.stack(third))
    np.testing.assert_array_equal(dataset.load_segmentation(manifest.cases[1]).array, LABELS)


def test_regions_become_structures_that_overlap(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "edge": 1}
    dataset = opened(raw(tmp_path / "raw", labels=labels, regions_class_order=[1, 2, 3]))
    assert dataset.manifest.overlapping
    segmentation = dataset.load_segmentation(dataset.manifest.cases[0])
    expected = [LABELS > 0, LABELS > 1, LABELS == 1]
    assert [s.name for s in segmentation.structures] == ["whole", "core", "edge"]
    np.testing.assert_array_equal(segmentation.array, np.stack(expected))


def test_a_value_of_no_region_is_refused(tmp_path: Path) -> None:
    source = raw(tmp_path / "raw", labels={"background": 0, "whole": [1, 2]})
    with pytest.raises(DatasetError, match="3 in 1 voxels"):
        import_dataset(source, tmp_path / "set")


@pytest.mark.parametrize("whole", [[1, 2], 1])
def test_cases_with_ignored_voxels_are_left_out(tmp_path: Path, whole: object) -> None:
    labels = {"background": 0, "whole": whole, "tibia": 2, "ignore": 3}
    source = raw(tmp_path / "raw", labels=labels)
    label(source / "labelsTr" / "b_1.nii.gz", np.where(LABELS == 3, 0, LABELS))
    report = import_dataset(source, tmp_path / "set")
    assert [case.id for case in report.manifest.cases] == ["b_1"]
    assert [s.name for s in report.manifest.structures] == ["whole", "tibia"]
    assert "1 voxels hold the ignore label 3" in str(report.failed["b_10"])


def test_images_named_one_by_one(tmp_path: Path) -> None:
    image(tmp_path / "scans" / "x.nii.gz")
    label(tmp_path / "raw" / "x.nii.gz")
    source = tmp_path / "raw"
    entry = {"images": ["../scans/x.nii.gz"], "label": "x.nii.gz"}
    data = {"channel_names": {"0": "CT"}, "labels": {"femur": 1, "tibia": 2, "fibula": 3}, "dataset": {"k/1": entry}}
    (source / "dataset.json").write_text(json.dumps(data))
    [case] = opened(source).manifest.cases
    assert (case.id, case.images) == ("k_1", ["../scans/x.nii.gz"])


def test_a_case_that_lacks_a_channel_is_left_out(tmp_path: Path) -> None:
    source = raw(tmp_path / "raw")
    (source / "imagesTr" / "b_1_0001.nii.gz").unlink()
    report = import_dataset(source, tmp_path / "set")
    assert "one image for each of the channels T1, CT" in str(report.failed["b_1"])
    assert [case.id for case in report.manifest.cases] == ["b_10"]


def test_a_label_that_lacks_makes_no_labelled_case(tmp_path: Path) -> None:
    source = raw(tmp_path / "raw")
    (source / "labelsTr" / "b_1.nii.gz").unlink()
    (source / "imagesTr" / "notes.txt").write_text("")
    report = import_dataset(source, tmp_path / "set")
    assert [case.segmentation is None for case in report.manifest.cases] == [True, False]
    assert sum("without a label" in line or "skipped" in line for line in report.warnings) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"background": 0, "a": [1, "x"]}},
        {"labels": {"background": 0, "a": []}},
        {"labels": {"background": 0, "a": 1, "ignore": "b"}},
        {"labels": {"a": "b"}},
        {"channel_names": {"x": "CT"}},
        {"channel_names": None},
        {"file_ending": ".xyz"},
        {"dataset": {"a": {"images": "b"}}},
        {"dataset": {"a": 3}},
    ],
)
def test_nonsense_ends_in_an_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(OsteonError):
        import_dataset(raw(tmp_path / "raw", **changes), tmp_path / "set", form="nnunet")


def test_one_dataset_json_is_of_one_form(tmp_path: Path) -> None:
    entries = [{"image": f"imagesTr/{case}.nii.gz", "label": f"labelsTr/{case}.nii.gz"} for case in ("b_1", "b_10")]
    modern = raw(tmp_path / "v2")
    first = raw(tmp_path / "v1", channel_names=None, modality={"0": "T1", "1": "CT"}, training=entries)
    listed = raw(tmp_path / "msd", channels=1, training=entries)
    for case in ("b_1", "b_10"):
        (listed / "imagesTr" / f"{case}_0000.nii.gz").rename(listed / "imagesTr" / f"{case}.nii.gz")
    assert [recognise(source).name for source in (modern, first, listed)] == ["nnunet", "nnunet", "decathlon"]
    assert [len(case.images) for case in opened(first).manifest.cases] == [2, 2]


def test_the_decathlon_is_none(shared_data: Path) -> None:
    assert recognise(shared_data / "msd-hippocampus").name == "decathlon"


def test_the_reason_for_a_form_is_said(tmp_path: Path) -> None:
    reasons: list[str] = []
    import_dataset(raw(tmp_path / "raw"), tmp_path / "set", announce=reasons.append)
    assert reasons[0].endswith("(recognised by dataset.json and files called CASE_0000)")
    assert reasons[1] == "2 cases, 2 of them with labels, 2 channels"


def test_an_unknown_heap_is_described(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "1.2.840.7").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(UsageError, match=r"Found: 1 \S+ ?\S*, 1 ") as caught:
        recognise(tmp_path)
    assert "1 DICOM files" in str(caught.value)
    assert all(f"\n  {form.name}: " in str(caught.value) for form in FORMS)
