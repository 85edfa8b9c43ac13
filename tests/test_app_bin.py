"""Deleting, restoring and renaming in the app: nothing is lost, nothing refers to another thing than before."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nicegui import ui
from nicegui.testing.user import User
from typer.testing import CliRunner

from app_pages import visit
from helpers import two_boxes, write_dataset
from osteon.app import commands, result_commands
from osteon.app.bin import (
    check_not_deleted,
    delete,
    finish_purges,
    list_deletions,
    missing_uploads,
    purge,
    rename,
    restore,
)
from osteon.app.folder_sizes import format_size, workspace_sizes
from osteon.app.item_actions import item_size
from osteon.app.item_references import dependent_datasets, remaining_references
from osteon.app.jobs import Job, JobPhase, Jobs, JobState
from osteon.app.results import describe_maker, find_dataset, read_volumes, result_scene
from osteon.app.state import AppState
from osteon.app.workspace import ABOUT, BIN, Item, ItemKind, Workspace, read_about
from osteon.cli.main import app as command_line
from osteon.core.errors import FileError, UsageError
from osteon.core.files import write_json
from osteon.core.folders import folder_size
from osteon.core.locks import lock_folder
from osteon.dataset.manifest import read_manifest, write_manifest
from test_app_pages import model_in, result_in


def fill(root: Path) -> Path:
    """An upload, a dataset whose images lie in it, a training on that, a result of it, and what belongs to these."""
    write_dataset(root / "datasets/knees", {f"c{n}": two_boxes(seed=n) for n in range(4)})
    source, folder = root / "sources/legs", root / "datasets/knees"
    source.mkdir(exist_ok=True)
    manifest = read_manifest(folder)
    for case in manifest.cases:
        for image in case.images:
            shutil.move(folder / image, source / Path(image).name)
    moved = [
        c.model_copy(update={"images": [f"../../sources/legs/{Path(i).name}" for i in c.images]})
        for c in manifest.cases
    ]
    write_manifest(folder, manifest.model_copy(update={"cases": moved}))
    write_json(folder / ABOUT, {"source": "sources/legs"})
    model_in(root)
    record = result_in(root) / "predictions.json"
    records = {
        case: more | {"input": [[str(source / f"{case}.nii.gz"), 1, 1]]}
        for case, more in json.loads(record.read_text()).items()
    }
    write_json(record, records)
    (root / "plans/first.yaml").write_text("{}")
    (root / "exports/mine-stl").mkdir()
    (root / "exports/mine-stl/a.stl").write_bytes(b"solid")
    return root


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppState:
    monkeypatch.setattr(Jobs, "advance", lambda _: None)
    made = AppState(Workspace.open(tmp_path / "w"))
    fill(made.workspace.root)
    return made


def everything(app: AppState) -> dict[str, bytes]:
    """All that lies in the workspace's items, and what belongs to them."""
    root = app.workspace.root
    found = (
        path
        for kind in ("sources", "datasets", "runs", "results", "exports", "plans")
        for path in (root / kind).rglob("*")
    )
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.is_file()}


def item(app: AppState, place: str) -> Item:
    kind, name = place.split("/")
    return app.workspace.item(kind, name)  # type: ignore[arg-type]


def over(app: AppState, job: Job, phase: JobPhase = "done") -> None:
    app.jobs.write_state(job, JobState(phase))


ALL = ["sources/legs", "datasets/knees", "runs/first", "results/mine", "exports/mine-stl"]


# Deleting


@pytest.mark.parametrize("place", ALL)
def test_what_is_deleted_comes_back_as_it_was(app: AppState, place: str) -> None:
    before = everything(app)
    gone = delete(app, item(app, place))
    assert not (app.workspace.root / place).exists()
    assert [each.title for each in list_deletions(app)] == [place.partition("/")[2]]
    restore(app, gone)
    assert everything(app) == before
    assert list_deletions(app) == []
    with pytest.raises(UsageError, match="no longer in the bin"):
        restore(app, gone)


