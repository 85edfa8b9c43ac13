"""Numbered pieces in the viewer: listed, gone to, shown and hidden; and in a result merged, split, renumbered."""

from __future__ import annotations

import asyncio
import colorsys
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nicegui.testing.user import User
from playwright.sync_api import expect

from app_browser import Visitor, chromium, open_visitor, wait
from app_pages import click, visit
from helpers import spacing_affine
from osteon.app.corrections import PieceEdit, correct_pieces, corrections_of, renumber_targets, undo_correction
from osteon.app.layers import difference_map
from osteon.app.pieces import split_pieces
from osteon.app.scenes import LabelSource, SceneRequest, make_scene
from osteon.app.state import AppState
from osteon.app.workspace import ABOUT, Workspace
from osteon.core.errors import UsageError
from osteon.core.files import write_json
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, piece_colour
from osteon.core.volume import Volume
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.formats.raster import TO_RAS

BONE = Structure(name="bone", value=1, colour="#d08030", instances=True, last_value=40)
LEVELS = {"assignments": [{"names": [n], "first": n, "probability": p} for n, p in (("L1", 0.6), ("L2", 0.4))]}
METAL = Structure(name="metal", value=50, colour="#3060ff")
SHAPE = (40, 32, 48)


def pieces() -> np.ndarray:
    """Piece 1 is two balls with a neck between; 4 two cubes apart; 9 one cube."""
    labels = np.zeros(SHAPE, np.uint8)
    places = np.stack(np.indices(SHAPE), -1)
    for at, radius in (((11, 16, 10), 7), ((28, 16, 10), 5)):
        labels[np.linalg.norm(places - np.array(at), axis=-1) <= radius] = 1
    labels[11:28, 15:18, 9:12] = 1
    labels[8:16, 12:20, 20:28] = labels[24:31, 12:20, 20:28] = 4
    labels[16:24, 12:20, 35:43] = 9
    labels[2:5, 2:5, 2:5] = 50
    return labels


def segmentation(affine: np.ndarray | None = None) -> Segmentation:
    return Segmentation(pieces(), Geometry(SHAPE, np.eye(4) if affine is None else affine), (BONE, METAL))


def fractures(folder: Path, name: str = "mine", **more: Any) -> Path:
    """A workspace with a result of one scan, and `more` in its record."""
    root = Workspace.open(folder).root
    made = segmentation(spacing_affine(1, 1, 1, origin=(-20, -16, 100)))
    image = np.where(made.array > 0, 400, 0).astype(np.int16)
    write_volume(root / "sources/arms/a.nii.gz", Volume(image[None], made.geometry))
    write_segmentation(root / f"results/{name}/a.nii.gz", made)
    entry = {"input": [[str(root / "sources/arms/a.nii.gz")]], "confidence": {}, "review": []}
    write_json(root / f"results/{name}/predictions.json", {"a": entry | more})
    write_json(root / f"results/{name}" / ABOUT, {"run": "", "source": "arms"})
    return root


def labels_of(root: Path) -> np.ndarray:
    return read_segmentation(root / "results/mine/a.nii.gz", pieces=True).array


# What is shown


def test_each_piece_is_an_entry_with_a_place_in_it() -> None:
    separate, entries = split_pieces(segmentation())
    assert [s.name for s in separate.structures] == ["bone, piece 1", "bone, piece 4", "bone, piece 9", "metal"]
    assert [(e.structure, e.value) for e in entries.values()] == [("bone", 1), ("bone", 4), ("bone", 9)]
    for entry in entries.values():
        assert separate.array[entry.at] == entry.value, "it lies in the piece, and not between its parts"
        assert entry.voxels == (separate.array == entry.value).sum()
    assert np.abs(np.subtract(entries["bone, piece 9"].at, (19.5, 15.5, 38.5))).max() <= 0.5


def test_what_has_no_pieces_stays_as_it_is() -> None:
    made = segmentation()
    bare = Segmentation(np.where(made.array == 50, 50, 0).astype(np.uint8), made.geometry, made.structures)
    separate, entries = split_pieces(bare)
    assert (separate.structures, entries) == ((BONE, METAL), {})
    plain = Segmentation(made.array, made.geometry, (METAL,))
    assert split_pieces(plain)[0] is plain


def test_pieces_have_colours_near_their_structures_and_of_their_own() -> None:
    colours = [piece_colour(BONE.colour, n) for n in range(1, 22)]
    assert colours[0] == BONE.colour
    assert len(set(colours)) == 21
    hues = [colorsys.rgb_to_hls(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0] for c in colours]
    assert max(min(abs(h - hues[0]), 1 - abs(h - hues[0])) for h in hues) < 0.2
    assert len({piece_colour("#808080", n) for n in range(1, 8)}) == 7, "of grey, too"


