"""Reports of measures: each line is drawn once, in its true size, and numbered as the table has it."""

from __future__ import annotations

import base64
import io
import re
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import osteon
from measure_bodies import ball, draw, grid_around
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.formats import write_segmentation
from osteon.measuring.figure import Drawing, Figure
from osteon.reporting.measure_page import describe_interval, describe_number
from osteon.reporting.measure_pictures import CasePainter
from osteon.reporting.measure_views import Direction, Marked, MeasureView, look_at, views_of
from osteon.reporting.pdf import HEIGHT_IN, LEFT, RIGHT, PdfSheets, place_pictures

X, Y, Z = np.eye(3)


def angle(*points: npt.ArrayLike) -> Drawing:
    return Drawing.of("angle", "an angle", *points)


@pytest.mark.parametrize(
    ("drawing", "normal", "letters"),
    [
        (angle(10 * Z, 0 * X, 10 * X), Y, ("R", "S")),
        (angle(10 * Z, 0 * X, 10 * Y), X, ("A", "S")),
        (angle(10 * Y, 0 * X, 10 * X), Z, ("R", "A")),
        (Drawing.of("line", "down", 0 * X, 9 * Z), Y, ("R", "S")),
        (Drawing.of("line", "forwards", 0 * X, 9 * Y), X, ("A", "S")),
        (angle(10 * Z, 0 * X, 10 * (X + Y)), (Y - X) / np.sqrt(2), None),
    ],
    ids=["frontal", "sagittal", "axial", "a line down", "a line forwards", "oblique"],
)
def test_a_picture_looks_across_the_plane_of_its_lines(
    drawing: Drawing, normal: np.ndarray, letters: tuple[str, str] | None
) -> None:
    seen = look_at([drawing])
    assert abs(float(seen.normal @ normal)) == pytest.approx(1, abs=1e-6)
    if letters is not None:
        assert seen.letters == letters
    steps = np.diff(np.asarray(drawing.points), axis=0)
    assert np.linalg.norm(seen.flatten(steps), axis=1) == pytest.approx(np.linalg.norm(steps, axis=1))


def test_the_version_is_seen_along_the_bone() -> None:
    axis = np.array([0.2, 0.1, 0.97]) / np.linalg.norm([0.2, 0.1, 0.97])
    common = {"case": "a", "structures": ("femur_left",), "value": 1.0}
    length = Figure(
        measure="femur_length",
        unit="mm",
        drawings=(Drawing.of("line", "mechanical axis", 400 * axis, 0 * X),),
        **common,
    )
    lines = (Drawing.of("line", "neck axis", 0 * X, 50 * X + 30 * Z), Drawing.of("line", "condyles", 0 * X, 50 * Y))
    version = Figure(measure="femoral_version", unit="deg", drawings=lines, **common)
    views = views_of([length, version], {})
    assert [round(abs(float(view.direction.normal @ axis)), 3) for view in views][1] == 1


def test_each_line_is_drawn_once_and_numbered_on() -> None:
    line = Drawing.of("line", "height", 0 * X, 20 * Z)
    figures = [
        Figure(case="a", structures=("L1",), measure=name, unit="mm", value=20.0, drawings=(line,))
        for name in ("posterior_height", "wedge_ratio")
    ]
    (view,) = views_of(figures, {"posterior_height": "spine", "wedge_ratio": "spine"}, first=7)
    (marked,) = view.marked
    assert (marked.number, [f.measure for f in marked.figures]) == (7, ["posterior_height", "wedge_ratio"])
    assert view.direction.words == "seen from the side"


