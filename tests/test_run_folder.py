"""What a run's folder is, and what is never done to one."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import tiny_plan
from osteon.cli import main as cli
from osteon.core.errors import UsageError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.runs.fit import train
from osteon.training import callback
from runs import CPU, cohort, command


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cohort(tmp_path_factory.mktemp("dataset"))


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.endswith(("_s", "_iteration"))} for row in csv.DictReader(file)]


def test_killed_in_a_validation_it_validates_and_ends_the_same(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny, tiny_plan(), tmp_path / "whole", CPU)
    real, calls = callback.validate, iter(range(100))

    def die(*arguments: Any) -> Any:
        if next(calls) == 1:
            raise ConnectionError("as if killed")
        return real(*arguments)

    monkeypatch.setattr(callback, "validate", die)
    monkeypatch.setattr(callback, "SAVE_BEFORE_VALIDATION_S", -1.0)
    with pytest.raises(Exception, match="as if killed"):
        train(tiny, tiny_plan(), tmp_path / "run", CPU, checkpoint_every_s=1e9)
    assert train(tiny, tiny_plan(), tmp_path / "run", CPU).resumed
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    first, second = (load_file(tmp_path / name / "model" / "weights.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(first[key], second[key]) for key in second)


def test_restart_throws_nothing_away_that_is_no_run(tiny: Dataset, tmp_path: Path) -> None:
    keep = tmp_path / "predictions" / "mine.nii.gz"
    keep.parent.mkdir()
    keep.touch()
    with pytest.raises(UsageError, match="is not a run"):
        train(tiny, tiny_plan(), tmp_path, CPU, restart=True)
    assert keep.is_file()
    with pytest.raises(UsageError, match="dataset's own folder"):
        train(tiny, tiny_plan(), tiny.folder, CPU, restart=True)


def test_a_finished_run_does_not_pass_for_one_of_other_cases(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "dataset", 6)
    train(dataset, tiny_plan(), tmp_path / "run", CPU)
    fewer = dataset.manifest.model_copy(update={"cases": dataset.manifest.cases[:5]})
    write_manifest(dataset.folder, fewer)
    with pytest.raises(UsageError, match="other cases"):
        train(Dataset.open(dataset.folder), tiny_plan(), tmp_path / "run", CPU)


def test_a_demo_is_never_mixed_with_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "cohort.json").write_text('{"cases": 24, "unseen": 6, "seed": 0}')
    assert command("demo", tmp_path, "--cases", 20) == 2
    assert "another folder" in capsys.readouterr().err


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "/data/events.out")

    monkeypatch.setattr(cli, "app", fail)


@pytest.mark.usefixtures("full_disk")
def test_a_library_that_meets_a_full_disk_ends_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train") == 1
    output = capsys.readouterr().err
    assert "/data/events.out: the disk is full" in output
    assert "→" in output
