"""How long `osteon plan` takes with ten small cases, a hundred and a thousand; another checkout takes turns.

    python benchmarks/plan_many.py --cases 10 100 1000 [--before CHECKOUT]

Cases of 24³ voxels with two structures, made up and imported once. Each row is one `osteon plan --force` on a dataset
that was never measured: reading the cases, deciding, and trying out what the plan costs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import write_volume

HERE = Path(__file__).resolve().parent
GRID = Geometry((24, 24, 24), np.eye(4))
OSTEON = [sys.executable, "-m", "osteon.cli"]


def make(folder: Path, cases: int) -> None:
    """Scans of noise with two bright boxes, and a list of them."""
    lines = []
    for n in range(cases):
        draw = np.random.default_rng(n)
        labels = np.zeros(GRID.shape, np.uint8)
        first, second = draw.integers(1, 4, 2)
        labels[first : first + 9, 6:15, 7:16] = 1
        labels[first + 11 : first + 16, 6:12, 7 + second : 16 + second] = 2
        image = (draw.normal(0, 20, GRID.shape) + 300 * (labels > 0)).astype(np.int16)
        names = f"case_{n:04d}.nii.gz", f"case_{n:04d}_label.nii.gz"
        for name, array in zip(names, (image, labels), strict=True):
            write_volume(folder / name, Volume(array[None], GRID))
        lines.append(",".join(names) + "\n")
    (folder / "pairs.txt").write_text("".join(lines))


def measure(checkout: Path, dataset: Path) -> tuple[float, float]:
    """Seconds of the clock and of the processor, of one plan."""
    for name in ("fingerprint.json", "plan.yaml"):
        (dataset / name).unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    began = time.perf_counter()
    process = subprocess.Popen(
        [*OSTEON, "plan", str(dataset)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"osteon plan {dataset} failed")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--before", type=Path, help="another checkout, whose code takes turns with this one's")
    options = parser.parse_args()
    checkouts = ({"before": options.before.resolve()} if options.before else {}) | {"this": HERE.parent}
    print("| cases | checkout | seconds | of the processor |\n| --- | --- | --- | --- |")
    for cases in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            source, dataset = Path(folder) / "source", Path(folder) / "set"
            source.mkdir()
            make(source, cases)
            command = [*OSTEON, "import", str(source / "pairs.txt"), str(dataset), "--modality", "ct"]
            subprocess.run(command, check=True, capture_output=True)
            for name, checkout in checkouts.items():
                seconds, processor = measure(checkout, dataset)
                print(f"| {cases} | {name} | {seconds:.1f} | {processor:.1f} |", flush=True)


if __name__ == "__main__":
    main()
