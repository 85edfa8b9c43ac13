"""Reports of many cases come in pages: each case on one of them, links that lead there, and none of them large."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from app_browser import MINUTE_MS, SOFTWARE, chromium
from osteon.auditing.cohort import Cohort
from osteon.auditing.facts import CaseFacts, StructureFacts
from osteon.auditing.finding import Finding, Severity, rank_findings
from osteon.auditing.page import FINDINGS, OF_A_KIND, write_page
from osteon.core.html_pages import CASES_PER_PAGE
from osteon.core.labels import make_structures
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case, Channel, Manifest
from osteon.evaluating.record import Failure
from osteon.reporting import charts
from osteon.reporting.compare import compare
from osteon.reporting.comparison import ComparisonResult
from osteon.reporting.page import write_page as write_comparison
from runs import cohort as few_cases
from test_reporting import predictions

PICTURE = bytes(range(256)) * 10
FEMUR = StructureFacts(
    voxels=9,
    volume_mm3=9.0,
    centre_ras=(0, 0, 0),
    extent=(3, 3, 1),
    thinnest_voxels=1,
    pieces=[9],
    shreds=0,
    holes=[],
    cut=[],
    mean=1.0,
    sd=0.0,
    p5=1.0,
    median=1.0,
    p95=1.0,
)


def facts(number: int) -> CaseFacts:
    return CaseFacts(
        id=f"c{number:05}",
        key="",
        shape=(9, 9, 9),
        spacing=(1, 1, 1),
        unit="mm",
        orientation="RAS",
        channels=[],
        content=str(number),
        label_content=None,
        thumbnail=[0.0],
        labelled=True,
        structures={"femur": FEMUR},
        overlaps=[],
    )


def finding(severity: Severity, kind: str, *numbers: int, strength: float = 0.5) -> Finding:
    cases = [f"c{number:05}" for number in numbers]
    return Finding(severity=severity, kind=kind, cases=cases, what=f"{kind} & {cases[0]}", action="", strength=strength)


def write(folder: Path, count: int, findings: list[Finding]) -> None:
    """The report of so many cases, of which no scan is read."""
    manifest = Manifest(
        name="many",
        channels=[Channel(name="mr", modality="mr")],
        structures=list(make_structures(["femur"])),
        cases=[Case(id=facts(n).id, images=[f"{n}.nii.gz"]) for n in range(count)],
    )
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    for case in manifest.cases:
        (folder / f"cases/{case.id}.jpg").write_bytes(PICTURE)
    made = Cohort(manifest, [facts(n) for n in range(count)], {})
    write_page(folder / "report.html", "found", made, rank_findings(findings), folder / "cases")


def pages_in(folder: Path) -> list[Path]:
    """A report's pages in order."""
    found = {int(re.sub(r"\D", "", path.name) or 1): path for path in folder.glob("report*.html")}
    assert sorted(found) == list(range(1, len(found) + 1))
    return [found[number] for number in sorted(found)]


def shown(page: Path) -> list[str]:
    """The cases whose pictures are on a page."""
    return re.findall(r"<h3>(\w+)</h3>", page.read_text(encoding="utf-8"))


@cache
def anchors(page: Path) -> set[str]:
    return set(re.findall(r'id="([\w-]+)"', page.read_text(encoding="utf-8")))


def links(page: Path) -> list[tuple[str, str]]:
    return re.findall(r'<a href="([^"]+)">([^<]+)</a>', page.read_text(encoding="utf-8"))


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    there = page.with_name(name) if name else page
    return there.is_file() and (not anchor or anchor in anchors(there))


def test_450_cases_are_three_pages_and_every_case_is_on_one(tmp_path: Path) -> None:
    found = [finding("warning", "volume", 449), finding("error", "shifted", 300, strength=0.9)]
    found += [finding("error", "mirrored", 7, 400), finding("note", "cut", *range(350, 450))]
    write(tmp_path, 450, found)
    pages = pages_in(tmp_path)
    assert [path.name for path in pages] == ["report.html", "report-2.html", "report-3.html"]
    on = [shown(page) for page in pages]
    assert [len(cases) for cases in on] == [200, 200, 50]
    assert sorted(case for cases in on for case in cases) == [facts(n).id for n in range(450)]
    assert on[0][:5] == ["c00300", "c00007", "c00400", "c00449", "c00350"]  # the worst first, then as in the manifest
    for number, page in enumerate(pages, 1):
        text = page.read_text(encoding="utf-8")
        assert text.count(f"<span>page {number} of 3</span>") == 2
        assert '<html lang="en">' in text
        assert (
            text.count("<h1>") == text.count('aria-label="Pages, top"') == text.count('aria-label="Pages, bottom"') == 1
        )
        assert len(text) < 1.5 * CASES_PER_PAGE * len(PICTURE) * 4 / 3
        assert all(leads_somewhere(page, link) for link, _ in links(page))
    ways = [
        [(way, link) for link, way in links(page) if way in ("first", "previous", "next", "last")] for page in pages
    ]
    assert ways[0] == [("next", "report-2.html"), ("last", "report-3.html")] * 2
    both = [("first", "report.html"), ("previous", "report.html"), ("next", "report-3.html"), ("last", "report-3.html")]
    assert ways[1] == both * 2
    assert ways[2] == [("first", "report.html"), ("previous", "report-2.html")] * 2
    for link, case in links(pages[0]):
        if "#" in link:
            where = pages[0].with_name(link.partition("#")[0] or "report.html")
            assert case in shown(where)
    named = [case for link, case in links(pages[0]) if "#" in link]
    assert set(named) == {facts(n).id for n in range(450)}
    assert "Findings</h2>" not in pages[1].read_text(encoding="utf-8")


