"""Memory that is promised (`--memory`) and memory that is taken, for scans of several types and many structures.

    python benchmarks/memory.py
    python benchmarks/memory.py --shape 256 256 200

Each prediction runs in a process of its own, from the start of Python to the written file, and the kernel's high-water
mark is its peak. The scene and the network are those of `large_scan.py`, the network with few features: it is the
scan's size that is asked about. Of each kind the least that osteon takes on is asked for, its probabilities in a file;
then twice as much for two scans that follow one another, since the second is read while the first is worked on; and
last a limit under which the scan must be refused before it is read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
from large_scan import SPACING_MM, made_model, scene

from osteon.core.geometry import Geometry
from osteon.core.platform import peak_bytes
from osteon.core.volume import Volume
from osteon.formats import write_volume
from osteon.predicting.memory import needs
from osteon.predicting.predictor import How, predict
from osteon.predicting.scans import find_scans

FEATURES = (8, 16, 32)
KINDS = (("int16", 25), ("float64", 25), ("int16", 60))


def child(structures: int, limit: int, out: Path, scans: list[Path]) -> None:
    """Predict, and say what it took."""
    report = predict(made_model(structures, FEATURES), find_scans(scans), out, How(overwrite=True, memory=limit))
    print(
        json.dumps({"peak": peak_bytes(), "done": len(report.done), "failed": [str(e) for e in report.failed.values()]})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=[512, 512, 400])
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        structures, limit, out, *scans = options.child
        child(int(structures), int(limit), Path(out), [Path(scan) for scan in scans])
        return
    shape = tuple(options.shape)
    print(f"{date.today()}; {'×'.join(map(str, shape))}, grid of 1.5 mm\n")
    print("| scans | structures | asked MB | peak MB | segmented |\n| --- | --- | --- | --- | --- |")
    broken = False
    with tempfile.TemporaryDirectory() as folder:
        for kind, structures in KINDS:
            volume = scene(shape, SPACING_MM, 100, structures)
            scans = [Path(folder, f"{name}.nii.gz") for name in ("one", "two")]
            for scan in scans:
                write_volume(scan, Volume(volume.array.astype(kind), volume.geometry))
            del volume
            least = needs(made_model(structures, FEATURES).plan, Geometry(shape, np.diag([*SPACING_MM, 1.0]))).with_file
            for limit, count in ((least + 1, 1), (2 * least, 2), (least - 1, 1)):
                words = [str(structures), str(limit), str(Path(folder, "out")), *map(str, scans[:count])]
                command = [sys.executable, __file__, "--child", *words]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
                found = json.loads(said)
                broken |= found["peak"] > limit
                print(
                    f"| {count} {kind} | {structures} | {limit / 1e6:.0f} | {found['peak'] / 1e6:.0f} | {found['done']} |",
                    flush=True,
                )
    if broken:
        raise SystemExit("more was taken than was asked for")


if __name__ == "__main__":
    main()