def test_an_upload_goes_with_the_datasets_that_need_it(app: AppState) -> None:
    legs = item(app, "sources/legs")
    (app.workspace.root / "sources/leg").mkdir()  # whose name begins alike
    assert [each.name for each in dependent_datasets(app, legs)] == ["knees"]
    assert dependent_datasets(app, item(app, "sources/leg")) == []
    assert delete(app, legs).items == ("sources/legs", "datasets/knees")
    assert app.datasets() == []


def test_a_dataset_that_comes_back_without_its_upload_says_so(app: AppState) -> None:
    first = delete(app, item(app, "datasets/knees"))
    second = delete(app, item(app, "sources/legs"))
    assert second.items == ("sources/legs",)
    restore(app, first)
    assert missing_uploads(app, first) == [second]


def test_what_stays_is_named(app: AppState) -> None:
    def staying(place: str) -> set[str]:
        gone = item(app, place)
        return {each.name for each in remaining_references(app, gone, dependent_datasets(app, gone))}

    assert staying("datasets/knees") == {"first", "mine"}
    assert staying("runs/first") == {"mine"}
    assert staying("results/mine") == set()
    assert staying("sources/legs") == {"mine"}


def test_a_results_exports_and_a_runs_plan_go_with_it(app: AppState) -> None:
    assert set(delete(app, item(app, "results/mine")).items) == {"exports/mine-stl", "results/mine"}
    assert set(delete(app, item(app, "runs/first")).items) == {"plans/first.yaml", "runs/first"}


