"""Versions of labels: nothing is replaced, what counts is what people made, and nobody's work is overwritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import add_hashes, two_boxes, write_dataset
from osteon.app.dataset_edits import correct_cases, correct_structures
from osteon.core.errors import ConflictError, DatasetError, FileError, GeometryError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.case_history import history_path, read_histories, read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_reviews import reader_agreement, set_annotated, settle_reading
from osteon.dataset.label_versions import (
    LabelWork,
    assign_case,
    judge_label,
    load_version,
    restore_label,
    save_label,
)
from osteon.dataset.manifest import read_manifest, write_manifest

OBLIQUE = np.array([[0.0, -1.1, 0.2, 5], [-0.9, 0, 0, -7], [0.1, 0.3, 2.0, 3], [0, 0, 0, 1]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labelled cases and one without a label, on oblique grids."""
    image, labels, _ = two_boxes()
    folder = write_dataset(tmp_path / "d", dict.fromkeys(("a", "b", "c"), (image, labels, OBLIQUE))).folder
    manifest = read_manifest(folder)
    cases = [c.model_copy(update={"segmentation": None}) if c.id == "c" else c for c in manifest.cases]
    write_manifest(folder, manifest.model_copy(update={"cases": cases}))
    return folder


def drawn(dataset: Dataset, case: str = "a") -> Segmentation:
    """A label of which one plane was erased."""
    array = dataset.imported.load_segmentation(dataset.imported.case("a")).array.copy()
    array[:, :, :8] = 0
    return Segmentation(array, dataset.geometry(dataset.case(case)), dataset.structures)


def states(folder: Path) -> dict[str, str]:
    histories = read_histories(folder)
    return {c.id: (histories.get(c.id) or read_history(folder, c.id)).state(c) for c in read_manifest(folder).cases}


def test_a_correction_counts_and_replaces_nothing(folder: Path) -> None:
    dataset = Dataset.open(folder)
    original = dataset.resolve(str(dataset.case("a").segmentation)).read_bytes()
    manifest = (folder / "dataset.yaml").read_bytes()
    new = drawn(dataset)
    version = save_label(dataset, "a", new, LabelWork("Ada", seconds=61.23, what="erased the end"), base=0)
    assert (version.number, version.seconds, version.annotated) == (1, 61.2, None)
    again = Dataset.open(folder)
    np.testing.assert_array_equal(again.load_segmentation(again.case("a")).array, new.array)
    assert dataset.resolve(str(dataset.case("a").segmentation)).read_bytes() == original
    assert (folder / "dataset.yaml").read_bytes() == manifest
    np.testing.assert_array_equal(load_version(again, "a", 1).array, new.array)
    assert load_version(again, "a", 0).array[:, :, :8].any()
    assert states(folder) == {"a": "corrected", "b": "labelled", "c": "unlabelled"}


def test_a_label_in_other_axes_is_turned_onto_the_images(folder: Path) -> None:
    dataset = Dataset.open(folder)
    new = drawn(dataset)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = new.geometry.shape[0] - 1
    turned = Segmentation(new.array[::-1], Geometry(new.geometry.shape, new.geometry.affine_ras @ flip), new.structures)
    save_label(dataset, "a", turned, LabelWork("Ada"), base=0)
    again = Dataset.open(folder)
    np.testing.assert_array_equal(again.load_segmentation(again.case("a")).array, new.array)


def test_nobodys_work_is_overwritten(folder: Path) -> None:
    dataset = Dataset.open(folder)
    save_label(dataset, "a", drawn(dataset), LabelWork("Ada"), base=0)
    with pytest.raises(ConflictError, match="Ada saved another one"):
        save_label(dataset, "a", drawn(dataset), LabelWork("Bo"), base=0)
    assert len(read_history(folder, "a").versions) == 1
    assert not (folder / "annotations/a/2.nii.gz").exists()
    save_label(dataset, "a", drawn(dataset), LabelWork("Bo", kind="second reading"), base=0)
    save_label(dataset, "a", drawn(dataset), LabelWork("Bo"), base=1)
    assert [v.author for v in read_history(folder, "a").versions] == ["Ada", "Bo", "Bo"]


def test_what_a_model_says_is_no_reference_until_it_is_approved(folder: Path) -> None:
    dataset = Dataset.open(folder)
    save_label(dataset, "c", drawn(dataset, "c"), LabelWork("run-1", kind="prediction"), base=0)
    assert states(folder)["c"] == "predicted"
    assert [case.id for case in Dataset.open(folder).manifest.labelled] == ["a", "b"]
    judge_label(dataset, "c", "approved")
    assert [case.id for case in Dataset.open(folder).manifest.labelled] == ["a", "b", "c"]