@pytest.mark.parametrize("structures", [None, (METAL, BONE)], ids=["the file's", "a dataset's"])
def test_a_scene_has_the_places_of_pieces_in_mm(tmp_path: Path, structures: tuple[Structure, ...] | None) -> None:
    root = fractures(tmp_path)
    labels = LabelSource(root / "results/mine/a.nii.gz", structures)
    request = SceneRequest("a", (root / "sources/arms/a.nii.gz",), second=labels)
    info = make_scene(request, tmp_path / "scene")
    rows = {row["name"]: row["piece"] for row in info["parts"]["b"][0]["structures"]}
    assert rows["metal"] is None
    at = rows["bone, piece 9"]["at"]
    assert at == pytest.approx([0, 0, 139], abs=1.01)
    assert rows["bone, piece 9"]["structure"] == "bone"
    assert rows["bone, piece 9"]["value"] == 9


def test_a_picture_has_them_in_pixels(tmp_path: Path) -> None:
    labels = np.zeros((60, 40, 1), np.uint8)
    labels[10:21, 30:33], labels[40:51, 5:8] = 1, 2
    geometry = Geometry(labels.shape, TO_RAS, "px")
    write_volume(tmp_path / "p.nii.gz", Volume(labels[None].astype(np.float32), geometry))
    write_segmentation(tmp_path / "s.nii.gz", Segmentation(labels, geometry, (BONE,)))
    info = make_scene(
        SceneRequest("p", (tmp_path / "p.nii.gz",), first=LabelSource(tmp_path / "s.nii.gz")), tmp_path / "x"
    )
    rows = [row["piece"] for row in info["parts"]["a"][0]["structures"]]
    assert [row["at"] for row in rows] == [[15.0, 31.0], [45.0, 6.0]]


def test_differences_are_those_of_structures() -> None:
    made = segmentation()
    other = Segmentation(np.where(made.array == 4, 17, made.array), made.geometry, made.structures)
    assert set(np.unique(difference_map(made, other, ["bone", "metal"]).array)) == {0, 1}


# What is corrected


def test_corrections_are_kept_with_what_was_before(tmp_path: Path) -> None:
    root = fractures(tmp_path)
    path = root / "results/mine/a.nii.gz"
    before = path.read_bytes()
    assert corrections_of(path) == []
    assert correct_pieces(path, PieceEdit("split", (4,))) == "Split bone, piece 4"
    assert set(np.unique(labels_of(root))) == {0, 1, 2, 4, 9, 50}
    assert correct_pieces(path, PieceEdit("merge", (9, 2))) == "Merged bone, piece 9 and bone, piece 2"
    assert correct_pieces(path, PieceEdit("renumber", (4,), 1)) == "Made bone, piece 4 bone, piece 1"
    assert set(np.unique(labels_of(root))) == {0, 1, 2, 4, 50}
    assert read_segmentation(path, pieces=True).structures == (BONE, METAL)
    assert (root / "results/mine/.corrections/a/0.nii.gz").read_bytes() == before
    assert len(corrections_of(path)) == 3
    assert undo_correction(path).startswith("Made")
    assert correct_pieces(path, PieceEdit("split", (1,))) == "Split bone, piece 1"
    assert corrections_of(path)[1:] == ["Merged bone, piece 9 and bone, piece 2", "Split bone, piece 1"]
    for _ in range(3):
        undo_correction(path)
    assert path.read_bytes() == before
    assert corrections_of(path) == []
    with pytest.raises(UsageError, match="nothing was corrected"):
        undo_correction(path)


def test_what_is_predicted_anew_has_no_corrections(tmp_path: Path) -> None:
    root = fractures(tmp_path)
    path = root / "results/mine/a.nii.gz"
    correct_pieces(path, PieceEdit("split", (4,)))
    write_segmentation(
        path, Segmentation(np.where(pieces() == 9, 9, 0).astype(np.uint8), Geometry(SHAPE, np.eye(4)), (BONE,))
    )
    fresh = path.read_bytes()
    assert corrections_of(path) == []
    correct_pieces(path, PieceEdit("renumber", (9,), 3))
    assert len(corrections_of(path)) == 1
    undo_correction(path)
    assert path.read_bytes() == fresh


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    root = fractures(tmp_path)
    path = root / "results/mine/a.nii.gz"
    path.rename(tmp_path / "theirs.nii.gz")
    path.symlink_to(tmp_path / "theirs.nii.gz")
    before = (tmp_path / "theirs.nii.gz").read_bytes()
    correct_pieces(path, PieceEdit("split", (4,)))
    assert (tmp_path / "theirs.nii.gz").read_bytes() == before
    assert 2 in labels_of(root)


