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
from osteon.app.bin import check_present, delete, lacking, mentioning, needing, remove, rename, restore, sweep, thrown
from osteon.app.folder_sizes import size_of, sizes_of, told_size
from osteon.app.item_actions import whole_size
from osteon.app.jobs import Job, Jobs, Phase, State
from osteon.app.results import dataset_of, maker, volumes_of, wanted_result
from osteon.app.state import Studio
from osteon.app.workspace import ABOUT, BIN, Item, Kind, Workspace, about
from osteon.cli.main import app
from osteon.core.errors import FileError, UsageError
from osteon.core.files import write_json
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
    told = {
        case: more | {"input": [[str(source / f"{case}.nii.gz"), 1, 1]]}
        for case, more in json.loads(record.read_text()).items()
    }
    write_json(record, told)
    (root / "plans/first.yaml").write_text("{}")
    (root / "exports/mine-stl").mkdir()
    (root / "exports/mine-stl/a.stl").write_bytes(b"solid")
    return root


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setattr(Jobs, "advance", lambda _: None)
    made = Studio(Workspace.open(tmp_path / "w"))
    fill(made.workspace.root)
    return made


def everything(studio: Studio) -> dict[str, bytes]:
    """All that lies in the workspace's items, and what belongs to them."""
    root = studio.workspace.root
    found = (
        path
        for kind in ("sources", "datasets", "runs", "results", "exports", "plans")
        for path in (root / kind).rglob("*")
    )
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.is_file()}


def item(studio: Studio, place: str) -> Item:
    kind, name = place.split("/")
    return studio.workspace.item(kind, name)  # type: ignore[arg-type]


def over(studio: Studio, job: Job, phase: Phase = "done") -> None:
    studio.jobs.put(job, State(phase))


ALL = ["sources/legs", "datasets/knees", "runs/first", "results/mine", "exports/mine-stl"]


# Deleting


@pytest.mark.parametrize("place", ALL)
def test_what_is_deleted_comes_back_as_it_was(studio: Studio, place: str) -> None:
    before = everything(studio)
    gone = delete(studio, item(studio, place))
    assert not (studio.workspace.root / place).exists()
    assert [each.title for each in thrown(studio)] == [place.partition("/")[2]]
    restore(studio, gone)
    assert everything(studio) == before
    assert thrown(studio) == []
    with pytest.raises(UsageError, match="no longer in the bin"):
        restore(studio, gone)


def test_an_upload_goes_with_the_datasets_that_need_it(studio: Studio) -> None:
    legs = item(studio, "sources/legs")
    (studio.workspace.root / "sources/leg").mkdir()  # whose name begins alike
    assert [each.name for each in needing(studio, legs)] == ["knees"]
    assert needing(studio, item(studio, "sources/leg")) == []
    assert delete(studio, legs).items == ("sources/legs", "datasets/knees")
    assert studio.datasets() == []


def test_a_dataset_that_comes_back_without_its_upload_says_so(studio: Studio) -> None:
    first = delete(studio, item(studio, "datasets/knees"))
    second = delete(studio, item(studio, "sources/legs"))
    assert second.items == ("sources/legs",)
    restore(studio, first)
    assert lacking(studio, first) == [second]


def test_what_stays_is_named(studio: Studio) -> None:
    def staying(place: str) -> set[str]:
        gone = item(studio, place)
        return {each.name for each in mentioning(studio, gone, needing(studio, gone))}

    assert staying("datasets/knees") == {"first", "mine"}
    assert staying("runs/first") == {"mine"}
    assert staying("results/mine") == set()
    assert staying("sources/legs") == {"mine"}


def test_a_results_exports_and_a_runs_plan_go_with_it(studio: Studio) -> None:
    assert set(delete(studio, item(studio, "results/mine")).items) == {"exports/mine-stl", "results/mine"}
    assert set(delete(studio, item(studio, "runs/first")).items) == {"plans/first.yaml", "runs/first"}


