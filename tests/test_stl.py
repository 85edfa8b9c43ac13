"""STL surfaces: what is read, what is refused, colours, and whatever bytes a file may hold."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osteon.core.errors import FileError
from osteon.formats.stl import Mesh, read_stl, read_stl_colour, read_stl_frame, write_stl

CORNERS = np.array([[0, 0, 0], [1.5, 0, 0], [0, -2.25e-3, 0], [0, 0, 0], [0, 4e5, 0], [0, 0, 1]], np.float64)
TWO = Mesh(CORNERS, np.arange(6, dtype=np.int32).reshape(2, 3))
FACET = "facet normal 0 0 1\n outer loop\n  vertex {}\n  vertex {}\n  vertex {}\n endloop\nendfacet\n"
TEXT = "solid a bone\n" + "".join(
    FACET.format(*(" ".join(f"{x:.6e}" for x in corner) for corner in CORNERS[n : n + 3])) for n in (0, 3)
)
WHOLE = TEXT + "endsolid a bone\n"


def file(folder: Path, content: bytes | str) -> Path:
    path = folder / "mesh.stl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def binary(head: bytes = b"", spare: tuple[int, ...] = (0, 0), corners: np.ndarray = CORNERS) -> bytes:
    facets = [struct.pack("<12fH", 0, 0, 0, *corners[3 * n : 3 * n + 3].ravel(), s) for n, s in enumerate(spare)]
    return head.ljust(80, b"\0") + struct.pack("<I", len(spare)) + b"".join(facets)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_stl(tmp_path / "a.stl", Mesh(TWO.vertices, TWO.faces, "#12abff"))
    mesh = read_stl(tmp_path / "a.stl")
    np.testing.assert_array_equal(mesh.vertices, CORNERS.astype(np.float32))
    assert (mesh.colour, mesh.face_colours, read_stl_colour(tmp_path / "a.stl")) == ("#12abff", None, "#12abff")
    assert mesh.vertices.dtype == np.float64
    assert mesh.faces.dtype == np.int32
    facet = np.frombuffer((tmp_path / "a.stl").read_bytes()[84:134], "<f4", 3)
    np.testing.assert_array_equal(facet, [0, 0, -1])  # the normal, by the right hand


def test_shared_vertices_are_written_out(tmp_path: Path) -> None:
    shared = Mesh(np.eye(4, 3), np.array([[0, 1, 2], [2, 1, 3]], np.int32))
    write_stl(tmp_path / "a.stl", shared)
    np.testing.assert_array_equal(read_stl(tmp_path / "a.stl").triangles, shared.triangles)
    assert shared.triangles.tolist()[1] == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE.upper(),
        WHOLE.replace("\n", "\r\n"),
        WHOLE.replace("\n", "\r"),
        "\ufeff\n  " + WHOLE,
        WHOLE.replace("a bone", ""),
        "SOLID x\n" + TEXT.partition("\n")[2].replace("endfacet\nfacet", "endfacet\nendsolid x\nsolid y\nfacet", 1)
        + "endsolid y",
        WHOLE.replace(" ", "\t").replace("\tloop", " \t loop"),
    ],
)  # fmt: skip
def test_ascii_as_it_is_written_in_the_world(tmp_path: Path, text: str) -> None:
    mesh = read_stl(file(tmp_path, text))
    np.testing.assert_array_equal(mesh.vertices, CORNERS)
    assert mesh.colour is None


def test_a_binary_file_may_begin_with_solid(tmp_path: Path) -> None:
    for head in (b"solid bone", b"solid " + b"facet normal " * 5):
        np.testing.assert_array_equal(read_stl(file(tmp_path, binary(head))).vertices, CORNERS.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes are no STL"),
        (b"solid", "no facet"),
        (b"\x89PNG" + bytes(200), "no STL|announces 0 facets"),
        (binary(spare=()), "no facet"),
        (binary()[:-1], "announces 2 facets, the file holds 1.98"),
        (binary()[:84], "announces 2 facets, the file holds 0"),
        (binary()[:80] + b"\xff\xff\xff\xff" + binary()[84:], "announces 4294967295 facets, the file holds 2"),
        (binary() + b"x", "announces 2 facets"),
        (binary(corners=CORNERS * [1, np.nan, 1]), "facet 1 has a corner that is not a finite number"),
        (binary()[:96] + b"\x01\x00\xa0\x7f" + binary()[100:], "facet 1 has a corner"),  # a signalling NaN
        (binary(corners=np.where(CORNERS > 1000, np.inf, CORNERS)), "facet 2 has a corner that is not a finite"),
        (WHOLE.replace("1.500000e+00", "nan"), "facet 1 has a corner that is not a finite number"),
        (WHOLE.replace("1.500000e+00", "1e999"), "facet 1 has a corner that is not a finite number"),
        (WHOLE.replace("1.500000e+00", "1,5"), "not three numbers"),
        (WHOLE.replace("1.500000e+00", ""), "of three corners; 1 are whole"),
        (WHOLE.replace("1.500000e+00", "9" * 5000), "of three corners; 1 are whole"),
        (TEXT, "no `endsolid`"),
        (TEXT[:-60], "of three corners; 1 are whole"),
        ("solid x\nendsolid x\n", "no facet"),
    ],
)
def test_what_is_no_whole_surface_is_refused(tmp_path: Path, content: bytes | str, says: str) -> None:
    with pytest.raises(FileError, match=says) as caught:
        read_stl(file(tmp_path, content))
    assert "mesh.stl" in caught.value.message
    assert caught.value.hint


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no\.stl: the STL surface does not exist"):
        read_stl(tmp_path / "no.stl")


# -- colours ---------------------------------------------------------------------------------------------------------

RED, BLUE = 31 << 10, 31  # as VisCAM and SolidView have them


def test_colours_of_facets_in_the_way_of_viscam(tmp_path: Path) -> None:
    mesh = read_stl(file(tmp_path, binary(spare=(0x8000 | RED, 0x8000 | BLUE))))
    assert mesh.face_colours is not None
    assert mesh.face_colours.tolist() == [[255, 0, 0], [0, 0, 255]]
    mesh = read_stl(file(tmp_path, binary(spare=(RED, 0x8000 | 16 << 5))))
    assert mesh.face_colours is not None
    assert mesh.face_colours.tolist() == [[-1, -1, -1], [0, 132, 0]]
    assert read_stl(file(tmp_path, binary(spare=(RED, BLUE)))).face_colours is None


def test_colours_of_facets_in_the_way_of_magics(tmp_path: Path) -> None:
    head = b"made by someone COLOR=\x0a\x14\x1e\xff,MATERIAL=\x01\x02\x03"
    mesh = read_stl(file(tmp_path, binary(head, spare=(31, 0x8000))))
    assert mesh.colour == "#0a141e"
    assert mesh.face_colours is not None
    assert mesh.face_colours.tolist() == [[255, 0, 0], [10, 20, 30]]
    for plain in ((0x8000, 0x8000), (0, 0)):
        assert read_stl(file(tmp_path, binary(head, spare=plain))).face_colours is None


def test_a_cut_off_colour_is_none(tmp_path: Path) -> None:
    head = b"x" * 72 + b"COLOR=\x01\x02"
    assert read_stl_colour(file(tmp_path, binary(head))) is None
    assert read_stl_colour(file(tmp_path, WHOLE)) is None


# -- anything --------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from([b"solid", b"vertex 1 2 3\n", b"facet", b"outer loop\n", b"endloop\n", b"endfacet\n", b"\xff"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=30).map(lambda p: b"solid " + b" ".join(p)),
        st.tuples(st.integers(0, len(binary())), st.binary(max_size=5)).map(
            lambda cut: binary()[: cut[0]] + cut[1] + binary()[cut[0] + len(cut[1]) :]
        ),
        st.tuples(st.integers(0, len(WHOLE)), st.binary(max_size=5)).map(
            lambda cut: WHOLE.encode()[: cut[0]] + cut[1] + WHOLE.encode()[cut[0] + len(cut[1]) :]
        ),
    )
)
def test_any_bytes_are_a_surface_or_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    try:
        mesh = read_stl(file(tmp_path, content))
    except FileError:
        return
    assert np.isfinite(mesh.vertices).all()
    assert len(mesh.vertices) == 3 * len(mesh.faces) > 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 9), min_size=1, max_size=5))
def test_any_triangles_survive_both_kinds(tmp_path: Path, rows: list[tuple[float, ...]]) -> None:
    corners = np.array(rows).reshape(-1, 3)
    write_stl(tmp_path / "b.stl", Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3)))
    np.testing.assert_array_equal(read_stl(tmp_path / "b.stl").vertices, corners)
    lines = [" ".join(repr(float(x)) for x in corner) for corner in corners]
    text = "".join(FACET.format(*lines[n : n + 3]) for n in range(0, len(lines), 3))
    np.testing.assert_array_equal(read_stl(file(tmp_path, f"solid\n{text}endsolid")).vertices, corners)


# -- the world's -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "facets", "longest"),
    [
        ("ct-humerus/humerus_left.stl", 32440, 318.6),
        ("femur-morph/femur.stl", 20308, 413.9),
        ("femur-morph/femur_cortex.stl", 3400, 409.5),
        ("low-poly/r_tibia.stl", 390, 0.376),
        ("low-poly/humerus_lv.stl", 676, 0.32),
        ("visible-human/VHF_Left_Bone_Fibula_smooth.stl", 18918, 329.2),
        ("visible-human/VHM_Left_Bone_Coccyx_smooth.stl", 2480, 32.5),  # ASCII
    ],
)
def test_real_bones(shared_data: Path, name: str, facets: int, longest: float) -> None:
    mesh = read_stl(shared_data / "bone-stl" / name)
    assert len(mesh.faces) == facets
    assert np.ptp(mesh.bounds, axis=0).max() == pytest.approx(longest, rel=0.01)


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        ("3D Slicer output. SPACE=LPS", (None, "LPS")),
        ("3D Slicer output. SPACE=RAS", (None, "RAS")),
        ("osteon SPACE=RAS UNIT=cm", ("cm", "RAS")),
        ("space=lps", (None, "LPS")),
        ("Space: RAS; Unit = mm", ("mm", "RAS")),
        ("WORKSPACE=LPS", (None, None)),
        ("SPACE=LPI UNIT=mile", (None, None)),
        ("", (None, None)),
    ],
)
def test_the_world_that_a_header_says(tmp_path: Path, message: str, frame: tuple[str | None, str | None]) -> None:
    assert read_stl_frame(file(tmp_path, binary(message.encode()))) == frame
    assert read_stl_frame(file(tmp_path, f"solid {message}\n" + WHOLE.partition("\n")[2])) == frame
    assert read_stl_frame(file(tmp_path, f"solid {message}\r\n" + WHOLE.partition("\n")[2])) == frame
    corner = f"solid\n{WHOLE.partition(chr(10))[2]}solid {message}\n"  # what stands further down is no header
    assert read_stl_frame(file(tmp_path, corner)) == (None, None)


@pytest.mark.parametrize("space", ["LPS", "RAS", ""])
def test_what_is_written_says_its_world(tmp_path: Path, space: str) -> None:
    write_stl(tmp_path / "a.stl", Mesh(TWO.vertices, TWO.faces, "#12abff"), space=space)
    assert read_stl_frame(tmp_path / "a.stl") == (("mm", space) if space else (None, None))
