"""How long does importing a case take, and does memory stay the same, with ten cases and with a thousand?

    python benchmarks/import_many.py --cases 10 100 1000

Each row is one `osteon import` of made-up cases of 16³ voxels: a list of pairs, which is referred to, or scans with one
mask for each of three structures, which are merged and written. Memory is the command's peak resident set.
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

GRID = Geometry((16, 16, 16), np.diag([1.0, 1.0, 2.0, 1.0]))
STRUCTURES = ("femur", "tibia", "fibula")


def make(folder: Path, cases: int, form: str) -> None:
    """Scans of noise with three bright boxes, as label maps and a list or as one mask each."""
    lines = []
    for n in range(cases):
        draw = np.random.default_rng(n)
        labels = np.zeros(GRID.shape, np.uint8)
        for value in (1, 2, 3):
            i, j, k = draw.integers(0, 12, 3)
            labels[i : i + 4, j : j + 4, k : k + 4] = value
        image = (draw.normal(0, 20, GRID.shape) + 300 * (labels > 0)).astype(np.int16)
        name = f"case_{n:04d}"
        place = folder / name / "ct.nii.gz" if form == "masks" else folder / f"{name}.nii.gz"
        write_volume(place, Volume(image[None], GRID))
        if form == "masks":
            for value, structure in enumerate(STRUCTURES, 1):
                mask = (labels == value).astype(np.uint8)
                write_volume(folder / name / f"{structure}.nii.gz", Volume(mask[None], GRID))
        else:
            write_volume(folder / f"{name}_label.nii.gz", Volume(labels[None], GRID))
            lines.append(f"{name}.nii.gz,{name}_label.nii.gz\n")
    if lines:
        (folder / "pairs.txt").write_text("".join(lines))


def measure(source: Path, dataset: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of one import."""
    command = [sys.executable, "-m", "osteon.cli", "import", str(source), str(dataset), "--modality", "ct"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(output.decode())
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--form", nargs="+", default=["pairs", "masks"], choices=["pairs", "masks"])
    arguments = parser.parse_args()
    print("| form | cases | seconds | ms/case | peak MB |\n| --- | --- | --- | --- | --- |")
    for form in arguments.form:
        for cases in arguments.cases:
            with tempfile.TemporaryDirectory() as folder:
                make(Path(folder) / "source", cases, form)
                seconds, peak = measure(Path(folder) / "source", Path(folder) / "set")
            print(f"| {form} | {cases} | {seconds:.1f} | {1000 * seconds / cases:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