def test_what_cannot_be_done_changes_nothing(tmp_path: Path) -> None:
    root = fractures(tmp_path)
    path = root / "results/mine/a.nii.gz"
    before = path.read_bytes()
    for edit, why in (
        (PieceEdit("split", (9,)), "no neck"),
        (PieceEdit("merge", (1,)), "alone"),
        (PieceEdit("merge", (1, 50)), "several structures"),
        (PieceEdit("split", (99,)), "no piece 99"),
        (PieceEdit("renumber", (1,), 99), "no piece 99"),
    ):
        with pytest.raises(UsageError, match=why):
            correct_pieces(path, edit)
    assert path.read_bytes() == before
    assert not (root / "results/mine/.corrections").exists()


def test_a_piece_may_become_what_has_room(tmp_path: Path) -> None:
    root = fractures(tmp_path)
    path = root / "results/mine/a.nii.gz"
    assert renumber_targets(path, 1) == {
        4: "bone, piece 4: they swap",
        9: "bone, piece 9: they swap",
        2: "bone, piece 2: free",
    }
    write_segmentation(
        path, Segmentation(np.where(pieces() < 50, pieces(), 0), Geometry(SHAPE, np.eye(4)), (BONE, METAL))
    )
    assert renumber_targets(path, 1)[50] == "metal: free"
    assert correct_pieces(path, PieceEdit("renumber", (1,), 50)) == "Made bone, piece 1 metal"
    assert set(np.unique(labels_of(root))) == {0, 4, 9, 50}


# The page


def case_url(app: AppState) -> str:
    item = app.workspace.item("results", "mine")
    return f"{item.url}/{app.case_id(item, 'a')}"


async def settled(user: User, text: str) -> None:
    await user.should_see(text, retries=20)
    await asyncio.sleep(0.1)


def test_pieces_are_listed_below_their_structure_and_corrected(tmp_path: Path) -> None:
    root = fractures(tmp_path)

    async def steps(user: User, app: AppState) -> None:
        await user.open(case_url(app))
        await settled(user, "bone: 3 pieces")
        view = next(iter(user.find(marker="view-0").elements))
        names = [s["name"] for layer in view.props["scene"]["layers"] for s in layer["structures"]]
        assert names == ["bone, piece 1", "bone, piece 4", "bone, piece 9", "metal"]
        switches = {n: next(iter(user.find(marker=f"structure-{n}").elements)) for n in range(1, 6)}
        switches[1].set_value(False)  # the whole bone
        assert [switches[n].value for n in range(1, 6)] == [False, False, False, False, True]
        switches[2].set_value(True)
        await click(user, "Merge")
        await user.should_see("fewer than two pieces are ticked")
        for value in (4, 9):
            user.find(marker=f"choose-{value}").click()
        await click(user, "Split")
        await user.should_see("2 pieces are ticked")
        await click(user, "Merge")
        await settled(user, "bone: 2 pieces")
        assert set(np.unique(labels_of(root))) == {0, 1, 4, 50}
        await user.should_see("1 done, the last: Merged bone, piece 4 and bone, piece 9")
        user.find(marker="choose-1").click()
        await click(user, "Renumber")
        await asyncio.sleep(0.2)
        next(iter(user.find(marker="renumber").elements)).set_value(2)
        await click(user, "Save")
        await settled(user, "Made bone, piece 1 bone, piece 2")
        user.find(marker="undo-piece").click()
        await settled(user, "1 done, the last: Merged")
        user.find(marker="undo-piece").click()
        await settled(user, "bone: 3 pieces")
        assert np.array_equal(labels_of(root), pieces())

    visit(tmp_path, steps)


def test_two_results_are_compared_piece_by_piece_and_not_corrected(tmp_path: Path) -> None:
    root = fractures(tmp_path)
    fractures(tmp_path, "other")
    correct_pieces(root / "results/other/a.nii.gz", PieceEdit("renumber", (4,), 2))

    async def steps(user: User, app: AppState) -> None:
        mine, other = (app.workspace.item("results", name) for name in ("mine", "other"))
        await user.open(f"/compare/{mine.id}/{other.id}/{app.case_id(other, 'a')}")
        await settled(user, "bone: 4 pieces")
        shown = [next(iter(user.find(marker=f"view-{n}").elements)).props["scene"]["layers"] for n in (0, 1)]
        names = [[s["name"].rpartition(" ")[2] for layer in view for s in layer["structures"]] for view in shown]
        assert names == [["1", "4", "9", "metal"], ["1", "2", "9", "metal"]]
        await user.should_not_see("Correct the pieces")

    visit(tmp_path, steps)


