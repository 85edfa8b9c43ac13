"""The work list of a labelling project, and how far it is: numbers that are known by counting."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import two_boxes, write_dataset
from osteon.core.labels import Segmentation
from osteon.core.progress import format_duration
from osteon.dataset import label_reviews, label_versions
from osteon.dataset.case_history import history_path, read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_reviews import set_annotated, settle_reading
from osteon.dataset.label_versions import LabelWork, assign_case, judge_label, save_label
from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.labelling.progress import DAY_S, label_progress, seconds_of
from osteon.labelling.ranking import Suggestion
from osteon.labelling.work_list import TWO_READINGS, WorkChoice, choose_rows, list_work, work_csv
from runs import command

DAY = "2026-03-{:02}T12:00:00Z"
NOW = seconds_of(DAY.format(5))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What time it is: the last of these."""
    times = [DAY.format(1)]
    for module in (label_versions, label_reviews):
        monkeypatch.setattr(module, "now", lambda: times[-1])
    return times


@pytest.fixture
def project(tmp_path: Path, clock: list[str]) -> Dataset:
    """Seven cases: c1 imported with a label, the others without; worked on for four days by Ada and Bo."""
    image, labels, affine = two_boxes()
    folder = write_dataset(tmp_path / "d", {f"c{n}": (image, labels, affine) for n in range(1, 8)}).folder
    manifest = read_manifest(folder)
    cases = [c if c.id == "c1" else c.model_copy(update={"segmentation": None}) for c in manifest.cases]
    write_manifest(folder, manifest.model_copy(update={"cases": cases}))
    dataset = Dataset.open(folder)
    for case in ("c2", "c3", "c4", "c5"):
        draw(dataset, case, "run-1", kind="prediction")
    for case, owner in (("c2", "Ada"), ("c3", "Ada"), ("c4", "Bo")):
        assign_case(dataset, case, owner)
    clock.append(DAY.format(2))
    draw(dataset, "c2", "Ada", seconds=60)
    draw(dataset, "c3", "Ada", seconds=100)
    clock.append(DAY.format(3))
    judge_label(dataset, "c2", "approved", author="Bo")
    draw(dataset, "c4", "Bo", seconds=200)
    clock.append(DAY.format(4))
    judge_label(dataset, "c4", "approved", author="Ada")
    judge_label(dataset, "c5", "rejected", note="the leg moved", author="Ada")
    return dataset


def draw(dataset: Dataset, case: str, author: str, **work: object) -> None:
    """Save a label of which a plane was erased."""
    label = dataset.imported.load_segmentation(dataset.imported.case("c1"))
    array = label.array.copy()
    array[:, :, : len(read_history(dataset.folder, case).versions)] = 0
    base = read_history(dataset.folder, case).current
    drawn = Segmentation(array, dataset.geometry(dataset.case(case)), dataset.structures)
    save_label(dataset, case, drawn, LabelWork(author, **work), base=base)  # type: ignore[arg-type]


def suggestion(case: str, rank: int) -> Suggestion:
    return Suggestion(
        case=case, rank=rank, suggested=True, score=0.5, quantiles={}, values={}, reasons=["unlike the labelled scans"]
    )


def test_a_row_says_how_far_a_case_is(project: Dataset) -> None:
    rows = {row.case: row for row in list_work(project, [suggestion("c7", 1), suggestion("c2", 2)])}
    assert [row.state for row in rows.values()] == [
        *("labelled", "approved", "corrected", "approved", "rejected", "unlabelled", "unlabelled")
    ]
    two = rows["c2"]
    assert (two.owner, two.seconds, two.versions, two.changed) == ("Ada", 60, 2, DAY.format(3))
    assert (two.judged_by, two.judged_at, two.rank) == ("Bo", DAY.format(3), None)
    assert (rows["c7"].rank, rows["c7"].reasons) == (1, ("unlike the labelled scans",))
    assert rows["c5"].note == "the leg moved"


CHOICES = [
    (WorkChoice(), "c1 c2 c3 c4 c5 c6 c7"),
    (WorkChoice(state="approved"), "c2 c4"),
    (WorkChoice(owner="Ada"), "c2 c3"),
    (WorkChoice(owner=""), "c1 c5 c6 c7"),
    (WorkChoice(text=" MOVED"), "c5"),
    (WorkChoice(text="unlike"), "c7"),
    (WorkChoice(state=TWO_READINGS), "c3"),
    (WorkChoice(sort="rank"), "c7 c1 c2 c3 c4 c5 c6"),
    (WorkChoice(sort="time", descending=True), "c4 c3 c2 c1 c5 c6 c7"),
    (WorkChoice(sort="owner"), "c2 c3 c4 c1 c5 c6 c7"),
    (WorkChoice(sort="owner", descending=True), "c4 c2 c3 c1 c5 c6 c7"),
    (WorkChoice(sort="changed", descending=True, state="approved"), "c4 c2"),
]


