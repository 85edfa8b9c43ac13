"""Results of other programs, as those call files and structures; and what is offered and measured of a result."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nicegui import ui
from nicegui.testing.user import User

from app_pages import click, visit
from dicom_writing import series
from helpers import two_boxes, write_dataset
from osteon.app.downloads import available_forms
from osteon.app.external_results import import_result, unknown_structures
from osteon.app.jobs import JobState
from osteon.app.pages.result_upload import _ask_names
from osteon.app.result_commands import start_measurement
from osteon.app.results import describe_seen, shows_pictures
from osteon.app.state import AppState
from osteon.app.workspace import ABOUT, Workspace
from osteon.core.errors import DatasetError
from osteon.core.files import write_json
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.modality import Modality
from osteon.evaluating.evaluate import evaluate
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.predicting.training_cases import TRAINED, UNSEEN, VALIDATED
from test_app_pages import arguments, commands, dataset_in, folder_of, result_in

Make = Callable[[Dataset, Path], None]


def knees(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "set", {f"p{n}": two_boxes(seed=n) for n in (1, 2, 10)})


def truth(dataset: Dataset, case: str = "p1") -> Segmentation:
    return dataset.load_segmentation(dataset.case(case))


def label_file(name: str) -> Make:
    def make(dataset: Dataset, source: Path) -> None:
        write_segmentation(source / name, truth(dataset))

    return make


def one_for_each(pattern: str) -> Make:
    """As TotalSegmentator writes it: a mask for each structure, which names nothing."""

    def make(dataset: Dataset, source: Path) -> None:
        found = truth(dataset)
        for structure in found.structures:
            mask = found.mask(structure).astype(np.uint8)
            write_volume(source / pattern.format(s=structure.name), Volume(mask[None], found.geometry))

    return make


def with_names(*names: str) -> Make:
    def make(dataset: Dataset, source: Path) -> None:
        found = truth(dataset)
        own = tuple(s.model_copy(update={"name": n}) for s, n in zip(found.structures, names, strict=True))
        write_segmentation(source / "p1.nii.gz", replace(found, structures=own))

    return make


@pytest.mark.parametrize(
    "make",
    [
        label_file("p1.nii.gz"),
        label_file("p1_seg.nii.gz"),
        label_file("P1_ct_segmentation.nii.gz"),
        label_file("p1-label.nii.gz"),
        label_file("p1/Segmentation.seg.nrrd"),
        label_file("p1/p1_trans.nii.gz"),
        one_for_each("p1/{s}.nii.gz"),
        one_for_each("p1_{s}.nii.gz"),
        one_for_each("p1/segmentations/{s}_mask.nii.gz"),
        with_names("Femur", "TIBIA"),
    ],
)
def test_other_programs_names_are_recognised(tmp_path: Path, make: Make) -> None:
    dataset, source = knees(tmp_path), tmp_path / "theirs"
    make(dataset, source)
    assert unknown_structures(source, dataset.folder) == []
    added, _ = import_result(source, dataset.folder, tmp_path / "result")
    assert added == ["p1"]
    scores = evaluate(tmp_path / "result", dataset.folder, tmp_path / "result")
    assert {row.dice for row in scores.scores if row.case == "p1"} == {1.0}


def test_a_case_whose_name_begins_another_is_not_taken_for_it(tmp_path: Path) -> None:
    dataset, source = knees(tmp_path), tmp_path / "theirs"
    write_segmentation(source / "p10_seg.nii.gz", truth(dataset, "p10"))
    assert import_result(source, dataset.folder, tmp_path / "result")[0] == ["p10"]


def test_numbers_without_names_become_the_datasets_pieces(tmp_path: Path) -> None:
    bone = Structure(name="bone", value=1, colour="#c08040", instances=True, last_value=9)
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[:2], labels[4:] = 1, 3
    dataset = write_dataset(tmp_path / "data", {"p1": (labels.astype(np.int16), labels, np.eye(4))}, (bone,))
    write_volume(tmp_path / "theirs/p1.nii.gz", Volume(labels[None], truth(dataset).geometry))
    _, notes = import_result(tmp_path / "theirs", dataset.folder, tmp_path / "result")
    assert "its numbers are taken as the dataset's" in notes[0]
    found = read_segmentation(tmp_path / "result/p1.nii.gz", pieces=True)
    assert found.structures == (bone,)
    np.testing.assert_array_equal(found.array, labels)


def test_two_results_of_one_case_are_reported_and_neither_is_imported(tmp_path: Path) -> None:
    dataset, source = knees(tmp_path), tmp_path / "theirs"
    for name in ("p1_seg", "p1_seg_corrected", "p2"):
        write_segmentation(source / f"{name}.nii.gz", truth(dataset, name[:2]))
    added, notes = import_result(source, dataset.folder, tmp_path / "result")
    assert added == ["p2"]
    assert "2 files are its result" in notes[0]


def test_structures_that_are_called_otherwise_are_asked_for(tmp_path: Path) -> None:
    dataset, source = knees(tmp_path), tmp_path / "theirs"
    with_names("Bone 1", "Bone 2")(dataset, source)
    assert unknown_structures(source, dataset.folder) == ["Bone 1", "Bone 2"]
    with pytest.raises(DatasetError, match="Bone 1"):
        import_result(source, dataset.folder, tmp_path / "no")
    import_result(source, dataset.folder, tmp_path / "result", {"Bone 1": "femur", "Bone 2": ""})
    found = read_segmentation(tmp_path / "result/p1.nii.gz")
    assert [s.name for s in found.structures] == ["femur"]
    np.testing.assert_array_equal(found.array != 0, truth(dataset).array == 3)


def test_files_of_one_structure_are_merged_by_their_names(tmp_path: Path) -> None:
    dataset, source = knees(tmp_path), tmp_path / "theirs"
    found = truth(dataset)
    for number, structure in enumerate(found.structures, 1):
        own = structure.model_copy(update={"name": f"Bone {number}", "counterpart": None})
        mask = Segmentation(found.mask(structure).astype(np.uint8) * structure.value, found.geometry, (own,))
        write_segmentation(source / f"p1/Segment_{number}.seg.nrrd", mask)
    assert unknown_structures(source, dataset.folder) == ["Bone 1", "Bone 2"]
    with pytest.raises(DatasetError, match="names no structure"):
        import_result(source, dataset.folder, tmp_path / "no")
    import_result(source, dataset.folder, tmp_path / "result", {"Bone 1": "femur", "Bone 2": ""})
    result = read_segmentation(tmp_path / "result/p1.seg.nrrd", dataset.structures)
    femur, tibia = dataset.structures
    np.testing.assert_array_equal(result.mask(femur), truth(dataset).mask(femur))
    assert not result.mask(tibia).any()


def test_the_page_asks_which_structures_are_meant(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset = dataset_in(root)
    found = dataset.load_segmentation(dataset.manifest.cases[0])
    own = tuple(s.model_copy(update={"name": f"Bone {s.value}"}) for s in found.structures)
    write_segmentation(root / "sources/theirs/c0.nii.gz", replace(found, structures=own))

    async def steps(user: User, app: AppState) -> None:
        await user.open("/compare")
        with user:
            _ask_names(app, app.workspace.item("sources", "theirs"), app.datasets()[0], ["Bone 3", "Bone 5"])
        await user.should_see("2 structures are called otherwise")
        for box in user.find(ui.select).elements:
            if box.props.get("label") == "Bone 3":
                box.value = "femur"
        await click(user, "Take the result")

    app = visit(tmp_path / "w", steps)
    assert commands(app) == ["evaluate", "export"]
    assert [s.name for s in read_segmentation(root / "results/theirs/c0.nii.gz").structures] == ["femur"]


# What is measured


def test_the_volumes_of_what_was_uploaded_can_be_measured(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    result_in(root)

    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.items("results")[0]
        await user.open(f"/result/{item.id}")
        await user.should_see("They have not been measured")
        await user.should_not_see("when all scans are segmented")
        user.find(marker="measure").click()
        await asyncio.sleep(0.1)
        await user.should_see("They are measured when all scans are segmented")

    app = visit(tmp_path / "w", steps)
    assert arguments(app, "export") == ["table", "results/mine", "exports/mine-volumes", "--overwrite"]


def test_a_failed_measurement_is_reported_and_started_again(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    result_in(root)

    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.items("results")[0]
        job = start_measurement(app, item)
        app.jobs.write_state(job, JobState("failed", code=1))
        await user.open(f"/result/{item.id}")
        await user.should_see("Measuring them failed")
        await user.should_see("Measure them")

    visit(tmp_path / "w", steps)


def test_the_form_chosen_for_a_download_stays_when_the_page_is_drawn_anew(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    folder = result_in(root)

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/result/{app.workspace.items('results')[0].id}")
        (form,) = user.find(marker="form").elements
        form.value = "stl"  # type: ignore[attr-defined]
        write_json(folder / "metrics.json", {})  # a job has ended
        await asyncio.sleep(2.5)
        (again,) = user.find(marker="form").elements
        assert again is not form
        user.find(marker="export").click()
        await asyncio.sleep(0.2)

    app = visit(tmp_path / "w", steps)
    assert arguments(app, "export")[0] == "stl"


# What is offered


def test_only_forms_that_the_scans_allow_are_offered(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    folder = result_in(root)
    app = AppState(Workspace.open(root))
    item = app.workspace.items("results")[0]
    assert available_forms(app, item) == ["seg-nrrd", "stl", "table", "obj"]

    series(root / "sources/legs/c0", [(0, 0, 0), (0, 0, 1)])
    write_json(root / "datasets/knees" / ABOUT, {"source": "sources/legs"})
    assert {"dicom-seg", "rtstruct"} <= set(available_forms(app, item))

    [dicom, *_] = sorted((root / "sources/legs/c0").iterdir())
    write_json(folder / ABOUT, {"run": "first"})
    assert "dicom-seg" not in available_forms(app, item)
    write_json(folder / "predictions.json", {"c0": {"input": [[str(dicom), "x"]]}})
    assert "dicom-seg" in available_forms(app, item)


def test_another_source_in_the_same_place_is_looked_at_anew(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    result_in(root)
    app = AppState(Workspace.open(root))
    [item] = app.workspace.items("results")
    source = root / "sources/legs"
    series(source, [(0, 0, 0), (0, 0, 1)])
    write_json(root / "datasets/knees" / ABOUT, {"source": "sources/legs"})
    assert "dicom-seg" in available_forms(app, item)
    shutil.rmtree(source)
    source.mkdir()
    (source / "notes.txt").write_text("not a scan")
    assert "dicom-seg" not in available_forms(app, item)


def test_the_note_on_seen_scans_is_complete() -> None:
    assert describe_seen([VALIDATED, VALIDATED, UNSEEN]).startswith("2 of these 3 scans chose the model's settings")
    assert " 1 chose the model's settings" in describe_seen([TRAINED, VALIDATED, UNSEEN])
    assert describe_seen([UNSEEN]) == ""


def test_of_pictures_no_surfaces_are_offered(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset = write_dataset(root / "datasets/hands", {"c0": two_boxes((12, 10, 1))}, unit="px")
    write_segmentation(root / "results/flat/c0.nii.gz", dataset.load_segmentation(dataset.case("c0")))
    app = AppState(Workspace.open(root))
    assert available_forms(app, app.workspace.items("results")[0]) == ["seg-nrrd", "table", "rle-csv"]


def test_a_report_appears_when_it_is_made(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    result_in(root)

    async def steps(user: User, app: AppState) -> None:
        await user.open("/runs")
        table = next(iter(user.find(ui.table).elements))
        table.selected = list(table.rows)
        await click(user, "Make the report")
        await user.should_see("is being made; a link appears here", retries=20)
        job = next(job for job in app.jobs.all() if job.command == "compare")
        (root / job.product).parent.mkdir(parents=True, exist_ok=True)
        (root / job.product).write_text("<html></html>")
        app.jobs.write_state(job, JobState("done", code=0))
        await user.should_see(content=job.about["report"], kind=ui.link, retries=30)

    visit(tmp_path / "w", steps)


@pytest.mark.parametrize(
    ("found", "modality", "pictures"),
    [
        ([("800", "")], "other", True),
        ([("800", "1.2"), ("0", "")], "xray", False),
        ([("0", "")], "ct", False),
        ([("0", "")], "xray", True),
        ([], "other", False),
    ],
)
def test_only_pictures_have_pixels(found: list[tuple[str, str]], modality: Modality, pictures: bool) -> None:
    rows = [{"voxels": voxels, "volume_cm3": volume} for voxels, volume in found]
    assert shows_pictures(rows, modality) is pictures
