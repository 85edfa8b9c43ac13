"""README's Python session runs, and its commands are those that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from osteon.formats.io import write_segmentation, write_volume
from osteon.phantoms.cohort import make_cohort

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder `scans` as in README: pairs.txt with eight cases, and a new scan."""
    scans = tmp_path / "scans"
    lines = []
    for member in make_cohort(cases=8, unseen=1, seed=3):
        if member.training:
            write_volume(scans / f"{member.id}.nii.gz", member.volume)
            write_segmentation(scans / f"{member.id}_label.nii.gz", member.segmentation)
            lines.append(f"{member.id}.nii.gz,{member.id}_label.nii.gz")
        else:
            write_volume(scans / "new.nii.gz", member.volume)
    (scans / "pairs.txt").write_text("\n".join(lines))
    return tmp_path


def test_the_python_session_runs(workspace: Path) -> None:
    session = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert len(session.splitlines()) <= 12
    quick = session.replace("budget_s=30 * 60", "budget_s=2").replace('hold_out="last:6"', 'hold_out="last:2"')
    assert quick.count("budget_s=2") == 2
    assert quick.count("last:2") == 1
    quick += "assert segmentation.array.shape == (44, 44, 60) or sorted(segmentation.array.shape) == [44, 44, 60]\n"
    quick += "assert 0 <= best <= 1 and len(report.manifest.trainable) == 6\n"
    script = workspace / "session.py"
    script.write_text(quick.replace('"my-dataset", budget_s=2)', '"my-dataset", measure_cost=False)', 1))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=workspace, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (workspace / "predictions").glob("[!.]*")} == {
        "humerus_007.nii.gz",
        "humerus_008.nii.gz",
        "metrics.csv",
        "metrics.json",
        "predictions.json",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_on_the_pages_parse(page: Path) -> None:
    """Every `osteon …` line names a command that exists, with options that it has."""
    from typer.main import get_command

    from osteon.cli.main import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in re.findall(r"^(?:    )?(osteon .*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        words = shlex.split(line.partition("   #")[0])
        assert words[1] in commands or words[1].startswith("-"), line
        command = commands[words[1]]
        if hasattr(command, "commands"):  # a group, as `osteon weights list`
            assert words[2] in command.commands, line
            command = command.commands[words[2]]
        options = {option for parameter in command.params for option in parameter.opts}
        used = {word.strip("[]").partition("=")[0] for word in words if word.strip("[").startswith("--")}
        assert used <= options, line


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