@pytest.mark.parametrize(("choice", "cases"), CHOICES)
def test_rows_are_chosen_and_sorted(project: Dataset, choice: WorkChoice, cases: str) -> None:
    draw(project, "c3", "Bo", kind="second reading")
    rows = choose_rows(list_work(project, [suggestion("c7", 1)]), choice)
    assert " ".join(row.case for row in rows) == cases


def test_what_nobody_looked_for_is_in_the_list(project: Dataset) -> None:
    femur, tibia = (s.name for s in project.structures)
    set_annotated(project, "c1", [femur], author="Ada")
    rows = {row.case: row for row in list_work(Dataset.open(project.folder))}
    assert rows["c1"].not_looked_for == (tibia,)
    assert rows["c3"].not_looked_for == rows["c6"].not_looked_for == ()


def test_how_far_it_is(project: Dataset) -> None:
    found = label_progress(Dataset.open(project.folder), now=NOW)
    assert {state: count for state, count in found.counts.items() if count} == {
        **{"unlabelled": 2, "labelled": 1, "corrected": 1, "approved": 2, "rejected": 1}
    }
    assert (found.median_seconds, found.remaining, found.per_day) == (100, 3, 1.0), (
        "two in the two days since the first"
    )
    assert (found.seconds_left, found.days_left) == (300, 3)
    ada, bo, nobody = found.people
    assert (ada.name, ada.counts["approved"], ada.labelled, ada.approved, ada.seconds) == ("Ada", 1, 2, 1, 160)
    assert (ada.median_seconds, bo.median_seconds, nobody.name, sum(nobody.counts.values())) == (80, 200, "", 4)
    assert found.sentences()[:2] == [
        "3 cases left to draw, to look at or to approve",
        f"a case took 1:40 (median): {format_duration(300)} of work left",
    ]


def test_states_over_time(project: Dataset) -> None:
    found = label_progress(Dataset.open(project.folder), now=NOW)
    days = {round((at - NOW) / DAY_S) + 5: counts for at, counts in found.timeline}
    shown = {
        day: [counts[s] for s in ("unlabelled", "predicted", "corrected", "approved")] for day, counts in days.items()
    }
    assert shown == {1: [2, 4, 0, 0], 2: [2, 2, 2, 0], 3: [2, 1, 2, 1], 4: [2, 0, 1, 2]}
    assert all(sum(counts.values()) == 7 for counts in days.values())


def test_a_history_from_before_states_were_noted_counts_with_its_last(project: Dataset) -> None:
    history = read_history(project.folder, "c2")
    path = history_path(project.folder, "c2")
    path.write_text(history.model_copy(update={"log": []}).model_dump_json(exclude_none=True))
    found = label_progress(Dataset.open(project.folder), now=NOW)
    assert found.timeline[-1][1] == found.counts
    assert found.rows[1].judged_by == ""


def test_readers_are_compared_once_they_are_two(project: Dataset) -> None:
    folder = project.folder
    draw(project, "c2", "Bo", kind="second reading")
    draw(project, "c3", "Bo", kind="second reading")
    open_ones = label_progress(Dataset.open(folder), now=NOW)
    settle_reading(project, "c2", 3, accept=True, author="Cy")
    settled = label_progress(Dataset.open(folder), now=NOW)
    assert settled.agreement == pytest.approx(open_ones.agreement), "what was accepted is compared as it was"
    assert settled.agreement == pytest.approx({"femur": 10 / 11, "tibia": 10 / 11}), "five of six planes"
    assert (settled.double_read, settled.counts["approved"]) == (2, 1)
    (folder / "annotations/c3/3.nii.gz").write_bytes(b"no image")
    assert list(label_progress(Dataset.open(folder), now=NOW).failed) == ["c3"]


def test_nothing_was_done_yet(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", {"a": two_boxes()})
    found = label_progress(dataset)
    assert (found.timeline, found.median_seconds, found.seconds_left, found.days_left, found.remaining) == (
        *([], None, None, None, 0),
    )


def test_the_command_line_tells_it(project: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("labels", "progress", project.folder) == 0
    told = capsys.readouterr().out
    assert "2 unlabelled, 1 labelled, 1 corrected, 2 approved, 1 rejected" in told
    assert "a case took 1:40 (median): 5:00 of work left" in told
    assert command("labels", "progress", project.folder, "--csv") == 0
    rows = {row["case"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert (rows["c2"]["state"], rows["c2"]["judged_by"], rows["c2"]["seconds"]) == ("approved", "Bo", "60.0")
    assert command("labels", "approve", project.folder, "c3", "--author", "Cy") == 0
    assert read_history(project.folder, "c3").log[-1].by == "Cy"


def test_a_table_of_names_that_are_formulas(project: Dataset) -> None:
    rows = [replace(row, owner="=cmd()") for row in list_work(project)]
    assert "'=cmd()" in work_csv(rows)
