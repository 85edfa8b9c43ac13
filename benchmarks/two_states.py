"""Is this state of the code as fast as another? Whole commands of both, by turns, in one run.

    git worktree add ../before COMMIT
    python benchmarks/two_states.py ../before --rounds 3

Data are made up by the other state, which also trains the model (one epoch). Each command runs once unmeasured, then
`--rounds` times, whichever was last before now first; CPU seconds are those of the command and its workers, and the
ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]


def run(checkout: Path, command: list[object]) -> float:
    """CPU seconds of an `osteon` command, as that checkout's code does it."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_WAIT_POLICY": "passive"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as for users
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = [sys.executable, "-m", "osteon.cli", *map(str, command)]
    done = subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{checkout}: {' '.join(whole)}\n{done.stdout}{done.stderr}")
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the other state")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cases", type=int, default=30, help="phantom legs (DICOM, a mask for each bone) that are made up"
    )
    arguments = parser.parse_args()
    before = arguments.before.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans, dataset, trained = folder / "limbs/source", folder / "dataset", folder / "run"
        run(before, ["phantom", "limb", scans.parent, "--cases", arguments.cases, "--size", 96])
        run(before, ["import", scans, dataset, "--modality", "mr"])
        run(before, ["plan", dataset, "--no-cost"])
        run(before, ["train", dataset, trained, "--epochs", 1])
        commands = {
            "import": lambda out: ["import", scans, out / "dataset", "--modality", "mr"],
            "plan": lambda out: ["plan", out / "dataset", "--no-cost"],
            "audit": lambda out: ["audit", out / "dataset"],
            "predict": lambda out: ["predict", trained / "model", out / "dataset", out / "predictions"],
            "evaluate": lambda out: ["evaluate", out / "predictions", out / "dataset"],
        }
        seconds: dict[tuple[str, Path], list[float]] = {}
        for number in range(arguments.rounds + 1):
            for checkout in (before, HERE) if number % 2 else (HERE, before):
                out = folder / "out"
                out.mkdir()
                for verb, command in commands.items():
                    taken = run(checkout, command(out))
                    if number:
                        seconds.setdefault((verb, checkout), []).append(taken)
                shutil.rmtree(out)
        print("| command | before, CPU s | after, CPU s | ratio |\n| --- | --- | --- | --- |")
        for verb in commands:
            was, now = median(seconds[verb, before]), median(seconds[verb, HERE])
            print(f"| {verb} | {was:.2f} | {now:.2f} | {now / was:.2f} |")


if __name__ == "__main__":
    main()