@pytest.mark.parametrize("phase", ["queued", "running", "paused"])
@pytest.mark.parametrize("place", ["sources/legs", "datasets/knees", "runs/first"])
def test_what_a_job_uses_is_not_deleted(
    studio: Studio, place: str, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = studio.jobs.submit("train", ["datasets/knees", "runs/first", "--budget", "1min"], "Train first")
    monkeypatch.setattr(Jobs, "state", lambda *_: State(phase))
    before = everything(studio)
    with pytest.raises(UsageError, match="the job “Train first” uses it") as refused:
        delete(studio, item(studio, place))
    assert "Jobs" in str(refused.value.hint)
    assert everything(studio) == before
    assert thrown(studio) == []
    delete(studio, item(studio, "results/mine"))  # which it does not use
    monkeypatch.undo()
    monkeypatch.setattr(Jobs, "advance", lambda _: None)
    over(studio, job)
    delete(studio, item(studio, place))


def test_each_job_uses_what_it_names(studio: Studio) -> None:
    """Every command that the pages begin, on every item that it gets."""
    space = studio.workspace
    dataset, run, result = (item(studio, place) for place in ("datasets/knees", "runs/first", "results/mine"))
    begin: list[tuple[Callable[[], object], set[str]]] = [
        (
            lambda: commands.begin_import(studio, space.root / "sources/legs", "x", commands.ImportChoices()),
            {"sources/legs"},
        ),
        (
            lambda: commands.begin_plan(studio, dataset, recipe="limb", budget="1min"),
            {"datasets/knees", "sources/legs"},
        ),
        (
            lambda: result_commands.begin_prediction(studio, run, space.root / "sources/legs", "y", of={}),
            {"runs/first", "sources/legs"},
        ),
        (
            lambda: result_commands.begin_evaluation(studio, result, dataset),
            {"results/mine", "datasets/knees", "sources/legs"},
        ),
        (lambda: result_commands.begin_export(studio, result, "stl"), {"results/mine"}),
        (lambda: result_commands.begin_vote(studio, [result, result], "v", "hard"), {"results/mine", "datasets/knees"}),
    ]
    for make, wanted in begin:
        shutil.rmtree(studio.jobs.folder)
        make()
        for place in wanted:
            with pytest.raises(UsageError, match="uses it"):
                delete(studio, item(studio, place))


def test_results_of_a_deleted_dataset_are_voted_over_and_not_scored(studio: Studio) -> None:
    mine, knees = item(studio, "results/mine"), item(studio, "datasets/knees")
    gone = delete(studio, knees)
    result, job = result_commands.begin_vote(studio, [mine, mine], "v", "hard")
    assert "--dataset" not in job.arguments
    assert "dataset" not in about(result)
    assert "evaluate" not in {each.command for each in studio.jobs.all()}
    restore(studio, gone)
    (knees.path / "dataset.yaml").write_text("osteon: [")
    before = len(studio.jobs.all())
    with pytest.raises(FileError):
        result_commands.begin_vote(studio, [mine, mine], "w", "hard")
    with pytest.raises(FileError):
        result_commands.begin_prediction(studio, item(studio, "runs/first"), knees.path, "w", of={"dataset": "knees"})
    assert len(studio.jobs.all()) == before
    assert not item(studio, "results/w").path.exists()


def test_what_a_command_in_a_terminal_writes_is_not_deleted(studio: Studio) -> None:
    run = item(studio, "runs/first")
    with lock_folder(run.path, "a training", "wait"), pytest.raises(UsageError, match="works in it"):
        delete(studio, run)
    delete(studio, run)


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
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(studio)
    with second_move(monkeypatch, raises=KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        delete(studio, item(studio, "sources/legs"))
    [gone] = thrown(studio)
    assert gone.items == ("datasets/knees",)
    assert (studio.workspace.root / "sources/legs").is_dir()
    restore(studio, gone)
    assert everything(studio) == before


def test_a_restoring_that_is_killed_half_way_is_ended_later(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(studio)
    gone = delete(studio, item(studio, "sources/legs"))
    with second_move(monkeypatch, raises=KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        restore(studio, gone)
    [rest] = thrown(studio)
    restore(studio, rest)
    assert everything(studio) == before


def test_an_upload_of_a_damaged_dataset_goes_with_it(studio: Studio) -> None:
    (studio.workspace.root / "datasets/knees/dataset.yaml").write_text("osteon: [")
    assert [each.name for each in needing(studio, item(studio, "sources/legs"))] == ["knees"]


def test_a_deletion_that_fails_moves_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(studio)
    with second_move(monkeypatch, raises=OSError(18, "Invalid cross-device link")), pytest.raises(FileError):
        delete(studio, item(studio, "sources/legs"))
    assert everything(studio) == before
    assert thrown(studio) == []


def test_what_came_in_its_place_is_not_overwritten(studio: Studio) -> None:
    gone = delete(studio, item(studio, "datasets/knees"))
    (studio.workspace.root / "datasets/knees").mkdir()  # by a command in a terminal
    with pytest.raises(UsageError, match="something else is called datasets/knees"):
        restore(studio, gone)
    assert thrown(studio) == [gone]


def test_a_job_whose_things_are_in_the_bin_is_not_given_again(studio: Studio) -> None:
    job = studio.jobs.submit("audit", ["datasets/knees"], "Check knees")
    over(studio, job, "failed")
    check_present(studio, job)
    delete(studio, item(studio, "datasets/knees"))
    with pytest.raises(UsageError, match="knees was deleted"):
        check_present(studio, job)


def test_one_name_deleted_twice_in_a_second(studio: Studio) -> None:
    place = studio.workspace.root / "exports/mine-stl"
    first = delete(studio, item(studio, "exports/mine-stl"))
    place.mkdir()
    second = delete(studio, item(studio, "exports/mine-stl"))
    assert first.path != second.path
    assert {each.title for each in thrown(studio)} == {"mine-stl"}


# For good


def test_what_is_removed_for_good_leaves_its_name_to_nothing_new(studio: Studio) -> None:
    """A training and a result still say that they are of `knees`: another dataset must not take their scans' place."""
    gone = delete(studio, item(studio, "datasets/knees"))
    assert studio.workspace.new("datasets", "Knees").name == "Knees-2"
    remove(studio, [gone])
    assert thrown(studio) == []
    assert [path.name for path in (studio.workspace.root / BIN).iterdir()] == ["spent.json"]
    assert studio.workspace.new("datasets", "knees").name == "knees-2"
    assert studio.workspace.new("runs", "knees").name == "knees"
    assert dataset_of(studio, item(studio, "results/mine")) is None
    remove(studio, [gone])  # on another page


def test_a_removal_that_was_killed_is_ended_at_the_next_start(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = delete(studio, item(studio, "datasets/knees"))
    with monkeypatch.context() as patch:
        patch.setattr("osteon.app.bin.shutil.rmtree", lambda *_, **__: None)
        remove(studio, [gone])
    assert thrown(studio) == []
    assert list((studio.workspace.root / BIN).glob(".going-*"))
    sweep(studio)
    assert not list((studio.workspace.root / BIN).glob(".going-*"))


def test_what_others_put_into_the_bins_folder_is_left_alone(studio: Studio) -> None:
    (studio.workspace.root / BIN / "my folder").mkdir()
    (studio.workspace.root / BIN / "20261129-231530-datasets-empty").mkdir()
    assert thrown(studio) == []


# Renaming


def test_all_that_refers_to_a_renamed_thing_finds_it(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed dataset is trained on, a renamed run segments, a renamed result is measured; no file moves."""
    space, before = studio.workspace, everything(studio)
    for place in ("sources/legs", "datasets/knees", "runs/first", "results/mine"):
        assert rename(studio, item(studio, place), f"{place.partition('/')[2]} of Müller") == place.partition("/")[2]
    kept = {path: content for path, content in everything(studio).items() if not path.endswith(ABOUT)}
    assert kept == {path: content for path, content in before.items() if not path.endswith(ABOUT)}
    dataset, run, result = (item(studio, place) for place in ("datasets/knees", "runs/first", "results/mine"))
    assert dataset.title == "knees of Müller"
    assert maker(studio, result) == "the model first of Müller"
    found = dataset_of(studio, result)
    assert found is not None
    assert found[0].title == "knees of Müller"
    assert wanted_result(studio, result, "c0").images[0].is_file()
    _, training = commands.begin_training(studio, dataset, "again", recipe="limb", budget="1min")
    assert training.arguments[0] == "datasets/knees"
    assert training.title == "Train again on knees of Müller"
    _, predicting = result_commands.begin_prediction(studio, run, dataset.path, "new", of={"dataset": "knees"})
    assert predicting.arguments[:2] == ("runs/first", "datasets/knees")
    measuring = result_commands.begin_measuring(studio, result)
    monkeypatch.chdir(space.root)
    done = CliRunner().invoke(app, [measuring.command, *measuring.arguments])
    assert done.exit_code == 0, done.output
    assert {row.case for row in volumes_of(studio, result)} == {"c0", "c1"}
    assert about(result) == {"dataset": "knees", "run": "first", "title": "mine of Müller"}


def test_a_rename_is_undone(studio: Studio) -> None:
    knees, before = item(studio, "datasets/knees"), everything(studio)
    rename(studio, knees, "  Knees   of June ")
    assert knees.title == "Knees of June"
    rename(studio, knees, "knees")
    assert everything(studio) == before


def test_a_rename_moves_nothing_in_a_list(studio: Studio) -> None:
    for name, at in (("other", 1e9), ("knees", 1.1e9), ("third", 1.2e9)):
        (studio.workspace.root / "datasets" / name).mkdir(exist_ok=True)
        os.utime(studio.workspace.root / "datasets" / name, (at, at))
    order = ["third", "knees", "other"]
    for wanted in ("hips", "knees"):
        rename(studio, item(studio, "datasets/knees"), wanted)
        assert [each.name for each in studio.workspace.items("datasets")] == order


@pytest.mark.parametrize("wanted", ["", "  ", "a\u202eb", "x" * 81, "Other", "OTHER", "second one"])
def test_what_is_no_name_is_refused(studio: Studio, wanted: str) -> None:
    (studio.workspace.root / "datasets/other").mkdir()
    (studio.workspace.root / "datasets/third").mkdir()
    rename(studio, item(studio, "datasets/third"), "Second one")
    with pytest.raises(UsageError):
        rename(studio, item(studio, "datasets/knees"), wanted)
    assert item(studio, "datasets/knees").title == "knees"


def test_nothing_is_renamed_to_what_may_come_back(studio: Studio) -> None:
    (studio.workspace.root / "datasets/other").mkdir()
    other, knees = item(studio, "datasets/other"), item(studio, "datasets/knees")
    rename(studio, knees, "Legs")
    gone = delete(studio, knees)
    for wanted in ("Knees", "legs"):
        with pytest.raises(UsageError, match="another dataset is, or was, called"):
            rename(studio, other, wanted)
    rename(studio, other, "third")
    rename(studio, other, "other")
    knees.path.mkdir()  # by a command in a terminal
    rename(studio, knees, "fourth")
    rename(studio, knees, "knees")
    knees.path.rmdir()
    restore(studio, gone)
    assert (knees.title, other.title) == ("Legs", "other")


def test_nothing_new_gets_a_name_that_something_was_renamed_to(studio: Studio) -> None:
    rename(studio, item(studio, "datasets/knees"), "hips")
    assert studio.workspace.new("datasets", "hips").name == "hips-2"
    assert studio.workspace.new("datasets", "knees").name == "knees-2"


# Sizes


def test_sizes_follow_no_link_and_count_no_file_twice(studio: Studio, tmp_path: Path) -> None:
    root = studio.workspace.root
    large = root / "datasets/knees/large"
    large.write_bytes(os.urandom(3_000_000))
    alone = size_of(root / "datasets/knees")
    assert 3_000_000 <= alone < 4_000_000
    (root / "datasets/knees/again").hardlink_to(large)
    outside = tmp_path / "outside"
    outside.write_bytes(os.urandom(5_000_000))
    (root / "datasets/knees/link").symlink_to(outside)
    (root / "datasets/knees/circle").symlink_to(root / "datasets")
    (root / "runs/first/same").hardlink_to(large)
    assert size_of(root / "datasets/knees") - alone < 100_000
    sizes = sizes_of(studio.workspace)
    assert sizes.whole < 4_500_000
    assert sizes.of("datasets") == sizes.items["datasets/knees"]
    assert sizes.free > 0
    delete(studio, item(studio, "datasets/knees"))
    after = sizes_of(studio.workspace)
    assert after.of(BIN) > 3_000_000
    assert abs(after.whole - sizes.whole) < 100_000


def test_a_results_size_has_its_exports(studio: Studio) -> None:
    mine = item(studio, "results/mine")
    before = whole_size(studio, mine)
    (studio.workspace.root / "exports/mine-stl/b.stl").write_bytes(os.urandom(1_000_000))
    assert whole_size(studio, mine) - before >= 1_000_000


def test_a_size_in_words() -> None:
    assert [told_size(n) for n in (0, 12_300, 420_000, 12e6, 3.21e9, 4e12)] == [
        "0 kB",
        "12 kB",
        "0.4 MB",
        "12 MB",
        "3.21 GB",
        "4 TB",
    ]


# Pages

LISTS: dict[Kind, tuple[str, str]] = {
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
def test_each_list_deletes_and_takes_back(tmp_path: Path, kind: Kind) -> None:
    page, name = LISTS[kind]

    async def steps(user: User, studio: Studio) -> None:
        root = fill(studio.workspace.root)
        before = everything(studio)
        await user.open(page)
        user.find(marker=f"delete-{kind}-{name}").click()
        await user.should_see(f"Delete {name}?")
        user.find(marker="go").click()
        await until(lambda: not (root / kind / name).exists())
        await user.open(page)
        await user.should_see(f"{name} is in the bin")
        user.find("Undo").click()
        await until(lambda: everything(studio) == before)

    visit(tmp_path, steps)


@pytest.mark.parametrize(
    ("kind", "page"), [("sources", "/source/"), ("datasets", "/dataset/"), ("runs", "/train/"), ("results", "/result/")]
)
def test_each_page_renames_and_says_its_size(tmp_path: Path, kind: Kind, page: str) -> None:
    name = LISTS[kind][1]

    async def steps(user: User, studio: Studio) -> None:
        fill(studio.workspace.root)
        before = everything(studio)
        own = studio.workspace.item(kind, name)
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
        await until(lambda: everything(studio) == before)

    visit(tmp_path, steps)


def test_what_a_job_uses_is_refused_on_the_page(tmp_path: Path) -> None:
    async def steps(user: User, studio: Studio) -> None:
        fill(studio.workspace.root)
        studio.jobs.submit("audit", ["datasets/knees"], "Check knees")
        await user.open("/data")
        user.find(marker="delete-sources-legs").click()
        await user.should_see("the job “Check knees” uses it")
        await user.should_not_see("Delete legs?")

    visit(tmp_path, steps)


def test_the_page_of_space_lists_sizes_references_and_the_bin(tmp_path: Path) -> None:
    async def steps(user: User, studio: Studio) -> None:
        root = fill(studio.workspace.root)
        gone = delete(studio, item(studio, "runs/first"))
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
        delete(studio, item(studio, "runs/first"))
        await user.open("/space")
        await user.should_see("Empty the bin (")
        user.find("Empty the bin (").click()
        await user.should_see("This cannot be undone.")
        assert len(thrown(studio)) == 1
        user.find("Remove for good").click()
        await until(lambda: thrown(studio) == [])
        await until(lambda: [path.name for path in (root / BIN).iterdir()] == ["spent.json"])

    visit(tmp_path, steps)


def test_what_cannot_be_removed_for_good_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise FileError("spent.json: the disk is full", hint="make room")

    async def steps(user: User, studio: Studio) -> None:
        fill(studio.workspace.root)
        gone = delete(studio, item(studio, "runs/first"))
        await user.open("/space")
        await user.should_see("Empty the bin (")
        user.find("Empty the bin (").click()
        await user.should_see("This cannot be undone.")
        monkeypatch.setattr("osteon.app.bin.write_json", full)
        user.find("Remove for good").click()
        await user.should_see("the disk is full")
        assert thrown(studio) == [gone]

    visit(tmp_path, steps)


def test_a_restoring_is_undone_of_what_was_restored(tmp_path: Path) -> None:
    """Of two results whose names begin alike: only commands in a terminal give names with a `~`."""

    async def steps(user: User, studio: Studio) -> None:
        results = studio.workspace.root / "results"
        (results / "my").mkdir()
        (results / "my~set").mkdir()
        gone = delete(studio, item(studio, "results/my~set"))
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
