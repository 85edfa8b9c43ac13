"""The documents say what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml

from osteon.cli.main import app
from osteon.core.labels import Structure
from osteon.dataset.manifest import Case, Manifest
from osteon.evaluating.metrics import DISTANCES, METRICS
from osteon.exporting.registry import FORMS as EXPORTS
from osteon.exporting.table import COLUMNS
from osteon.importing.recognition import FORMS
from osteon.measuring.registry import MEASURES
from osteon.networks.registry import NETWORKS
from osteon.plan.overlay import parse_numbers
from osteon.plan.sections import Schedule
from osteon.planning.recipe_files import RecipeFile, published_recipes
from osteon.predicting.engines import NAMES
from osteon.sweeping.spec import Sweep
from osteon.sweeping.trials import grid_values, plan_options_from
from osteon.training.losses import LOSSES

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/decisions/*.md")])


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
    assert {*METRICS, *DISTANCES, "reference_pieces", "matched_pieces", "wrong_level"} <= described


@pytest.mark.parametrize(
    ("page", "command"),
    [
        ("plan", "plan"),
        ("train", "train"),
        ("sweep", "sweep"),
        ("audit", "audit"),
        ("predict", "predict"),
        ("import-model", "import-model"),
        ("publish", "publish"),
        ("serve", "serve"),
        ("suggest", "suggest"),
        ("measure", "measure"),
        ("vote", "vote"),
        ("app", "app"),
    ],
)
def test_every_option_of_a_command_is_described(page: str, command: str) -> None:
    assert options(command) <= set(re.findall(r"--[a-z][a-z-]+", text(f"docs/{page}.md")))


def test_every_measure_is_described_with_its_unit() -> None:
    units = {"cm3": "cm³", "mm2": "mm²", "deg": "°", "hu": "HU", "ratio": "–"}
    rows = [line.split(" | ") for line in text("docs/measure.md").splitlines() if line.startswith("| `")]
    described = {name: row[1] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert {row.name: units.get(row.unit, row.unit) for row in MEASURES}.items() <= described.items()


def test_every_network_is_described() -> None:
    lines = [line.strip("| ").split(" | ") for line in text("docs/networks.md").splitlines() if line.startswith("| `")]
    described = [(cells[0].split("`")[1], cells[2] != "no", *cells[4:]) for cells in lines]
    assert described == [(row.name, 3 in row.dimensions, f"{row.library}, {row.code}", row.source) for row in NETWORKS]


def test_every_loss_and_schedule_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", text("docs/losses.md"), re.MULTILINE))
    assert described == {"schedule", *LOSSES, *get_args(Schedule)}


def test_every_engine_is_described() -> None:
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", text("docs/doctor.md"), re.MULTILINE)) == NAMES


def test_every_recipe_is_described() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", text("docs/recipes.md"), re.MULTILINE)) == set(published_recipes())


@pytest.mark.parametrize("field", sorted(Sweep.model_fields))
def test_every_key_of_a_sweep_is_described(field: str) -> None:
    assert f"`{field}`" in text("docs/sweep.md")


def test_the_sweep_and_the_recipe_in_the_documents_are_ones() -> None:
    for page in ("docs/sweep.md", "docs/jobs/hand.md"):
        sample = re.search(r"```yaml\n(.*?)```", text(page), re.DOTALL)
        assert sample is not None
        sweep = Sweep.model_validate(yaml.safe_load(sample[1]))
        for values in grid_values(sweep):
            plan_options_from({**sweep.base, **values})
    sample = re.search(r"```yaml\n(.*?)```", text("docs/recipes.md"), re.DOTALL)
    assert sample is not None
    RecipeFile.model_validate(parse_numbers(yaml.safe_load(sample[1])))


def test_every_option_and_form_of_export_is_described_and_exists() -> None:
    page = text("docs/export.md")
    described = set(re.findall(r"--[a-z][a-z0-9-]+", page)) - {"--form"}  # of import
    assert described == options("export")
    assert re.findall(r"^\| `([\w-]+)` \| (?:`|the same)", page, re.MULTILINE)[: len(EXPORTS)] == [
        f.name for f in EXPORTS
    ]
    assert re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\|( `.*?) \|", page.split("## Volumes")[1], re.MULTILINE))
    ) == list(COLUMNS)


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
    floors = [{room.strip() for room in layer.split("|")} for layer in contract]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text("docs/architecture.md"), re.MULTILINE)
    assert [set(re.findall(r"\w+", row)) for row in rows] == floors


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).is_file(), target


def test_the_licence_is_whole() -> None:
    licence = text("LICENSE")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert licence.rstrip().endswith("limitations under the License.")