def test_what_is_rejected_is_not_trained_on(folder: Path) -> None:
    dataset = Dataset.open(folder)
    with pytest.raises(UsageError, match="without a reason"):
        judge_label(dataset, "b", "rejected")
    judge_label(dataset, "b", "rejected", note="the scan moved")
    assert [case.id for case in Dataset.open(folder).manifest.labelled] == ["a"]
    judge_label(dataset, "b", "open")
    assert [case.id for case in Dataset.open(folder).manifest.labelled] == ["a", "b"]
    with pytest.raises(UsageError, match="no label to approve"):
        judge_label(dataset, "c", "approved")
    with pytest.raises(UsageError, match="not fine"):
        judge_label(dataset, "a", "fine")


def test_what_nobody_looked_at_stays_unknown(folder: Path) -> None:
    dataset = Dataset.open(folder)
    femur, tibia = (s.name for s in dataset.structures)
    save_label(dataset, "c", drawn(dataset, "c"), LabelWork("Ada", annotated=[femur]), base=0)
    assert Dataset.open(folder).case("c").annotated == [femur]
    assert save_label(dataset, "c", drawn(dataset, "c"), LabelWork("Ada", annotated=[tibia]), base=1).annotated is None
    assert save_label(dataset, "a", drawn(dataset), LabelWork("Ada", annotated=[femur]), base=0).annotated is None


def test_a_prediction_that_is_corrected_is_known_where_somebody_looked(folder: Path) -> None:
    dataset = Dataset.open(folder)
    femur = dataset.structures[0].name
    save_label(dataset, "c", drawn(dataset, "c"), LabelWork("run-1", kind="prediction"), base=0)
    save_label(dataset, "c", drawn(dataset, "c"), LabelWork("Ada", annotated=[femur]), base=1)
    assert Dataset.open(folder).case("c").annotated == [femur]


def test_an_older_version_counts_again(folder: Path) -> None:
    dataset = Dataset.open(folder)
    save_label(dataset, "a", drawn(dataset), LabelWork("Ada"), base=0)
    empty = replace(drawn(dataset), array=np.zeros_like(drawn(dataset).array))
    save_label(dataset, "a", empty, LabelWork("Ada"), base=1)
    restored = restore_label(dataset, "a", 1, author="Bo")
    assert restored is not None
    assert (restored.number, restored.file, restored.base, restored.what) == (3, "1.nii.gz", 2, "version 1 again")
    assert Dataset.open(folder).case("a").segmentation == "annotations/a/1.nii.gz"
    assert restore_label(dataset, "a", 0, author="Bo") is None
    assert Dataset.open(folder).case("a").segmentation == dataset.imported.case("a").segmentation
    with pytest.raises(UsageError, match="no version 9"):
        restore_label(dataset, "a", 9, author="Bo")


