"""Memory that is promised (`--memory`) and memory that is taken: scans of several types and formats, many structures.

    python benchmarks/memory.py
    python benchmarks/memory.py --shape 512 512 400

Each prediction runs in a process of its own, from the start of Python to the written file, and the kernel's high-water
mark is its peak. The scene is that of `large_scan.py`, the network a small one: it is the scan's size that is asked
about. Of each scan the least that osteon takes on is asked for, so that its probabilities go into a file; then, of the
first, with probabilities kept; enough for all in memory; twice as much as one takes for two scans that follow one
another, since the second is read while the first is worked on; and a limit under which it must be refused unread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import torch
from large_scan import SPACING_MM, Coded, made_model, scene

from osteon.core.platform import peak_bytes
from osteon.core.volume import Volume
from osteon.formats import write_volume
from osteon.phantoms.limb_dicom import write_series
from osteon.predicting.memory import MemoryNeeds, estimate_memory
from osteon.predicting.model import Model
from osteon.predicting.predictor import predict
from osteon.predicting.scans import find_scans
from osteon.predicting.speed import FAST
from osteon.predicting.stages import PredictOptions

FEATURES = (8, 16)
KINDS = (("int16", 5), ("float64", 5), ("int16", 60))


class Lean(Coded):
    """The same answer without copies of all logits, which no network's head has."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, k]`."""
        logits = self.network(image)[0].mul_(0.001)
        for number, level in enumerate(self.levels.flatten()):
            logits[:, number] -= 5 * (image[:, 0] - level) ** 2
        return [logits]


def lean_model(structures: int) -> Model:
    """`made_model`, small and lean."""
    model = made_model(structures, FEATURES)
    lean = Lean(model.network.network, structures)  # type: ignore[arg-type]
    return Model(lean.eval(), model.plan, {}, "made up")


def child(structures: int, which: str, out: Path, scans: list[Path]) -> None:
    """Predict within a limit, and say what it was and what was taken; the limit counts this process as it starts."""
    model, kept = lean_model(structures), which == "kept"
    found = find_scans(scans, model.plan)
    grid = found[0].geometry()
    if grid is None:
        raise SystemExit(f"{scans[0]}: no grid")
    limit = limit_of(estimate_memory(model.plan, grid, probabilities=kept), which)
    report = predict(model, found, out, PredictOptions(FAST, overwrite=True, memory=limit, probabilities=kept))
    failed = [str(e) for e in report.failed.values()]
    print(json.dumps({"limit": limit, "peak": peak_bytes(), "done": len(report.done), "failed": failed}))


def limit_of(need: MemoryNeeds, which: str) -> int:
    """Bytes."""
    most = {"least": need.with_file, "kept": need.with_file, "all": need.in_memory, "two": 2 * need.with_file}
    return most[which] if which in most else need.with_file - 1


def made(shape: tuple[int, int, int], kind: str, structures: int, folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Scans by their format, each there only until the next is asked for."""
    volume = scene(shape, SPACING_MM, 100, structures)
    volume = Volume(volume.array.astype(kind), volume.geometry)
    for suffix in ("nii.gz", "nii", "nrrd"):
        scans = [folder / f"{name}.{suffix}" for name in ("one", "two")[: 2 if suffix == "nii.gz" else 1]]
        for scan in scans:
            write_volume(scan, volume)
        yield suffix, scans
        for scan in scans:
            scan.unlink()
    if kind == "int16":
        series = folder / "series"
        series.mkdir()
        pixels = volume.array[0].clip(0).astype(np.uint16)
        write_series(series, pixels, volume.geometry, np.random.default_rng(0), number=0, localizer="none")
        yield "DICOM", [series]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=[320, 320, 320])
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        structures, which, out, *words = options.child
        child(int(structures), which, Path(out), [Path(word) for word in words])
        return
    print(f"{date.today()}; {'×'.join(map(str, options.shape))} of 0.75 mm, grid of 1.5 mm\n")
    print("| scan | structures | asked for | limit MB | peak MB | segmented |\n| --- | --- | --- | --- | --- | --- |")
    broken = False
    for kind, structures in KINDS:
        with tempfile.TemporaryDirectory() as place:
            for form, scans in made(tuple(options.shape), kind, structures, Path(place)):
                several = form == "nii.gz" and kind == "int16" and structures == KINDS[0][1]
                for which in ("least", "kept", "all", "two", "less") if several else ("least",):
                    words = [str(structures), which, str(Path(place, "out")), *map(str, scans[: 1 + (which == "two")])]
                    command = [sys.executable, __file__, "--child", *words]
                    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[
                        -1
                    ]
                    found = json.loads(output)
                    broken |= found["peak"] > found["limit"] or bool(found["failed"]) != (which == "less")
                    sizes = " | ".join(f"{found[key] / 1e6:.0f}" for key in ("limit", "peak"))
                    print(f"| {kind} {form} | {structures} | {which} | {sizes} | {found['done']} |", flush=True)
    if broken:
        raise SystemExit("more was taken than was asked for, or a scan was refused that fits")


if __name__ == "__main__":
    main()
