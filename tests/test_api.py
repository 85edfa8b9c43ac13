"""The public interface: what it lists, its types, its page, its examples."""

from __future__ import annotations

import doctest
import inspect
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import osteon
from osteon.dataset.label_versions import LabelWork, WorkKeywords
from osteon.phantoms.registry import make_request, write_phantoms
from osteon.planning import dataset_plan
from osteon.planning.options import PlanKeywords, PlanOptions
from osteon.runs.options import RunKeywords, TrainOptions

ROOT = Path(__file__).parents[1]
NO_EXAMPLE = {"osteon.import_model", "osteon.sweep"}  # they need another program's model, and a file
EXAMPLES = ["osteon", *(f"osteon.{name}" for name in osteon.__all__ if inspect.isfunction(getattr(osteon, name)))]


def test_what_is_public_is_there_and_loaded_when_asked_for() -> None:
    program = (
        "import sys, osteon\nassert osteon.OsteonError\n"
        "assert not {'torch', 'numpy', 'pydantic', 'rich'} & sys.modules.keys(), sys.modules.keys()\n"
        "assert set(osteon.__all__) <= set(dir(osteon))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert all(getattr(osteon, name) for name in osteon.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = osteon.nothing
    assert (Path(osteon.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    ("keywords", "options"), [(PlanKeywords, PlanOptions), (RunKeywords, TrainOptions), (WorkKeywords, LabelWork)]
)
def test_keywords_are_the_fields_of_the_options(keywords: type, options: type) -> None:
    assert list(get_type_hints(keywords)) == [field.name for field in fields(options)]
    assert get_type_hints(keywords) == get_type_hints(options)


def test_no_verb_takes_just_anything() -> None:
    for name in EXAMPLES[1:]:
        parameters = inspect.signature(getattr(osteon, name.removeprefix("osteon."))).parameters.values()
        assert not [p for p in parameters if p.annotation in ("Any", p.empty)], name


def test_the_page_is_what_the_docstrings_say() -> None:
    made = runpy.run_path(str(ROOT / "tools/api_docs.py"))["page"]()
    assert (ROOT / "docs/api.md").read_text(encoding="utf-8") == made, "python tools/api_docs.py > docs/api.md"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny spines in `phantoms`."""
    folder = tmp_path_factory.mktemp("examples")
    write_phantoms(folder / "phantoms", make_request("spine", cases=6, size=24))
    return folder


def test_the_examples_of_the_verbs_run(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(dataset_plan, "measure_forecast", lambda plan, *_, **__: plan)  # test_probe has it
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name in EXAMPLES:  # the whole way first, which leaves the files that the others take
        thing = osteon if name == "osteon" else getattr(osteon, name.removeprefix("osteon."))
        found = finder.find(thing, name, module=False, globs={"osteon": osteon})
        assert [test for test in found if test.examples] or name in NO_EXAMPLE, f"{name} has no example"
        for test in found:
            assert runner.run(test).failed == 0, name


LEFT = {
    "my-dataset": "spine",
    "my-run": "run",
    "hospital": "more/source",
    "scan.nii.gz": "predictions/spine_001.nii.gz",
}
"""Names on the pages → what the examples of the verbs left, and `more`."""
CHANGED = {
    "import": ('"my-dataset"', '"more-data"'),
    "suggest": ("count=5", "labelled=True"),  # all of these have labels
    "train": ('"my-run")', '"my-run-2", budget_s=1)'),
}
"""What a page says → what it is here."""


@pytest.fixture(scope="module")
def pages_workspace(workspace: Path) -> Path:
    """The folder with files and folders as the pages call them."""
    write_phantoms(workspace / "more", make_request("spine", cases=7, size=24))
    for name, left in LEFT.items():
        (workspace / name).symlink_to(left)
    for member in ("2d", "3d", "unetpp"):
        shutil.copytree(workspace / "predictions", workspace / member)
    return workspace


@pytest.mark.parametrize(
    "page", ["audit", "evaluate", "export", "import", "measure", "predict", "suggest", "train", "vote"]
)
def test_the_python_of_the_pages_runs(pages_workspace: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.chdir(pages_workspace)
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / f"docs/{page}.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert blocks
    names: dict[str, Any] = {"osteon": osteon}
    for block in blocks:
        names["one"] = names["other"] = names.get("result")
        said, here = CHANGED.get(page, ("", ""))
        assert said in block
        exec(compile(block.replace(said, here) if said else block, f"{page}.md", "exec"), names)
