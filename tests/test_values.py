"""Values of index maps: any whole number, and nothing takes memory by how large one is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import osteon
from helpers import tiny_plan
from osteon.app.layers import split_layers
from osteon.core.boxes import bounding_box
from osteon.core.errors import CaseError, LabelError, UsageError, memory_error, summarise_error
from osteon.core.geometry import Geometry
from osteon.core.label_values import MAX_VALUE, bounding_boxes, remap_values
from osteon.core.labels import Segmentation, make_structures
from osteon.core.parallel import for_each
from osteon.dataset.dataset import Dataset
from osteon.evaluating.evaluate import evaluate
from osteon.exporting.masks import crop_masks
from osteon.exporting.run import export
from osteon.formats import read_segmentation
from osteon.formats.labelmap import to_integer_labels
from osteon.importing.run import import_dataset
from osteon.importing.structure_names import user_structures
from osteon.preparing.case import encode_labels
from osteon.runs.scoring import select_structures

HUGE = 2**32 - 1
KINDS = [np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
VALUES = (0, 1, 2, 254, 255, 65_535, 65_536, HUGE, 2**40, MAX_VALUE)


@settings(deadline=None, max_examples=100)
@given(
    arrays(np.int8, (3, 4, 2), elements=st.integers(0, len(VALUES) - 1)),
    st.dictionaries(st.sampled_from(VALUES[1:]), st.integers(0, 200)),
    st.sampled_from(KINDS),
)
def test_values_are_exchanged_one_by_one(numbers: np.ndarray, meanings: dict[int, int], kind: type) -> None:
    held = [value for value in VALUES if value <= np.iinfo(kind).max]
    labels = np.array(held, kind)[numbers % len(held)]
    expected = np.array([meanings.get(int(value), 0) for value in labels.flat], np.uint8).reshape(labels.shape)
    found = remap_values(labels, meanings, np.uint8)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        remap_values(labels.transpose(2, 0, 1), meanings, np.uint8), expected.transpose(2, 0, 1)
    )
    for value, box in zip(VALUES[1:], bounding_boxes(labels, VALUES[1:]), strict=True):
        assert box == bounding_box(labels == value)


def huge_case(folder: Path) -> Path:
    """A list of one scan with a label of 1 and of the largest value of 32 bits."""
    rng = np.random.default_rng(0)
    labels = np.zeros((20, 20, 16), np.uint32)
    labels[3:9, 3:9, 3:9], labels[11:16, 11:16, 4:9] = 1, HUGE
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(rng.normal(0, 20, labels.shape).astype(np.float32) + 300 * (labels > 0), affine),
             folder / "p_ct.nii.gz")  # fmt: skip
    nib.save(nib.Nifti1Image(labels, affine), folder / "p_seg.nii.gz")
    (folder / "pairs.txt").write_text("p_ct.nii.gz,p_seg.nii.gz\n")
    return folder / "pairs.txt"


@pytest.mark.parametrize("labels", [{"a": MAX_VALUE + 1}, {"a": [1, MAX_VALUE + 1], "b": [1]}])
def test_a_value_beyond_the_largest_is_refused_by_its_structure(tmp_path: Path, labels: dict[str, Any]) -> None:
    with pytest.raises(LabelError, match=f"a has the value {MAX_VALUE + 1}; a structure's value is at least 1"):
        make_structures(["a"], [MAX_VALUE + 1])
    case(tmp_path / "raw")
    (tmp_path / "raw" / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "CT"},
                "labels": {"background": 0, **labels},
                "numTraining": 1,
                "file_ending": ".nii.gz",
                "regions_class_order": [1, 2],
            }
        )
    )
    with pytest.raises(CaseError, match=str(MAX_VALUE + 1)):
        import_dataset(tmp_path / "raw", tmp_path / "ds")


def case(folder: Path) -> None:
    """One scan with its label, as nnU-Net has them."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for place, name in (("imagesTr", "c_0000"), ("labelsTr", "c")):
        nib.save(nib.Nifti1Image(np.eye(8, dtype=np.uint8)[None] * 9, np.eye(4)), folder / place / f"{name}.nii.gz")


