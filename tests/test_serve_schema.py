"""The server against its own OpenAPI description, by a tool that makes up requests. Skipped where that is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from osteon.serving.guard import ServerRules
from serving import TOKEN, Client, FakePredictor, serving

BESIDE = Path(sys.executable).with_name("schemathesis")
TOOL = str(BESIDE) if BESIDE.is_file() else shutil.which("schemathesis")
TAKEN = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "404", "415", "429"]
"""
"""What scans are made of no schema can say: made-up bytes are none, and are answered with 415."""


def check_schema(client: Client, folder: Path, config: str, *options: str) -> None:
    (folder / "schemathesis.toml").write_text(config)
    line = [TOOL, "--config-file", "schemathesis.toml", "run", f"http://localhost:{client.port}/openapi.json"]
    line += ["--seed", "1", "--max-examples", "20", "--header", f"Authorization: Bearer {TOKEN}", *options]
    done = subprocess.run(map(str, line), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.skipif(TOOL is None, reason="needs schemathesis")
def test_answers_are_those_of_the_description(tmp_path: Path) -> None:
    predictor = FakePredictor()
    predictor.go.set()
    with serving(tmp_path, predictor=predictor, rules=ServerRules(TOKEN)) as running:
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        check_schema(running.client, tmp_path, TAKEN)
        job = running.client.wait_for(running.client.send().data["id"])
        known = f'[parameters]\njob_id = "{job["id"]}"\nfile = "mask.nii.gz"\n'
        check_schema(running.client, tmp_path, TAKEN + known, "--include-method", "GET", "--phases", "examples,fuzzing")
        assert running.client.ask("GET", "/health").data["status"] == "ok"
