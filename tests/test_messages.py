"""A program that uses osteon prints nothing of its own accord, and may listen to what osteon logs."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from osteon.core.progress import print_messages, progress_logger, show_progress
from runs import cohort

PROGRAM = """
import logging, sys
import osteon

small = {"network.features": [4, 8], "patch.size": [8, 8, 8], "patch.batch": 1, "training.epoch_iterations": 2}

def work(run, predictions):
    osteon.make_plan("dataset", device="cpu", measure_cost=False, settings=small, workers=1)
    for _ in range(2):
        osteon.train("dataset", run, epochs=1, device="cpu", workers=1)
    osteon.predict(f"{run}/model", "source/images", predictions, device="cpu")

osteon.import_dataset("source", "dataset", modality="ct", workers=1)
work("unheard", "first")
print("LISTENING", file=sys.stderr)
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
work("run", "second")
"""


def test_a_program_hears_only_what_it_listens_to(tmp_path: Path) -> None:
    cohort(tmp_path / "source", cases=6)
    (tmp_path / "source/dataset.yaml").unlink()
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "first/c3.nii.gz").is_file()
    assert (tmp_path / "second/c3.nii.gz").is_file()
    assert done.stdout == ""
    before, _, heard = done.stderr.partition("LISTENING\n")
    assert before == ""
    assert "INFO osteon.runs.fit: run: is trained already" in heard
    assert "INFO osteon.progress: 100%  iteration 2  validation Dice  mean" in heard


def test_what_the_command_line_prints(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("osteon.some.module")
    with print_messages(), show_progress(False):
        logger.info("as it is: [bold] :bone: " + 60 * "x")
        logger.warning("note")
        progress_logger.info("not asked for")
        logger.debug("not either")
    assert capsys.readouterr().err == f"as it is: [bold] :bone: {60 * 'x'}\nnote\n"
