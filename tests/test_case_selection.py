"""Choosing cases: --only and --hold-out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from osteon.core.errors import DatasetError, UsageError
from osteon.core.file_names import natural_key
from osteon.core.geometry import Geometry
from osteon.core.labels import make_structures
from osteon.core.volume import Volume
from osteon.dataset.folds import make_folds
from osteon.dataset.manifest import Case, Channel, Manifest, read_manifest
from osteon.formats import write_volume
from osteon.importing.case_selection import hold_out_cases, select_cases
from osteon.importing.run import import_dataset

IDS = [f"c{n}" for n in (10, 1, 9, 2, 11)]


def manifest(*cases: Case) -> Manifest:
    channels = [Channel(name="ct", modality="ct")]
    return Manifest(name="d", channels=channels, structures=list(make_structures(["femur"])), cases=list(cases))


def case(case_id: str, subject: str | None = None, content: str | None = None, *, labelled: bool = True) -> Case:
    label = "l" if labelled else None
    return Case(id=case_id, images=["i"], segmentation=label, subject=subject, content=content)


def held(result: Manifest) -> list[str]:
    return [c.id for c in result.cases if c.held_out]


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ("first:2", ["c1", "c2"]),
        ("last:2", ["c10", "c11"]),
        ("2", ["c10", "c11"]),
        ("5", ["c1", "c2", "c9", "c10", "c11"]),
        ("c9, c1", ["c1", "c9"]),
        ("c9,", ["c9"]),
        ("first:1,c10", ["c1", "c10"]),
        (["c9", "first:1"], ["c1", "c9"]),
        (["c2"], ["c2"]),
    ],
)
def test_every_form_in_natural_order(selection: str | list[str], chosen: list[str]) -> None:
    assert select_cases(selection, IDS, "--only") == chosen


@pytest.mark.parametrize("selection", ["c7", "c1,7", "0", "6", "first:9", "1.5", "0.0", "", ",", "20%", "first:"])
def test_what_chooses_nothing_is_refused_with_the_forms(selection: str) -> None:
    with pytest.raises(UsageError, match="--only") as caught:
        select_cases(selection, IDS, "--only")
    assert caught.value.hint


def test_an_unknown_id_is_named_beside_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no case c7") as caught:
        select_cases("c1,c7", IDS, "--hold-out")
    assert caught.value.hint.startswith("ids are c1, c2, c9, c10, c11;")
    assert "ids are a0, a1, a2, a3, a4 …;" in unknown_hint([f"a{n}" for n in range(9)])


def unknown_hint(ids: list[str]) -> str:
    with pytest.raises(UsageError) as caught:
        select_cases("x", ids, "--only")
    return caught.value.hint


def test_ids_that_look_like_numbers_are_not_guessed() -> None:
    with pytest.raises(UsageError, match="also a number of cases") as caught:
        select_cases("2", ["1", "2", "3"], "--only")
    assert "last:2" in caught.value.hint
    assert select_cases("2,", ["1", "2", "3"], "--only") == ["2"]
    assert select_cases("last:2", ["1", "2", "3"], "--only") == ["2", "3"]
    assert select_cases("1,3", ["1", "2", "3"], "--only") == ["1", "3"]
    assert select_cases("a, b", ["a, b", "c"], "--only") == ["a, b"]  # an id may hold a comma


def test_natural_order_counts() -> None:
    assert sorted(["s10_b", "s2_b", "s2_a", "10", "9", "a"], key=natural_key) == [
        "9",
        "10",
        "a",
        "s2_a",
        "s2_b",
        "s10_b",
    ]


def test_a_share_is_the_same_whatever_the_order_and_takes_whole_groups() -> None:
    cases = [case(f"{subject}_{side}", subject) for subject in "abcdefghij" for side in ("l", "r")]
    forward, lines = hold_out_cases(manifest(*cases), "0.2")
    backward, _ = hold_out_cases(manifest(*cases[::-1]), "0.2")
    assert len(held(forward)) == 4
    assert sorted(held(forward)) == sorted(held(backward))
    assert len({case_id[0] for case_id in held(forward)}) == 2
    assert lines == []
    assert held(forward) != [c.id for c in cases[-4:]]  # drawn, not cut off
    few, _ = hold_out_cases(manifest(*cases), ".01")
    assert len(held(few)) == 2  # never nothing


def test_groups_are_pulled_along_with_a_warning() -> None:
    cases = [case("a", "p"), case("b", "p"), case("c", content="x"), case("d", content="x"), case("e")]
    result, lines = hold_out_cases(manifest(*cases), "b,c")
    assert held(result) == ["a", "b", "c", "d"]
    assert lines == [
        "a: held out too, since it shares subject or image with b",
        "d: held out too, since it shares subject or image with c",
    ]
    assert [c.id for c in result.trainable] == ["e"]
    result, lines = hold_out_cases(manifest(*cases), "a,b")
    assert held(result) == ["a", "b"]
    assert lines == []


def test_numbers_count_labelled_cases_alone() -> None:
    cases = [case("a"), case("b"), case("x", labelled=False), case("y", "b", labelled=False)]
    result, lines = hold_out_cases(manifest(*cases), "1")
    assert held(result) == ["b", "y"]  # y is a second scan of b
    assert len(lines) == 1
    result, lines = hold_out_cases(manifest(*cases), "b,x", dropped=["z"])
    assert held(result) == ["b", "x", "y"]
    assert any("x: held out without a label" in line for line in lines)
    _, lines = hold_out_cases(manifest(*cases), "a,z", dropped=["z"])
    assert lines == ["case z was to be held out, but is not in the dataset"]


def test_something_is_left_to_train_on_and_to_test_with() -> None:
    with pytest.raises(
        DatasetError, match=r"of 2 labelled cases none is left.*: all 2 cases are one subject, p"
    ) as one:
        hold_out_cases(manifest(case("a", "p"), case("b", "p")), "1")
    assert "--subject" in one.value.hint
    with pytest.raises(DatasetError) as two:
        hold_out_cases(manifest(case("a", "p"), case("b", "q")), "2")
    assert two.value.message.endswith("none is left to train on")
    with pytest.raises(DatasetError, match="no labelled case is held out"):
        hold_out_cases(manifest(case("a"), case("x", labelled=False)), "x")


def decathlon(folder: Path, cases: int) -> Path:
    grid = Geometry((4, 4, 4), np.eye(4))
    for n in range(cases):
        array = np.random.default_rng(n).normal(size=(1, 4, 4, 4)).astype(np.float32)
        write_volume(folder / f"imagesTr/c{n}.nii.gz", Volume(array, grid))
        write_volume(folder / f"labelsTr/c{n}.nii.gz", Volume((array > 0).astype(np.uint8), grid))
    entries = [{"image": f"imagesTr/c{n}.nii.gz", "label": f"labelsTr/c{n}.nii.gz"} for n in range(cases)]
    data = {"labels": {"0": "background", "1": "femur"}, "modality": {"0": "CT"}, "training": entries}
    (folder / "dataset.json").write_text(json.dumps(data))
    return folder


def test_held_out_cases_are_in_the_dataset_and_in_no_fold(tmp_path: Path) -> None:
    source = decathlon(tmp_path / "raw", 12)
    report = import_dataset(source, tmp_path / "d", hold_out="3")
    assert held(report.manifest) == ["c9", "c10", "c11"]
    again = read_manifest(tmp_path / "d")
    assert held(again) == ["c9", "c10", "c11"]
    folds = make_folds(again, 3)
    assert not {i for fold in folds for i in fold} & {"c9", "c10", "c11"}
    report = import_dataset(source, tmp_path / "e", only="first:4", hold_out="c1,c2")
    assert [c.id for c in report.manifest.cases] == ["c0", "c1", "c2", "c3"]
    assert held(report.manifest) == ["c1", "c2"]


def test_a_subject_is_held_out_as_a_whole(tmp_path: Path) -> None:
    source = decathlon(tmp_path / "raw", 12)
    report = import_dataset(source, tmp_path / "d", hold_out="2", subject_pattern=r"^(c1)\d?$")
    assert held(report.manifest) == ["c1", "c10", "c11"]
    assert "c1: held out too, since it shares subject or image with c10, c11" in report.warnings


def test_a_selection_that_cannot_be_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    source = decathlon(tmp_path / "raw", 2)
    for path in source.rglob("*.nii.gz"):
        path.write_bytes(b"")  # reading them would fail
    for selection, kind in (("c7", UsageError), ("3", UsageError), ("2", DatasetError), ("c0,c1", DatasetError)):
        with pytest.raises(kind) as caught:
            import_dataset(source, tmp_path / "d", hold_out=selection)
        assert "--hold-out" in caught.value.message
        assert caught.value.hint
    assert not (tmp_path / "d").exists()
