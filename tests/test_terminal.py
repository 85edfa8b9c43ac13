"""Commands as they are begun in odd places: a terminal that is not of UTF-8, a narrow one, little memory."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from osteon.cli.terminal import matplotlib_folder
from osteon.core.files import read_json, read_yaml, write_json, write_yaml
from osteon.core.labels import make_structures
from osteon.evaluating.scores import Score
from osteon.evaluating.summary import overall, summarise
from osteon.evaluating.table import summary_table
from osteon.runs.fit import train
from osteon.runs.options import TrainOptions
from runs import cohort, command, learning_plan

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="has its own encodings and limits")
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


def run(*arguments: object, env: dict[str, str] | None = None, before: str = "") -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, after a line of shell."""
    words = [sys.executable, "-m", "osteon.cli", *map(os.fspath, map(str, arguments))]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONUTF8", "PYTHONIOENCODING")}
    shell = ["/bin/sh", "-c", f'{before} exec "$@"', "sh", *words]
    return subprocess.run(shell, env=environment | (env or {}), capture_output=True, timeout=300, check=False)


@POSIX
def test_without_utf8_everything_is_written_and_the_terminal_gets_what_it_can_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = cohort(tmp_path / "data", 3)
    train(dataset, learning_plan(), tmp_path / "run", TrainOptions(device="cpu", workers=1, epochs=1, fold=None))
    scan = tmp_path / "Müller.nii.gz"
    shutil.copyfile(tmp_path / "data/images/c0.nii.gz", scan)
    audited = run("audit", dataset.folder, env=ASCII)
    assert (audited.returncode, b"Traceback" in audited.stderr) == (0, False)
    assert "</html>" in (tmp_path / "data/audit/report.html").read_text(encoding="utf-8")
    out = tmp_path / "out"
    done = run("predict", tmp_path / "run", scan, out, "--device", "cpu", env=ASCII)
    assert done.returncode == 0, done.stderr
    assert done.stderr.isascii()
    assert b"M?ller" in done.stderr  # it was trained on
    assert list(json.loads((out / "predictions.json").read_text(encoding="utf-8"))) == ["Müller"]
    assert command("predict", tmp_path / "run", scan, out, "--device", "cpu") == 0  # in UTF-8 it is the same file
    assert "1 were done already" in capsys.readouterr().out
    scored = run("evaluate", out, out, env=ASCII)
    assert (scored.returncode, scored.stdout.isascii(), b"0.9" in scored.stdout or b"1.0" in scored.stdout) == (
        0,
        True,
        True,
    )


@POSIX
def test_a_name_that_is_not_of_utf8_is_written_and_read_again(tmp_path: Path) -> None:
    name = os.fsdecode(b"Gr\xfcn.nii.gz")
    (tmp_path / name).touch()
    write_json(tmp_path / "a.json", {"file": name})
    write_yaml(tmp_path / "a.yaml", {"file": name})
    assert read_json(tmp_path / "a.json", "it")["file"] == read_yaml(tmp_path / "a.yaml", "it")["file"] == name


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_names_stay_in_a_narrow_terminal(width: int) -> None:
    dice = {"femur": (0.9, 0.8), "vertebra_L1": (0.7, 0.6)}
    scores = [
        Score(case, name, "both", value, 1000, 1000, 1.0, 1.0, 0.0, 0.0, distances={"hd95_mm": 1.5, "nsd_2mm": 0.9})
        for name, values in dice.items()
        for case, value in zip("ab", values, strict=True)
    ]
    summaries = summarise(scores)
    console = Console(width=width, file=(output := io.StringIO()))
    structures = make_structures(["femur", "vertebra_L1"], [1, 2])
    console.print(summary_table(summaries, overall(summaries, scores), structures, width=width))
    for text in ("femur", "vertebra_L1", "overall", "0.850"):
        assert text in output.getvalue()


@POSIX
@pytest.mark.parametrize("limit_kb", [900_000, 500_000])
@pytest.mark.parametrize("command", ["--help", "doctor"])
def test_with_little_memory_a_command_ends_in_a_sentence(limit_kb: int, command: str) -> None:
    ended = run(command, before=f"ulimit -v {limit_kb};")
    assert b"Traceback" not in ended.stderr
    if command == "--help":
        assert ended.returncode == 0
    else:
        assert b"the memory of a process is limited to 0." in ended.stderr
        assert ended.returncode == 0 or b"there is not enough memory to continue" in ended.stderr


@pytest.mark.parametrize(
    ("there", "settings", "given"),
    [
        (True, {}, False),
        (False, {}, True),
        (False, {"MPLCONFIGDIR": "mine"}, False),
        (False, {"XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}, False),
        (False, {"XDG_CACHE_HOME": "cache"}, True),
    ],
)
def test_matplotlib_gets_a_folder_where_the_home_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, settings: dict[str, str], given: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, _: there or Path(path) != tmp_path)
    for name in set(settings) - {"MPLCONFIGDIR"}:
        settings[name] = str(tmp_path / settings[name])
        Path(settings[name]).mkdir()
    before = dict(settings)
    with matplotlib_folder(settings):
        folder = settings.get("MPLCONFIGDIR", "mine")
        assert (folder != "mine" and Path(folder).is_dir()) == given
    assert settings == before
    assert not Path(folder).exists()