def test_a_picture_lies_under_its_lines() -> None:
    """A bright column of a radiograph is where its line is drawn, the patient's left on the right."""
    grid = Geometry((40, 30, 1), np.diag([-1.0, -1, 1, 1]))
    pixels, labels = np.zeros((1, 40, 30, 1), np.float32), np.zeros((40, 30, 1), np.uint8)
    pixels[0, 8:12], labels[4:36, 3:27] = 1000, 1
    image = Volume(pixels, grid)
    painter = CasePainter(Segmentation(labels, grid, make_structures(["hand"])), image, "xray")
    line = Drawing.of("line", "x", grid.to_world([[30, 3, 0]])[0], grid.to_world([[30, 26, 0]])[0])
    figure = Figure(case="a", structures=("hand",), measure="length", unit="mm", value=1.0, drawings=(line,))
    view = MeasureView(Direction.along(np.eye(3)[2]), (Marked(1, line, [figure]),))
    shown = np.asarray(Image.open(io.BytesIO(painter.paint(view))).convert("RGB")).astype(int)
    middle = shown[len(shown) // 2 - 20 : len(shown) // 2 + 20]
    grey = np.flatnonzero((middle.min(axis=2) > 200).all(axis=0))
    yellow = np.flatnonzero(((middle[..., 0] - middle[..., 2]) > 80).all(axis=0))
    assert len(grey)
    assert len(yellow)
    right_side = grid.to_world([[10, 0, 0]])[0][0] > grid.to_world([[30, 0, 0]])[0][0]  # of the patient
    assert (grey.mean() < yellow.mean()) == right_side


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people's patellae, one much larger and one seen twice; a structure that is missing."""
    folder = tmp_path_factory.mktemp("reports")
    rows = ["case,subject,date"]
    for n in range(6):
        radii = [r * (1.7 if n == 4 else 1 + 0.01 * n) for r in (12.0, 7.0, 6.0)]
        drawn = draw({"patella_left": ball((0, 0, 0), radii)}, grid_around([-22] * 3, [22] * 3, 1.5, margin=3))
        named = Segmentation(drawn.array, drawn.geometry, make_structures(["patella_left", "fibula <b>"]))
        write_segmentation(folder / f"labels/c{n}.seg.nrrd", named)
        rows.append(f"c{n},{'p0' if n < 2 else f'p{n}'},{date(2024 + n, 1, 1)}")
    (folder / "visits.csv").write_text("\n".join(rows))
    report = osteon.measure(
        folder / "labels",
        folder / "out",
        what=["volume", "length"],
        visits=folder / "visits.csv",
        forms=["html", "pdf"],
    )
    assert report.failed == {}
    return folder / "out"


def test_a_page_has_figures_intervals_reasons_and_pictures(measured: Path) -> None:
    page = (measured / "reports/c4.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert "fibula &lt;b&gt; is not there" in page
    assert "stands out among the cases" in page
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    at = cells.index("length")
    assert cells[at - 2 : at] == ["1", "patella_left"]
    assert cells[at + 1].endswith(" mm")
    low, high = map(float, cells[at + 2].split(" to "))
    assert low < float(cells[at + 1].removesuffix(" mm")) < high
    pictures = re.findall(r'data:image/png;base64,([^"]+)" alt="([^"]+)"', page)
    assert [alt.endswith(": 1 length") for _, alt in pictures] == [True]
    assert max(Image.open(io.BytesIO(base64.b64decode(pictures[0][0]))).size) > 300
    assert (measured / "reports/c4.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_of_all_has_outliers_spread_and_visits(measured: Path) -> None:
    page = (measured / "cohort.html").read_text(encoding="utf-8")
    assert "Cases that stand out" in page
    assert ">c4<" in page
    assert "Changes over the visits" in page
    assert page.count("<img") == 4  # two measures, each with its spread and its visits
    changed = (measured / "reports/c1.html").read_text(encoding="utf-8")
    assert "<h2>Changes</h2>" in changed
    assert "<td>c0</td>" in changed


def test_an_unknown_form_is_refused_before_anything_is_measured(tmp_path: Path, measured: Path) -> None:
    with pytest.raises(UsageError, match="docx"):
        osteon.measure(measured.parent / "labels", tmp_path / "out", forms=["docx"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "low", "high", "number", "interval"),
    [
        (434.91, 433.5, 436.24, "434.9", "433.5 to 436.2"),
        (17856.3, 17571.2, 18142.9, "17856", "17571 to 18143"),
        (-0.001365, -3.166, 3.164, "0.0", "-3.2 to 3.2"),
        (0.8785, 0.87832, 0.87871, "0.8785", "0.8783 to 0.8787"),
        (2.0, 2.0, 2.0, "2", "2 to 2"),
        (0.00012, None, None, "0.00012", ""),
        (123456.7, None, None, "123457", ""),
    ],
)
def test_a_figure_has_as_many_places_as_its_interval_can_tell(
    value: float, low: float | None, high: float | None, number: str, interval: str
) -> None:
    assert describe_number(value, low, high) == number
    assert describe_interval(low, high) == interval


def test_narrow_pictures_lie_side_by_side_with_their_captions() -> None:
    def picture(width: int, height: int) -> bytes:
        kept = io.BytesIO()
        Image.new("RGB", (width, height)).save(kept, "png")
        return kept.getvalue()

    narrow, wide = picture(40, 80), picture(160, 80)
    rows = place_pictures([(narrow, "femur, seen from the side; " * 4), (narrow, "2"), (wide, "3")])
    assert [len(row.pictures) for row in rows] == [2, 1]
    first = rows[0]
    assert sum(one.width + first.spare for one in first.pictures) == pytest.approx(RIGHT - LEFT)
    assert len(first.captions[0]) > 1
    assert first.height - first.highest > len(first.captions[0]) * 8 / 72 / HEIGHT_IN
    assert rows[1].pictures[0].width == pytest.approx(RIGHT - LEFT)
    sheets = PdfSheets("title", "foot")
    for _ in range(2):  # a heading goes on with its pictures to the next sheet
        sheets.heading("Femur", keep=first.height)
        sheets.pictures(rows[:1])
    assert sheets.number == 2
    assert next(text.get_text() for text in sheets.sheet.texts) == "Femur"
    sheets.close()
