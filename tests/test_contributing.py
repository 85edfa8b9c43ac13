"""What the house shows to people who join in: forms, hooks, workflow, citation, decisions, changelog."""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import osteon

ROOT = Path(__file__).parents[1]
DECISIONS = sorted((ROOT / "docs/decisions").glob("0*.md"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
PAGES = [*DECISIONS, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "docs/versions", "docs/testing"))]
TARGETS = set(re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def changelog() -> list[tuple[str, str]]:
    """Version and date of each section."""
    return re.findall(r"^## \[(\S+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_version_stands_in_one_place_and_all_say_the_same() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in settings["project"]
    assert settings["tool"]["hatch"]["version"]["path"] == "src/osteon/core/version.py"
    assert load("CITATION.cff")["version"] == changelog()[0][0] == osteon.__version__


def test_the_changelog_has_dated_sections_of_falling_versions() -> None:
    sections = changelog()
    assert len(sections) == len(re.findall(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE))
    versions = [tuple(map(int, version.split("."))) for version, _ in sections]
    assert versions == sorted(set(versions), reverse=True)
    dates = [date for _, date in sections if date != "unreleased"]
    assert dates == [date for _, date in sections[len(sections) - len(dates) :]]
    assert [datetime.date.fromisoformat(date) for date in dates] == sorted(map(datetime.date.fromisoformat, dates))[
        ::-1
    ]
    kinds = re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_has_what_its_form_requires() -> None:
    """Required keys and types of CFF 1.2.0; cffconvert, which validates all of it, found it valid."""
    citation = load("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license"} <= citation.keys()
    assert citation["license"] == "Apache-2.0"
    assert all(author.keys() & {"name", "family-names"} for author in citation["authors"])
    date, (_, section) = citation.get("date-released"), changelog()[0]
    assert (date is None and section == "unreleased") or str(date) == section


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_forms_of_issues_are_ones(path: Path) -> None:
    form = load(str(path.relative_to(ROOT)))
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= form.keys()
    ids = [part.get("id") for part in form["body"] if part["type"] != "markdown"]
    assert None not in ids
    assert len(ids) == len(set(ids)) > 0
    for part in form["body"]:
        assert part["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert part["attributes"]["value" if part["type"] == "markdown" else "label"]


def test_the_workflow_calls_targets_of_make_alone_on_three_systems() -> None:
    workflow = load(".github/workflows/check.yml")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    rows = job["strategy"]["matrix"]["include"]
    assert {row["system"].partition("-")[0] for row in rows} == {"ubuntu", "macos", "windows"}
    assert {row["target"] for row in rows} <= TARGETS
    minimum = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert f">={min(row['python'] for row in rows)}" == minimum
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make ${{ matrix.target }} PYTHON=python"]
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name) for name in used)


def test_hooks_fetch_nothing_and_are_targets_of_make() -> None:
    (source,) = load(".pre-commit-config.yaml")["repos"]
    assert source["repo"] == "local"
    for hook in source["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].split()[0] == "make"
        assert hook["entry"].split()[-1] in TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_sections_that_pages_name_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:src|tests|benchmarks|docs|examples|tools|\.github)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
    for room, module in re.findall(r"`([a-z]+)\.([a-z_]+)(?:\.[A-Z]+)?`", text):
        if (ROOT / "src/osteon" / room).is_dir() and not (ROOT / "tests" / f"{room}.py").is_file():
            place = ROOT / "src/osteon" / room / module
            assert place.is_dir() or place.with_suffix(".py").is_file(), f"{room}.{module}"
    for target in re.findall(r"(?:`|^ *)make ([a-z]+)", text, re.MULTILINE):
        assert target in TARGETS, target
    for file, heading in re.findall(r"\]\(([^)#]*)#([^)]+)\)", text):
        titles = re.findall(
            r"^#+ (.*)$", (page.parent / file if file else page).read_text(encoding="utf-8"), re.MULTILINE
        )
        anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
        assert heading in anchors, f"{file}#{heading}"


def test_decisions_have_one_form_and_are_listed_in_order() -> None:
    page = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \| \d{4}-\d\d-\d\d \|$", page, re.MULTILINE)
    assert [name for _, _, name in listed] == [path.name for path in DECISIONS]
    for (number, title, _), path in zip(listed, DECISIONS, strict=True):
        text = path.read_text(encoding="utf-8")
        assert path.name.startswith(f"{int(number):04}-")
        assert text.startswith(f"# {number}. {title}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Measured"]


def test_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {path.name for path in ROOT.glob("docs/*.md")} - linked == {"index.md"}  # the site's own first page


def test_every_module_that_tests_share_is_described() -> None:
    rows = re.findall(r"^\| (`.*?\.py`) \|", (ROOT / "docs/testing.md").read_text(encoding="utf-8"), re.MULTILINE)
    described = [name for row in rows for name in re.findall(r"`(\w+\.py)`", row)]
    assert sorted(described) == sorted(
        {p.name for p in ROOT.glob("tests/*.py")} - {p.name for p in ROOT.glob("tests/test_*")}
    )