@pytest.mark.parametrize("phase", ["queued", "running", "paused"])
@pytest.mark.parametrize("place", ["sources/legs", "datasets/knees", "runs/first"])
def test_what_a_job_uses_is_not_deleted(
    app: AppState, place: str, phase: JobPhase, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = app.jobs.submit("train", ["datasets/knees", "runs/first", "--budget", "1min"], "Train first")
    monkeypatch.setattr(Jobs, "state", lambda *_: JobState(phase))
    before = everything(app)
    with pytest.raises(UsageError, match="the job “Train first” uses it") as refused:
        delete(app, item(app, place))
    assert "Jobs" in str(refused.value.hint)
    assert everything(app) == before
    assert list_deletions(app) == []
    delete(app, item(app, "results/mine"))  # which it does not use
    monkeypatch.undo()
    monkeypatch.setattr(Jobs, "advance", lambda _: None)
    over(app, job)
    delete(app, item(app, place))


def test_each_job_uses_what_it_names(app: AppState) -> None:
    """Every command that the pages begin, on every item that it gets."""
    space = app.workspace
    dataset, run, result = (item(app, place) for place in ("datasets/knees", "runs/first", "results/mine"))
    begin: list[tuple[Callable[[], object], set[str]]] = [
        (
            lambda: commands.start_import(app, space.root / "sources/legs", "x"),
            {"sources/legs"},
        ),
        (
            lambda: commands.start_plan(app, dataset, recipe="limb", budget="1min"),
            {"datasets/knees", "sources/legs"},
        ),
        (
            lambda: result_commands.start_prediction(app, run, space.root / "sources/legs", "y", origin={}),
            {"runs/first", "sources/legs"},
        ),
        (
            lambda: result_commands.start_evaluation(app, result, dataset),
            {"results/mine", "datasets/knees", "sources/legs"},
        ),
        (lambda: result_commands.start_export(app, result, "stl"), {"results/mine"}),
        (lambda: result_commands.start_vote(app, [result, result], "v", "hard"), {"results/mine", "datasets/knees"}),
    ]
    for make, wanted in begin:
        shutil.rmtree(app.jobs.store.folder)
        make()
        for place in wanted:
            with pytest.raises(UsageError, match="uses it"):
                delete(app, item(app, place))


def test_results_of_a_deleted_dataset_are_voted_over_and_not_scored(app: AppState) -> None:
    result_item, knees = item(app, "results/mine"), item(app, "datasets/knees")
    gone = delete(app, knees)
    result, job = result_commands.start_vote(app, [result_item, result_item], "v", "hard")
    assert "--dataset" not in job.arguments
    assert "dataset" not in read_about(result)
    assert "evaluate" not in {each.command for each in app.jobs.all()}
    restore(app, gone)
    (knees.path / "dataset.yaml").write_text("osteon: [")
    before = len(app.jobs.all())
    with pytest.raises(FileError):
        result_commands.start_vote(app, [result_item, result_item], "w", "hard")
    with pytest.raises(FileError):
        result_commands.start_prediction(app, item(app, "runs/first"), knees.path, "w", origin={"dataset": "knees"})
    assert len(app.jobs.all()) == before
    assert not item(app, "results/w").path.exists()


def test_what_a_command_in_a_terminal_writes_is_not_deleted(app: AppState) -> None:
    run = item(app, "runs/first")
    with lock_folder(run.path, "a training", "wait"), pytest.raises(UsageError, match="works in it"):
        delete(app, run)
    delete(app, run)


@contextmanager
def second_move(monkeypatch: pytest.MonkeyPatch, raises: BaseException) -> Iterator[None]:
    """Of all that is moved in this block only the first is."""
    moves, real = itertools.count(1), Path.rename

    def rename(path: Path, target: Path) -> Path:
        if next(moves) == 2:
            raise raises
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        yield


def test_a_deletion_that_is_killed_half_way_is_undone_like_any_other(
    app: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(app)
    with second_move(monkeypatch, raises=KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        delete(app, item(app, "sources/legs"))
    [gone] = list_deletions(app)
    assert gone.items == ("datasets/knees",)
    assert (app.workspace.root / "sources/legs").is_dir()
    restore(app, gone)
    assert everything(app) == before


def test_a_restoring_that_is_killed_half_way_is_ended_later(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(app)
    gone = delete(app, item(app, "sources/legs"))
    with second_move(monkeypatch, raises=KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        restore(app, gone)
    [rest] = list_deletions(app)
    restore(app, rest)
    assert everything(app) == before


def test_an_upload_of_a_damaged_dataset_goes_with_it(app: AppState) -> None:
    (app.workspace.root / "datasets/knees/dataset.yaml").write_text("osteon: [")
    assert [each.name for each in dependent_datasets(app, item(app, "sources/legs"))] == ["knees"]


def test_a_deletion_that_fails_moves_nothing(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(app)
    with second_move(monkeypatch, raises=OSError(18, "Invalid cross-device link")), pytest.raises(FileError):
        delete(app, item(app, "sources/legs"))
    assert everything(app) == before
    assert list_deletions(app) == []


def test_what_came_in_its_place_is_not_overwritten(app: AppState) -> None:
    gone = delete(app, item(app, "datasets/knees"))
    (app.workspace.root / "datasets/knees").mkdir()  # by a command in a terminal
    with pytest.raises(UsageError, match="something else is called datasets/knees"):
        restore(app, gone)
    assert list_deletions(app) == [gone]


def test_a_job_whose_things_are_in_the_bin_is_not_given_again(app: AppState) -> None:
    job = app.jobs.submit("audit", ["datasets/knees"], "Check knees")
    over(app, job, "failed")
    check_not_deleted(app, job)
    delete(app, item(app, "datasets/knees"))
    with pytest.raises(UsageError, match="knees was deleted"):
        check_not_deleted(app, job)


def test_one_name_deleted_twice_in_a_second(app: AppState) -> None:
    place = app.workspace.root / "exports/mine-stl"
    first = delete(app, item(app, "exports/mine-stl"))
    place.mkdir()
    second = delete(app, item(app, "exports/mine-stl"))
    assert first.path != second.path
    assert {each.title for each in list_deletions(app)} == {"mine-stl"}


# For good


def test_what_is_removed_for_good_leaves_its_name_to_nothing_new(app: AppState) -> None:
    """A training and a result still say that they are of `knees`: another dataset must not take their scans' place."""
    gone = delete(app, item(app, "datasets/knees"))
    assert app.workspace.new_item("datasets", "Knees").name == "Knees-2"
    purge(app, [gone])
    assert list_deletions(app) == []
    assert [path.name for path in (app.workspace.root / BIN).iterdir()] == ["spent.json"]
    assert app.workspace.new_item("datasets", "knees").name == "knees-2"
    assert app.workspace.new_item("runs", "knees").name == "knees"
    assert find_dataset(app, item(app, "results/mine")) is None
    purge(app, [gone])  # on another page


def test_a_removal_that_was_killed_is_ended_at_the_next_start(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = delete(app, item(app, "datasets/knees"))
    with monkeypatch.context() as patch:
        patch.setattr("osteon.app.bin.shutil.rmtree", lambda *_, **__: None)
        purge(app, [gone])
    assert list_deletions(app) == []
    assert list((app.workspace.root / BIN).glob(".going-*"))
    finish_purges(app)
    assert not list((app.workspace.root / BIN).glob(".going-*"))


def test_what_others_put_into_the_bins_folder_is_left_alone(app: AppState) -> None:
    (app.workspace.root / BIN / "my folder").mkdir()
    (app.workspace.root / BIN / "20261129-231530-datasets-empty").mkdir()
    assert list_deletions(app) == []


# Renaming


def test_all_that_refers_to_a_renamed_thing_finds_it(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed dataset is trained on, a renamed run segments, a renamed result is measured; no file moves."""
    space, before = app.workspace, everything(app)
    for place in ("sources/legs", "datasets/knees", "runs/first", "results/mine"):
        assert rename(app, item(app, place), f"{place.partition('/')[2]} of Müller") == place.partition("/")[2]
    kept = {path: content for path, content in everything(app).items() if not path.endswith(ABOUT)}
    assert kept == {path: content for path, content in before.items() if not path.endswith(ABOUT)}
    dataset, run, result = (item(app, place) for place in ("datasets/knees", "runs/first", "results/mine"))
    assert dataset.title == "knees of Müller"
    assert describe_maker(app, result) == "the model first of Müller"
    found = find_dataset(app, result)
    assert found is not None
    assert found[0].title == "knees of Müller"
    assert result_scene(app, result, "c0").images[0].is_file()
    _, training = commands.start_training(app, dataset, "again", recipe="limb", budget="1min")
    assert training.arguments[0] == "datasets/knees"
    assert training.title == "Train again on knees of Müller"
    _, predicting = result_commands.start_prediction(app, run, dataset.path, "new", origin={"dataset": "knees"})
    assert predicting.arguments[:2] == ("runs/first", "datasets/knees")
    measuring = result_commands.start_measurement(app, result)
    monkeypatch.chdir(space.root)
    done = CliRunner().invoke(command_line, [measuring.command, *measuring.arguments])
    assert done.exit_code == 0, done.output
    assert {row["case"] for row in read_volumes(app, result)} == {"c0", "c1"}
    assert read_about(result) == {"dataset": "knees", "run": "first", "title": "mine of Müller"}


def test_a_rename_is_undone(app: AppState) -> None:
    knees, before = item(app, "datasets/knees"), everything(app)
    rename(app, knees, "  Knees   of June ")
    assert knees.title == "Knees of June"
    rename(app, knees, "knees")
    assert everything(app) == before


def test_a_rename_moves_nothing_in_a_list(app: AppState) -> None:
    for name, at in (("other", 1e9), ("knees", 1.1e9), ("third", 1.2e9)):
        (app.workspace.root / "datasets" / name).mkdir(exist_ok=True)
        os.utime(app.workspace.root / "datasets" / name, (at, at))
    order = ["third", "knees", "other"]
    for wanted in ("hips", "knees"):
        rename(app, item(app, "datasets/knees"), wanted)
        assert [each.name for each in app.workspace.items("datasets")] == order


@pytest.mark.parametrize("wanted", ["", "  ", "a\u202eb", "x" * 81, "Other", "OTHER", "second one"])
def test_what_is_no_name_is_refused(app: AppState, wanted: str) -> None:
    (app.workspace.root / "datasets/other").mkdir()
    (app.workspace.root / "datasets/third").mkdir()
    rename(app, item(app, "datasets/third"), "Second one")
    with pytest.raises(UsageError):
        rename(app, item(app, "datasets/knees"), wanted)
    assert item(app, "datasets/knees").title == "knees"


def test_nothing_is_renamed_to_what_may_come_back(app: AppState) -> None:
    (app.workspace.root / "datasets/other").mkdir()
    other, knees = item(app, "datasets/other"), item(app, "datasets/knees")
    rename(app, knees, "Legs")
    gone = delete(app, knees)
    for wanted in ("Knees", "legs"):
        with pytest.raises(UsageError, match="another dataset is, or was, called"):
            rename(app, other, wanted)
    rename(app, other, "third")
    rename(app, other, "other")
    knees.path.mkdir()  # by a command in a terminal
    rename(app, knees, "fourth")
    rename(app, knees, "knees")
    knees.path.rmdir()
    restore(app, gone)
    assert (knees.title, other.title) == ("Legs", "other")


def test_nothing_new_gets_a_name_that_something_was_renamed_to(app: AppState) -> None:
    rename(app, item(app, "datasets/knees"), "hips")
    assert app.workspace.new_item("datasets", "hips").name == "hips-2"
    assert app.workspace.new_item("datasets", "knees").name == "knees-2"


# Sizes


def test_sizes_follow_no_link_and_count_no_file_twice(app: AppState, tmp_path: Path) -> None:
    root = app.workspace.root
    large = root / "datasets/knees/large"
    large.write_bytes(os.urandom(3_000_000))
    alone = folder_size(root / "datasets/knees")
    assert 3_000_000 <= alone < 4_000_000
    (root / "datasets/knees/again").hardlink_to(large)
    outside = tmp_path / "outside"
    outside.write_bytes(os.urandom(5_000_000))
    (root / "datasets/knees/link").symlink_to(outside)
    (root / "datasets/knees/circle").symlink_to(root / "datasets")
    (root / "runs/first/same").hardlink_to(large)
    assert folder_size(root / "datasets/knees") - alone < 100_000
    sizes = workspace_sizes(app.workspace)
    assert sizes.total < 4_500_000
    assert sizes.of("datasets") == sizes.items["datasets/knees"]
    assert sizes.free > 0
    delete(app, item(app, "datasets/knees"))
    after = workspace_sizes(app.workspace)
    assert after.of(BIN) > 3_000_000
    assert abs(after.total - sizes.total) < 100_000


def test_a_results_size_has_its_exports(app: AppState) -> None:
    result_item = item(app, "results/mine")
    before = item_size(app, result_item)
    (app.workspace.root / "exports/mine-stl/b.stl").write_bytes(os.urandom(1_000_000))
    assert item_size(app, result_item) - before >= 1_000_000


def test_a_size_in_words() -> None:
    assert [format_size(n) for n in (0, 12_300, 420_000, 12e6, 3.21e9, 4e12)] == [
        "0 kB",
        "12 kB",
        "0.4 MB",
        "12 MB",
        "3.21 GB",
        "4 TB",
    ]


# Pages

LISTS: dict[ItemKind, tuple[str, str]] = {
    "sources": ("/data", "legs"),
    "datasets": ("/data", "knees"),
    "runs": ("/train", "first"),
    "results": ("/segment", "mine"),
}


async def until(met: Callable[[], bool]) -> None:
    for _ in range(100):
        if met():
            return
        await asyncio.sleep(0.05)
    pytest.fail("it did not happen in time")


@pytest.mark.parametrize("kind", LISTS)
def test_each_list_deletes_and_takes_back(tmp_path: Path, kind: ItemKind) -> None:
    page, name = LISTS[kind]

    async def steps(user: User, app: AppState) -> None:
        root = fill(app.workspace.root)
        before = everything(app)
        await user.open(page)
        user.find(marker=f"delete-{kind}-{name}").click()
        await user.should_see(f"Delete {name}?")
        user.find(marker="go").click()
        await until(lambda: not (root / kind / name).exists())
        await user.open(page)
        await user.should_see(f"{name} is in the bin")
        user.find("Undo").click()
        await until(lambda: everything(app) == before)

    visit(tmp_path, steps)


@pytest.mark.parametrize(
    ("kind", "page"), [("sources", "/source/"), ("datasets", "/dataset/"), ("runs", "/train/"), ("results", "/result/")]
)
def test_each_page_renames_and_says_its_size(tmp_path: Path, kind: ItemKind, page: str) -> None:
    name = LISTS[kind][1]

    async def steps(user: User, app: AppState) -> None:
        fill(app.workspace.root)
        before = everything(app)
        own = app.workspace.item(kind, name)
        await user.open(page + own.id)
        await user.should_see("kB of the disk")
        user.find("Rename").click()
        await user.should_see("New name")
        user.find("New name").clear().type("Knees & legs")
        user.find("Save the name").click()
        await until(lambda: own.title == "Knees & legs")
        for shown in (page + own.id, LISTS[kind][0]):
            await user.open(shown)
            await user.should_see("Knees & legs")
        await user.should_see(f"{name} is now called Knees & legs.")
        user.find("Undo").click()
        await until(lambda: everything(app) == before)

    visit(tmp_path, steps)


def test_what_a_job_uses_is_refused_on_the_page(tmp_path: Path) -> None:
    async def steps(user: User, app: AppState) -> None:
        fill(app.workspace.root)
        app.jobs.submit("audit", ["datasets/knees"], "Check knees")
        await user.open("/data")
        user.find(marker="delete-sources-legs").click()
        await user.should_see("the job “Check knees” uses it")
        await user.should_not_see("Delete legs?")

    visit(tmp_path, steps)


def test_the_page_of_space_lists_sizes_references_and_the_bin(tmp_path: Path) -> None:
    async def steps(user: User, app: AppState) -> None:
        root = fill(app.workspace.root)
        gone = delete(app, item(app, "runs/first"))
        await user.open("/space")
        await user.should_see("of the disk are free")
        [table] = user.find(ui.table).elements
        rows = {row["name"]: row for row in table.rows}
        assert set(rows) == {"legs", "knees", "mine"}  # what was exported of a result is the result's
        assert rows["legs"]["of"] == "Dataset knees, result mine"
        assert rows["knees"]["of"] == "Result mine"
        await user.should_see("training and 1 more that goes with it")
        user.find(marker=f"restore-{gone.path.name}").click()
        await until(lambda: (root / "runs/first").is_dir())
        delete(app, item(app, "runs/first"))
        await user.open("/space")
        await user.should_see("Empty the bin (")
        user.find("Empty the bin (").click()
        await user.should_see("This cannot be undone.")
        assert len(list_deletions(app)) == 1
        user.find("Remove for good").click()
        await until(lambda: list_deletions(app) == [])
        await until(lambda: [path.name for path in (root / BIN).iterdir()] == ["spent.json"])

    visit(tmp_path, steps)


def test_what_cannot_be_removed_for_good_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise FileError("spent.json: the disk is full", hint="make room")

    async def steps(user: User, app: AppState) -> None:
        fill(app.workspace.root)
        gone = delete(app, item(app, "runs/first"))
        await user.open("/space")
        await user.should_see("Empty the bin (")
        user.find("Empty the bin (").click()
        await user.should_see("This cannot be undone.")
        monkeypatch.setattr("osteon.app.bin.write_json", full)
        user.find("Remove for good").click()
        await user.should_see("the disk is full")
        assert list_deletions(app) == [gone]

    visit(tmp_path, steps)


def test_a_restoring_is_undone_of_what_was_restored(tmp_path: Path) -> None:
    """Of two results whose names begin alike: only commands in a terminal give names with a `~`."""

    async def steps(user: User, app: AppState) -> None:
        results = app.workspace.root / "results"
        (results / "my").mkdir()
        (results / "my~set").mkdir()
        gone = delete(app, item(app, "results/my~set"))
        assert (gone.name, gone.title) == ("my~set", "my~set")
        await user.open("/space")
        await user.should_see("Restore")
        user.find(marker=f"restore-{gone.path.name}").click()
        await until((results / "my~set").is_dir)
        await user.should_see("my~set is back.")
        user.find("Undo").click()
        await until(lambda: not (results / "my~set").exists())
        assert (results / "my").is_dir()

    visit(tmp_path, steps)
