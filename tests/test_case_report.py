"""The report of a case: its figures are known by calculation, and HTML and PDF say the same."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import osteon
from helpers import two_boxes, write_dataset
from osteon.core.errors import UsageError
from osteon.core.files import write_json
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import LabelWork, assign_case, judge_label, save_label
from osteon.formats import write_segmentation
from osteon.reporting.case_page import case_html, case_pdf
from osteon.reporting.case_report import CaseReport, report_dataset_case
from osteon.reporting.pdf import PdfSheets, wrap
from runs import command

EVIL = "<img src=x onerror=alert(1)> $x^2$"
PREDICTION: dict[str, Any] = {
    "confidence": {"femur": 0.91, "tibia": 0.625},
    "calibrated": True,
    "review": ["tibia: expected Dice 0.62"],
    "levels": {"assignments": [{"names": ["L1", "L5"], "probability": 0.75, "first": "L1"}], "picked": None},
}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """One case, corrected by Ada (who looked for the femur alone), approved by Bo, read again by Cy."""
    dataset = write_dataset(tmp_path / "d", {"a": two_boxes(spacing_mm=(1, 2, 2.5))}, annotated={"a": ["femur"]})
    truth = dataset.load_segmentation(dataset.case("a"))
    smaller = replace(truth, array=np.where(np.arange(8) < 4, truth.array, 0))
    work = LabelWork("Ada", seconds=90, what=EVIL, annotated=["femur"])
    save_label(dataset, "a", smaller, work, base=0)
    assign_case(dataset, "a", "Ada")
    save_label(dataset, "a", truth, LabelWork("Cy", kind="second reading"), base=1)
    judge_label(dataset, "a", "approved", author="Bo", note="seen twice")
    return Dataset.open(dataset.folder)


class _Words(HTMLParser):
    """What a page says, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.sources: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def html_words(report: CaseReport) -> tuple[str, list[str]]:
    parser = _Words()
    parser.feed(case_html(report).decode())
    return " ".join(parser.words), parser.sources


def test_its_figures_are_those_of_the_label(dataset: Dataset) -> None:
    report = report_dataset_case(dataset.folder, "a", PREDICTION)
    femur, tibia = report.structures
    voxels = 4 * 6 * 3
    assert (femur.voxels, femur.size, report.unit) == (voxels, pytest.approx(voxels * 5 / 1000), "cm³")
    assert (femur.confidence, femur.looked_for, tibia.looked_for) == (0.91, True, False)
    assert report.agreement == {"femur": pytest.approx(2 * 3 / (3 + 6))} | {"tibia": pytest.approx(2 * 3 / (3 + 6))}
    assert report.scan == "12×10×8 voxels of 1×2×2.5 mm"
    assert report.state.startswith("approved by Bo, 20")
    assert (report.owner, report.note) == ("Ada", "seen twice")


def test_the_page_says_all_of_it_and_fetches_nothing(dataset: Dataset) -> None:
    words, sources = html_words(report_dataset_case(dataset.folder, "a", PREDICTION))
    for said in (
        *(
            "approved by Bo",
            "version 1 by Ada",
            "tibia: unknown, not background",
            "tibia: expected Dice 0.62",
            "0.36",
            "0.91",
        ),
        *("L1…L5 75% shown", EVIL, "not annotated: unknown", "second reading Cy", "1.5", "0.667", "seen twice"),
    ):
        assert said in words, said
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")


def test_the_pdf_has_a_sheet_and_embedded_letters(dataset: Dataset) -> None:
    content = case_pdf(report_dataset_case(dataset.folder, "a", PREDICTION))
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page ") == 2
    assert b"/FontFile2" in content, "letters that can be selected and searched"
    assert len(content) < 500_000


def test_long_tables_go_on_on_the_next_sheet() -> None:
    sheets = PdfSheets("long", "foot")
    rows = [(f"structure {n} " + "with a long name " * 6, str(n)) for n in range(120)]
    sheets.table(("Name", "Number"), rows, (1, 1), numbers=(1,), colours=["#ff0000"] * 120)
    content = sheets.close()
    assert content.count(b"/Type /Page ") == sheets.number > 4


def test_text_is_broken_where_it_must_be() -> None:
    lines = wrap("knee_" * 80 + " and\nsome words", 9, 0.5)
    assert "".join(lines).startswith("knee_" * 80)
    assert lines[-1].endswith("and some words")
    assert wrap("", 9, 0.5) == []


def test_numbered_pieces_are_told_apart(tmp_path: Path) -> None:
    image, labels, affine = two_boxes()
    pieces = np.where(labels == 5, 4, labels)
    bone = Structure(name="bone", value=3, colour="#ff8800", instances=True, last_value=9)
    write_dataset(tmp_path / "d", {"a": (image, pieces, affine)}, (bone,))
    report = report_dataset_case(tmp_path / "d", "a")
    assert [(s.name, s.voxels) for s in report.structures] == [("bone 1", 4 * 6 * 6), ("bone 2", 4 * 6 * 6)]
    assert len({s.colour for s in report.structures}) == 2


def test_a_case_without_a_label_and_a_picture_have_reports(tmp_path: Path) -> None:
    image, labels, affine = two_boxes((40, 30, 1))
    labels = np.zeros_like(labels)
    labels[2:12, 5:25] = 3
    flat = write_dataset(tmp_path / "flat", {"a": (image, labels, affine)}, unit="px", modality="xray")
    report = report_dataset_case(flat.folder, "a")
    assert (report.structures[0].size, report.unit, report.structures[1].size) == (200, "px²", None)
    judge_label(flat, "a", "rejected", note="moved", author="Bo")
    assert report_dataset_case(flat.folder, "a").state.startswith("rejected by Bo")


def test_predictions_are_reported_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = write_dataset(tmp_path / "d", {"a": two_boxes(), "b": two_boxes()})
    folder = tmp_path / "predictions"
    for case in ("a", "b"):
        truth = dataset.load_segmentation(dataset.case(case))
        write_segmentation(folder / f"{case}.nii.gz", Segmentation(truth.array, truth.geometry, truth.structures))
    inputs = {case: [[str(dataset.resolve(dataset.case(case).images[0])), 0, 0]] for case in ("a", "b")}
    write_json(folder / "predictions.json", {case: PREDICTION | {"input": inputs[case]} for case in inputs})
    dataset.resolve(dataset.case("b").images[0]).unlink()
    assert command("report", folder, "--modality", "ct", "--to", tmp_path / "out", "--form", "pdf") == 1
    output = capsys.readouterr()
    assert "1 report" in output.out
    assert "1 case could not be read" in output.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.pdf"]
    assert command("report", folder, "c") == 2
    assert command("report", tmp_path / "d/images") == 2
    with pytest.raises(UsageError, match="not written as docx"):
        osteon.report(folder, forms=["docx"])
