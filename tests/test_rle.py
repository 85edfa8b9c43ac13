"""Runs of pixels as text, and tables of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from osteon.core.errors import FileError, LabelError
from osteon.formats.rle import decode_rle, encode_rle, is_rle_csv, read_rle_csv, read_rle_rows, write_rle_csv


def by_hand(text: str, rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """An independent decoder: pixel by pixel."""
    flat = [False] * (rows * columns)
    numbers = [int(word) for word in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start, start + length):
            flat[pixel - 1] = True
    return np.array(flat).reshape(rows, columns)


def test_runs_begin_at_one_and_go_along_the_rows() -> None:
    mask = decode_rle("2 2 6 1", (2, 4))
    np.testing.assert_array_equal(mask, [[0, 1, 1, 0], [0, 1, 0, 0]])
    assert encode_rle(mask) == "2 2 6 1"
    assert encode_rle(np.ones((2, 3))) == "1 6"  # a run goes on in the next row
    assert encode_rle(np.zeros((2, 3))) == ""
    assert not decode_rle("", (2, 3)).any()
    assert not decode_rle(" -1", (2, 3)).any()  # so Kaggle's pneumothorax table says nothing
    np.testing.assert_array_equal(decode_rle("6 1 2 2", (2, 4)), mask)  # in any order
    np.testing.assert_array_equal(decode_rle("2 1 3 1 6 1", (2, 4)), mask)  # runs may touch


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
def test_encode_and_decode_are_exact_inverses(mask: npt.NDArray[np.bool_]) -> None:
    text = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(text, mask.shape), mask)  # type: ignore[arg-type]
    np.testing.assert_array_equal(by_hand(text, *mask.shape), mask)
    assert encode_rle(decode_rle(text, mask.shape)) == text  # type: ignore[arg-type]


@given(st.lists(st.integers(-3, 30), max_size=8), st.integers(1, 5), st.integers(1, 5))
def test_any_numbers_are_a_mask_or_an_error(numbers: list[int], rows: int, columns: int) -> None:
    text = " ".join(map(str, numbers))
    assume(numbers != [-1])  # no mask
    try:
        mask = decode_rle(text, (rows, columns))
    except LabelError:
        return
    np.testing.assert_array_equal(mask, by_hand(text, rows, columns))
    assert mask.sum() == sum(numbers[1::2])


@given(st.text(max_size=30))
def test_any_text_is_a_mask_or_an_error(text: str) -> None:
    with suppress(LabelError):
        decode_rle(text, (3, 4))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 3 2", "3 numbers"),
        ("0 3", "pixel 0"),
        ("4 0", "length 0"),
        ("1 3 3 2", "pixel 1 and 3 overlap"),
        ("3 2 1 3", "pixel 1 and 3 overlap"),
        ("11 3", r"the run 11 3 ends behind the picture, which has 3 rows of 4 pixels \(12\)"),
        ("13 1", "ends behind"),
        ("9223372036854775807 9223372036854775807", "no pixel"),
        ("900000000000000000 900000000000000000", "ends behind"),
        ("1 -3", "`-3`"),
        ("1 3.0", "`3.0`"),
        ("nan 3", "`nan`"),
        ("1 ٣", "٣"),
    ],
)
def test_broken_runs_are_refused(text: str, says: str) -> None:
    with pytest.raises(LabelError, match=says) as caught:
        decode_rle(text, (3, 4), name="hands.csv: line 7")
    assert "hands.csv: line 7" in caught.value.message


def test_a_radiograph_of_full_size() -> None:
    rows, columns = np.ogrid[:2048, :2048]
    mask = (rows - 1000) ** 2 + (columns - 700) ** 2 < 300**2
    text = encode_rle(mask)
    assert len(text.split()) == 2 * 599
    np.testing.assert_array_equal(decode_rle(text, (2048, 2048)), mask)


def test_a_table_is_written_and_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "hands.csv"
    rows = [("a.png", "finger-1", "1 3 10 2"), ("a.png", "Ulna", ""), ('b, "two".png', "Radius", "5 1")]
    write_rle_csv(path, iter(rows))
    assert path.read_text().splitlines()[0] == "image_name,class,rle"
    read = list(read_rle_csv(path))
    assert [(row.image, row.structure, row.rle) for row in read] == rows
    assert [row.line for row in read] == [2, 3, 4]
    again = list(read_rle_rows(path, [(row.line, row.offset) for row in reversed(read)]))
    assert again == list(reversed(read))
    assert is_rle_csv(path)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffid;Class;IMAGE;rle\r\n7;Ulna;a;1 3\r\n\r\n8;Radius;a;\r\n",
        "image_name\tclass\trle\na\tUlna\t1 3\na\tRadius\n",
    ],
)
def test_tables_of_spreadsheets(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hands.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert [(r.image, r.structure, r.rle) for r in read_rle_csv(path)] == [("a", "Ulna", "1 3"), ("a", "Radius", "")]


def test_a_field_over_lines_and_a_long_one(tmp_path: Path) -> None:
    path = tmp_path / "hands.csv"
    long = encode_rle(np.arange(400_000).reshape(1000, 400) % 2)
    path.write_text(f'image_name,class,rle\na,Ulna,"1 3\n7 2"\na,Radius,{long}\na,"x",{long}\n')
    first, *rest = read_rle_csv(path)
    assert decode_rle(first.rle, (2, 5)).sum() == 5
    assert [row.line for row in rest] == [4, 5]
    assert all(row.rle == long for row in rest)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"image,mask\na,b\n", "names no columns image_name, class, rle"),
        (b"image_name,class,rle\na,Ulna,1 3\n,Ulna,1 3\n", "line 3 names no picture"),
        (b"image_name,class,rle\na\n", "line 2 names no picture"),
        (b"image_name,class,rle\na,\xff,1 3\n", "line 2 is not UTF-8"),
        (b"", "names no columns"),
    ],
)
def test_a_broken_table_names_the_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "hands.csv"
    path.write_bytes(content)
    with pytest.raises(FileError, match=says):
        list(read_rle_csv(path))
    with pytest.raises(FileError, match="does not exist"):
        list(read_rle_csv(tmp_path / "none.csv"))


def test_rows_that_cannot_be_read_are_told_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "hands.csv"
    path.write_bytes(b'image_name,class,rle\na,Ulna,1 3\na\nb,\xff,1 3\n"c,Ulna,1 3\nd,Ulna,5 1\n')
    messages: list[tuple[int, str]] = []
    rows = list(read_rle_csv(path, broken=lambda line, error: messages.append((line, error.message))))
    assert [(row.line, row.image) for row in rows] == [(2, "a"), (6, "d")]
    assert [line for line, _ in messages] == [3, 4, 5]
    for (_, message), says in zip(messages, ("names no picture", "not UTF-8", "a quote is missing"), strict=True):
        assert says in message
    assert list(read_rle_rows(path, [(row.line, row.offset) for row in rows])) == rows
