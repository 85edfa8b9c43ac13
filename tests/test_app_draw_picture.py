"""Radiographs drawn on: what each tool does to the bits, pixel by pixel against masks that are made here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import ndimage

from drawing_page import VIEW, Drawer, Mask, middles, open_drawer, polygon, stroke, structure_rows

SIZE = (160, 120)
"""Columns and rows."""


@pytest.fixture(scope="module")
def drawer() -> Iterator[Drawer]:
    with open_drawer() as made:
        yield made


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> Mask:
    across, down = middles(size)
    return np.asarray(np.hypot(across - x, down - y) <= radius)


def bones(count: int = 3) -> Mask:
    """Discs of which neighbours overlap."""
    return np.stack([disc(40 + 25 * (n % 4), 60 + 3 * (n // 4), 20) for n in range(count)])


def same(drawer: Drawer, wanted: Mask) -> None:
    found = drawer.masks()
    wrong = [(n, int((found[n] ^ wanted[n]).sum())) for n in range(len(wanted)) if (found[n] ^ wanted[n]).any()]
    assert not wrong, f"structures and how many of their pixels differ: {wrong}"


@pytest.mark.parametrize(
    ("pixel", "marks", "count"),
    [((0.2, 0.3), ("L", "R", "S", "I"), 3), ((0.5, 0.25), ("R", "L", "S", "I"), 40)],
    ids=["mirrored, pixels of 2:3", "40 structures, pixels of 2:1"],
)
def test_the_brush_draws_what_it_passes_over_and_the_eraser_takes_it_away(
    drawer: Drawer, pixel: tuple[float, float], marks: tuple[str, ...], count: int
) -> None:
    drawer.open(bones(count), pixel, marks)
    wanted, active = bones(count), count - 1
    drawer.call("setStructure", active)
    drawer.call("setTool", "brush", {"size": 9})
    at = drawer.drag((20, 20), (60, 34), (60, 70))
    wanted[active] |= stroke(drawer.size, at, 9, drawer.stretch)
    same(drawer, wanted)
    assert drawer.page.evaluate(f"{VIEW}.at.mirrored") == (marks[0] == "L")
    drawer.settle()
    shown = max(colour := drawer.colour((40, 27))) - min(colour)
    assert shown > 20, "where the mouse was, it is coloured"
    drawer.call("setTool", "eraser", {"size": 14})
    at = drawer.drag((50, 20), (50, 90))
    wanted[active] &= ~stroke(drawer.size, at, 14, drawer.stretch)
    same(drawer, wanted)
    assert [what["rows"] for what in drawer.told("drawn")[1:]] == [[active], [active]]
    drawer.call("undo")
    drawer.call("undo")
    same(drawer, bones(count))
    drawer.call("redo")
    drawer.call("redo")
    drawer.call("redo")
    same(drawer, wanted)


def test_the_brush_keeps_within_a_range_of_grey_and_takes_from_others(drawer: Drawer) -> None:
    grey = np.tile(np.arange(SIZE[0]), (SIZE[1], 1))
    drawer.open(bones(), grey=grey)
    wanted = bones()
    drawer.call("setStructure", 1)
    drawer.call("setTool", "brush", {"size": 21, "limit": "range", "from": 30, "to": 44})
    at = drawer.drag((20, 20), (70, 20))
    wanted[1] |= stroke(SIZE, at, 21) & (grey >= 30) & (grey <= 44)
    same(drawer, wanted)
    drawer.call("setTool", "takeover", {"size": 11})
    at = drawer.drag((30, 60), (50, 60))
    moved = stroke(SIZE, at, 11) & (wanted[0] | wanted[2])
    wanted[1] |= moved
    wanted[[0, 2]] &= ~moved
    same(drawer, wanted)


def test_a_polygon_is_filled_and_follows_its_corners(drawer: Drawer) -> None:
    drawer.open(bones())
    before, mouse = bones(), drawer.page.mouse
    drawer.call("setTool", "polygon", {})
    corners = [(10.0, 10.0), (90.0, 14.0), (100.0, 100.0), (60.0, 50.0), (20.0, 90.0)]
    points = [drawer.on_screen(corner) for corner in corners]
    for point in (*points, points[0]):
        mouse.click(*point)
    at = [drawer.in_picture(point) for point in points]

    def wanted(*corners: tuple[float, float]) -> Mask:
        return np.stack([before[0] | polygon(SIZE, corners), *before[1:]])

    same(drawer, wanted(*at))
    to = drawer.drag(at[2], (95, 90), (140, 80))[-1]
    same(drawer, wanted(*at[:2], to, *at[3:]))
    middle = ((at[0][0] + at[1][0]) / 2, (at[0][1] + at[1][1]) / 2)
    put = drawer.drag(middle, (50, 40), (55, 30))[-1]
    whole = wanted(at[0], put, at[1], to, *at[3:])
    same(drawer, whole)
    drawer.page.wait_for_timeout(400)
    mouse.dblclick(*drawer.on_screen(at[4]))
    same(drawer, wanted(at[0], put, at[1], to, at[3]))
    drawer.call("undo")
    same(drawer, whole)
    for _ in range(2):
        drawer.call("undo")
    same(drawer, wanted(*at))
    to = drawer.drag(at[1], (120, 20))[-1]  # what was undone can be dragged again
    same(drawer, wanted(at[0], to, *at[2:]))
    drawer.call("undo")
    drawer.call("undo")
    same(drawer, before)
    for _ in range(9):
        drawer.call("undo")
    assert drawer.page.evaluate(f"{VIEW}.tool.rings") == []
    assert [what["rows"] for what in drawer.told("drawn")[1:]] == [[0]] * 10


def test_an_outline_becomes_corners_of_which_each_changes_only_its_part(drawer: Drawer) -> None:
    ring = disc(80, 60, 45) & ~disc(80, 60, 20)
    ragged = ring & (np.random.default_rng(3).random(ring.shape) < 0.97)
    drawer.open(np.stack([ragged, disc(80, 60, 10)]))
    drawer.call("setStructure", 1)
    drawer.call("setStructure", 0)
    drawer.call("setTool", "outline")
    same(drawer, np.stack([ragged, disc(80, 60, 10)]))
    rings = drawer.page.evaluate(f"{VIEW}.tool.rings")
    outer = max(rings, key=len)
    assert 8 <= len(outer) <= 60
    corner = min(outer, key=lambda at: at[0])
    n = outer.index(corner)
    to = drawer.drag((corner[0], corner[1]), (15, corner[1]))[-1]
    was, now = polygon(SIZE, outer), polygon(SIZE, [*outer[:n], to, *outer[n + 1 :]])
    wanted = np.where(was == now, ragged, now)
    assert wanted.sum() > ragged.sum() + 100
    same(drawer, np.stack([wanted, disc(80, 60, 10)]))
    drawer.call("undo")
    same(drawer, np.stack([ragged, disc(80, 60, 10)]))


def test_where_structures_exclude_one_another_the_others_give_way(drawer: Drawer) -> None:
    one, two, three = disc(40, 60, 25) & ~disc(70, 60, 20), disc(70, 60, 20), disc(120, 60, 15)
    drawer.open(np.stack([one, two, three]), exclusive=True)
    rows = structure_rows(3)
    rows[2]["locked"] = True
    drawer.call("setRows", rows)
    drawer.call("setTool", "brush", {"size": 9})
    at = drawer.drag((40, 60), (130, 60))
    drawn = stroke(SIZE, at, 9) & ~three
    same(drawer, np.stack([one | drawn, two & ~drawn, three]))
    drawer.call("setTool", "polygon", {"what": "draw"})
    points = [drawer.on_screen(corner) for corner in ((50, 30), (110, 45), (60, 90))]
    for point in (*points, points[0]):
        drawer.page.mouse.click(*point)
    corners = [drawer.in_picture(point) for point in points]
    inside = polygon(SIZE, corners) & ~three
    same(drawer, np.stack([one | drawn | inside, two & ~drawn & ~inside, three]))
    to = drawer.drag(corners[1], (70, 40))[-1]  # what the polygon leaves is as it was
    inside = polygon(SIZE, [corners[0], to, corners[2]]) & ~three
    same(drawer, np.stack([one | drawn | inside, two & ~drawn & ~inside, three]))
    drawer.call("setStructure", 2)
    drawer.drag((120, 60), (100, 60))
    assert drawer.said() == "bone 2 is protected."
    for _ in range(3):
        drawer.call("undo")
    same(drawer, np.stack([one, two, three]))


def test_an_outline_is_traced_to_the_pixel(drawer: Drawer) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((60, 70)), 1.0) > 0.5
    noise[[0, -1]] |= True
    filled = drawer.page.evaluate(
        """async ([mask, size]) => {
          const { trace, fillRings } = await import("osteon-picture/shapes.js");
          return [...fillRings(trace(mask, size), [0, 0, ...size])];
        }""",
        [noise.ravel().astype(int).tolist(), [70, 60]],
    )
    assert np.array_equal(np.reshape(filled, noise.shape).astype(bool), noise)


def test_what_can_be_undone_takes_no_more_memory_than_is_allowed(drawer: Drawer) -> None:
    drawer.open(bones())
    script = """async (most) => {
      const { History } = await import("osteon-picture/history.js"), words = [new Uint32Array(6400)];
      const history = new History(words, [80, 80], most);
      for (let step = 0; step < 20; step++) {
        for (let n = 0; n < 6400; n += 3) history.set(step, n, 1);
        history.commit();
      }
      const kept = history.done.length;
      while (history.undo());
      return [kept, history.bytes, words[0][0], words[0][1]];
    }"""
    kept, held, word, beside = drawer.page.evaluate(script, 5100)
    assert held <= 5100
    assert (kept, word, beside) == (5, (1 << 15) - 1, 0), "80 x 80 bits and 200 bytes a step; the oldest stay"
    assert drawer.page.evaluate(script, 10**6)[2] == 0


def test_holes_are_filled_edges_smoothed_and_floods_stopped(drawer: Drawer) -> None:
    rough = (disc(60, 60, 40) & ~disc(60, 60, 15) & ~disc(35, 60, 4)) | disc(120, 60, 12) | disc(2, 2, 9)
    start = np.stack([rough, disc(100, 60, 30)])
    drawer.open(start)
    drawer.call("setTool", "holes")
    whole = ndimage.binary_fill_holes(rough)
    same(drawer, np.stack([whole, start[1]]))
    drawer.call("setTool", "holes")
    assert drawer.said() == "There are no holes in this structure."
    drawer.call("undo")
    drawer.call("setTool", "smooth", {"radius": 3})
    sums = rough.astype(int)
    for axis in (1, 1, 0, 0):
        sums = ndimage.convolve1d(sums, np.ones(7, int), axis=axis, mode="nearest")
    same(drawer, np.stack([2 * sums > 7**4, start[1]]))
    drawer.call("undo")

    drawer.call("setTool", "fill", {})
    drawer.drag((60, 60))
    same(drawer, np.stack([rough | disc(60, 60, 15), start[1]]))
    drawer.drag((150, 10))
    assert "it would run to the picture's edge" in drawer.said()
    same(drawer, np.stack([rough | disc(60, 60, 15), start[1]]))
    drawer.call("undo")
    drawer.call("setTool", "fill", {"what": "erase"})
    drawer.drag((120, 60))
    same(drawer, np.stack([rough & ~disc(120, 60, 12), start[1]]))
    drawer.call("undo")

    drawer.call("setStructure", 1)
    drawer.call("setTool", "take", {})
    drawer.drag((120, 60))
    same(drawer, np.stack([rough & ~disc(120, 60, 12), start[1] | disc(120, 60, 12)]))
    assert sorted(drawer.told("drawn")[-1]["rows"]) == [0, 1]
    drawer.call("undo")
    same(drawer, start)


def test_everything_is_reached_by_the_keyboard(drawer: Drawer) -> None:
    drawer.open(np.zeros((1, SIZE[1], SIZE[0]), bool))
    drawer.call("setTool", "brush", {"size": 5})
    keys = drawer.page.keyboard
    drawer.page.get_by_role("application", name="The picture").focus()
    keys.press("Shift+ArrowLeft")  # from the middle, 80 and 60
    keys.press("Space")
    for key in ("Shift+ArrowRight", "ArrowDown", "ArrowDown"):
        keys.press(key)
    keys.press("Space")
    keys.press("ArrowUp")
    keys.press("Escape")
    at = [(70.5, 60.5), (80.5, 60.5), (80.5, 61.5), (80.5, 62.5)]
    same(drawer, stroke(SIZE, at, 5)[None])
    assert "80.0, 61.0 px" in drawer.page.locator("[aria-live]").first.inner_text()
    drawer.call("undo")
    drawer.call("setTool", "polygon", {})
    for moves in ((), ("Shift+ArrowRight",) * 3, ("Shift+ArrowDown",) * 3):
        for key in moves:
            keys.press(key)
        keys.press("Space")
    keys.press("Enter")
    corners = [(80.5, 61.5), (110.5, 61.5), (110.5, 91.5)]
    same(drawer, polygon(SIZE, corners)[None])
    keys.press("Space")  # takes the last corner up, and puts it down again
    keys.press("Shift+ArrowLeft")
    keys.press("Space")
    same(drawer, polygon(SIZE, [*corners[:2], (100.5, 91.5)])[None])
    keys.press("Delete")
    keys.press("Escape")
    same(drawer, np.zeros((1, SIZE[1], SIZE[0]), bool))


def test_what_is_drawn_around_becomes_a_polygon(drawer: Drawer) -> None:
    drawer.open(bones())
    drawer.call("setTool", "polygon", {"what": "erase"})
    angles = np.linspace(0, 2 * np.pi, 25)
    drawer.drag(*[(40 + 12 * float(np.cos(a)), 60 + 12 * float(np.sin(a))) for a in angles])
    [corners] = drawer.page.evaluate(f"{VIEW}.tool.rings")
    assert 8 <= len(corners) <= 25
    gone = polygon(SIZE, corners)
    assert (gone ^ disc(40, 60, 12)).sum() < 60
    same(drawer, np.stack([bones()[0] & ~gone, *bones()[1:]]))


def test_one_finger_draws_and_two_zoom_and_beside_a_pen_one_moves(drawer: Drawer) -> None:
    empty = np.zeros((1, SIZE[1], SIZE[0]), bool)
    drawer.open(empty)
    drawer.call("setTool", "brush", {"size": 8})
    session = drawer.page.context.new_cdp_session(drawer.page)

    def touch(kind: str, *fingers: tuple[int, int]) -> None:
        at = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    points = [drawer.on_screen(place) for place in ((40, 40), (60, 40))]
    touch("touchStart", points[0])
    touch("touchMove", points[1])
    touch("touchEnd")
    drawn = stroke(SIZE, [drawer.in_picture(point) for point in points], 8)[None]
    same(drawer, drawn)
    scale = drawer.page.evaluate(f"{VIEW}.at.scale")
    touch("touchStart", (300, 200))
    touch("touchStart", (300, 200), (400, 200))
    touch("touchMove", (250, 200), (450, 200))
    touch("touchEnd")
    same(drawer, drawn)
    assert drawer.page.evaluate(f"{VIEW}.at.scale") == pytest.approx(2 * scale)
    drawer.call("zoom", 0)
    point = drawer.on_screen((80, 90))
    pen = {"x": point[0], "y": point[1], "button": "left", "clickCount": 1, "pointerType": "pen"}
    for kind in ("mousePressed", "mouseReleased"):
        session.send("Input.dispatchMouseEvent", {"type": kind, **pen})
    drawn |= stroke(SIZE, [drawer.in_picture(point)], 8)[None]
    same(drawer, drawn)
    where = drawer.page.evaluate(f"{VIEW}.at.x")
    touch("touchStart", (300, 200))  # a hand that rests on the screen
    touch("touchMove", (330, 200))
    touch("touchEnd")
    same(drawer, drawn)
    assert drawer.page.evaluate(f"{VIEW}.at.x") != where


def test_views_move_and_structures_are_picked_without_drawing(drawer: Drawer) -> None:
    drawer.open(bones())
    drawer.call("setTool", "brush", {"size": 10})
    at, where = drawer.on_screen((55, 60)), f"[{VIEW}.at.x, {VIEW}.at.y]"
    x, y = drawer.page.evaluate(where)
    drawer.drag((40, 60), (50, 70), button="middle")
    assert drawer.page.evaluate(where) == pytest.approx([x - 10, y - 10], abs=0.5)
    drawer.call("zoom", 0)
    for active in (0, 1):
        drawer.call("setStructure", active)
        drawer.page.mouse.click(*at, button="right")
    assert [what["row"] for what in drawer.told("picked")] == [1, 0]
    drawer.call("setTool", "others")
    drawer.call("setRows", structure_rows(33))
    drawer.count = 33
    drawer.call("setStructure", 32)
    assert drawer.call("present") == [0, 1, 2]
    drawer.settle()
    assert drawer.call("colours") == 0
    drawer.call("setTool", "brush", {"size": 10})
    painted = drawer.drag((20, 20))
    same(drawer, np.stack([*bones(), *np.zeros((29, SIZE[1], SIZE[0]), bool), stroke(SIZE, painted, 10)]))
    if folder := os.environ.get("OSTEON_SHOTS"):
        drawer.page.screenshot(path=f"{folder}/drawing-alone.png")
