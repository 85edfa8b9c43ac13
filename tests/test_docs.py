"""The documents say what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from osteon.cli.main import app
from osteon.core.labels import Structure
from osteon.dataset.manifest import Case, Manifest
from osteon.evaluating.figures import DISTANCES, FIGURES
from osteon.importing.recognise import FORMS

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("docs/*.md"), ROOT / "CHANGELOG.md"])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def options(command: str) -> set[str]:
    found = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {option for parameter in found for option in parameter.opts if option.startswith("--")}


def test_every_option_of_import_is_described_and_exists() -> None:
    described = set(re.findall(r"--[a-z][a-z-]+", text("docs/import.md")))
    assert described == options("import")


def test_every_option_and_figure_of_evaluate_is_described() -> None:
    page = text("docs/evaluate.md")
    assert set(re.findall(r"^\| `(--[a-z-]+)`", page, re.MULTILINE)) == options("evaluate")
    described = {name.rsplit("_", 1)[0] if "mm" in name else name for name in re.findall(r"`([a-z0-9_]+)`", page)}
    assert {*FIGURES, *DISTANCES, "reference_pieces", "matched_pieces", "wrong_level"} <= described


def test_every_form_is_described() -> None:
    assert re.findall(r"^\| `(\w+)` \| a", text("docs/import.md"), re.MULTILINE) == [form.name for form in FORMS]


def test_the_manifest_in_the_documents_is_one() -> None:
    sample = re.search(r"```yaml\n(.*?)```", text("docs/dataset.md"), re.DOTALL)
    assert sample is not None
    manifest = Manifest.model_validate(yaml.safe_load(sample[1]))
    assert [case.id for case in manifest.trainable] == ["p01_a"]


@pytest.mark.parametrize("kind", [Manifest, Structure, Case])
def test_every_field_of_the_manifest_is_described(kind: type) -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", text("docs/dataset.md"), re.MULTILINE))
    assert set(kind.model_fields) <= described  # type: ignore[attr-defined]


def test_the_rooms_are_those_of_the_contract() -> None:
    contract = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = [{room.strip().removeprefix("osteon.") for room in layer.split(":")} for layer in contract]
    told: dict[int, set[str]] = {}
    for floor, room in re.findall(r"^\| (\d+) \| `(\w+)` \|", text("docs/architecture.md"), re.MULTILINE):
        told.setdefault(int(floor), set()).add(room)
    assert [told[floor] for floor in sorted(told, reverse=True)] == floors


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).is_file(), target


def test_the_licence_is_whole() -> None:
    licence = text("LICENSE")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert licence.rstrip().endswith("limitations under the License.")