def test_two_readers_are_compared(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assert reader_agreement(dataset, "a") is None
    other = drawn(dataset)
    save_label(
        dataset, "a", other, LabelWork("Bo", kind="second reading", annotated=[dataset.structures[0].name]), base=0
    )
    agreement = reader_agreement(dataset, "a")
    femur = dataset.structures[0]
    first, second = (int(s.mask(femur).sum()) for s in (load_version(dataset, "a", 0), other))
    assert agreement == {femur.name: pytest.approx(2 * second / (first + second))}


def test_one_of_two_readings_is_taken(folder: Path) -> None:
    dataset = Dataset.open(folder)
    save_label(dataset, "a", drawn(dataset), LabelWork("Bo", kind="second reading"), base=0)
    agreement = reader_agreement(dataset, "a")
    kept = settle_reading(dataset, "a", 1, accept=False, author="Cy")
    assert (kept.current, kept.open_reading, kept.state(dataset.imported.case("a"))) == (0, None, "labelled")
    with pytest.raises(UsageError, match="version 1 is no second reading to be decided"):
        settle_reading(dataset, "a", 1, accept=True, author="Cy")
    save_label(dataset, "a", drawn(dataset), LabelWork("Bo", kind="second reading", seconds=20), base=0)
    judge_label(dataset, "a", "approved", author="Ada")
    taken = settle_reading(dataset, "a", 2, accept=True, author="Cy")
    assert taken.version is not None
    assert (taken.version.file, taken.version.kind, taken.version.author) == ("2.nii.gz", "correction", "Cy")
    assert (taken.judged, taken.seconds) == (None, 20)
    assert [(r.number, r.against, r.accepted, r.by) for r in taken.readings] == [
        (1, 0, False, "Cy"),
        (2, 0, True, "Cy"),
    ]
    assert reader_agreement(dataset, "a") == agreement, "as it was when they were compared"


def test_what_somebody_looked_for_is_said_afterwards(folder: Path) -> None:
    dataset = Dataset.open(folder)
    femur, tibia = (s.name for s in dataset.structures)
    with pytest.raises(UsageError, match="c: has no label"):
        set_annotated(dataset, "c", [femur], author="Ada")
    with pytest.raises(UsageError, match="no structure patella"):
        set_annotated(dataset, "a", ["patella"], author="Ada")
    assert set_annotated(dataset, "a", [femur, tibia], author="Ada") is None, "as it was imported"
    judge_label(dataset, "a", "approved", author="Ada")
    new = set_annotated(dataset, "a", [femur], author="Ada")
    assert new is not None
    again = Dataset.open(folder)
    assert (again.case("a").annotated, states(folder)["a"], new.what) == ([femur], "approved", f"annotated: {femur}")
    before, now = (load_version(again, "a", number).array for number in (0, 1))
    np.testing.assert_array_equal(now, before)
    assert set_annotated(dataset, "a", [tibia, femur], author="Ada") is not None
    assert Dataset.open(folder).case("a").annotated is None


def test_who_said_what_and_when_is_noted(folder: Path) -> None:
    dataset = Dataset.open(folder)
    save_label(dataset, "c", drawn(dataset, "c"), LabelWork("run-1", kind="prediction"), base=0)
    assign_case(dataset, "c", "Bo")
    judge_label(dataset, "c", "approved", author="Ada")
    judge_label(dataset, "c", "approved", author="Cy", note="seen twice")
    save_label(dataset, "c", drawn(dataset, "c"), LabelWork("Bo"), base=1)
    history = judge_label(dataset, "c", "open", author="Bo")
    assert [(c.by, c.state, c.note) for c in history.log] == [
        ("run-1", "predicted", ""),
        ("Ada", "approved", ""),
        ("Cy", "approved", "seen twice"),
        ("Bo", "corrected", ""),
    ]
    assert history.judgement is None
    judged = judge_label(dataset, "c", "rejected", author="Ada", note="moved").judgement
    assert judged is not None
    assert (judged.by, judged.state, judged.note) == ("Ada", "rejected", "moved")


def test_owners_and_time(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assign_case(dataset, "a", "Ada")
    for base in (0, 1):
        save_label(dataset, "a", drawn(dataset), LabelWork("Ada", seconds=30), base=base)
    history = read_history(folder, "a")
    assert (history.owner, history.seconds, history.changes) == ("Ada", 60, 3)


def test_labels_that_cannot_be_taken(folder: Path) -> None:
    dataset = Dataset.open(folder)
    new = drawn(dataset)
    moved = new.geometry.affine_ras.copy()
    moved[:3, 3] += 4
    smaller = Geometry((new.geometry.shape[0] - 1, *new.geometry.shape[1:]), new.geometry.affine_ras)
    for bad in (
        replace(new, geometry=Geometry(new.geometry.shape, moved)),
        Segmentation(new.array[:-1], smaller, new.structures),
    ):
        with pytest.raises(GeometryError, match="case a: the label to be saved"):
            save_label(dataset, "a", bad, LabelWork("Ada"), base=0)
    strange = (Structure(name="patella", value=3, colour="#000000"),)
    with pytest.raises(UsageError, match="not those of the dataset"):
        save_label(dataset, "a", replace(new, structures=strange), LabelWork("Ada"), base=0)
    with pytest.raises(UsageError, match="no case is called"):
        save_label(dataset, "../a", new, LabelWork("Ada"), base=0)
    assert not (folder / "annotations").exists()


def test_a_damaged_history_is_named(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assign_case(dataset, "a", "Ada")
    history_path(folder, "a").write_text('{"current": "x"}')
    with pytest.raises(FileError, match="history of a label"):
        Dataset.open(folder)


def test_a_label_belongs_to_the_image_that_it_was_drawn_on(folder: Path) -> None:
    dataset = add_hashes(Dataset.open(folder))
    save_label(dataset, "a", drawn(dataset), LabelWork("Ada"), base=0)
    cases = [c.model_copy(update={"content": "0" * 64}) for c in dataset.manifest.cases]
    write_manifest(folder, dataset.imported.manifest.model_copy(update={"cases": cases}))
    with pytest.raises(DatasetError, match="another image"):
        Dataset.open(folder)


def test_edits_of_the_manifest_leave_versions_where_they_are(folder: Path) -> None:
    dataset = Dataset.open(folder)
    save_label(dataset, "a", drawn(dataset), LabelWork("Ada"), base=0)
    imported = dataset.imported.case("a").segmentation
    correct_structures(folder, {dataset.structures[0].name: "thigh"}, {})
    correct_cases(folder, held_out=["b"], removed=[])
    assert read_manifest(folder).cases[0].segmentation == imported
    again = Dataset.open(folder)
    assert again.load_segmentation(again.case("a")).structures[0].name == "thigh"


def test_versions_of_overlapping_structures(tmp_path: Path) -> None:
    image, labels, affine = two_boxes()
    layers = np.stack([labels == 3, labels > 0]).astype(np.uint8)
    folder = write_dataset(tmp_path / "d", {"a": (image, layers, affine)}, overlapping=True).folder
    dataset = Dataset.open(folder)
    new = dataset.load_segmentation(dataset.case("a"))
    new.array[1] = 0
    save_label(dataset, "a", new, LabelWork("Ada"), base=0)
    correct_structures(folder, {dataset.structures[0].name: "thigh"}, {})
    again = Dataset.open(folder)
    np.testing.assert_array_equal(again.load_segmentation(again.case("a")).array, new.array)
    assert again.case("a").segmentation == "annotations/a/1.seg.nrrd"
