"""`osteon serve` against its own OpenAPI description, by schemathesis, which makes up requests: is any answer 5xx?

    python -m venv schemathesis-env && schemathesis-env/bin/pip install schemathesis
    python benchmarks/serve_schema.py --tool schemathesis-env/bin/schemathesis --seconds 120

A server of two models runs as people start it, with a token. schemathesis sends what the description allows, and what
it does not, for that time, and checks that each answer is one of those described. All traffic stays on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from serve import prepare, started

TOKEN = "0123456789abcdef"
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "404", "415", "429"]
"""
"""What scans are made of no schema can say: made-up bytes are none, and are answered with 415."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, default=Path("schemathesis"))
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    os.environ["OSTEON_TOKEN"] = TOKEN
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, _ = prepare(folder)
        server = started(f"first={run}", folder / "jobs", 8, [f"second={run}"])
        (folder / "schemathesis.toml").write_text(CONFIG)
        line = [asked.tool.absolute() if asked.tool.exists() else asked.tool, "--config-file", "schemathesis.toml"]
        line += ["run", f"http://localhost:{server.port}/openapi.json", "--max-time", asked.seconds]
        line += ["--seed", asked.seed, "--continue-on-failure", "--header", f"Authorization: Bearer {TOKEN}"]
        line += ["--report", "har", "--report-har-path", "requests.har"]
        try:
            done = subprocess.run(map(str, line), cwd=folder, check=False)
            assert server.process.poll() is None, "the server ended"
        finally:
            server.process.terminate()
            code = server.process.wait()
        entries = json.loads((folder / "requests.har").read_bytes())["log"]["entries"]
    statuses = Counter(entry["response"]["status"] for entry in entries)
    print("\n| status | answers |\n| --- | --- |")
    for status, count in sorted(statuses.items()):
        print(f"| {status} | {count} |")
    failed = sum(count for status, count in statuses.items() if status >= 500)
    print(f"\n{sum(statuses.values())} answers, {failed} of 500 or more; the server ended with exit code {code}")
    sys.exit(done.returncode or int(failed > 0))


if __name__ == "__main__":
    main()