def test_corrected_pieces_are_not_lost_by_other_names(tmp_path: Path) -> None:
    root = fractures(tmp_path, levels=LEVELS)
    correct_pieces(root / "results/mine/a.nii.gz", PieceEdit("split", (4,)))

    async def steps(user: User, app: AppState) -> None:
        await user.open(case_url(app))
        await click(user, "Name it L2")
        await user.should_see("its pieces were corrected, and would be lost")

    assert not visit(tmp_path, steps).jobs.all()


def test_what_was_measured_before_a_correction_is_measured_again(tmp_path: Path) -> None:
    root = fractures(tmp_path)
    table = root / "exports/mine-volumes/volumes.csv"
    table.parent.mkdir(parents=True)
    table.write_text("case,structure,volume_cm3,voxels\na,bone,3.4,3400\n")

    async def steps(user: User, app: AppState) -> None:
        await user.open(app.workspace.item("results", "mine").url)
        await user.should_see("Length is measured")
        await user.should_not_see("Measure again")
        os.utime(table, (0, 0))
        await user.open(app.workspace.item("results", "mine").url)
        await click(user, "Measure again")

    assert [job.command for job in visit(tmp_path, steps).jobs.all()] == ["export"]


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    chromium()
    root = fractures(tmp_path_factory.mktemp("pieces") / "w")
    labels = np.zeros((300, 200, 1), np.uint8)
    labels[20:51, 40:61], labels[250:281, 150:171] = 1, 2
    geometry = Geometry(labels.shape, TO_RAS, "px")
    write_volume(root / "sources/hands/hand.nii.gz", Volume(labels[None].astype(np.float32), geometry))
    write_segmentation(root / "results/flat/hand.nii.gz", Segmentation(labels, geometry, (BONE,)))
    entry = {"input": [[str(root / "sources/hands/hand.nii.gz")]]}
    write_json(root / "results/flat/predictions.json", {"hand": entry})
    with open_visitor(root) as made:
        yield made


def cross(visitor: Visitor) -> list[float]:
    """Where the crosshair is, in mm."""
    view = "document.querySelector('.osteon-view canvas').osteonView.nv"
    found: list[float] = visitor.page.evaluate(f"() => [...{view}.frac2mm({view}.scene.crosshairPos)].slice(0, 3)")
    return found


def shot(visitor: Visitor, name: str) -> None:
    if folder := os.environ.get("OSTEON_SHOTS"):
        visitor.page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_a_click_goes_to_a_piece_and_an_edit_leaves_the_view_there(visitor: Visitor) -> None:
    root = visitor.server.root
    visitor.open(case_url(AppState(Workspace.open(root))))
    visitor.sees("shown after")
    visitor.click("Go to bone, piece 9")
    wait(lambda: abs(cross(visitor)[2] - 139) <= 1.01, seconds=10)
    shot(visitor, "pieces")
    visitor.page.get_by_role("checkbox", name="Tick bone, piece 4").click()
    visitor.click("Split", exact=True)
    visitor.sees("bone: 4 pieces")
    visitor.sees("1 done, the last: Split bone, piece 4")
    expect(visitor.page.get_by_role("button", name="Go to bone, piece 2")).to_be_visible()
    script = "() => document.querySelector('.osteon-view canvas').osteonView.shown.layers[0].structures.length"
    wait(lambda: visitor.page.evaluate(script) == 5, seconds=20)
    assert cross(visitor)[2] == pytest.approx(139, abs=1.01)
    shot(visitor, "pieces-split")
    visitor.page.get_by_role("checkbox", name="Tick bone, piece 9").click()
    visitor.click("Renumber", exact=True)
    visitor.sees("What is bone, piece 9?")
    visitor.page.wait_for_timeout(400)
    shot(visitor, "pieces-renumber")
    visitor.click("Cancel")
    visitor.click("Split", exact=True)
    visitor.sees("this piece is connected and has no neck")
    assert visitor.errors == []


def test_a_click_goes_to_a_piece_of_a_picture(visitor: Visitor) -> None:
    item = Workspace.open(visitor.server.root).item("results", "flat")
    visitor.open(f"{item.url}/{Workspace.open(visitor.server.root).keyed_hash('results', 'flat', 'hand')}")
    visitor.sees("shown after")
    visitor.sees("651 px")
    visitor.click("Go to bone, piece 2")
    view = "document.querySelector('.osteon-view canvas').osteonView"
    wait(lambda: visitor.page.evaluate(f"() => [{view}.at.x, {view}.at.y]") == [265.5, 160.5], seconds=10)
    visitor.page.get_by_role("checkbox", name="Tick bone, piece 1").click()
    visitor.page.get_by_role("checkbox", name="Tick bone, piece 2").click()
    visitor.click("Merge", exact=True)
    visitor.sees("bone: 1 piece")
    visitor.sees("1302 px")
    shot(visitor, "pieces-picture")
    assert visitor.errors == []