def test_200_cases_are_one_file_and_pages_left_over_are_removed(tmp_path: Path) -> None:
    write(tmp_path, 450, [])
    assert len(pages_in(tmp_path)) == 3
    (tmp_path / "report-9.html").write_text("<p>somebody's own", encoding="utf-8")
    write(tmp_path, 200, [])
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["report-9.html", "report.html"]
    page = tmp_path / "report.html"
    assert len(shown(page)) == 200
    assert not re.search(r"<nav|by name|page 1 of", page.read_text(encoding="utf-8"))


def test_many_findings_are_grouped_and_none_is_lost(tmp_path: Path) -> None:
    found = [finding("warning", "volume", n) for n in range(450)]
    found += [finding("error", "shifted", n) for n in range(30)]
    found += [finding("note", "cut", n) for n in range(FINDINGS)]
    write(tmp_path, 450, found)
    pages = pages_in(tmp_path)
    first = pages[0].read_text(encoding="utf-8")
    rows = Counter(re.findall(r'<tr data-finding="(\w+)">', first))
    assert rows == dict.fromkeys(("error", "warning", "note"), OF_A_KIND + 1)
    assert "warning (450)" in first
    assert f"and {450 - OF_A_KIND} more of this kind" in first
    texts = "".join(page.read_text(encoding="utf-8").partition("Every case, by eye")[2] for page in pages)
    for one in found:  # beside its case
        assert f"{one.what.replace('&', '&amp;')}</p>" in texts


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparisonResult, Dataset]:
    folder = tmp_path_factory.mktemp("compared")
    data = few_cases(folder / "data", cases=3)
    runs = [predictions(folder / name, data, shift) for name, shift in (("good", 1), ("bad", 2))]
    return compare(runs, data.folder), data


def test_a_comparison_that_names_many_cases_goes_on_on_further_pages(
    compared: tuple[ComparisonResult, Dataset], tmp_path: Path
) -> None:
    made, data = compared
    failures = [Failure(f"f-case-{n}", "is <broken>", "") for n in range(150)]
    missing = [f"m-case-{n}" for n in range(150)]
    known = {"bad": [f"k-case-{n}" for n in range(150)]}
    entries = [replace(made.entries[0], failures=failures, missing=missing), *made.entries[1:]]
    write_comparison(tmp_path / "report.html", replace(made, entries=entries, trained_on=known), data)
    pages = pages_in(tmp_path)
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert len(pages) == 3
    named = [
        set(re.findall(r"\b[fmk]-case-\d+\b", re.sub(r"<svg.*?</svg>|base64,[^\"]*", "", text, flags=re.S)))
        for text in texts
    ]
    assert [len(cases) for cases in named] == [200, 200, 50]
    assert set().union(*named) == {f"{letter}-case-{n}" for letter in "fmk" for n in range(150)}
    assert "and 100 more on the pages that follow" in texts[0]
    assert "bad was trained on 150 of the cases" in texts[0]
    assert "150 on the pages that follow" in texts[0]
    assert "&lt;broken&gt;" in texts[0]
    assert texts[1].count("<h2>") == 2
    assert all(leads_somewhere(page, link) for page in pages for link, _ in links(page))
    write_comparison(tmp_path / "report.html", made, data)
    assert [path.name for path in pages_in(tmp_path)] == ["report.html"]


def test_charts_of_many_cases_stay_small() -> None:
    def values(count: int) -> dict[str, dict[str, list[float]]]:
        return {f"s{k}": {name: [n / count for n in range(count)] for name in "ab"} for k in range(4)}

    few, many = charts.boxes(values(200), "Dice"), charts.boxes(values(10_000), "Dice")
    assert "<image" not in few
    assert len(many) < 2 * len(few)
    pairs = [(n / 1e4, 0.5) for n in range(10_000)]
    assert len(charts.bland_altman({"femur": pairs}, {}, "cm³")) < 500_000
    assert len(charts.confidence(pairs, [True] * len(pairs))) < 500_000


def test_pages_are_turned_in_a_browser(tmp_path: Path) -> None:
    path = chromium()
    write(tmp_path, 450, [finding("error", "shifted", 300), finding("warning", "volume", *range(450))])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*SOFTWARE])
        page = browser.new_page()
        page.set_default_timeout(MINUTE_MS)
        page.goto((tmp_path / "report.html").as_uri())
        expect(page.locator(".case")).to_have_count(CASES_PER_PAGE)
        expect(page.get_by_role("link", name="previous")).to_have_count(0)
        page.get_by_role("navigation", name="Pages, bottom").get_by_role("link", name="next").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Audit of many, page 2 of 3", timeout=MINUTE_MS)
        page.get_by_role("navigation", name="Pages, top").get_by_role("link", name="first").press("Enter")
        page.get_by_text("and 446 more").click()
        page.locator("td").get_by_role("link", name="c00199", exact=True).press("Enter")
        expect(page.get_by_role("heading", name="c00199")).to_be_in_viewport(timeout=MINUTE_MS)
        assert page.url.endswith("report-2.html#case-199")
        browser.close()
