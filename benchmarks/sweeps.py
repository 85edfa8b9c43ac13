"""Sweeps that answer which network is best, each a SWEEP.yaml in benchmarks/sweeps and one command.

    python benchmarks/sweeps.py hand      # six architectures × two encoders on made-up hands
    python benchmarks/sweeps.py lumbar    # 2D, 3D and inflated 3D on real vertebrae

The dataset is made first where it is not there. Printed is what `osteon sweep` prints.
"""

from __future__ import annotations

import argparse
import os
import shlex
from datetime import date
from pathlib import Path

from five_kinds import osteon

from osteon.phantoms.registry import KINDS

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", HERE.parents[1] / "shared" / "data"))


def hands(folder: Path) -> None:
    """Made-up radiographs: 24 to train and validate on."""
    cohort = folder.parent / "hand-cohort"
    osteon("phantom", "hand", cohort, "--cases", 24, "--size", 512, "--overwrite")
    osteon("import", cohort / KINDS["hand"].source, folder, *shlex.split(KINDS["hand"].options), "--overwrite")


def lumbar(folder: Path) -> None:
    """The 24 lumbar spines; the last six are left for others."""
    arguments = ["--modality", "mr", "--hold-out", "last:6", "--labels", "L1=1,L2=2,L3=3,L4=4,L5=5"]
    osteon("import", SHARED / "spine-mr-lumbar" / "pairs.txt", folder, *arguments)


SWEEPS = {"hand": hands, "lumbar": lumbar}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", choices=SWEEPS)
    parser.add_argument("--work", type=Path, default=HERE.parent / ".bench" / "sweeps")
    options = parser.parse_args()
    folder = options.work / f"{options.sweep}-dataset"
    if not (folder / "dataset.yaml").is_file():
        options.work.mkdir(parents=True, exist_ok=True)
        SWEEPS[options.sweep](folder)
    print(f"{date.today()}, {len(os.sched_getaffinity(0))} core(s)\n")
    print(osteon("sweep", HERE / "sweeps" / f"{options.sweep}.yaml"))
    print((options.work / options.sweep / "sweep.csv").read_text())


if __name__ == "__main__":
    main()