def test_the_largest_value_goes_all_the_way(tmp_path: Path) -> None:
    source, folder = huge_case(tmp_path), tmp_path / "ds"
    names = {"small": 1, "large": HUGE}
    report = import_dataset(source, folder, modality="ct", structures=names)
    assert report.present == {"p": ("small", "large")}
    audit = osteon.audit(folder, workers=1)
    assert audit.failed == {}
    assert [f.voxels for f in audit.cohort.cases[0].structures.values()] == [216, 125]
    dataset = Dataset.open(folder)
    labels = dataset.load_segmentation(dataset.manifest.cases[0])
    assert [int(cut.mask.sum()) for cut in crop_masks(labels)] == [216, 125]
    assert sorted(np.unique(split_layers(labels)[0].array)) == [0, 1, 2]
    plan = tiny_plan({"structures": [{"name": n, "value": v, "colour": "#ff0000"} for n, v in names.items()]})
    assert np.bincount(encode_labels(labels, plan).ravel()).tolist()[1:] == [216, 125]
    assert set(np.unique(select_structures(labels, labels.structures))) == {0, 1, HUGE}
    scores = evaluate(tmp_path / "p_seg.nii.gz", tmp_path / "p_seg.nii.gz", tmp_path / "scores").scores
    assert [score.dice for score in scores] == [1.0, 1.0]
    for form in ("stl", "seg-nrrd", "table", "decathlon", "nnunet"):
        made = export(form, [folder], tmp_path / form)
        assert made.failed == {}, form
    written = next((tmp_path / "seg-nrrd").glob("*.seg.nrrd"))
    assert {s.name: int(read_segmentation(written).mask(s).sum()) for s in labels.structures} == {
        "small": 216,
        "large": 125,
    }


def test_values_that_no_number_of_a_file_can_hold_are_refused() -> None:
    with pytest.raises(LabelError, match=f"a.nii: holds the value {MAX_VALUE + 1}"):
        to_integer_labels(np.array([[[1, MAX_VALUE + 1]]], np.uint64), "a.nii")
    with pytest.raises(UsageError, match="at most"):
        user_structures({"a": MAX_VALUE + 1})


def ask_for_too_much(_: tuple[Segmentation, str]) -> None:
    np.empty(1 << 59, np.float64)


def test_an_error_of_memory_names_the_case_and_what_was_asked_for() -> None:
    thing = Segmentation(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1), np.eye(4)), make_structures(["a"]))
    (outcome,) = for_each(ask_for_too_much, [(thing, "p1")], "asking", name=lambda item: f"case {item[1]}")
    assert outcome.error is not None
    assert outcome.error.message == "case p1: not enough memory (4.00 EiB were asked for at once)"
    assert "more than this machine has" in outcome.error.hint  # closing other programs would not help


@pytest.mark.parametrize(
    ("reported", "message"),
    [
        ("Unable to allocate 1.50 KiB for an array", "p1: not enough memory (1.50 KiB were asked for at once)"),
        ("Tried to allocate 2.00 GiB. GPU 0 has", "p1: not enough memory (2.00 GiB were asked for at once)"),
        ("", "p1: not enough memory"),
    ],
)
def test_the_hint_stays_where_the_machine_could_have_it(reported: str, message: str) -> None:
    error = memory_error("p1", MemoryError(reported), "close other programs")
    assert type(error) is CaseError
    assert (error.message, error.hint) == (message, "close other programs")


def test_errors_of_others_are_told_in_short() -> None:
    assert summarise_error(ValueError("one line\nDataset(folder=…)")) == "one line"
    assert summarise_error(KeyError()) == "KeyError"
    assert len(summarise_error("x" * 5000)) == 201
